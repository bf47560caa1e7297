"""From an array to exact sums: tiles or copied blocks, scanned by all workers, merged."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial, reduce
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastnorm import _layout, _sums, _threads
from fastnorm._layout import Array, Block, Tile
from fastnorm._sums import Integers, Sums

WIDE = 2048  # features from which workers share columns, not rows: one state for all of them
STRIP = 4096  # bytes of a row in a tile: so far is memory read in order
LANES = 1024  # the most lanes of a tile, which kernels have scratch for
SHARE = 1 << 20  # elements of a unit of work
SMALL = 1 << 16  # elements below which threads cost more than they give
COPIED = 1 << 18  # elements of a copied block
CARRY = 1 << 24  # elements after which a worker does its carries: far from what limbs hold, for 100 workers together

# Limbs (in units of 32 bits, from, to) of the sums of x, of x**2 and of the weights, which hold any data of a kind.
_RANGES = {
    "narrow": ((-5, 5), (-10, 9), (0, 0)),
    "double": ((-34, 33), (-68, 65), (0, 0)),
    "integer": ((0, 5), (0, 8), (0, 0)),
    "weighted": ((-68, 65), (-102, 97), (-34, 33)),
}
_LOWEST = {"narrow": -149, "double": -1074, "integer": 0, "weighted": -1074}
_TINY = np.array([5e-324])
_COUNTS = 3  # rows of a state before its limbs: NaN, +inf, -inf


class Counted(NamedTuple):
    """What a scan found: ``rows`` for all features, the rest for each, in the order of the features."""

    rows: int
    missing: Integers
    posinf: Integers
    neginf: Integers
    total: Sums
    square: Sums
    weight: Sums | None  # None where it equals the count: no weights, or all of them 1

    @property
    def counts(self) -> Integers:
        """Finite values of each feature."""
        return self.rows - self.missing - self.posinf - self.neginf


def merge(left: Counted, right: Counted, sign: int = 1) -> Counted:
    """Return the sums of ``left + sign * right``."""
    rows = left.rows + sign * right.rows
    missing, posinf, neginf = (mine + sign * other for mine, other in zip(left[1:4], right[1:4], strict=True))
    total = _sums.add(left.total, right.total, sign)
    square = _sums.add(left.square, right.square, sign)
    merged = Counted(rows, missing, posinf, neginf, total, square, None)
    if left.weight is None and right.weight is None:
        return merged
    weight = _sums.add(left.weight or _as_sums(left.counts), right.weight or _as_sums(right.counts), sign)
    return merged if weight == _as_sums(merged.counts) else merged._replace(weight=weight)


def joined(parts: Sequence[Counted]) -> Counted:
    """The sums of the features of all parts, of the same rows, in their order."""
    missing, posinf, neginf = (np.concatenate([part[index] for part in parts]) for index in (1, 2, 3))
    total, square = _sums.joined([part.total for part in parts]), _sums.joined([part.square for part in parts])
    weight = None
    if any(part.weight is not None for part in parts):
        weight = _sums.joined([part.weight or _as_sums(part.counts) for part in parts])
    return Counted(parts[0].rows, missing, posinf, neginf, total, square, weight)


def chosen(counted: Counted, features: Sequence[int] | Integers) -> Counted:
    """The sums of some features, in this order."""
    index = np.asarray(features, np.intp)
    missing, posinf, neginf = (values[index] for values in counted[1:4])
    total, square = _sums.chosen(counted.total, index), _sums.chosen(counted.square, index)
    part = Counted(counted.rows, missing, posinf, neginf, total, square, None)
    if counted.weight is None or (weight := _sums.chosen(counted.weight, index)) == _as_sums(part.counts):
        return part
    return part._replace(weight=weight)


def _as_sums(count: Integers) -> Sums:
    return _sums.canonical(0, count[np.newaxis])


class _State:
    """The sums of one worker while it scans: limbs with deferred carries, and which of their rows are in use."""

    def __init__(self, kind: str, features: int, shared: _State | None = None) -> None:
        self.shared = shared is not None  # with workers that have other columns
        self.weighted = kind == "weighted"
        self.rows: Integers
        ranges = _RANGES[kind]
        first, layout = _COUNTS, []
        for low, high in ranges:
            layout += [first, 32 * low]
            first += high - low
        self.layout = np.array([*layout, _LOWEST[kind]], np.int64)
        self.rows = np.zeros((first, features), np.int64) if shared is None else shared.rows
        self.span = np.array([first, 0, first, 0, first, 0], np.int64)

    def limbs(self, side: int) -> tuple[int, Integers]:
        low, high = int(self.span[2 * side]), int(self.span[2 * side + 1])
        exponent = int(self.layout[2 * side + 1]) + 32 * (low - int(self.layout[2 * side]))
        return (exponent, self.rows[low:high]) if high else (0, self.rows[:0])

    def carry(self) -> None:
        """Do the carries now, so that limbs cannot overflow however long the scan."""
        ends = (int(self.layout[2]), int(self.layout[4]), len(self.rows))
        for side, end in enumerate(ends):
            exponent, limbs = self.limbs(side)
            done = _sums.canonical(exponent, limbs)
            limbs[:] = 0
            if len(done.limbs):
                first = int(self.span[2 * side]) + (done.exponent - exponent) // 32
                if first + len(done.limbs) > end:  # more than the limbs have rows for: the last one keeps it all
                    done.limbs[-2] += done.limbs[-1] << 32
                    done = done._replace(limbs=done.limbs[:-1])
                self.rows[first : first + len(done.limbs)] = done.limbs
                self.span[2 * side + 1] = max(self.span[2 * side + 1], first + len(done.limbs))

    def add(self, other: _State) -> None:
        """Take in the sums of another worker."""
        if other.rows is not self.rows:
            self.rows[:_COUNTS] += other.rows[:_COUNTS]
            for low, high in other.span.reshape(3, 2):
                self.rows[low:high] += other.rows[low:high]
        self.span[0::2] = np.minimum(self.span[0::2], other.span[0::2])
        self.span[1::2] = np.maximum(self.span[1::2], other.span[1::2])

    def counted(self, rows: int, order: Callable[[Integers], Integers] | None = None) -> Counted:
        """The sums as values, with their columns put in ``order``."""
        counts = self.rows[:_COUNTS] if order is None else order(self.rows[:_COUNTS])
        missing, posinf, neginf = counts.copy()

        def sums(side: int) -> Sums:
            done = _sums.canonical(*self.limbs(side))
            if order is None:
                return done
            limbs = order(done.limbs) if len(done.limbs) else np.empty((0, len(missing)), np.int64)
            return _sums.canonical(done.exponent, limbs)

        counted = Counted(rows, missing, posinf, neginf, sums(0), sums(1), None)
        if not self.weighted:
            return counted
        weight = sums(2)
        return counted if weight == _as_sums(counted.counts) else counted._replace(weight=weight)


def _kind(dtype: np.dtype[Any]) -> str:
    if dtype.kind in "biu":
        return "integer"
    return "double" if dtype == np.float64 else "narrow"


def _strip(dtype: np.dtype[Any], features: int = 0) -> int:
    """The most lanes of a tile."""
    whole = STRIP // dtype.itemsize
    return min(LANES, whole if features <= whole else whole // 2)


def _fold(dtype: np.dtype[Any]) -> int:
    """About how many lanes narrow rows are put together to: few for floats, so that blocks stay in cache."""
    return 64 if dtype.kind in "biu" else 16


def _native(array: Array) -> Array:
    """The same memory with a dtype that kernels have: bits of 16-bit floats, bytes of bool, int64 of uint64."""
    if array.dtype.kind == "b":
        return array.view(np.uint8)
    if array.dtype.kind in "fV" and array.dtype.itemsize == 2:
        return array.view(np.uint16)
    if array.dtype == np.uint64:
        return array.view(np.int64)
    return array


class _Scanner:
    """A worker's scratch and state, bound to the kernel for one dtype."""

    def __init__(self, dtype: np.dtype[Any], state: _State) -> None:
        from fastnorm._kernels import exact, integers, lanes, steps, vector, weights

        if _TINY[0] * 1.0 == 0.0:
            raise RuntimeError(
                "this thread flushes subnormal numbers to zero (FTZ/DAZ, set by another library, e.g. "
                "torch.set_flush_denormal(True)), so that sums cannot be exact; turn that off around fastnorm"
            )
        self.scan, self.scan_half = exact.scan, exact.scan_half
        self.scan_integer, self.scan_weighted = integers.scan_integer, weights.scan_weighted
        self.state = state
        self.seen = 0
        self.integers = np.zeros(lanes.INTEGERS, np.int64)
        self.floats = np.empty(lanes.FLOATS)
        self.half = dtype.kind in "fV" and dtype.itemsize == 2
        self.tile = np.empty(steps.BLOCK * LANES, np.float32) if self.half else None
        self.strip = _strip(dtype)
        self.spread = np.empty(weights.SCRATCH)
        self.is_float16 = dtype.kind == "f"
        self.is_integer = dtype.kind in "biu"
        self.short = np.zeros(2 * vector.LANES, np.int32)
        self.mask = 0xFFFFF if dtype == np.uint64 else -1

    def _saw(self, elements: int) -> None:
        self.seen += elements
        if self.seen > CARRY and not self.state.shared:  # features that are shared out have few rows
            self.state.carry()
            self.seen = elements

    def add(self, flat: Array, tile: Tile) -> None:
        state = self.state
        self._saw(tile.outer * tile.rows * tile.lanes)
        if self.is_integer:
            self.scan_integer(flat, self.mask, *tile, self.integers, self.short, state.rows, state.layout, state.span)
        elif self.half:
            self.scan_half(
                flat,
                self.is_float16,
                *tile,
                self.floats,
                self.integers,
                self.tile,
                state.rows,
                state.layout,
                state.span,
            )
        else:
            self.scan(flat, *tile, self.floats, self.integers, state.rows, state.layout, state.span)

    def add_weighted(self, flat: Array, weights: Array, rows: int, columns: int, feature: int) -> None:
        state = self.state
        self._saw(rows * columns)
        exponent = max(math.frexp(weights.max())[1], -1000)  # lighter ones are left to a loop without scale
        scaled = state.layout - exponent * np.array([0, 1, 0, 1, 0, 1, 0])
        for first in range(0, columns, self.strip):
            lanes = min(self.strip, columns - first)
            self.scan_weighted(
                flat,
                weights,
                math.ldexp(1.0, -exponent),
                first,
                rows,
                columns,
                lanes,
                feature + first,
                self.floats,
                self.integers,
                self.spread,
                state.rows,
                state.layout,
                scaled,
                state.span,
            )


def count(array: Array, kept: tuple[int, ...], weights: Array | None, threads: int | None) -> Counted:
    """Scan ``array`` (see ``_layout.as_array``), whose axes ``kept`` number the features."""
    mask = _layout.mask_of(array)
    plain = np.asarray(array)
    workers = 1 if array.size < SMALL else _threads.count(threads)
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
    strip, fold, found = _strip(plain.dtype, features), _fold(plain.dtype), None
    if features >= WIDE:  # columns of its own for each worker, if one tile can have all their rows
        columns = max(64, min(strip, features // (4 * workers)))
        found = _layout.tiling(plain, kept, columns, plain.size, fold)
    if disjoint := found is not None and sum(tile.period for tile in found.tiles) == found.features:
        return _count_tiles(plain.dtype, found, disjoint, rows, workers)
    share = max(1 << 14, min(SHARE, plain.size // (4 * workers)))
    found = _layout.tiling(plain, kept, strip, share, fold)
    if found is None:
        return _count_blocks(plain, mask, kept, None, workers)
    return _count_tiles(plain.dtype, found, disjoint, rows, workers)


def _weighted_sum(low: Counted, high: Counted) -> Counted:
    """The sums with weights low + high * 2**32, from those with each alone."""

    def total(left: Sums, right: Sums) -> Sums:
        return _sums.add(left, Sums(right.exponent + 32, right.limbs) if len(right.limbs) else right)

    weight = total(low.weight or _as_sums(low.counts), high.weight or _as_sums(high.counts))
    joined = low._replace(total=total(low.total, high.total), square=total(low.square, high.square))
    return joined._replace(weight=None if weight == _as_sums(low.counts) else weight)


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


def _count_tiles(dtype: np.dtype[Any], found: _layout.Tiling, disjoint: bool, rows: int, workers: int) -> Counted:
    """Scan tiles; where they are ``disjoint`` in columns, all workers share one state."""
    flat = _native(found.flat)
    kind = _kind(dtype)
    shared = _State(kind, found.features) if disjoint else None

    def work(tiles: Iterator[Tile]) -> _State:
        state = _State(kind, found.features, shared)
        scanner = _Scanner(dtype, state)
        for tile in tiles:
            scanner.add(flat, tile)
        return state

    total = _joined(_threads.share(work, found.tiles, workers))
    straight = found.order == tuple(sorted(found.order)) and not any(found.flipped) and -1 not in found.order
    return total.counted(rows, None if straight else partial(_to_kept_order, found))


def _joined(states: list[_State]) -> _State:
    if len(states) > 1:  # however many they are, limbs that are below 2**32 add up
        for state in states:
            if not state.shared:
                state.carry()
    for state in states[1:]:
        states[0].add(state)
    return states[0]


def _to_kept_order(found: _layout.Tiling, columns: Integers) -> Integers:
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
    kind = "weighted" if weights is not None else _kind(dtype)
    first = _State(kind, features)  # before anything else: a request beyond memory fails at once
    jobs = list(_layout.blocks(lengths, kept_lengths, min(features, WIDE), COPIED)) if plain.size else []

    def work(items: Iterator[Block]) -> _State:
        state = _State(kind, features)
        scanner = _Scanner(dtype, state)
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
            for piece in _layout.split(tile, dtype.itemsize, _strip(dtype), 1 << 62, _fold(dtype)):
                scanner.add(_native(flat), piece)
        return state

    states = _threads.share(work, jobs, workers) if jobs else []
    return _joined([first, *states]).counted(math.prod(lengths))


class Running:
    """Sums that take a few contiguous rows of float32 or float64 at a time, by two kernel calls."""

    def __init__(self, dtype: np.dtype[Any], features: int) -> None:
        self.dtype = dtype
        self.features = features
        self.rows = 0
        self._strip = _strip(dtype)
        self._state = _State(_kind(dtype), features)
        self._scanner = _Scanner(dtype, self._state)

    def add(self, x: Array) -> None:
        """Add the rows of a C-contiguous 2-D array."""
        flat = x.reshape(-1).view()
        flat.flags.writeable = False
        rows, n = x.shape
        whole = Tile(0, 1, 0, rows, n, n, n, 0)
        for piece in (
            (whole,) if n <= self._strip else _layout.split(whole, x.itemsize, self._strip, 1 << 62, _fold(x.dtype))
        ):
            self._scanner.add(flat, piece)
        self.rows += rows

    def holds(self, nan: bool, inf: bool) -> bool:
        """Whether there was a NaN among the values, or an infinity, of those that are asked for."""
        counts = self._state.rows[0 if nan else 1 : _COUNTS if inf else 1]
        return bool(counts.any())

    def counted(self) -> Counted:
        """The sums so far."""
        return self._state.counted(self.rows)
