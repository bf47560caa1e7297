"""A worker that scans: its kernels and scratch, and the state that it adds to."""

from __future__ import annotations

import math
from itertools import accumulate, chain
from typing import Any

import numpy as np

from fastnorm import _sums
from fastnorm._counted import Counted, as_sums
from fastnorm._layout import Array
from fastnorm._sums import Integers, Sums
from fastnorm._tiles import Tile

LANES = 1024  # the most lanes of a tile, which kernels have scratch for
CARRY = 1 << 24  # elements after which a worker does its carries,
TOGETHER = (1 << 28) // CARRY  # workers that can be added up without: limbs hold as many elements

# Limbs (in units of 32 bits, from, to) of the sums of x, of x**2 and of the weights, which hold any data of a kind.
RANGES = {
    "narrow": ((-5, 5), (-10, 9), (0, 0)),
    "double": ((-34, 33), (-68, 65), (0, 0)),
    "integer": ((0, 5), (0, 8), (0, 0)),
    "weighted": ((-68, 65), (-102, 97), (-34, 33)),
}
LONG = 1 << 18  # features whose limbs fill a page of 2 MB
LOWEST = {"narrow": -149, "double": -1074, "integer": 0, "weighted": -1074}
COUNTS = 3  # rows of a state before its limbs: NaN, +inf, -inf
_TINY = np.array([5e-324])


def offsets(kind: str, spare: int = 0) -> list[int]:
    """The first row of the limbs on each side, with some rows to spare after each, and the number of rows."""
    sizes = [high - low + spare for low, high in RANGES[kind]]
    return list(accumulate(sizes, initial=COUNTS))


class State:
    """The sums of one worker while it scans: limbs with deferred carries, and which of their rows are in use."""

    def __init__(self, kind: str, features: int) -> None:
        self.weighted = kind == "weighted"
        self.rows: Integers
        *firsts, end = offsets(kind)
        exponents = (32 * low for low, _ in RANGES[kind])
        self.layout = np.array([*chain(*zip(firsts, exponents, strict=True)), LOWEST[kind]], np.int64)
        self.rows = np.zeros((end, features), np.int64)
        self.span = np.array(3 * [end, 0], np.int64)

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

    def add(self, other: State) -> None:
        """Take in the sums of another worker."""
        self.rows[:COUNTS] += other.rows[:COUNTS]
        for low, high in other.span.reshape(3, 2):
            self.rows[low:high] += other.rows[low:high]
        self.span[0::2] = np.minimum(self.span[0::2], other.span[0::2])
        self.span[1::2] = np.maximum(self.span[1::2], other.span[1::2])

    def clear(self) -> None:
        """Begin anew."""
        self.rows[:COUNTS] = 0
        for low, high in self.span.reshape(3, 2):
            self.rows[low:high] = 0
        self.span[0::2], self.span[1::2] = len(self.rows), 0

    def counted(self, rows: int) -> Counted:
        """The sums as values."""
        total, square, weight = (_sums.canonical(*self.limbs(side)) for side in range(3))
        missing, posinf, neginf = self.rows[:COUNTS].copy()
        counted = Counted(rows, missing, posinf, neginf, total, square, None)
        return counted._replace(weight=weight) if self.weighted and weight != as_sums(counted.counts) else counted


class Whole:
    """The sums of all features, of which each worker brings some: memory is touched once, where it is needed."""

    def __init__(self, kind: str, features: int) -> None:
        *self.firsts, end = offsets(kind, spare=1)  # which `canonical` may need
        self.exponents = [32 * low for low, _ in RANGES[kind]]
        self.rows = np.zeros((end, features), np.int64)
        self.parts: list[tuple[int, int, int, slice]] = []  # side, rows from and to, columns

    def put(self, state: State, feature: int) -> None:
        """Take in the sums of the features from this one."""
        from fastnorm._kernels.limbs import trim

        columns = slice(feature, feature + state.rows.shape[1])
        if state.rows[:COUNTS].any():
            self.rows[:COUNTS, columns] = state.rows[:COUNTS]
        for side in range(2):
            exponent, limbs = state.limbs(side)
            first = self.firsts[side] + (exponent - self.exponents[side]) // 32
            low, high = trim(limbs, self.rows, first, feature) if len(limbs) else (0, 0)
            if low < high:
                self.parts.append((side, first + low, first + high, columns))

    def counted(self, rows: int) -> Counted:
        """The sums as values."""
        missing, posinf, neginf = self._kept(0, COUNTS)
        return Counted(rows, missing, posinf, neginf, self._side(0), self._side(1), None)

    def _kept(self, low: int, high: int) -> Integers:
        """Some rows: long ones lie in pages of their own, of which those of other rows take no memory."""
        part = self.rows[low:high]
        return part if part.shape[1] >= LONG else part.copy()

    def _side(self, side: int) -> Sums:
        parts = [part[1:] for part in self.parts if part[0] == side]
        if not parts:
            return Sums(0, np.empty((0, self.rows.shape[1]), np.int64))
        low, high = min(part[0] for part in parts), max(part[1] for part in parts)
        for _, end, columns in parts:
            if end < high:  # the last limb alone has a sign: the rows above go on with it
                sign = self.rows[end - 1, columns] >> 32
                self.rows[end - 1, columns] &= 0xFFFFFFFF
                self.rows[end : high - 1, columns] = sign & 0xFFFFFFFF
                self.rows[high - 1, columns] = sign
        return Sums(self.exponents[side] + 32 * (low - self.firsts[side]), self._kept(low, high))


def kind_of(dtype: np.dtype[Any]) -> str:
    if dtype.kind in "biu":
        return "integer"
    return "double" if dtype == np.float64 else "narrow"


def fold_of(dtype: np.dtype[Any]) -> int:
    """About how many lanes narrow rows are put together to: few for floats, so that blocks stay in cache."""
    return 64 if dtype.kind in "biu" else 16


def native(array: Array) -> Array:
    """The same memory with a dtype that kernels have: bytes of bool, bits of 16-bit floats."""
    if array.dtype.kind == "b":
        return array.view(np.uint8)
    if array.dtype.kind in "fV" and array.dtype.itemsize == 2:
        return array.view(np.uint16 if array.dtype.kind == "f" else np.int16)  # bfloat16 is none of NumPy's kinds
    return array


def check_subnormals() -> None:
    """Raise RuntimeError if this thread would read subnormal numbers as 0."""
    if _TINY[0] * 1.0 == 0.0:
        raise RuntimeError(
            "this thread flushes subnormal numbers to zero (FTZ/DAZ, set by another library, e.g. "
            "torch.set_flush_denormal(True)), so that sums cannot be exact; turn that off around fastnorm"
        )


class Scanner:
    """A worker's scratch and state, bound to the kernel for one dtype."""

    def __init__(self, dtype: np.dtype[Any], state: State) -> None:
        from fastnorm._kernels import exact, integers, lanes, weights

        check_subnormals()
        self.scan = integers.scan_integer if dtype.kind in "biu" else exact.scan
        self.scan_weighted = weights.scan_weighted
        self.state = state
        self.seen = 0
        self.integers = np.zeros(lanes.INTEGERS, np.int64)
        self.floats = np.empty(lanes.FLOATS)
        self.spread = np.empty(weights.SCRATCH)
        self.scratch = (self.integers,) if dtype.kind in "biu" else (self.floats, self.integers)

    def _saw(self, elements: int) -> None:
        self.seen += elements
        if self.seen > CARRY:
            self.state.carry()
            self.seen = elements

    def add(self, flat: Array, tile: Tile) -> None:
        state = self.state
        self._saw(tile.outer * tile.rows * tile.lanes)
        self.scan(flat, *tile, *self.scratch, state.rows, state.layout, state.span)

    def add_weighted(self, flat: Array, weights: Array, rows: int, columns: int, feature: int) -> None:
        state = self.state
        self._saw(rows * columns)
        exponent = max(math.frexp(weights.max())[1], -980)  # lighter ones are left to a loop without scale
        scaled = state.layout - exponent * np.array([0, 1, 0, 1, 0, 1, 0])
        for first in range(0, columns, LANES):
            lanes = min(LANES, columns - first)
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


def united(states: list[State]) -> State:
    if len(states) > TOGETHER:  # however many they are, limbs that are below 2**32 add up
        for state in states:
            state.carry()
    for state in states[1:]:
        states[0].add(state)
    return states[0]
