"""Apply parameters to any array: in place, or into another, by all workers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastnorm import _few, _threads, _tiles
from fastnorm._layout import Array
from fastnorm._tiles import Block, Tile

Floats = NDArray[np.float64]

STRIP = 4096  # lanes of a tile: their parameters stay in the second-level cache
FOLD = 256  # lanes that narrow rows are put together to
LEAST, SHARE = 1 << 17, 1 << 20  # elements of a unit of work
SMALL = 1 << 19  # elements below which threads cost more than they give
FEW = 1 << 16  # elements of rows for which a single call of a kernel, prepared before, is quicker
FOURS = 16  # rows at each of four places from which it pays to work there at once
COPIED = 1 << 16  # elements of a copied block
# What kernels read and write where it lies; anything else goes by way of a float64 tile.
_PAIRS = {
    (np.dtype(x), np.dtype(out))
    for names, out in (
        ("float32 bool int8 uint8 int16 uint16", "float32"),
        ("float64 int32 uint32 int64 uint64", "float64"),
    )
    for x in names.split()
}


class Affine(NamedTuple):
    """One entry a feature, flat: ``((x * 2**shift - mean) - low - rest) / scale * gamma + beta``.

    The shift is 0 but for features near the ends of float64; ``rest`` counts for 64-bit integers only; gamma and beta
    may be None, beta alone too.
    """

    mean: Floats
    low: Floats
    rest: Floats
    scale: Floats
    shift: NDArray[np.int64]
    gamma: Floats | None = None
    beta: Floats | None = None


Direction = Literal["forward", "inverse"]
Way = Literal["", "_in_place", "_in_fours"]  # of kernels: into another array, in place, in place four rows at once


def run(
    x: Array,
    out: Array,
    kept: tuple[int, ...],
    affine: Affine,
    direction: Direction,
    threads: int | None,
) -> None:
    """Write the transformed ``x`` into ``out``, which has its shape and may be ``x`` itself; never left half done."""
    if not x.size:
        return
    if _few.without_kernels(x.size) and not _is_long(x) and not _is_shifted(affine):
        with _threads.uninterrupted():
            _run_few(x, out, kept, affine, direction)
        return
    workers = 1 if x.size < SMALL else _threads.count(threads)
    found = None
    if _direct(x, out, affine, direction):
        share = max(LEAST, min(SHARE, x.size // (4 * workers)))
        found = _tiles.tiling(x, kept, STRIP, share, FOLD)
    with _threads.uninterrupted():
        if found is None:
            _run_blocks(x, out, kept, affine, direction, workers)
        else:
            _run_tiles(x, out, kept, affine, direction, workers, found)


def small(affine: Affine, dtype: np.dtype[Any] | None) -> Callable[[Any, Any], Array | None] | None:
    """What transforms few rows that lie one after the other by one kernel call, which Ctrl-C cannot split.

    It takes ``x`` and ``out`` and returns the result, of ``dtype`` if that is given, or None for what is not for it.
    """
    if _is_shifted(affine):
        return None
    kernel: Callable[..., None] | None = None
    double, single = (_parameters(affine, inverted) for inverted in (False, True))
    features = len(affine.mean)

    def transform(x: Any, out: Any) -> Array | None:
        nonlocal kernel
        if not (_is_few_rows(x) and x.shape[-1] == features and _takes(out, x)):
            return None
        if dtype is not None and dtype != x.dtype:
            return None
        if kernel is None:
            if _few.without_kernels(x.size):
                return None
            kernel = _kernel("forward", affine, "_in_place")
        rows = x.size // features
        result: Array = x if out is x else x.copy()
        kernel(result.reshape(-1), 0, 1, 0, rows, features, features, *(single if x.itemsize == 4 else double))
        if out is None or out is x:
            return result
        target: Array = out
        target[...] = result
        return target

    return transform


def _is_few_rows(x: Any) -> bool:
    return (
        type(x) is np.ndarray
        and x.ndim > 0
        and 0 < x.size <= FEW
        and x.dtype.char in "fd"
        and x.dtype.isnative
        and x.flags.c_contiguous
        and x.flags.aligned
    )


def _takes(out: Any, x: Array) -> bool:
    """Whether the results for few rows can go to ``out``: None, ``x`` itself, or an array like it beside it."""
    if out is None:
        return True
    if out is x:
        return bool(x.flags.writeable)
    alike = _is_few_rows(out) and (out.shape, out.dtype) == (x.shape, x.dtype)
    return alike and bool(out.flags.writeable) and not np.may_share_memory(x, out)


def _run_few(x: Array, out: Array, kept: tuple[int, ...], affine: Affine, direction: Direction) -> None:
    """Few values, without kernels."""
    shape = [n if axis in kept else 1 for axis, n in enumerate(x.shape)]
    multiplies = _multiplies(out, direction)
    parameters = [values.reshape(shape) for values in _parameters(affine, multiplies)]
    _store(_few.scores(x, direction == "inverse", multiplies, *parameters), out)


def _direct(x: Array, out: Array, affine: Affine, direction: Direction) -> bool:
    """Whether kernels can read ``x`` and write ``out`` where they lie."""
    if (x.dtype, out.dtype) not in _PAIRS or not (x.flags.aligned and out.flags.aligned) or _is_shifted(affine):
        return False
    simple = direction == "forward" and affine.gamma is None
    if x.dtype.kind != "f" and not simple:
        return False
    places = [
        tuple(s / array.itemsize for s, n in zip(array.strides, array.shape, strict=True) if n > 1)
        for array in (x, out)
    ]
    return places[0] == places[1]


def _multiplies(out: Array, direction: Direction) -> bool:
    """Whether kernels multiply by 1 / scale: for float32 output, in either byte order."""
    return direction == "forward" and out.dtype.kind == "f" and out.dtype.itemsize == 4


def _is_long(x: Array) -> bool:
    """Whether values are 64-bit integers, which float64 does not hold."""
    return x.dtype.kind in "iu" and x.dtype.itemsize == 8


def _is_shifted(affine: Affine) -> bool:
    return bool(affine.shift.any())


def _kernel(direction: Direction, affine: Affine, way: Way, long: bool = False) -> Callable[..., None]:
    from fastnorm._kernels import apply as kernels

    verb = "restore" if direction == "inverse" else "standardize_long" if long else "standardize"
    kernel: Callable[..., None] = getattr(kernels, "affine_" * (affine.gamma is not None) + verb + way)
    return kernel


def _parameters(affine: Affine, inverted: bool) -> list[Floats]:
    """The parameters of the kernels, with 1 / scale where asked for."""
    with np.errstate(divide="ignore"):  # epsilon may be 0
        scale = 1.0 / affine.scale if inverted else affine.scale
    given = [affine.mean, affine.low, scale]
    if affine.gamma is not None:
        given += [affine.gamma, np.zeros_like(affine.mean) if affine.beta is None else affine.beta]
    return [_frozen(values) for values in given]


def _frozen(values: Floats) -> Floats:
    """Read-only and contiguous: kernels are compiled for this kind of array alone."""
    view = np.ascontiguousarray(values).view()
    view.flags.writeable = False
    return view


def _run_tiles(
    x: Array,
    out: Array,
    kept: tuple[int, ...],
    affine: Affine,
    direction: Direction,
    workers: int,
    found: _tiles.Tiling,
) -> None:
    in_place = x is out or (x.ctypes.data == out.ctypes.data and x.dtype == out.dtype)
    long = _is_long(x)
    kernel = _kernel(direction, affine, "_in_place" if in_place else "", long)
    in_fours = _kernel(direction, affine, "_in_fours") if in_place else None
    lengths = [x.shape[axis] for axis in kept]
    given = _parameters(affine, _multiplies(out, direction))
    bias: tuple[float, ...] = ()
    source = found.flat.view(np.uint8) if x.dtype.kind == "b" else found.flat
    if long:
        given.append(affine.rest)
        bias = (2.0**64 if x.dtype.kind == "u" else 0.0,)
        source = found.flat.view(np.int64)
    parameters = [_tiles.to_memory_order(values.reshape(lengths), found, kept) for values in given]
    target = _tiles.writeable_flat(out, found)
    arrays = (target,) if in_place else (source, target)

    def work(tiles: Iterator[Tile]) -> None:
        lanes: dict[tuple[int, int, int], list[Floats]] = {}
        for tile in tiles:
            start, outer, step, rows, stride, width, period, feature, hop = tile
            if hop:  # neighbours of one feature, whatever their rows
                rows, stride, width = 1, 0, rows * width
                mine = [_frozen(values[feature : feature + outer, np.newaxis]) for values in parameters]
            else:
                key = (feature, width, period)
                if key not in lanes:
                    if len(lanes) > 64:
                        lanes.clear()
                    lanes[key] = [_in_lanes(values, *key) for values in parameters]
                mine = lanes[key]
            if in_fours and rows >= 4 * FOURS:
                quarter = rows // 4
                in_fours(target, start, outer, step, quarter, stride, width, *mine)
                start, rows = start + 4 * quarter * stride, rows - 4 * quarter
            if rows:
                kernel(*arrays, start, outer, step, rows, stride, width, *mine, *bias)

    _threads.share(work, found.tiles, workers)


def _in_lanes(values: Floats, feature: int, lanes: int, period: int) -> Floats:
    repeated = np.empty((lanes // period, period))
    repeated[:] = values[feature : feature + period]
    return _frozen(repeated.reshape(-1))


def _run_blocks(
    x: Array, out: Array, kept: tuple[int, ...], affine: Affine, direction: Direction, workers: int
) -> None:
    """Any layout and dtype: blocks are copied into a float64 tile, transformed there, and rounded into ``out``."""
    reduced = tuple(axis for axis in range(x.ndim) if axis not in kept)
    source, target = x.transpose(*reduced, *kept), out.transpose(*reduced, *kept)
    lengths, kept_lengths = source.shape[: len(reduced)], source.shape[len(reduced) :]
    features = math.prod(kept_lengths)
    factor = np.exp2(affine.shift)
    shifted = _is_shifted(affine)
    long = _is_long(x) and direction == "forward"
    inverted = _multiplies(out, direction)
    kernel = _kernel(direction, affine, "" if inverted else "_in_place")
    parameters = _parameters(affine, inverted)
    jobs = _tiles.blocks(lengths, kept_lengths, min(features, COPIED // 16), COPIED)

    def work(items: Iterator[Block]) -> None:
        scratch, singles = np.empty(0), np.empty(0, np.float32)
        for block in items:
            index = (*block.rows, *block.kept)
            part = source[index]
            if scratch.size < part.size:
                scratch, singles = np.empty(part.size), np.empty(part.size if inverted else 0, np.float32)
            tile = scratch[: part.size]
            shaped = tile.reshape(part.shape)
            rows = math.prod(part.shape[: len(reduced)])
            columns = part.size // rows
            mine = [values[block.feature : block.feature + columns] for values in parameters]
            if long:
                third = _frozen(affine.rest[block.feature : block.feature + columns])
                _long_differences(part, shaped, rows, columns, mine, third)
                mine = [_frozen(np.zeros(columns)), _frozen(np.zeros(columns)), *mine[2:]]
            else:
                with np.errstate(invalid="ignore"):
                    np.copyto(shaped, part, casting="unsafe")
            matrix, factors = (
                tile.reshape(rows, columns),
                factor[block.feature : block.feature + columns],
            )
            if shifted and direction == "forward" and not long:
                with np.errstate(over="ignore", invalid="ignore"):
                    matrix *= factors
            if inverted:
                single = singles[: part.size]
                kernel(_frozen(tile), single, 0, 1, 0, rows, columns, columns, *mine)
                np.copyto(target[index], single.reshape(part.shape), casting="same_kind")
                continue
            kernel(tile, 0, 1, 0, rows, columns, columns, *mine)
            if shifted and direction == "inverse":
                with np.errstate(over="ignore", invalid="ignore"):
                    matrix /= factors
            _store(shaped, target[index])

    _threads.share(work, list(jobs), workers)


def _long_differences(
    part: Array, shaped: Floats, rows: int, columns: int, parameters: list[Floats], rest: Floats
) -> None:
    """x - mean of 64-bit integers, into the tile."""
    from fastnorm._kernels.apply import standardize_long

    flat = np.ascontiguousarray(part, part.dtype.newbyteorder("=")).reshape(-1)
    bias = 2.0**64 if flat.dtype.kind == "u" else 0.0
    one = _frozen(np.ones(columns))
    source = flat.view(np.int64)
    source.flags.writeable = False
    standardize_long(source, shaped.reshape(-1), 0, 1, 0, rows, columns, columns, *parameters[:2], one, rest, bias)


def _store(values: Floats, out: Array) -> None:
    """Round float64 to the dtype of ``out``, once."""
    with np.errstate(over="ignore", invalid="ignore"):
        if out.dtype.name == "bfloat16":  # NumPy would go by float32: round to odd there, so that one rounding counts
            single = values.astype(np.float32)
            back = single.astype(np.float64)
            single = np.where(np.abs(back) > np.abs(values), np.nextafter(single, np.float32(0)), single)
            inexact = (back != values) & np.isfinite(back)
            values = (single.view(np.uint32) | inexact).view(np.float32)
        np.copyto(out, values, casting="unsafe")
