"""Exact sums of x and x**2: slices on a fixed grid, a window that proves them exact, whole numbers, wide limbs.

docs/exactness.md has the proof. A *lane* is one column of a tile; a *block* is up to 64 rows of it. Each lane has an
exponent E above all its values. In a block inside the window every sum below is a whole multiple of a known power of
two and fits 53 bits, so nothing rounds and the order cannot matter.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastnorm._jit import exact_kernel
from fastnorm._kernels.vector import (
    LANES,
    RowLoop,
    double,
    larger,
    magnitude,
    not_inlined,
    not_zero,
    row_loop,
    smaller,
    where,
)

BLOCK = 64  # rows whose sums stay below 2**53 grid units
FLUSH = 1000  # blocks whose whole numbers (at most 2**53 each) fit an int64
LOWEST, LOWEST_NARROW, HIGHEST = (
    -400,
    -69,
    500,
)  # E stays here: products neither under- nor overflow, limbs suffice
COUNTS = 3  # rows of a state before its limbs: NaN, +inf, -inf
NAN, POSINF, NEGINF = 0, 1, 2
# Arguments as np.int64: numba compiles a function anew for each literal number that it is called with.
ZERO, ONE = np.int64(0), np.int64(1)
TOTAL, SQUARE, WEIGHT = np.int64(0), np.int64(2), np.int64(4)  # sides of a layout and a span
UNSET = 1 << 20  # the E of a wide grid that was not needed yet

# Each sum: power of the data, exponent of its unit beside power * E, and 1 where it enters twice (2pq in a square).
NARROW = np.array([[1, -47, 0], [2, -46, 0], [2, -70, 1], [2, -94, 0]])
PLAIN = np.array(
    [
        [1, -47, 0],
        [1, -71, 0],
        [2, -46, 0],
        [2, -70, 1],
        [2, -94, 1],
        [2, -94, 0],
        [2, -118, 1],
        [2, -142, 0],
    ]
)
WIDE = np.array(
    [
        [1, -45, 0],
        [1, -91, 0],
        [2, -44, 0],
        [2, -67, 1],
        [2, -90, 0],
        [2, -113, 1],
        [2, -136, 0],
        [2, -159, 1],
        [2, -182, 0],
    ]
)


# ------------------------------------------------------------------------------------------------- steps


def _narrow_step(x: Any, constants: Any, state: Any) -> Any:
    """float32: two slices, |x| in [2**(E-24), 2**E)."""
    (m, _, _), (S, PP, PT, TT, most, least) = constants, state
    size = magnitude(x)
    v = double(x)
    p = (v + m) - m
    t = v - p
    return (
        S + v,
        PP + p * p,
        PT + p * t,
        TT + t * t,
        larger(size, most),
        smaller(not_zero(x, size), least),
    )


def _plain_step(v: Any, constants: Any, state: Any) -> Any:
    """float64: three slices, |v| in [2**(E-19), 2**E). The window is watched on v*v: no constant for abs."""
    (m1, m2, _, _), (H, T, PP, PQ, PS, QQ, QS, SS, most, least) = constants, state
    w = v * v
    h = (v + m2) - m2
    s = v - h
    p = (h + m1) - m1
    q = h - p
    return (
        H + h,
        T + s,
        PP + p * p,
        PQ + p * q,
        PS + p * s,
        QQ + q * q,
        QS + q * s,
        SS + s * s,
        larger(w, most),
        smaller(not_zero(v, w), least),
    )


def _in_window(constants: Any, sums: Any, rest: Any) -> Any:
    top, floor = constants[-2:]
    most, least = rest
    keep = (double(most) < top) & (double(least) >= floor) & (sums[0] == sums[0])  # a NaN makes every sum NaN
    return keep, where(keep, 0.0, 1.0), 0


def _wide_step(x: Any, constants: Any, state: Any) -> Any:
    """Any float: four slices, |v| in [2**(E-39), 2**E) (float32: 2**(E-68)); what lies outside is passed over."""
    (m1, m2, m3, top, floor), (H, T, PP, PQ, PR, PS, QS, RS, SS) = constants, state
    v = double(x)
    w = v * v
    v = where((w >= floor) & (w < top), v, 0.0)
    h = (v + m2) - m2
    t = v - h
    p = (h + m1) - m1
    q = h - p
    r = (t + m3) - m3
    s = t - r
    return (
        H + h,
        T + t,
        PP + p * p,
        PQ + p * q,
        PR + p * (r + r) + q * q,
        PS + p * s + q * r,
        QS + q * (s + s) + r * r,
        RS + r * s,
        SS + s * s,
    )


def _wide_watch(v: Any, constants: Any, state: Any) -> Any:
    """Count what the wide step passes over: values outside the window, and NaNs."""
    (_, _, _, top, floor), (outside, missing) = constants, state
    w = v * v
    out = (w >= top) | ((w < floor) & (v != 0.0))
    return outside + where(out, 1.0, 0.0), missing + where(w != w, 1.0, 0.0)


def _narrow_watch(x: Any, constants: Any, state: Any) -> Any:
    """The same for float32, whose squares are exact: masks of float64 alone, which need no shuffling."""
    (_, _, _, top, floor), (outside, missing) = constants, state
    v = double(x)
    w = v * v
    out = (w >= top) | ((w < floor) & (w != 0.0))
    return outside + where(out, 1.0, 0.0), missing + where(w != w, 1.0, 0.0)


def _always(constants: Any, sums: Any, rest: Any) -> Any:
    outside, missing = rest
    return None, outside, missing


_narrow = RowLoop(_narrow_step, 3, len(NARROW), (np.float32(0), np.float32(np.inf)), _in_window)
_plain = RowLoop(_plain_step, 4, len(PLAIN), (0.0, np.inf), _in_window)
_wide = RowLoop(_wide_step, 5, len(WIDE), (0.0, 0.0), _always, _wide_watch)
_wide_narrow = RowLoop(_wide_step, 5, len(WIDE), (0.0, 0.0), _always, _narrow_watch)

_plain_loop = row_loop(float32=_narrow, float64=_plain)
_wide_loop = row_loop(float32=_wide_narrow, float64=_wide)


# Functions of their own, so that each loop is compiled once.
@exact_kernel
def plain_block(x, start, rows, stride, first, stop, ahead, grid, sums, flags):
    """Add lanes whose window holds; the number of those that do not, each with its flag."""
    not_inlined()
    return _plain_loop(x, start, rows, stride, first, stop, ahead, grid, sums, flags)


@exact_kernel
def wide_block(x, start, rows, stride, first, stop, ahead, grid, sums, flags):
    """Add what lies in the wide window; not 0 if something else is left, each lane with its number of values."""
    not_inlined()
    return _wide_loop(x, start, rows, stride, first, stop, ahead, grid, sums, flags)


# Scratch of a worker, in lanes: floats hold the two grids; integers the two sums, flags, tally, E, E of the wide grid.
PLAIN_GRID = 4 + len(PLAIN)
FLOATS = (PLAIN_GRID + 5 + len(WIDE)) * LANES
_WIDE_SUMS = len(PLAIN) * LANES
WIDE_SUMS = np.int64(_WIDE_SUMS)
_FLAGS = _WIDE_SUMS + len(WIDE) * LANES
_TALLY = _FLAGS + LANES
_E = _TALLY + LANES
_WIDE_E = _E + LANES
INTEGERS = _WIDE_E + LANES + 2  # + how many wide blocks are left, how many to take next time


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
    """Return (whole, exponent) with value = whole * 2**exponent; no bit of the data lies below 2**lowest."""
    fraction, exponent = math.frexp(value)
    whole = np.int64(math.ldexp(fraction, 53))
    exponent -= 53
    if exponent < lowest:
        whole >>= lowest - exponent
        exponent = lowest
    return whole, exponent


@exact_kernel
def deposit(state, layout, feature, value, span):
    """Add one finite float64 and its square, whatever its magnitude."""
    not_inlined()
    whole, exponent = split(value, layout[6])
    put(state, layout[0], layout[1], feature, exponent, whole, span, TOTAL)
    whole = abs(whole)
    high, low = whole >> 27, whole & 0x7FFFFFF
    put(state, layout[2], layout[3], feature, 2 * exponent + 54, high * high, span, SQUARE)
    put(state, layout[2], layout[3], feature, 2 * exponent + 28, high * low, span, SQUARE)
    put(state, layout[2], layout[3], feature, 2 * exponent, low * low, span, SQUARE)


@exact_kernel
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


@exact_kernel
def aim(grid, c, E, narrow):
    """Set the grid of lane c for values below 2**E."""
    u = math.ldexp(1.0, int(E))
    inverse = math.ldexp(1.0, int(-E))
    if narrow:
        grid[c] = u * (1.5 * 2.0**29)
        grid[c + LANES] = u
        grid[c + 2 * LANES] = u * 2.0**-24
        at = c + 3 * LANES
        table = NARROW
    else:
        grid[c] = u * (1.5 * 2.0**29)
        grid[c + LANES] = u * (1.5 * 2.0**5)
        grid[c + 2 * LANES] = u * u
        grid[c + 3 * LANES] = u * u * 2.0**-38
        at = c + 4 * LANES
        table = PLAIN
    for k in range(table.shape[0]):
        grid[at + k * LANES] = (inverse if table[k, 0] == 1 else inverse * inverse) * math.ldexp(1.0, int(-table[k, 1]))


@exact_kernel
def aim_wide(grid, c, E, narrow):
    """Set the four-slice grid of lane c for values below 2**E."""
    u = math.ldexp(1.0, int(E))
    inverse = math.ldexp(1.0, int(-E))
    grid[c] = u * (1.5 * 2.0**30)
    grid[c + LANES] = u * (1.5 * 2.0**7)
    grid[c + 2 * LANES] = u * (1.5 * 2.0**-16)
    grid[c + 3 * LANES] = u * u
    grid[c + 4 * LANES] = u * u * (2.0**-136 if narrow else 2.0**-78)
    for k in range(WIDE.shape[0]):
        factor = inverse if WIDE[k, 0] == 1 else inverse * inverse
        grid[c + (5 + k) * LANES] = factor * math.ldexp(1.0, int(-WIDE[k, 1]))


@exact_kernel
def settle(c, integers, narrow, state, layout, feature, span):
    """Empty lane c: its whole numbers and its count of NaNs."""
    not_inlined()
    flush(
        integers,
        ZERO,
        NARROW if narrow else PLAIN,
        c,
        integers[_E + c],
        state,
        layout,
        feature,
        span,
    )
    if integers[_WIDE_E + c] != UNSET:
        flush(integers, WIDE_SUMS, WIDE, c, integers[_WIDE_E + c], state, layout, feature, span)
    state[NAN, feature] += integers[_TALLY + c]
    integers[_TALLY + c] = 0


@exact_kernel
def move(c, E, floats, integers, narrow):
    """Aim the (empty) lane c at E."""
    not_inlined()
    E = min(max(E, LOWEST_NARROW if narrow else LOWEST), HIGHEST)
    integers[_E + c] = E
    aim(floats, c, E, narrow)


@exact_kernel
def widen(first, stop, floats, integers, narrow):
    """Have the wide grids of the lanes where the plain ones are."""
    not_inlined()
    for c in range(first, stop):
        if integers[_WIDE_E + c] != integers[_E + c]:
            integers[_WIDE_E + c] = integers[_E + c]
            aim_wide(floats[PLAIN_GRID * LANES :], c, integers[_E + c], narrow)
            for k in range(WIDE.shape[0]):
                integers[_WIDE_SUMS + c + k * LANES] = 0


@exact_kernel
def sweep(x, start, rows, stride, c, outside, floats, integers, narrow, state, layout, feature, span):
    """After a wide block: deposit what lay outside the window of lane c, and let its grid follow the data."""
    not_inlined()
    top = floats[c + (PLAIN_GRID + 3) * LANES]
    floor = floats[c + (PLAIN_GRID + 4) * LANES]
    most = 0.0
    for r in range(rows):
        v = np.float64(x[start + r * stride + c])
        size = abs(v)
        if size == np.inf:
            state[POSINF if v > 0 else NEGINF, feature] += 1
        elif size > 0.0:
            most = max(most, size)
            if outside:
                w = v * v
                if w >= top or w < floor:
                    deposit(state, layout, feature, v, span)
    E = math.frexp(most)[1]
    if most > 0.0 and (E > integers[_E + c] or E + 8 < integers[_E + c]):
        settle(c, integers, narrow, state, layout, feature, span)
        move(c, E + 1, floats, integers, narrow)


@exact_kernel
def scan(
    x,
    start,
    outer,
    step,
    rows,
    stride,
    lanes,
    period,
    feature,
    floats,
    integers,
    state,
    layout,
    span,
):
    """Add float32 or float64: element (o, r, c) is x[start + o*step + r*stride + c], of feature + c % period."""
    narrow = x.itemsize == 4
    wide_grid = floats[PLAIN_GRID * LANES :]
    wide_sums = integers[_WIDE_SUMS:]
    flags = integers[_FLAGS:]
    size = floats[:lanes]  # borrowed: the grids are not set yet
    for c in range(lanes):
        size[c] = 0.0
    for r in range(min(rows, 16)):
        row = x[start + r * stride : start + r * stride + lanes]
        for c in range(lanes):
            w = abs(np.float64(row[c]))
            size[c] = w if size[c] < w <= 1.7976931348623157e308 else size[c]
    for c in range(lanes):
        integers[_E + c] = math.frexp(size[c])[1] + 1 if size[c] > 0.0 else 0
    for c in range(lanes):
        move(c, integers[_E + c], floats, integers, narrow)
        integers[_WIDE_E + c] = UNSET
        integers[_TALLY + c] = 0
    for k in range(PLAIN.shape[0]):
        for c in range(lanes):
            integers[c + k * LANES] = 0
    blocks = 0
    for o in range(outer):
        for r in range(0, rows, BLOCK):
            here = start + o * step + r * stride
            count = min(BLOCK, rows - r)
            ahead = BLOCK * stride
            if integers[-2] > 0:
                integers[-2] -= 1
                widen(ZERO, lanes, floats, integers, narrow)
                if wide_block(x, here, count, stride, ZERO, lanes, ahead, wide_grid, wide_sums, flags):
                    for c in range(lanes):
                        if flags[c]:
                            f = feature + c % period
                            sweep(
                                x,
                                here,
                                count,
                                stride,
                                c,
                                flags[c] > 0,
                                floats,
                                integers,
                                narrow,
                                state,
                                layout,
                                f,
                                span,
                            )
            elif plain_block(x, here, count, stride, ZERO, lanes, ahead, floats, integers, flags):
                bad = 0
                for c in range(lanes):
                    if flags[c]:
                        bad += 1
                        widen(c, c + 1, floats, integers, narrow)
                        wide_block(x, here, count, stride, c, c + 1, ZERO, wide_grid, wide_sums, flags)
                        f = feature + c % period
                        sweep(
                            x,
                            here,
                            count,
                            stride,
                            c,
                            flags[c] > 0,
                            floats,
                            integers,
                            narrow,
                            state,
                            layout,
                            f,
                            span,
                        )
                if bad * 4 > lanes:  # not data for the plain window: stay away from it, longer each time
                    integers[-1] = min(2 * integers[-1] + 8, 1024)
                    integers[-2] = integers[-1]
                else:
                    integers[-1] = 0
            blocks += 1
            if blocks == FLUSH:
                for c in range(lanes):
                    settle(c, integers, narrow, state, layout, feature + c % period, span)
                blocks = 0
    for c in range(lanes):
        settle(c, integers, narrow, state, layout, feature + c % period, span)


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
    x,
    half,
    start,
    outer,
    step,
    rows,
    stride,
    lanes,
    period,
    feature,
    floats,
    integers,
    tile,
    state,
    layout,
    span,
):
    """Add float16 (``half``) or bfloat16, given as their bits in uint16: widened into ``tile``, then as float32."""
    bits = tile.view(np.uint32)
    most = len(tile) // lanes
    for o in range(outer):
        for r in range(0, rows, most):
            count = min(most, rows - r)
            for i in range(count):
                here = start + o * step + (r + i) * stride
                row = x[here : here + lanes]
                wide = bits[i * lanes : (i + 1) * lanes]
                for c in range(lanes):
                    wide[c] = np.uint32(row[c]) << 16
                if half:
                    scaled = tile[i * lanes : (i + 1) * lanes]
                    for c in range(lanes):
                        whole = np.int32(row[c])
                        size = whole & 0x7FFF
                        # exponent and fraction move to their place; 2**112 mends the bias, subnormals included
                        wide[c] = np.uint32(size << 13) if size < 0x7C00 else np.uint32((size << 13) | 0x7F800000)
                        scaled[c] *= np.float32(2.0**112) if size < 0x7C00 else np.float32(1.0)
                        scaled[c] = -scaled[c] if whole & 0x8000 else scaled[c]
            scan(
                tile,
                ZERO,
                ONE,
                ZERO,
                count,
                lanes,
                lanes,
                period,
                feature,
                floats,
                integers,
                state,
                layout,
                span,
            )


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


@exact_kernel
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
                    size, power = split(abs(v), layout[6])
                    sign = 1 if v > 0 else -1
                    put_product(state, layout, f, exponent, power, w1, w0, size, sign, span)


@exact_kernel
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
