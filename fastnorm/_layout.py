"""What fastnorm takes for an array: its dtype, its mask, and the axes that are kept."""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterator, Mapping
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def as_array(x: Any, name: str = "x", cure: str | None = None) -> Array:
    """Return ``x`` as an array of real numbers, without a copy where it is one already.

    Raises TypeError for what has no exact float64 (complex, longdouble) or is no number.
    """
    array: Array = x if isinstance(x, np.ndarray) else _from_any(x, name)
    kind = array.dtype.kind
    if not (kind in "biu" or (kind == "f" and array.dtype.itemsize <= 8) or array.dtype.name == "bfloat16"):
        cure = cure or {
            "c": "pass x.real and x.imag as separate features",
            "f": "convert it with x.astype('float64')",
            "O": "convert it with x.astype('float64') if it holds numbers",
            "M": "convert it to numbers, e.g. (x - x.min()) / np.timedelta64(1, 's')",
            "m": "convert it to numbers, e.g. x / np.timedelta64(1, 's')",
        }.get(kind, "select the numeric columns first")
        raise TypeError(f"{name} has dtype {array.dtype}, but fastnorm takes real numbers of up to 64 bits; {cure}")
    return array


def as_floats(values: Any, name: str) -> NDArray[np.float64]:
    """Return a copy of settings, such as a mean, as float64; TypeError for what are no real numbers."""
    return np.array(as_array(values, name, "pass finite real numbers"), np.float64)


def _from_any(x: Any, name: str) -> Array:
    if x is None or isinstance(x, (str, bytes, PathLike, Mapping)):
        what = "None" if x is None else f"a {type(x).__name__}"
        cure = "pass e.g. pandas.DataFrame(x)" if isinstance(x, Mapping) else "load them, or pass numbers"
        raise TypeError(f"{name} is {what}, but fastnorm takes arrays of numbers; {cure}")
    if hasattr(x, "collect"):
        raise TypeError(f"{name} is a {type(x).__name__}, which holds no numbers yet; pass {name}.collect()")
    if isinstance(x, Iterator):
        raise TypeError(
            f"{name} is an iterator ({type(x).__name__}), but here one array of rows is wanted; "
            "pass its items one by one, or give an iterable of batches to adapt"
        )
    if hasattr(x, "toarray"):  # SciPy's sparse matrices and arrays
        raise TypeError(
            f"{name} is sparse ({type(x).__name__}); pass {name}.toarray(), or use fastnorm.sklearn.StandardScaler("
            "with_mean=False), which leaves it sparse"
        )
    if getattr(x, "requires_grad", False):  # a torch tensor, which gives its values only without its history
        x = x.detach()
    if str(getattr(x, "dtype", "")) == "torch.bfloat16":  # which torch does not give to NumPy
        bits: Array = x.cpu().view(sys.modules["torch"].int16).numpy()
        return bits.view(float_dtype("bfloat16"))
    if type(x).__name__ in ("KerasTensor", "SymbolicTensor") or "Tracer" in type(x).__name__:
        raise TypeError(
            f"{name} is symbolic ({type(x).__name__}), but fastnorm computes with numbers; put "
            "fastnorm.keras.to_keras(layer) into the model or the function instead"
        )
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise ValueError(
            f"{name} cannot be made an array ({error}); give each row the same number of values, "
            "and NaN where one is missing"
        ) from None
    if array.ndim == 0 and array.dtype.kind == "O":
        raise TypeError(f"{name} is a {type(x).__name__}, but fastnorm takes arrays of numbers")
    return array


def mask_of(x: Any) -> NDArray[np.bool_] | None:
    """The mask of a masked array in which something can be masked."""
    mask = np.ma.getmask(x)
    return None if mask is np.ma.nomask else mask


def float_dtype(name: str) -> np.dtype[Any]:
    """Return the floating dtype of a name, bfloat16 included (which needs the package ml_dtypes)."""
    if name == "bfloat16":
        import ml_dtypes

        found: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return found
    return np.dtype(name)


def checked_axis(axis: Any) -> int | tuple[int, ...] | None:
    """Return ``axis`` as an int, a tuple of ints or None; TypeError for anything else."""
    if axis is None:
        return None
    try:
        if isinstance(axis, (tuple, list)):
            return tuple(operator.index(item) for item in axis)
        return operator.index(axis)
    except TypeError:
        raise TypeError(f"axis must be an int, a tuple of ints or None, not {axis!r}") from None


def number_kept(axis: int | tuple[int, ...] | None) -> int:
    """Return how many axes are kept."""
    return 0 if axis is None else len(axis) if isinstance(axis, tuple) else 1


def kept_axes(axis: int | tuple[int, ...] | None, ndim: int) -> tuple[int, ...]:
    """Return the axes that stay, sorted and counted from the front; all others are reduced."""
    axis = checked_axis(axis)
    given = () if axis is None else axis if isinstance(axis, tuple) else (axis,)
    if given and ndim == 0:
        raise ValueError(
            "x is 0-dimensional (a single number); pass at least one row, e.g. np.array([x]), or take axis=None"
        )
    for index in given:
        if not -ndim <= index < ndim:
            raise ValueError(
                f"All `axis` values must be in the range [{-ndim}, {ndim}) for an array of {ndim} dimensions, "
                f"but axis={axis!r}; name axes that the data have"
            )
    kept = tuple(sorted(index % ndim for index in given))
    if len(set(kept)) != len(kept):
        raise ValueError(f"axis {axis!r} names an axis twice; give each axis that is kept once")
    return kept
