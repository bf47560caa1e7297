"""Exact sums of x and x**2: slices on a fixed grid, a window that proves them exact, whole numbers, wide limbs.

docs/exactness.md has the proof. A *lane* is one column of a tile; a *block* is up to 64 rows of it. Each lane has an
exponent E above all its values. In a block inside the window every sum below is a whole multiple of a known power of
two and fits 53 bits, so nothing rounds and the order cannot matter.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnorm._jit import exact_kernel, inner_kernel
from fastnorm._kernels.vector import (
    LANES,
    RowLoop,
    below,
    double,
    fused,
    not_inlined,
    row_loop,
    smaller,
    where,
)

BLOCK = 64  # rows whose sums stay within 2**52 units
FLUSH = 1000  # blocks whose whole numbers (at most 2**52 each) fit an int64, with a bit to spare
LOWEST, HIGHEST = -400, 500  # E stays here: products neither under- nor overflow
LOWEST_NARROW, HIGHEST_NARROW = -71, 106  # and for float32 here, where its limbs suffice
COUNTS = 3  # rows of a state before its limbs: NaN, +inf, -inf
NAN, POSINF, NEGINF = 0, 1, 2
# Arguments as np.int64: numba compiles a function anew for each literal number that it is called with.
ZERO, ONE = np.int64(0), np.int64(1)
TOTAL, SQUARE, WEIGHT = np.int64(0), np.int64(2), np.int64(4)  # sides of a layout and a span
UNSET = 1 << 20  # the E of a wide grid that was not needed yet

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
WIDE = np.array(
    [
        [1, -22, 0, 3],
        [1, -44, 0, 3],
        [1, -66, 0, 3],
        [1, -89, 0, 3],
        [2, -44, 0, 2],
        [2, -66, 1, 3],
        [2, -88, 0, 3],
        [2, -111, 1, 3],
        [2, -133, 0, 3],
        [2, -155, 1, 3],
        [2, -178, 0, 2],
    ]
)


# ------------------------------------------------------------------------------------------------- steps


def _narrow_step(x: Any, constants: Any, state: Any) -> Any:
    """float32: |x| > 2**(E-24). A collects x**2 rounded to its unit, B the rest of it."""
    S, A, B, least = state
    v = double(x)
    new = fused(v, v, A)
    return S + v, new, B + fused(v, v, -(new - A)), smaller(below(x), least)


def _plain_step(v: Any, constants: Any, state: Any) -> Any:
    """float64: |v| > 2**(E-20). P, Q, S collect three slices p, q, s of v, each rounded to its unit."""
    P, Q, S, PP, PQ, PS, QQ, QS, SS, least = state
    new_p = P + v
    p = new_p - P
    t = v - p
    new_q = Q + t
    q = new_q - Q
    s = t - q
    return (
        new_p,
        new_q,
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


def _wide_step(x: Any, constants: Any, state: Any) -> Any:
    """Any float: four slices, |v| in [2**(E-37), 2**E) (float32: 2**(E-66)); what lies outside is passed over."""
    (top, floor), (P, Q, R, S, PP, PQ, PR, PS, QS, RS, SS) = constants, state
    v = double(x)
    w = v * v
    v = where((w >= floor) & (w < top), v, 0.0)
    new_p = P + v
    p = new_p - P
    t = v - p
    new_q = Q + t
    q = new_q - Q
    t = t - q
    new_r = R + t
    r = new_r - R
    s = t - r
    return (
        new_p,
        new_q,
        new_r,
        S + s,
        fused(p, p, PP),
        fused(p, q, PQ),
        fused(q, q, fused(p, r + r, PR)),
        fused(q, r, fused(p, s, PS)),
        fused(r, r, fused(q, s + s, QS)),
        fused(r, s, RS),
        fused(s, s, SS),
    )


def _wide_watch(v: Any, constants: Any, state: Any) -> Any:
    """Count what the wide step passes over: values outside the window, and NaNs."""
    (top, floor), (outside, missing) = constants, state
    w = v * v
    out = (w >= top) | ((w < floor) & (v != 0.0))
    return outside + where(out, 1.0, 0.0), missing + where(w != w, 1.0, 0.0)


def _narrow_watch(x: Any, constants: Any, state: Any) -> Any:
    """The same for float32, whose squares are exact: masks of float64 alone, which need no shuffling."""
    (top, floor), (outside, missing) = constants, state
    v = double(x)
    w = v * v
    out = (w >= top) | ((w < floor) & (w != 0.0))
    return outside + where(out, 1.0, 0.0), missing + where(w != w, 1.0, 0.0)


def _always(constants: Any, sums: Any, rest: Any) -> Any:
    outside, missing = rest
    return None, outside, missing


_NARROW_WINDOW, _PLAIN_WINDOW = ((2, 4.0), (1, 2.0**-24)), ((2, 5.0), (1, 2.0**-20))
_INFINITE, _NONE = np.float32(np.inf), np.float32(0)
_narrow = RowLoop(_narrow_step, NARROW, _NARROW_WINDOW, (_INFINITE,), _in_window(1))
_plain = RowLoop(_plain_step, PLAIN, _PLAIN_WINDOW, (np.inf,), _in_window(3))
_narrow_gaps = RowLoop(_with_gaps(_narrow_step), NARROW, _NARROW_WINDOW, (_INFINITE, _NONE), _in_window(1))
_plain_gaps = RowLoop(_with_gaps(_plain_step), PLAIN, _PLAIN_WINDOW, (np.inf, 0.0), _in_window(3))
_wide = RowLoop(_wide_step, WIDE, ((2, 1.0), (2, 2.0**-74)), (0.0, 0.0), _always, _wide_watch)
_wide_narrow = RowLoop(_wide_step, WIDE, ((2, 1.0), (2, 2.0**-132)), (0.0, 0.0), _always, _narrow_watch)

_plain_loop = row_loop(float32=_narrow, float64=_plain)
_gaps_loop = row_loop(float32=_narrow_gaps, float64=_plain_gaps)
_wide_loop = row_loop(float32=_wide_narrow, float64=_wide)


# Functions of their own, so that each loop is compiled once.
@exact_kernel
def plain_block(x, start, rows, stride, first, stop, ahead, scales, sums, flags):
    """Add lanes whose window holds; the number of those that do not, each with its flag."""
    not_inlined()
    return _plain_loop(x, start, rows, stride, first, stop, ahead, scales, sums, flags)


@exact_kernel
def gaps_block(x, start, rows, stride, first, stop, ahead, scales, sums, flags):
    """The same where NaN may be among the values."""
    not_inlined()
    return _gaps_loop(x, start, rows, stride, first, stop, ahead, scales, sums, flags)


@exact_kernel
def wide_block(x, start, rows, stride, first, stop, ahead, scales, sums, flags):
    """Add what lies in the wide window; not 0 if something else is left, each lane with its number of values."""
    not_inlined()
    return _wide_loop(x, start, rows, stride, first, stop, ahead, scales, sums, flags)


# Scratch of a worker, in lanes: floats hold 2**E for the plain and the wide grid; integers the sums of each, flags,
# tally, E, E of the wide grid.
FLOATS = 2 * LANES
_WIDE_SUMS = len(PLAIN) * LANES
WIDE_SUMS = np.int64(_WIDE_SUMS)
_FLAGS = _WIDE_SUMS + len(WIDE) * LANES
_TALLY = _FLAGS + LANES
_E = _TALLY + LANES
_WIDE_E = _E + LANES
_BLOCKS = _WIDE_E + LANES  # blocks since the lanes were emptied
_STEP = _BLOCKS + 1  # how blocks are taken: 0 plain, 1 with gaps, 2 wide
_LEFT = _BLOCKS + 2  # how many more of them
_NEXT = _BLOCKS + 3  # how many the next time
_FAILED = _BLOCKS + 4  # how often lanes have failed of late, in 32nds
INTEGERS = _BLOCKS + 5


# ------------------------------------------------------------------------------------------------- limbs


@exact_kernel
def put(state, row, exponent, feature, position, value, span, side):
    """Add value * 2**position to the limbs that begin at ``row`` with weight 2**exponent; note the rows touched."""
    at = row + ((position - exponent) >> 5)
    shift = (position - exponent) & 31
    low = (value & 0xFFFFFFFF) << shift
    high = (value >> 32) << shift
    state[at, feature] += low & 0xFFFFFFFF
    state[at + 1, feature] += (low >> 32) + (high & 0xFFFFFFFF)
    state[at + 2, feature] += high >> 32
    if at < span[side]:
        span[side] = at
    if at + 3 > span[side + 1]:
        span[side + 1] = at + 3


@exact_kernel
def split(value, lowest):
    """Return (whole, exponent) with abs(value) = whole * 2**exponent; no bit of the data lies below 2**lowest."""
    bits = np.float64(value).view(np.int64)
    whole = bits & 0xFFFFFFFFFFFFF
    exponent = (bits >> 52) & 0x7FF
    if exponent > 0:
        whole |= 0x10000000000000
        exponent -= 1
    exponent -= 1074
    if exponent < lowest:
        whole >>= lowest - exponent
        exponent = lowest
    return whole, exponent


@exact_kernel
def deposit(state, layout, feature, value, span):
    """Add one finite float64 and its square, whatever its magnitude."""
    not_inlined()
    whole, exponent = split(value, layout[6])
    put(state, layout[0], layout[1], feature, exponent, whole if value > 0.0 else -whole, span, TOTAL)
    # the square in digits of 32 bits, for all its limbs at once: putting its parts would touch them twice
    high, middle, low = whole >> 32, (whole >> 16) & 0xFFFF, whole & 0xFFFF
    cross = 2 * middle * low
    ones = low * low + ((cross & 0xFFFF) << 16)
    double = 2 * high * (whole & 0xFFFFFFFF)
    tens = middle * middle + (cross >> 16) + (double & 0xFFFFFFFF) + (ones >> 32)
    hundreds = (double >> 32) + high * high + (tens >> 32)
    position = 2 * exponent - layout[3]
    at = layout[2] + (position >> 5)
    shift = position & 31
    digit = (ones & 0xFFFFFFFF) << shift
    state[at, feature] += digit & 0xFFFFFFFF
    digit = ((tens & 0xFFFFFFFF) << shift) + (digit >> 32)
    state[at + 1, feature] += digit & 0xFFFFFFFF
    digit = ((hundreds & 0xFFFFFFFF) << shift) + (digit >> 32)
    state[at + 2, feature] += digit & 0xFFFFFFFF
    digit = ((hundreds >> 32) << shift) + (digit >> 32)
    state[at + 3, feature] += digit & 0xFFFFFFFF
    state[at + 4, feature] += digit >> 32
    if at < span[SQUARE]:
        span[SQUARE] = at
    if at + 5 > span[SQUARE + 1]:
        span[SQUARE + 1] = at + 5


@inner_kernel
def flush(sums, first, table, c, E, state, layout, feature, span):
    """Move the whole numbers of lane c into its feature's limbs."""
    not_inlined()
    for k in range(table.shape[0]):
        value = sums[first + c + k * LANES]
        if value != 0:
            side = 2 * (table[k, 0] - 1)
            position = table[k, 0] * E + table[k, 1] + table[k, 2]
            put(state, layout[side], layout[side + 1], feature, position, value, span, side)
            sums[first + c + k * LANES] = 0


# ------------------------------------------------------------------------------------------------- lanes


@inner_kernel
def settle(c, integers, narrow, state, layout, feature, span):
    """Empty lane c: its whole numbers and its count of NaNs."""
    not_inlined()
    table = NARROW if narrow else PLAIN
    flush(integers, ZERO, table, c, integers[_E + c], state, layout, feature, span)
    if integers[_WIDE_E + c] != UNSET:
        flush(integers, WIDE_SUMS, WIDE, c, integers[_WIDE_E + c], state, layout, feature, span)
    state[NAN, feature] += integers[_TALLY + c]
    integers[_TALLY + c] = 0


@inner_kernel
def move(c, E, floats, integers, narrow):
    """Aim the (empty) lane c at values whose squares add up to less than 4**E in a block."""
    not_inlined()
    E = min(max(E, LOWEST_NARROW), HIGHEST_NARROW) if narrow else min(max(E, LOWEST), HIGHEST)
    integers[_E + c] = E
    floats[c] = math.ldexp(1.0, int(E))


@inner_kernel
def widen(first, stop, floats, integers):
    """Have the wide grids of the lanes where the plain ones are."""
    not_inlined()
    for c in range(first, stop):
        if integers[_WIDE_E + c] != integers[_E + c]:
            integers[_WIDE_E + c] = integers[_E + c]
            floats[c + LANES] = floats[c]
            for k in range(WIDE.shape[0]):
                integers[_WIDE_SUMS + c + k * LANES] = 0


@inner_kernel
def fitting(squares, rows):
    """The E for data of which so many rows have this sum of squares: twice what a block of them would need, or more."""
    if not 0.0 < squares <= 1.7976931348623157e308:
        return LOWEST if squares == 0.0 else HIGHEST
    return (math.frexp(squares * (BLOCK / rows))[1] + 2) >> 1


@inner_kernel
def sweep(x, start, rows, stride, c, outside, floats, integers, narrow, state, layout, feature, span):
    """After a wide block: deposit what lay outside the window of lane c, and let its grid follow the data."""
    not_inlined()
    top = floats[c + LANES] * floats[c + LANES]
    floor = top * (2.0**-132 if narrow else 2.0**-74)
    squares = 0.0
    for r in range(rows):
        v = np.float64(x[start + r * stride + c])
        if abs(v) == np.inf:
            state[POSINF if v > 0 else NEGINF, feature] += 1
        elif v == v and v != 0.0:
            w = v * v
            squares += w
            if outside and (w >= top or w < floor):
                deposit(state, layout, feature, v, span)
    if squares > 0.0:
        E = fitting(squares, rows)
        if E > integers[_E + c] or E + 8 < integers[_E + c]:
            settle(c, integers, narrow, state, layout, feature, span)
            move(c, E, floats, integers, narrow)


@inner_kernel
def begin(x, start, rows, stride, lanes, floats, integers):
    """Empty the lanes, and aim them at what the first rows hold."""
    not_inlined()
    sample = min(rows, 16)
    for c in range(lanes):
        squares = 0.0
        for r in range(sample):
            w = np.float64(x[start + r * stride + c]) * np.float64(x[start + r * stride + c])
            squares += w if w <= 1e300 else 0.0
        move(c, fitting(squares, sample) if squares > 0.0 else ZERO, floats, integers, x.itemsize == 4)
        integers[_WIDE_E + c] = UNSET
        integers[_TALLY + c] = 0
        for k in range(PLAIN.shape[0]):
            integers[c + k * LANES] = 0
    integers[_BLOCKS] = 0


@inner_kernel
def follow(step, failed, lanes, integers):
    """Choose how to take the next block: the way that fits, and for longer each time that it is needed."""
    integers[_FAILED] = max(integers[_FAILED] + 32 * failed - lanes, 0)
    if step < 2 and integers[_FAILED] > 8 * lanes:
        integers[_FAILED] = 0
        integers[_STEP] = step + 1
        integers[_NEXT] = min(2 * integers[_NEXT] + 8, 1024)
        integers[_LEFT] = integers[_NEXT]
    elif step > 0:
        integers[_LEFT] -= 1
        if integers[_LEFT] == 0:
            integers[_STEP] = 0
            integers[_FAILED] = 0
    elif integers[_FAILED] == 0:
        integers[_NEXT] = 0


@inner_kernel
def add_block(x, here, rows, stride, lanes, period, feature, floats, integers, state, layout, span):
    """Add up to 64 rows."""
    not_inlined()
    narrow = x.itemsize == 4
    wide_scales = floats[LANES:]
    wide_sums = integers[_WIDE_SUMS:]
    flags = integers[_FLAGS:]
    ahead = BLOCK * stride
    step = integers[_STEP]
    if step == 0:
        flagged = plain_block(x, here, rows, stride, ZERO, lanes, ahead, floats, integers, flags)
    elif step == 1:
        flagged = gaps_block(x, here, rows, stride, ZERO, lanes, ahead, floats, integers, flags)
    else:
        widen(ZERO, lanes, floats, integers)
        flagged = wide_block(x, here, rows, stride, ZERO, lanes, ahead, wide_scales, wide_sums, flags)
    failed = 0
    if flagged:
        for c in range(lanes):
            if flags[c]:
                failed += 1
                if step < 2:
                    widen(c, c + 1, floats, integers)
                    wide_block(x, here, rows, stride, c, c + 1, ZERO, wide_scales, wide_sums, flags)
                f = feature + c % period
                sweep(x, here, rows, stride, c, flags[c] > 0, floats, integers, narrow, state, layout, f, span)
    follow(step, failed, lanes, integers)
    integers[_BLOCKS] += 1
    if integers[_BLOCKS] == FLUSH:
        finish(lanes, period, feature, integers, narrow, state, layout, span)


@inner_kernel
def finish(lanes, period, feature, integers, narrow, state, layout, span):
    """Empty the lanes into the limbs of their features."""
    not_inlined()
    for c in range(lanes):
        settle(c, integers, narrow, state, layout, feature + c % period, span)
    integers[_BLOCKS] = 0


@exact_kernel
def scan(x, start, outer, step, rows, stride, lanes, period, feature, floats, integers, state, layout, span):
    """Add float32 or float64: element (o, r, c) is x[start + o*step + r*stride + c], of feature + c % period."""
    begin(x, start, rows, stride, lanes, floats, integers)
    for o in range(outer):
        for r in range(0, rows, BLOCK):
            here = start + o * step + r * stride
            count = min(BLOCK, rows - r)
            add_block(x, here, count, stride, lanes, period, feature, floats, integers, state, layout, span)
    finish(lanes, period, feature, integers, x.itemsize == 4, state, layout, span)


@exact_kernel
def survey(x):
    """1 if there is a NaN, plus 2 if there is an infinity."""
    not_inlined()
    nan = infinite = 0
    for i in range(len(x)):
        v = np.float64(x[i])
        if v != v:
            nan = 1
        elif abs(v) == np.inf:
            infinite = 2
    return nan + infinite


@exact_kernel
def scan_half(
    x, half, start, outer, step, rows, stride, lanes, period, feature, floats, integers, tile, state, layout, span
):
    """Add float16 (``half``) or bfloat16, given as their bits in uint16: widened into ``tile``, then as float32."""
    fresh = True
    for o in range(outer):
        for r in range(0, rows, BLOCK):
            count = min(BLOCK, rows - r)
            for i in range(count):
                here = start + o * step + (r + i) * stride
                row = x[here : here + lanes]
                wide = tile[i * lanes : (i + 1) * lanes]
                if half:
                    for c in range(lanes):
                        size = np.uint32((np.int32(row[c]) & 0x7FFF) << 13)  # exponent and fraction at their place
                        value = size.view(np.float32) * np.float32(2.0**112)  # mends the bias, subnormals included
                        special = np.uint32(size | np.uint32(0x7F800000)).view(np.float32)  # infinities and NaNs
                        value = value if size < np.uint32(0x0F800000) else special
                        wide[c] = value if row[c] < 0x8000 else -value
                else:
                    for c in range(lanes):
                        wide[c] = np.uint32(np.int64(row[c]) << 16).view(np.float32)
            if fresh:
                begin(tile, ZERO, count, lanes, lanes, floats, integers)
                fresh = False
            add_block(tile, ZERO, count, lanes, lanes, period, feature, floats, integers, state, layout, span)
    finish(lanes, period, feature, integers, True, state, layout, span)


# ---------------------------------------------------------------------------------------------- integers


@exact_kernel
def scan_integer(x, mask, start, outer, step, rows, stride, lanes, period, feature, sums, state, layout, span):
    """Add integers of any width; 64-bit ones come as int64, with ``mask`` 2**20 - 1 where they stand for uint64."""
    for k in range(8 * LANES):
        sums[k] = 0
    blocks = 0
    for o in range(outer):
        for r in range(0, rows, BLOCK):
            for i in range(r, min(r + BLOCK, rows)):
                here = start + o * step + i * stride
                row = x[here : here + lanes]
                if x.itemsize <= 2:
                    for c in range(lanes):
                        v = np.int64(row[c])
                        sums[c] += v
                        sums[c + LANES] += v * v
                elif x.itemsize == 4:
                    for c in range(lanes):
                        v = np.int64(row[c])
                        a, b = v >> 16, v & 0xFFFF
                        sums[c] += v
                        sums[c + LANES] += a * a
                        sums[c + 2 * LANES] += a * b
                        sums[c + 3 * LANES] += b * b
                else:
                    for c in range(lanes):
                        v = np.int64(row[c])
                        p, q, s = (v >> 44) & mask, (v >> 22) & 0x3FFFFF, v & 0x3FFFFF
                        sums[c] += p
                        sums[c + LANES] += q
                        sums[c + 2 * LANES] += s
                        sums[c + 3 * LANES] += p * p
                        sums[c + 4 * LANES] += p * q
                        sums[c + 5 * LANES] += q * q + 2 * (p * s)
                        sums[c + 6 * LANES] += q * s
                        sums[c + 7 * LANES] += s * s
            blocks += 1
            if blocks == FLUSH:
                empty_integers(x.itemsize, sums, lanes, period, feature, state, layout, span)
                blocks = 0
    empty_integers(x.itemsize, sums, lanes, period, feature, state, layout, span)


# Tables as above, but E is 0.
SHORT = np.array([[1, 0, 0], [2, 0, 0]])
MIDDLE = np.array([[1, 0, 0], [2, 32, 0], [2, 16, 1], [2, 0, 0]])
LONG = np.array([[1, 44, 0], [1, 22, 0], [1, 0, 0], [2, 88, 0], [2, 66, 1], [2, 44, 0], [2, 22, 1], [2, 0, 0]])


@inner_kernel
def empty_integers(itemsize, sums, lanes, period, feature, state, layout, span):
    """Move the whole numbers of every lane into the limbs."""
    table = SHORT if itemsize <= 2 else MIDDLE if itemsize == 4 else LONG
    for c in range(lanes):
        flush(sums, ZERO, table, c, ZERO, state, layout, feature + c % period, span)


# ----------------------------------------------------------------------------------------------- weights


@exact_kernel
def scan_weighted(x, weights, rows, lanes, feature, state, layout, span):
    """Add w, w*x and w*x**2 of a contiguous tile of float64, element by element: products of whole numbers."""
    for r in range(rows):
        whole, exponent = split(weights[r], layout[6])
        w1, w0 = whole >> 27, whole & 0x7FFFFFF
        for c in range(lanes):
            f = feature + c
            v = np.float64(x[r * lanes + c])
            if v != v:
                state[NAN, f] += 1
            elif abs(v) == np.inf:
                state[POSINF if v > 0 else NEGINF, f] += 1
            elif whole > 0:
                put(state, layout[4], layout[5], f, exponent, whole, span, WEIGHT)
                if v != 0.0:
                    size, power = split(v, layout[6])
                    sign = 1 if v > 0 else -1
                    put_product(state, layout, f, exponent, power, w1, w0, size, sign, span)


@inner_kernel
def put_product(state, layout, f, exponent, power, w1, w0, size, sign, span):
    """Add w*x and w*x**2, where w = (w1 * 2**27 + w0) * 2**exponent and |x| = size * 2**power."""
    x1, x0 = size >> 27, size & 0x7FFFFFF
    e = exponent + power
    put(state, layout[0], layout[1], f, e + 54, sign * (w1 * x1), span, TOTAL)
    put(state, layout[0], layout[1], f, e + 27, sign * (w1 * x0 + w0 * x1), span, TOTAL)
    put(state, layout[0], layout[1], f, e, sign * (w0 * x0), span, TOTAL)
    d0 = x0 * x0  # the square in digits of 27 bits
    d1 = 2 * x1 * x0 + (d0 >> 27)
    d2 = x1 * x1 + (d1 >> 27)
    d0, d1, d2, d3 = d0 & 0x7FFFFFF, d1 & 0x7FFFFFF, d2 & 0x7FFFFFF, d2 >> 27
    e += power
    put(state, layout[2], layout[3], f, e + 108, w1 * d3, span, SQUARE)
    put(state, layout[2], layout[3], f, e + 81, w1 * d2 + w0 * d3, span, SQUARE)
    put(state, layout[2], layout[3], f, e + 54, w1 * d1 + w0 * d2, span, SQUARE)
    put(state, layout[2], layout[3], f, e + 27, w1 * d0 + w0 * d1, span, SQUARE)
    put(state, layout[2], layout[3], f, e, w0 * d0, span, SQUARE)
