"""The arithmetic of a block: slices of x whose sums do not round, and the window that proves it.

docs/exactness.md has the proof. A *lane* is one column of a tile; a *block* is up to 64 rows of it. Each lane has an
exponent E above all its values. In a block inside the window every sum below is a whole multiple of a known power of
two and stays in a binade where floats are that far apart, so nothing rounds and the order cannot matter.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnorm._jit import inner_kernel
from fastnorm._kernels.rows import RowLoop, row_loop
from fastnorm._kernels.vector import (
    below,
    double,
    fused,
    not_inlined,
    remainder,
    rounded_product,
    smaller,
    where,
)

BLOCK = 64  # rows whose sums stay within 2**52 units
# Each sum: power of the data, exponent of its unit beside power * E, 1 where it enters twice (2pq in a square), and in
# halves where in its binade it starts: a sum of squares at the begin, any other in the middle.
NARROW = np.array([[1, -47, 0, 3], [2, -51, 0, 3], [2, -94, 0, 3]])
PLAIN = np.array(
    [
        [1, -25, 0, 3],
        [1, -49, 0, 3],
        [1, -72, 0, 3],
        [2, -50, 0, 2],
        [2, -74, 1, 3],
        [2, -97, 1, 3],
        [2, -98, 0, 2],
        [2, -121, 1, 3],
        [2, -144, 0, 2],
    ]
)
WIDE = np.array([[1, -44, 0, 3], [1, -89, 0, 3], [2, -44, 0, 3], [2, -89, 0, 3], [2, -134, 0, 3], [2, -178, 0, 3]])
# With weights below 1, of 26 binades and 53 bits.
WEIGHTED_NARROW = np.array(
    [
        [1, -45, 0, 3],
        [1, -90, 0, 3],
        [1, -135, 0, 3],
        [2, -45, 0, 3],
        [2, -90, 0, 3],
        [2, -135, 0, 3],
        [2, -180, 0, 3],
        [2, -225, 0, 3],
    ]
)
WEIGHTED = np.array(
    [
        [1, -45, 0, 3],
        [1, -90, 0, 3],
        [1, -135, 0, 3],
        [1, -180, 0, 3],
        [2, -45, 0, 3],
        [2, -90, 0, 3],
        [2, -134, 0, 3],
        [2, -178, 0, 3],
        [2, -222, 0, 3],
        [2, -266, 0, 3],
    ]
)

WIDE_FLOOR, WIDE_FLOOR_NARROW = 2.0**-74, 2.0**-132  # of v**2 beside 4**E, for float64 and float32
WEIGHTED_FLOOR, WEIGHTED_FLOOR_NARROW = 2.0**-80, 2.0**-68
LIGHTEST = 2.0**-26  # the smallest weight


def _slice(total: Any, v: Any) -> tuple[Any, Any, Any]:
    """Add ``v`` to a sum, which rounds it to the sum's unit: the new sum, what it took in, and what is left."""
    new = total + v
    taken = new - total
    return new, taken, v - taken


def _narrow_step(x: Any, constants: Any, state: Any) -> Any:
    """float32: |x| > 2**(E-24). A collects x**2 rounded to its unit, B the rest of it."""
    S, A, B, least = state
    v = double(x)
    new = fused(v, v, A)
    return S + v, new, B + fused(v, v, -(new - A)), smaller(below(x), least)


def _plain_step(v: Any, constants: Any, state: Any) -> Any:
    """float64: |v| > 2**(E-20). P, Q, S collect three slices p, q, s of v, each rounded to its unit."""
    P, Q, S, PP, PQ, PS, QQ, QS, SS, least = state
    P, p, t = _slice(P, v)
    Q, q, s = _slice(Q, t)
    return (
        P,
        Q,
        S + s,
        fused(p, p, PP),
        fused(p, q, PQ),
        fused(p, s, PS),
        fused(q, q, QQ),
        fused(q, s, QS),
        fused(s, s, SS),
        smaller(below(v), least),
    )


def _in_window(square: int) -> Any:
    """The verdict on a block, by the sum of squares that says how large its values can be."""

    def finish(constants: Any, sums: Any, rest: Any) -> Any:
        top, floor = constants
        keep = (sums[square] < top) & (double(rest[0]) >= floor)  # neither holds for a NaN among the values
        missing = where(keep, double(rest[1]), 0.0) if len(rest) > 1 else 0
        return keep, where(keep, 0.0, 1.0), missing

    return finish


def _with_gaps(step: Any) -> Any:
    """The same step for data with NaN: each counts, and is a zero otherwise."""

    def step_with_gaps(x: Any, constants: Any, state: Any) -> Any:
        *others, missing = state
        there = x == x
        return *step(where(there, x, 0.0), constants, others), where(there, missing, missing + 1.0)

    return step_with_gaps


def _absorb(sums: Any, *terms: tuple[int, Any]) -> Any:
    """Add each term to the sums from the one given on: each takes a slice, the last what is left."""
    new = list(sums)
    for k in range(len(new) - 1):
        for index, (first, term) in enumerate(terms):
            if first <= k:
                new[k], _, rest = _slice(new[k], term)
                terms = (*terms[:index], (first, rest), *terms[index + 1 :])
    for _, term in terms:
        new[-1] = new[-1] + term
    return new


def _masked(v: Any, constants: Any, outside: Any) -> Any:
    """``v`` where it is in the window and 0 elsewhere, and the count of what is elsewhere, NaNs included."""
    top, floor = constants
    w = v * v
    inside = (w >= floor) & (w < top)
    return where(inside, v, 0.0), outside + where(inside, 0.0, where(v == 0.0, 0.0, 1.0))


def _wide_narrow_step(x: Any, constants: Any, state: Any) -> Any:
    """float32, |v| in [2**(E-66), 2**E); what lies outside is passed over, and NaNs are counted on their own, too."""
    *sums, odd, missing = state
    value = double(x)
    v, odd = _masked(value, constants, odd)
    missing = where(value == value, missing, missing + 1.0)
    return *_absorb(sums[:2], (0, v)), *_absorb(sums[2:], (0, v * v)), odd, missing


def _wide_step(x: Any, constants: Any, state: Any) -> Any:
    """float64, |v| in [2**(E-37), 2**E), the same: v*v in two float64."""
    *sums, odd, missing = state
    v, odd = _masked(x, constants, odd)
    missing = where(x == x, missing, missing + 1.0)
    square = rounded_product(v, v)
    squares = _absorb(sums[2:], (0, square), (1, remainder(v, v, square)))
    return *_absorb(sums[:2], (0, v)), *squares, odd, missing


def _strict_narrow_step(x: Any, constants: Any, state: Any) -> Any:
    """float32, |v| > 2**(E-44): the wide sums, for blocks in which nothing is passed over."""
    *sums, least = state
    v = double(x)
    return *_absorb(sums[:2], (0, v)), *_absorb(sums[2:], (0, v * v)), smaller(below(x), least)


def _strict_step(v: Any, constants: Any, state: Any) -> Any:
    """float64, |v| > 2**(E-37), the same."""
    *sums, least = state
    square = rounded_product(v, v)
    squares = _absorb(sums[2:], (0, square), (1, remainder(v, v, square)))
    return *_absorb(sums[:2], (0, v)), *squares, smaller(below(v), least)


def _weighted_narrow_step(x: Any, weight: Any, constants: Any, state: Any) -> Any:
    """float32, |v| in [2**(E-34), 2**E), a weight of 53 bits in [2**-26, 1): products of two float64, each in two."""
    *sums, outside = state
    v, outside = _masked(double(x), constants, outside)
    square = v * v
    p, a = rounded_product(weight, v), rounded_product(weight, square)
    total = _absorb(sums[:3], (0, p), (1, remainder(weight, v, p)))
    return *total, *_absorb(sums[3:], (0, a), (1, remainder(weight, square, a))), outside


def _weighted_step(x: Any, weight: Any, constants: Any, state: Any) -> Any:
    """float64, |v| in [2**(E-40), 2**E), a weight of 53 bits in [2**-26, 1): w*v in two float64, w*v*v in four."""
    *sums, outside = state
    v, outside = _masked(x, constants, outside)
    p = rounded_product(weight, v)
    e = remainder(weight, v, p)
    a, c = rounded_product(p, v), rounded_product(e, v)
    b, d = remainder(p, v, a), remainder(e, v, c)
    return *_absorb(sums[:4], (0, p), (1, e)), *_absorb(sums[4:], (0, a), (1, b), (1, c), (2, d)), outside


def _sorted(constants: Any, sums: Any, rest: Any) -> Any:
    odd, missing = rest
    return None, odd - missing, missing


def _counted(constants: Any, sums: Any, rest: Any) -> Any:
    return None, rest[0], 0


_NARROW_WINDOW, _PLAIN_WINDOW = ((2, 4.0), (1, 2.0**-24)), ((2, 5.0), (1, 2.0**-20))
_INFINITE, _NONE = np.float32(np.inf), np.float32(0)
_narrow = RowLoop(_narrow_step, NARROW, _NARROW_WINDOW, (_INFINITE,), _in_window(1))
_plain = RowLoop(_plain_step, PLAIN, _PLAIN_WINDOW, (np.inf,), _in_window(3))
_narrow_gaps = RowLoop(_with_gaps(_narrow_step), NARROW, _NARROW_WINDOW, (_INFINITE, _NONE), _in_window(1))
_plain_gaps = RowLoop(_with_gaps(_plain_step), PLAIN, _PLAIN_WINDOW, (np.inf, 0.0), _in_window(3))
_wide = RowLoop(_wide_step, WIDE, ((2, 1.0), (2, WIDE_FLOOR)), (0.0, 0.0), _sorted, rare=True)
_wide_narrow = RowLoop(_wide_narrow_step, WIDE, ((2, 1.0), (2, WIDE_FLOOR_NARROW)), (0.0, 0.0), _sorted, rare=True)
_strict = RowLoop(_strict_step, WIDE, ((2, 385.0), (1, 2.0**-37)), (np.inf,), _in_window(2), rare=True)
_strict_narrow = RowLoop(
    _strict_narrow_step, WIDE[:5], ((2, 385.0), (1, 2.0**-44)), (_INFINITE,), _in_window(2), rare=True
)
_weighted_narrow = RowLoop(
    _weighted_narrow_step, WEIGHTED_NARROW, ((2, 1.0), (2, WEIGHTED_FLOOR_NARROW)), (0.0,), _counted, rare=True
)
_weighted = RowLoop(_weighted_step, WEIGHTED, ((2, 1.0), (2, WEIGHTED_FLOOR)), (0.0,), _counted, rare=True)

_plain_loop = row_loop(float64=_plain, **_narrow.narrow())
_gaps_loop = row_loop(float64=_plain_gaps, **_narrow_gaps.narrow())
_wide_loop = row_loop(float64=_wide, **_wide_narrow.narrow())
_strict_loop = row_loop(float64=_strict, **_strict_narrow.narrow())
_weighted_loop = row_loop(float32=_weighted_narrow, float64=_weighted)


# Functions of their own, so that each loop is compiled once.
@inner_kernel
def plain_blocks(x, start, blocks, rows, stride, first, stop, ahead, scales, sums, flags):
    """Add blocks up to the first with a lane whose window does not hold, which has its flag; how many came before."""
    not_inlined()
    for done in range(blocks):
        if _plain_loop(x, start + done * rows * stride, rows, stride, first, stop, ahead, scales, sums, flags):
            return done
    return blocks


@inner_kernel
def gaps_blocks(x, start, blocks, rows, stride, first, stop, ahead, scales, sums, flags):
    """The same for blocks with NaN among the values."""
    not_inlined()
    for done in range(blocks):
        if _gaps_loop(x, start + done * rows * stride, rows, stride, first, stop, ahead, scales, sums, flags):
            return done
    return blocks


@inner_kernel
def strict_block(x, start, rows, stride, first, stop, ahead, scales, sums, flags):
    """Add one block to the wide sums; not 0 if the window of a lane does not hold."""
    not_inlined()
    return _strict_loop(x, start, rows, stride, first, stop, ahead, scales, sums, flags)


@inner_kernel
def wide_block(x, start, rows, stride, first, stop, ahead, scales, sums, flags):
    """Add what lies in the wide window; not 0 if something else is left, each lane with its number of values."""
    not_inlined()
    return _wide_loop(x, start, rows, stride, first, stop, ahead, scales, sums, flags)


@inner_kernel
def weighted_block(x, start, rows, stride, first, stop, ahead, scales, sums, flags, weights):
    """Add w*x and w*x**2 of what lies in the window; not 0 if something else is left, as above."""
    not_inlined()
    return _weighted_loop(x, start, rows, stride, first, stop, ahead, scales, sums, flags, weights)
