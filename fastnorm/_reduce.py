"""From an array to exact sums: tiles or copied blocks, scanned by all workers, merged."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import cache, reduce
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnorm import _few, _layout, _sums, _threads, _tiles
from fastnorm._counted import Counted, as_sums
from fastnorm._layout import Array
from fastnorm._scan import COUNTS, LANES, Scanner, State, Whole, check_subnormals, fold_of, kind_of, native, united
from fastnorm._sums import Integers, Sums
from fastnorm._tiles import Block, Tile

WIDE = 4096  # features from which workers share columns, not rows,
GROUP = 1024  # at most so many at a time: their sums stay in cache
LEAST, SHARE = 1 << 17, 1 << 21  # elements of a unit of work
SMALL = 1 << 19  # elements below which threads cost more than they give
TALL = 1 << 17  # rows from which workers take columns of a table in turn; below, Python between them costs more
COPIED = 1 << 18  # elements of a copied block
SHORT = 1 << 9  # elements below which rows wait for others,
KEPT = 1 << 13  # until there are so many: a kernel takes them at once


def count(array: Array, kept: tuple[int, ...], weights: Array | None, threads: int | None) -> Counted:
    """Scan ``array`` (see ``_layout.as_array``), whose axes ``kept`` number the features."""
    mask = _layout.mask_of(array)
    plain = np.asarray(array)
    workers = 1 if array.size < SMALL else _threads.count(threads)
    if weights is None and mask is None and _few.without_kernels(array.size):
        return _count_few(plain, kept)
    if weights is not None and weights.dtype != np.float64:  # integers beyond 2**53: sums are linear in the weights
        high, low = (
            count(array, kept, part.astype(np.float64), threads) for part in (weights >> 32, weights & 0xFFFFFFFF)
        )
        return _weighted_sum(low, high)
    if weights is not None and plain.dtype.kind in "iu" and plain.dtype.itemsize == 8:
        return _count_long_weighted(plain, mask, kept, weights, workers)
    if weights is not None or mask is not None:
        return _count_blocks(plain, mask, kept, weights, workers)
    features = math.prod(plain.shape[axis] for axis in kept)
    rows = plain.size // features
    fold = fold_of(plain.dtype)
    if features >= WIDE:  # columns of its own for each worker, if one tile can have all their rows
        columns = min(LANES, 1 << max(6, (features // (4 * workers)).bit_length() - 1))  # see `rows._ahead`
        found = _tiles.tiling(plain, kept, columns, plain.size, fold)
        if found is not None and (found.tiles[0].hop or sum(tile.period for tile in found.tiles) == found.features):
            return _ordered(_count_apart(plain.dtype, found, rows, workers), found)
    share = max(LEAST, min(SHARE, plain.size // (4 * workers)))
    found = _tiles.tiling(plain, kept, LANES, share, fold)
    if found is None:
        return _count_blocks(plain, mask, kept, None, workers)
    return _ordered(_count_tiles(plain.dtype, found, rows, workers), found)


def _count_few(plain: Array, kept: tuple[int, ...]) -> Counted:
    """Few values, without kernels."""
    check_subnormals()
    reduced = tuple(axis for axis in range(plain.ndim) if axis not in kept)
    table = plain.transpose(*reduced, *kept).reshape(-1, math.prod(plain.shape[axis] for axis in kept))
    with np.errstate(invalid="ignore"):  # signalling NaNs
        exponent, totals, squares = _few.sums(table)
        missing, posinf, neginf = (
            np.count_nonzero(found, axis=0) for found in (table != table, table == np.inf, table == -np.inf)
        )
    total, square = _sums.from_integers(exponent, totals), _sums.from_integers(2 * exponent, squares)
    return Counted(len(table), missing, posinf, neginf, total, square, None)


def _weighted_sum(low: Counted, high: Counted) -> Counted:
    """The sums with weights low + high * 2**32, from those with each alone."""

    def total(left: Sums, right: Sums) -> Sums:
        return _sums.add(left, Sums(right.exponent + 32, right.limbs) if len(right.limbs) else right)

    weight = total(low.weight or as_sums(low.counts), high.weight or as_sums(high.counts))
    joined = low._replace(total=total(low.total, high.total), square=total(low.square, high.square))
    return joined._replace(weight=None if weight == as_sums(low.counts) else weight)


def _count_long_weighted(
    plain: Array, mask: NDArray[np.bool_] | None, kept: tuple[int, ...], weights: NDArray[np.float64], workers: int
) -> Counted:
    """64-bit integers, which float64 does not hold: x = a * 2**32 + b, so x**2 = a**2 * 2**64 + 2ab * 2**32 + b**2."""
    high, low = plain >> 32, plain & 0xFFFFFFFF
    product = high * low
    a, b, c, d = (
        _count_blocks(part.astype(np.float64), mask, kept, weights, workers)
        for part in (high, low, product >> 32, product & 0xFFFFFFFF)
    )

    def total(*terms: tuple[Sums, int, int]) -> Sums:
        """Add sums, each shifted by a power of two and taken several times."""
        shifted = [Sums(s.exponent + shift, s.limbs) for s, shift, times in terms for _ in range(times) if len(s.limbs)]
        return reduce(_sums.add, shifted, Sums(0, a.total.limbs[:0]))

    return b._replace(
        total=total((a.total, 32, 1), (b.total, 0, 1)),
        square=total((a.square, 64, 1), (c.total, 64, 2), (d.total, 32, 2), (b.square, 0, 1)),
    )


def _count_tiles(dtype: np.dtype[Any], found: _tiles.Tiling, rows: int, workers: int) -> Counted:
    """Scan tiles that any worker may take."""
    flat = native(found.flat)

    def work(tiles: Iterator[Tile]) -> State:
        state = State(kind_of(dtype), found.features)
        scanner = Scanner(dtype, state)
        for tile in tiles:
            scanner.add(flat, tile)
        return state

    return united(_threads.share(work, found.tiles, workers)).counted(rows)


def _count_apart(dtype: np.dtype[Any], found: _tiles.Tiling, rows: int, workers: int) -> Counted:
    """Scan tiles that have columns of their own, some neighbours at a time: their sums stay in cache."""
    flat = native(found.flat)
    whole = Whole(kind_of(dtype), found.features)
    width = max(1, min(GROUP, found.features // (16 * workers)))  # some for each worker, or they end apart
    tiles = sorted((part for tile in found.tiles for part in _tiles.apart(tile, width)), key=lambda tile: tile.feature)
    groups = [list(tiles) for _, tiles in groupby(tiles, key=lambda tile: tile.feature // width)]

    def work(groups: Iterator[list[Tile]]) -> None:
        scanners: dict[int, Scanner] = {}
        for tiles in groups:
            first, last = tiles[0].feature, tiles[-1]
            features = last.feature + (last.outer if last.hop else last.period) - first
            if features not in scanners:
                scanners[features] = Scanner(dtype, State(kind_of(dtype), features))
            scanner = scanners[features]
            for tile in tiles:
                scanner.add(flat, Tile(*tile[:7], tile.feature - first, tile.hop))
            whole.put(scanner.state, first)
            scanner.state.clear()

    _threads.share(work, groups, workers)
    return whole.counted(rows)


def count_columns(
    pieces: Iterable[tuple[int, Array]], dtype: np.dtype[Any], features: int, rows: int, threads: int | None
) -> Counted:
    """Scan columns in pieces, 1-D arrays of one dtype, each with its feature; a worker asks for the next."""

    @cache
    def tiles(length: int) -> list[Tile]:
        run = Tile(0, 1, 0, 1, 0, length, 1, 0)
        return list(_tiles.split(run, dtype.itemsize, LANES, SHARE, fold_of(dtype)))

    def work(pieces: Iterator[tuple[int, Array]]) -> State:
        state = State(kind_of(dtype), features)
        scanner = Scanner(dtype, state)
        for feature, piece in pieces:
            if np.ma.isMaskedArray(piece):
                state.rows[0, feature] += np.count_nonzero(piece.mask)
                piece = np.ma.filled(piece, 0)
            flat = native(np.require(piece, dtype.newbyteorder("="), ["C", "A"])).view()
            flat.flags.writeable = False
            for tile in tiles(len(flat)):
                scanner.add(flat, tile._replace(feature=feature))
        return state

    workers = 1 if rows < TALL else _threads.count(threads)
    shares = ((feature, piece[at : at + SHARE]) for feature, piece in pieces for at in range(0, len(piece), SHARE))
    return united(_threads.share(work, shares, workers)).counted(rows)


def _ordered(counted: Counted, found: _tiles.Tiling) -> Counted:
    """Features from the order in memory to that of the kept axes."""
    if found.in_order:
        return counted

    def sums(old: Sums) -> Sums:
        limbs = _to_kept_order(found, old.limbs) if len(old.limbs) else np.empty((0, len(missing)), np.int64)
        return _sums.canonical(old.exponent, limbs)

    missing, posinf, neginf = _to_kept_order(found, np.stack(counted[1:4]))
    return Counted(counted.rows, missing, posinf, neginf, sums(counted.total), sums(counted.square), None)


def _to_kept_order(found: _tiles.Tiling, columns: Integers) -> Integers:
    """Columns from the order in memory to that of the kept axes; pseudo features are added up."""
    cube = columns.reshape(len(columns), *found.order_shape)
    cube = cube[(slice(None), *(slice(None, None, -1 if flipped else 1) for flipped in found.flipped))]
    cube = cube.sum(axis=tuple(1 + place for place, axis in enumerate(found.order) if axis == -1))
    axes = [axis for axis in found.order if axis != -1]
    cube = cube.transpose(0, *(1 + axes.index(axis) for axis in sorted(axes)))
    return np.ascontiguousarray(cube.reshape(len(columns), -1))


def _count_blocks(
    plain: Array,
    mask: NDArray[np.bool_] | None,
    kept: tuple[int, ...],
    weights: NDArray[np.float64] | None,
    workers: int,
) -> Counted:
    """Any layout, masked or weighted: copy blocks together where they are not contiguous, then scan them."""
    reduced = tuple(axis for axis in range(plain.ndim) if axis not in kept)
    view = plain.transpose(*reduced, *kept)
    hidden = None if mask is None else mask.transpose(*reduced, *kept)
    lengths, kept_lengths = view.shape[: len(reduced)], view.shape[len(reduced) :]
    features = math.prod(kept_lengths)
    by_row = None if weights is None else weights.reshape(lengths)
    dtype = plain.dtype.newbyteorder("=")
    if weights is not None and dtype not in (np.float32, np.float64):
        dtype = np.dtype(np.float64)
    kind = "weighted" if weights is not None else kind_of(dtype)
    first = State(kind, features)  # before anything else: a request beyond memory fails at once
    jobs = list(_tiles.blocks(lengths, kept_lengths, min(features, 2 * LANES), COPIED)) if plain.size else []

    def work(items: Iterator[Block]) -> State:
        state = State(kind, features)
        scanner = Scanner(dtype, state)
        scratch = np.empty(0, dtype)
        for block in items:
            index = (*block.rows, *block.kept)
            part = view[index]
            rows = math.prod(part.shape[: len(reduced)])
            columns = part.size // rows
            mine = slice(block.feature, block.feature + columns)
            gone = None if hidden is None else hidden[index]
            if gone is not None or part.dtype != dtype or not (part.flags.c_contiguous and part.flags.aligned):
                if scratch.size < part.size:
                    scratch = np.empty(part.size, dtype)
                copy = scratch[: part.size].reshape(part.shape)
                with np.errstate(invalid="ignore"):  # signalling NaNs are missing values like any other
                    np.copyto(copy, part, casting="unsafe")
                part = copy
            if gone is not None:
                part[gone] = 0 if by_row is None else np.nan
                if by_row is None:
                    state.rows[0, mine] += gone.reshape(rows, columns).sum(axis=0)
            flat = part.reshape(-1).view()
            flat.flags.writeable = False
            if by_row is not None:
                row_weights = np.ascontiguousarray(by_row[block.rows]).reshape(-1)
                scanner.add_weighted(flat, row_weights, rows, columns, block.feature)
                continue
            tile = Tile(0, 1, 0, rows, columns, columns, columns, block.feature)
            for piece in _tiles.split(tile, dtype.itemsize, LANES, 1 << 62, fold_of(dtype)):
                scanner.add(native(flat), piece)
        return state

    states = _threads.share(work, jobs, workers) if jobs else []
    return united([first, *states]).counted(math.prod(lengths))


class Running:
    """Sums that take a few contiguous rows of float32 or float64 at a time.

    The fewest are kept as they are, until there are enough of them for a kernel.
    """

    def __init__(self, dtype: np.dtype[Any], features: int) -> None:
        self.dtype = dtype
        self.features = features
        self.rows = 0
        self._kept = np.empty((KEPT // features if features <= SHORT else 0, features), dtype)
        self._filled = 0
        self._state = State(kind_of(dtype), features)
        self._scanner = Scanner(dtype, self._state)

    def add(self, x: Array) -> bool:
        """Add the rows of a C-contiguous 2-D array; False if all of its values are known to be finite."""
        rows = len(x)
        finite = x.size <= SHORT and math.isfinite(np.vdot(x, x))
        if finite:
            if self._filled + rows > len(self._kept):
                self._scan_kept()
            self._kept[self._filled : self._filled + rows] = x
            self._filled += rows
        else:
            self._scan(x)
        self.rows += rows
        return not finite

    def _scan_kept(self) -> None:
        if self._filled:
            self._scan(self._kept[: self._filled])
            self._filled = 0

    def _scan(self, x: Array) -> None:
        check_subnormals()
        flat = x.reshape(-1).view()
        flat.flags.writeable = False
        rows, n = x.shape
        whole = Tile(0, 1, 0, rows, n, n, n, 0)
        for piece in (whole,) if n <= LANES else _tiles.split(whole, x.itemsize, LANES, 1 << 62, fold_of(x.dtype)):
            self._scanner.add(flat, piece)

    def holds(self, nan: bool, inf: bool) -> bool:
        """Whether there was a NaN among the values, or an infinity, of those that are asked for."""
        counts = self._state.rows[0 if nan else 1 : COUNTS if inf else 1]
        return bool(np.count_nonzero(counts))  # a tenth of the time of any()

    def counted(self) -> Counted:
        """The sums so far."""
        self._scan_kept()
        return self._state.counted(self.rows)
