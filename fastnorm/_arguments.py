"""What a layer is given, checked at the border: destinations and batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastnorm import _threads
from fastnorm._frames import Frame, is_table
from fastnorm._layout import as_floats, number_kept

FLOATS = ("float16", "bfloat16", "float32", "float64")
SHARE = 1 << 20  # elements of a unit of work
BUFFER = 1 << 16  # elements that are looked at together
FLAT: Any = ("external_loop", "buffered", "zerosize_ok")


def mismatch(got: tuple[int, ...], want: tuple[int, ...], axis: Any, made: str = "was adapted to") -> str:
    """Say that features do not fit, and what to do."""
    if len(got) == len(want) == 1:
        return (
            f"x has {got[0]} features (axis={axis!r}), but this Normalization {made} {want[0]}; "
            "pass the same columns or adapt a new one"
        )
    return (
        f"x has features of incompatible shape {got} (axis={axis!r}), but this Normalization {made} {want}; "
        "pass the same features or adapt a new one"
    )


def checked_dtype(dtype: DTypeLike | None) -> np.dtype[Any] | None:
    """Return the dtype that results are asked to have, or None; ValueError if it has no fractions."""
    known = f"dtype must be one of {', '.join(FLOATS)}"
    try:
        found = None if dtype is None else np.dtype(dtype)
    except TypeError as error:
        raise TypeError(f"{known}, not {dtype!r} ({error})") from None
    if found is not None and found.name not in FLOATS:
        raise ValueError(f"{known}, not {found}: z-scores are fractions")
    return found


def result_dtype(asked: np.dtype[Any] | None, given: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of what is made of data of dtype ``given``."""
    if asked is not None:
        return asked
    if given.name in FLOATS:
        return given.newbyteorder("=")
    return np.dtype(np.float32 if given.itemsize <= 2 else np.float64)


def checked_statistics(
    mean: ArrayLike | None, variance: ArrayLike | None, axis: int | tuple[int, ...] | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return a given mean and variance as arrays, None without; or raise ValueError, TypeError."""
    if mean is None and variance is None:
        return None
    if mean is None or variance is None:
        raise ValueError(
            "When setting values directly, both `mean` and `variance` must be set. "
            f"Received: mean={mean!r} and variance={variance!r}"
        )
    pair = as_floats(mean, "mean"), as_floats(variance, "variance")
    axes = number_kept(axis)
    if pair[0].shape != pair[1].shape:
        raise ValueError(f"`mean` and `variance` must have the same shape, not {pair[0].shape} and {pair[1].shape}")
    if pair[0].ndim > axes:
        raise ValueError(
            f"The rank of `mean` must be less than or equal to the number of axes that are kept ({axes} with "
            f"axis={axis!r}), but it has shape {pair[0].shape}"
        )
    if not pair[0].size:
        raise ValueError("`mean` and `variance` have no features; give at least one number")
    if not (np.isfinite(pair[0]).all() and np.isfinite(pair[1]).all() and (pair[1] >= 0).all()):
        raise ValueError("`mean` must be finite and `variance` finite and >= 0 (variances, not standard deviations)")
    return pair


def checked_out(x: NDArray[Any] | Frame, out: Any, given: Any) -> NDArray[Any]:
    """Return ``out`` as an array that may be written, or raise ValueError or TypeError."""
    if isinstance(x, Frame):
        raise TypeError("out cannot take the columns of a table; leave it out to get a new one")
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be a NumPy array, not {type(out).__name__}; leave it out to get a new array")
    result = np.asarray(out)
    if result.shape != x.shape:
        raise ValueError(f"out has shape {result.shape}, but x has {x.shape}; pass np.empty_like(x)")
    if result.dtype.name not in FLOATS:
        raise TypeError(
            f"out has dtype {result.dtype}, which cannot hold z-scores; pass a float array, e.g. "
            "np.empty(x.shape, 'float32'), or leave it out"
        )
    if not result.flags.writeable:
        cure = "open the memory map with mode='r+'" if isinstance(out, np.memmap) else "pass an array you may write"
        raise ValueError(f"out is read-only; {cure}, or leave `out` away to get a new array")
    same = out is given or (
        result.__array_interface__["data"] == x.__array_interface__["data"]
        and result.strides == x.strides
        and result.dtype == x.dtype
    )
    if not same and np.may_share_memory(x, result):
        try:
            overlaps = np.shares_memory(x, result, max_work=100_000)  # type: ignore[arg-type]
        except np.exceptions.TooHardError:
            overlaps = True
        if overlaps:
            raise ValueError("out overlaps x in part; pass out=x to work in place, or an array of its own")
    if result.size and _repeats(result):
        raise ValueError("out repeats its memory (a broadcast array or overlapping windows); pass an array of its own")
    return result


def masked(x: NDArray[Any] | Frame, mask: ArrayLike) -> NDArray[Any]:
    """Return ``x`` with what ``mask`` leaves out masked: one bool for each entry of all dimensions but the last."""
    if isinstance(x, Frame):
        raise TypeError("mask cannot go with a table; make missing what is to be left out, or pass an array")
    taken = np.asarray(mask, bool)
    if taken.ndim != x.ndim - 1 or any(n not in (1, m) for n, m in zip(taken.shape, x.shape, strict=False)):
        raise ValueError(
            f"mask has shape {taken.shape}, but x has {x.shape}; it must have one dimension less than x: "
            f"pass one bool for each entry of {x.shape[:-1]}"
        )
    found: NDArray[Any] = np.ma.array(np.asarray(x), mask=~taken[..., None] | np.ma.getmaskarray(x))
    return found


def _repeats(array: NDArray[Any]) -> bool:
    """Whether elements may share memory: an axis steps by less than what the smaller steps span."""
    span = array.itemsize
    for step, length in sorted((abs(s), n) for s, n in zip(array.strides, array.shape, strict=True) if n > 1):
        if step < span:
            return True
        span += step * (length - 1)
    return False


def holds_infinity(x: NDArray[Any], threads: int | None) -> bool:
    """Whether an array of floats holds an infinity: one pass over it by all workers, in any layout, without a copy."""
    lines = x.T if x.flags.f_contiguous else x  # the first axis is that of the longest strides
    share = max(1, SHARE * len(lines) // max(1, x.size))

    def work(starts: Iterator[int]) -> bool:
        parts = (lines[start : start + share] for start in starts)
        chunks = (chunk for part in parts for chunk in np.nditer(part, FLAT, buffersize=BUFFER))
        return any(bool(np.isinf(chunk).any()) for chunk in chunks)

    workers = 1 if x.size < SHARE else _threads.count(threads)
    return any(_threads.share(work, range(0, len(lines), share), workers))


def _is_array(item: Any) -> bool:
    if isinstance(item, np.ndarray) or hasattr(item, "__array__"):
        return True
    return is_table(item) and not isinstance(item, Iterator)  # a RecordBatchReader gives batches


def _is_pair(item: Any) -> bool:
    """Whether an item is a batch like (x, y) or (x, y, weights), of which x counts."""
    return isinstance(item, (list, tuple)) and len(item) > 0 and _is_array(item[0])


def _is_one_array(weights: Any) -> bool:
    """Whether these are the weights of rows, not arrays of them."""
    if isinstance(weights, (list, tuple)):
        return bool(weights) and np.ndim(weights[0]) == 0
    return getattr(weights, "ndim", None) == 1


_END = object()


def batches(data: Any, weights: Any) -> Iterator[tuple[Any, Any]]:
    """Pairs of a batch and its weights: one array is one batch, an iterable gives several."""
    if isinstance(data, tuple) and len(ranks := {np.ndim(item) for item in data if _is_array(item)}) > 1:
        raise ValueError(
            f"data is a tuple of arrays with {' and '.join(map(str, sorted(ranks)))} axes, which cannot be batches of "
            "one kind; if it is (x, y), pass x alone"
        )
    if isinstance(data, (list, tuple)) and data and (_is_array(data[0]) or _is_pair(data[0])):
        source: Iterable[Any] = data  # a list of arrays, or of (x, y): batches
    elif _is_array(data) or isinstance(data, (list, tuple, str, bytes, Mapping)) or not isinstance(data, Iterable):
        yield data, weights
        return
    else:
        source = data
    if weights is not None and _is_one_array(weights):
        raise ValueError(
            "data come in batches, but weights is one array; give an iterable with one array of weights for each batch"
        )
    if weights is None:
        pairs: Iterable[tuple[Any, Any]] = ((batch, None) for batch in source)
    else:
        pairs = zip_longest(source, weights, fillvalue=_END)
    for batch, batch_weights in pairs:
        if batch is _END or batch_weights is _END:
            more = "weights than batches" if batch is _END else "batches than weights"
            raise ValueError(f"there are more {more}; give one array of weights for each batch")
        first = batch[0] if _is_pair(batch) else batch
        if isinstance(first, dict):
            raise TypeError(
                f"a batch is a dict with the keys {', '.join(map(str, first))}; yield one array for each batch"
            )
        if not hasattr(first, "shape") and not isinstance(first, (list, tuple)) and not is_table(first):
            raise TypeError(f"a batch must be an array (with a `.shape`), but the iterable gave {type(first).__name__}")
        yield first, batch_weights
