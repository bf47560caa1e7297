"""Any array, whatever its memory looks like, as tiles that need no copy, or as blocks to copy."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import numpy as np

from fastnorm._layout import Array

LONG_RUN = 16384  # values of one feature in a row from which a run is its own tile
RUN = 256  # and from which neighbouring runs are one tile,
RUNS = 64  # where there are so many of them
SIDE_BY_SIDE = 512  # lanes at most of narrow rows side by side: parameters are repeated for each
SMALL_TILE = 4096  # elements under which strided tiles cost more than copying them together


class Tile(NamedTuple):
    """Element (o, r, c) lies at ``start + o*step + r*stride + c`` (in elements).

    Its feature is ``feature + o*hop + c % period``.
    """

    start: int
    outer: int
    step: int
    rows: int
    stride: int
    lanes: int
    period: int
    feature: int
    hop: int = 0


class Tiling(NamedTuple):
    """A flat view of the data, the tiles that cover it, and how features lie in memory.

    ``pseudo`` features are folded at the end: memory features have the shape ``order_shape``, of which axis k is kept
    axis ``order[k]`` (reversed if ``flipped[k]``), and axes of order -1 are summed away.
    """

    flat: Array
    tiles: list[Tile]
    features: int
    order: tuple[int, ...]
    order_shape: tuple[int, ...]
    flipped: tuple[bool, ...]

    @property
    def in_order(self) -> bool:
        """Whether features lie in memory in the order of the kept axes."""
        return self.order == tuple(sorted(self.order)) and not any(self.flipped) and -1 not in self.order


class _Axis(NamedTuple):
    length: int
    stride: int
    kept: tuple[int, ...]  # kept axes that were merged into this one, outermost first; () for a reduced axis


def _merged(array: Array, kept: tuple[int, ...]) -> tuple[list[_Axis], set[int]] | None:
    """Axes by falling stride, neighbours of one kind merged where memory allows, and which were flipped."""
    size = array.itemsize
    flipped: set[int] = set()
    axes = []
    for index, (length, stride) in enumerate(zip(array.shape, array.strides, strict=True)):
        if length == 1:
            continue
        if stride % size or stride == 0:
            return None
        if stride < 0:
            stride = -stride
            flipped.add(index)
        axes.append(_Axis(length, stride // size, (index,) if index in kept else ()))
    axes.sort(key=lambda axis: -axis.stride)
    merged: list[_Axis] = []
    for axis in axes:
        last = merged[-1] if merged else None
        if last and bool(last.kept) == bool(axis.kept) and last.stride == axis.length * axis.stride:
            merged[-1] = _Axis(last.length * axis.length, axis.stride, last.kept + axis.kept)
        else:
            merged.append(axis)
    return merged, flipped


def tiling(array: Array, kept: tuple[int, ...], strip: int, share: int, fold: int) -> Tiling | None:
    """Cover ``array`` by tiles that need no copy, or None where only a copy helps.

    ``strip`` is the most lanes of a tile, ``share`` about how many elements a tile should have (tiles are the unit of
    work of a thread), ``fold`` about how many lanes narrow rows are put together to.
    """
    if not array.flags.aligned or not array.dtype.isnative or not array.size:
        return None
    found = _merged(array, kept)
    if found is None:
        return None
    axes, flipped = found
    if axes and axes[-1].stride != 1:
        return None
    if not axes:
        axes = [_Axis(1, 1, ())]
    pieces = _pieces(axes)
    if pieces is None:
        return None
    blocks, features, memory = pieces
    span = 1 + sum((axis.length - 1) * axis.stride for axis in axes)
    order = tuple(index for axis in memory for index in axis.kept or (-1,))
    shape = tuple(n for axis in memory for n in ([array.shape[i] for i in axis.kept] or [axis.length]))
    flat = _flat(array, span)
    tiles = [tile for block in blocks for tile in split(block, array.itemsize, strip, share, fold)]
    return Tiling(flat, tiles, features, order, shape, tuple(index in flipped for index in order))


def _flat(array: Array, span: int) -> Array:
    """One-dimensional read-only view of the memory from the first to the last element."""
    if array.flags.c_contiguous:
        flat = array.reshape(-1)
    elif array.flags.f_contiguous:
        flat = array.T.reshape(-1)
    else:
        first = array[
            tuple(slice(n - 1, n) if s < 0 else slice(0, 1) for n, s in zip(array.shape, array.strides, strict=True))
        ]
        return np.lib.stride_tricks.as_strided(first.reshape(1), (span,), (array.itemsize,), writeable=False)
    flat = flat.view()
    flat.flags.writeable = False
    return flat


def _pieces(axes: list[_Axis]) -> tuple[list[Tile], int, list[_Axis]] | None:
    """Large tiles (before they are split), the number of features in memory order, and the axes that number them."""
    inner = axes[-1]
    kept = [axis for axis in axes if axis.kept]
    if not inner.kept:
        if len(kept) == len(axes) - 1 and kept and kept[-1].length >= RUNS and inner.length >= RUN:
            *outer, runs = kept
            places = [(start, feature * runs.length) for start, feature in _places(outer, outer)]
            tiles = [Tile(at, runs.length, runs.stride, 1, 0, inner.length, 1, first, 1) for at, first in places]
            return tiles, math.prod(axis.length for axis in kept), kept
        if kept and inner.length < LONG_RUN:
            # short runs: number each of their places as a feature of its own, and add those up in the end
            if len(axes) < 2 or not axes[-2].kept or axes[-2].stride != inner.length:
                return None
            rest = math.prod(axis.length for axis in axes[:-2] if not axis.kept)
            if rest < 64 or inner.length * math.prod(axis.length for axis in kept) > 1 << 20:
                return None
            wide = _Axis(axes[-2].length * inner.length, 1, (-1,))
            found = _pieces([*axes[:-2], wide])
            return found and (found[0], found[1], [*found[2][:-1], axes[-2], inner])
        return _runs(axes, kept)
    lanes = inner.length
    outer = axes[:-1]
    row = outer.pop() if outer and not outer[-1].kept else _Axis(1, 0, ())
    repeat = outer.pop() if outer and not outer[-1].kept else _Axis(1, 0, ())
    if outer and row.length * repeat.length * lanes < SMALL_TILE:
        return None
    tiles = []
    for start, feature in _places(outer, kept):
        tiles.append(Tile(start, repeat.length, repeat.stride, row.length, row.stride, lanes, lanes, feature))
    return tiles, math.prod(axis.length for axis in kept), kept


def _runs(axes: list[_Axis], kept: list[_Axis]) -> tuple[list[Tile], int, list[_Axis]]:
    """Tiles of one feature each: runs of neighbouring values."""
    run = axes[-1]
    outer = axes[:-1]
    repeat = max(
        (axis for axis in outer if not axis.kept),
        key=lambda axis: axis.length,
        default=_Axis(1, 0, ()),
    )
    if repeat in outer:
        outer.remove(repeat)
    tiles = []
    for start, feature in _places(outer, kept):
        tiles.append(Tile(start, repeat.length, repeat.stride, 1, 0, run.length, 1, feature))
    return tiles, math.prod(axis.length for axis in kept), kept


def _places(outer: list[_Axis], kept: list[_Axis]) -> Iterator[tuple[int, int]]:
    """Start and first feature for every index of the outer axes."""
    weights, size = {}, 1
    for axis in reversed(kept):
        weights[axis] = size
        size *= axis.length
    for index in product(*(range(axis.length) for axis in outer)):
        start = sum(i * axis.stride for i, axis in zip(index, outer, strict=True))
        yield (
            start,
            sum(i * weights[axis] for i, axis in zip(index, outer, strict=True) if axis.kept),
        )


def split(tile: Tile, itemsize: int, strip: int, share: int, fold: int) -> Iterator[Tile]:
    """Cut a tile into pieces of at most ``strip`` lanes and about ``share`` elements."""
    if tile.period == 1 and tile.lanes > 1:
        short = tile.hop and tile.lanes < LONG_RUN  # one vector of lanes: fewer to set up and to empty for each run
        yield from _split_run(tile, strip, share, 64 // itemsize if short else fold)
        return
    n = tile.lanes
    if tile.stride == n and tile.outer == 1:
        # narrow rows: several rows side by side are one row of whole vectors (of 64 bytes)
        vector = max(1, 64 // itemsize)
        step = vector // math.gcd(n, vector)
        while step > 1 and step * n > SIDE_BY_SIDE:  # not so many lanes: then the last vector of a row is not full
            step //= 2
        times = -(-fold // (step * n)) * step
        if 1 < times <= tile.rows and times * n <= SIDE_BY_SIDE:
            whole = tile.rows // times
            head = tile._replace(rows=whole, stride=times * n, lanes=times * n)
            yield from _split_rows(head, share)
            if rest := tile.rows - whole * times:
                yield tile._replace(start=tile.start + whole * times * n, rows=1, stride=0, lanes=rest * n)
            return
    # wide rows: strips of whole vectors, never one short strip at the end
    count = -(-n // strip)
    width = -(-n // count) + 15 & -16 if count > 1 else n
    for first in range(0, n, width):
        lanes = min(width, n - first)
        # a third of the time of _replace, which counts where there are many
        yield from _split_rows(
            Tile(tile.start + first, *tile[1:5], lanes, lanes, tile.feature + first, tile.hop), share
        )


def _split_run(tile: Tile, strip: int, share: int, lanes: int) -> Iterator[Tile]:
    """A run as rows of so many lanes and what is left as one short row; many short runs as rows, whole or in strips."""
    whole = tile.lanes // lanes
    if tile.outer > 1 and whole < 64 and not tile.hop:
        down = tile._replace(rows=tile.outer, stride=tile.step, outer=1, step=0)
        for first in range(0, tile.lanes, strip):
            part = down._replace(start=tile.start + first, lanes=min(strip, tile.lanes - first))
            yield from _split_rows(part, share)
        return
    if whole:
        yield from _split_rows(tile._replace(rows=whole, stride=lanes, lanes=lanes), share)
    if rest := tile.lanes - whole * lanes:
        last = tile._replace(start=tile.start + whole * lanes, lanes=rest)
        if not tile.hop:
            last = last._replace(rows=tile.outer, stride=tile.step, outer=1, step=0)
        yield from _split_rows(last, share)


def apart(tile: Tile, features: int) -> Iterator[Tile]:
    """Cut a tile of many runs at every so many features; any other stays whole."""
    step = features if tile.hop else tile.outer
    for first in range(0, tile.outer, step):
        start, feature = tile.start + first * tile.step, tile.feature + first * tile.hop
        yield Tile(start, min(step, tile.outer - first), *tile[2:7], feature, tile.hop)


def _split_rows(tile: Tile, share: int) -> Iterator[Tile]:
    if tile.outer > 1:
        count = share // max(1, tile.rows * tile.lanes)
        for first in range(0, tile.outer, max(1, count)):
            part = tile._replace(
                start=tile.start + first * tile.step,
                outer=min(max(1, count), tile.outer - first),
                feature=tile.feature + first * tile.hop,
            )
            if count > 1:
                yield part
            else:
                yield from _split_rows(part, share)
        return
    count = max(64, share // tile.lanes // 64 * 64)
    for first in range(0, tile.rows, count):
        yield Tile(tile.start + first * tile.stride, tile.outer, tile.step, min(count, tile.rows - first), *tile[4:])


class Block(NamedTuple):
    """A part to copy together: ``view`` has the reduced axes first, then the kept ones."""

    rows: tuple[slice, ...]
    kept: tuple[slice, ...]
    feature: int


def blocks(reduced: tuple[int, ...], kept: tuple[int, ...], features: int, elements: int) -> Iterator[Block]:
    """Cut an array, given the lengths of its axes, into blocks of contiguous features and at most ``elements``."""
    for columns in ranges(kept, features):
        feature = 0
        for part, length in zip(columns, kept, strict=True):
            feature = feature * length + part.start
        width = math.prod(part.stop - part.start for part in columns)
        for rows in ranges(reduced, max(1, elements // width)):
            yield Block(rows, columns, feature)


def ranges(lengths: tuple[int, ...], most: int) -> Iterator[tuple[slice, ...]]:
    """Slices that cover all indexes in C order, each with at most ``most`` of them."""
    whole, cut = 1, len(lengths)
    while cut and whole * lengths[cut - 1] <= most:
        cut -= 1
        whole *= lengths[cut]
    tail = tuple(slice(0, n) for n in lengths[cut:])
    if not cut:
        yield tail
        return
    step = max(1, most // whole)
    n = lengths[cut - 1]
    for head in product(*(range(length) for length in lengths[: cut - 1])):
        for first in range(0, n, step):
            yield (*(slice(i, i + 1) for i in head), slice(first, min(first + step, n)), *tail)


def to_memory_order(values: Array, found: Tiling, kept: tuple[int, ...]) -> Array:
    """One value for each feature in memory order; ``values`` has the shape of the kept axes."""
    if found.in_order:
        return np.ascontiguousarray(values).reshape(-1)
    axes = [axis for axis in found.order if axis != -1]
    rest = [place for place, axis in enumerate(kept) if axis not in axes]  # of length 1
    cube = values.transpose(*(kept.index(axis) for axis in axes), *rest).reshape(
        [values.shape[kept.index(a)] for a in axes]
    )
    index = tuple(slice(None) if axis != -1 else np.newaxis for axis in found.order)
    cube = np.broadcast_to(cube[index], found.order_shape)
    cube = cube[tuple(slice(None, None, -1 if flipped else 1) for flipped in found.flipped)]
    return np.ascontiguousarray(cube).reshape(-1)


def writeable_flat(out: Array, found: Tiling) -> Array:
    """The memory of ``out`` flat, laid out as ``found.flat`` (same strides in elements)."""
    if out.flags.c_contiguous:
        return out.reshape(-1)
    if out.flags.f_contiguous:
        return out.T.reshape(-1)
    first = out[tuple(slice(n - 1, n) if s < 0 else slice(0, 1) for n, s in zip(out.shape, out.strides, strict=True))]
    return np.lib.stride_tricks.as_strided(first.reshape(1), found.flat.shape, (out.itemsize,))
