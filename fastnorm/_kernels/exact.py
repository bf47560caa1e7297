"""Exact sums of x and x**2 of a tile: block by block, into whole numbers, into limbs."""

from __future__ import annotations

import numpy as np

from fastnorm._jit import exact_kernel, inner_kernel
from fastnorm._kernels.lanes import (
    AT_E,
    BLOCKS,
    FAILED,
    FLAGS,
    FLUSH,
    LEFT,
    MARGIN,
    MARGIN_NARROW,
    NEXT,
    STEP,
    TALLY,
    UNSET,
    WIDE_E,
    WIDE_SUMS,
    add_up,
    begin,
    block_rows,
    fitting,
    flush_all,
    move,
)
from fastnorm._kernels.limbs import NAN, NEGINF, ONE, POSINF, ZERO, deposit, flush
from fastnorm._kernels.steps import (
    NARROW,
    PLAIN,
    WIDE,
    WIDE_FLOOR,
    WIDE_FLOOR_NARROW,
    gaps_blocks,
    plain_blocks,
    strict_block,
    wide_block,
)
from fastnorm._kernels.vector import LANES, not_inlined, part, value_at


@inner_kernel
def settle(c, integers, narrow, state, layout, feature, span):
    """Empty lane c: its whole numbers and its count of NaNs."""
    not_inlined()
    flush(integers, NARROW if narrow else PLAIN, c, integers[AT_E + c], state, layout, feature, span)
    if integers[WIDE_E + c] != UNSET:
        flush(integers, WIDE, WIDE_SUMS + c, integers[WIDE_E + c], state, layout, feature, span)
    state[NAN, feature] += integers[TALLY + c]
    integers[TALLY + c] = 0


@inner_kernel
def widen(first, stop, floats, integers, narrow):
    """Have the wide grids of the lanes a little above the plain ones; what they held was flushed."""
    not_inlined()
    margin = MARGIN_NARROW if narrow else MARGIN
    above = 2.0**MARGIN_NARROW if narrow else 2.0**MARGIN
    for c in range(first, stop):
        if integers[WIDE_E + c] != integers[AT_E + c] + margin:
            integers[WIDE_E + c] = integers[AT_E + c] + margin
            floats[c + LANES] = floats[c] * above
            for k in range(WIDE.shape[0]):
                integers[WIDE_SUMS + c + k * LANES] = 0


@inner_kernel
def sweep(x, start, rows, stride, c, outside, floats, integers, narrow, state, layout, feature, span):
    """After a wide block: deposit what lay outside the window of lane c, and let its grid follow the data."""
    not_inlined()
    top = floats[c + LANES] * floats[c + LANES]
    floor = top * (WIDE_FLOOR_NARROW if narrow else WIDE_FLOOR)
    squares = 0.0
    for r in range(rows):
        v = value_at(x, start + r * stride + c)
        if abs(v) == np.inf:
            state[POSINF if v > 0 else NEGINF, feature] += 1
        elif v == v and v != 0.0:
            w = v * v
            squares += w
            if outside and (w >= top or w < floor):
                deposit(state, layout, feature, v, span)
    if squares > 0.0:
        E = fitting(squares, rows)
        if E > integers[AT_E + c] or E + 8 < integers[AT_E + c]:
            settle(c, integers, narrow, state, layout, feature, span)
            move(c, E, floats, integers, narrow)


@inner_kernel
def follow(step, blocks, failed, lanes, integers):
    """Choose how to take the next blocks: the way that fits, and for longer each time that it is needed."""
    integers[FAILED] = max(integers[FAILED] - blocks * lanes, 0) + 32 * failed
    if step < 3 and integers[FAILED] > 8 * lanes:
        integers[FAILED] = 0
        integers[STEP] = step + 1
        integers[NEXT] = min(2 * integers[NEXT] + 8, 1024)
        integers[LEFT] = integers[NEXT]
    elif step > 0:
        integers[LEFT] -= blocks
        if integers[LEFT] == 0:
            integers[STEP] = 0
            integers[FAILED] = 0
    elif integers[FAILED] == 0:
        integers[NEXT] = 0


@inner_kernel
def add_blocks(x, start, blocks, rows, stride, ahead, lanes, period, feature, floats, integers, state, layout, span):
    """Add blocks of up to 64 rows, one after the other; what lies ``ahead`` of each is read next."""
    not_inlined()
    narrow = x.itemsize <= 4
    wide_scales = part(floats, LANES, LANES)
    wide_sums = part(integers, WIDE_SUMS, FLAGS - WIDE_SUMS)
    flags = part(integers, FLAGS, 2 * LANES)
    done = 0
    while done < blocks:
        here = start + done * rows * stride
        step = integers[STEP]
        passed = ZERO
        if step < 2:
            most = min(blocks - done, FLUSH - integers[BLOCKS])
            if step == 0:
                passed = plain_blocks(x, here, most, rows, stride, ZERO, lanes, ahead, floats, integers, flags)
            else:
                most = min(most, integers[LEFT])
                passed = gaps_blocks(x, here, most, rows, stride, ZERO, lanes, ahead, floats, integers, flags)
            here += passed * rows * stride
            flagged = passed < most
        else:
            widen(ZERO, lanes, floats, integers, narrow)
            if step == 2:
                flagged = strict_block(x, here, rows, stride, ZERO, lanes, ahead, wide_scales, wide_sums, flags) != 0
            else:
                flagged = wide_block(x, here, rows, stride, ZERO, lanes, ahead, wide_scales, wide_sums, flags) != 0
        failed = ZERO
        if flagged:
            for c in range(lanes):
                if flags[c]:
                    failed += 1
                    if step < 3:
                        widen(c, c + 1, floats, integers, narrow)
                        wide_block(x, here, rows, stride, c, c + 1, ZERO, wide_scales, wide_sums, flags)
                    f = feature + c % period
                    sweep(x, here, rows, stride, c, flags[c] > 0, floats, integers, narrow, state, layout, f, span)
        if flagged or step > 1:
            passed += 1
        follow(step, passed, failed, lanes, integers)
        done += passed
        integers[BLOCKS] += passed
        if integers[BLOCKS] == FLUSH:
            finish(lanes, period, feature, integers, narrow, state, layout, span)


@inner_kernel
def finish(lanes, period, feature, integers, narrow, state, layout, span):
    """Empty the lanes into the limbs of their features."""
    not_inlined()
    E = integers[AT_E]
    apart = left = ZERO
    for c in range(lanes):
        apart |= integers[AT_E + c] - E
        left |= integers[TALLY + c] | (integers[WIDE_E + c] - UNSET)
    if period == lanes:
        flush_all(lanes, integers, NARROW if narrow else PLAIN, state, layout, feature, span)
    elif period == 1 and apart == 0 and integers[BLOCKS] * lanes <= FLUSH:
        add_up(lanes, integers, NARROW if narrow else PLAIN)
        settle(ZERO, integers, narrow, state, layout, feature, span)
    else:
        left = ONE
    if left != 0:
        for c in range(lanes):
            settle(c, integers, narrow, state, layout, feature + c % period, span)
    integers[BLOCKS] = 0


@exact_kernel
def scan(x, start, outer, step, rows, stride, lanes, period, feature, hop, floats, integers, state, layout, span):
    """Add floats: x[start + o*step + r*stride + c], as ``value_at`` has it, is of feature + o*hop + c % period."""
    narrow = x.itemsize <= 4
    begin(x, start, rows, stride, lanes, period, floats, integers)
    strided = stride > lanes  # then its neighbour to the right comes next, if the tile has all rows
    size = block_rows(rows, stride, lanes, x.itemsize)
    blocks, rest = rows // size, rows % size
    whole = blocks - 1 if strided and not rest else blocks
    ahead = size * stride
    for o in range(outer):
        here = start + o * step
        if hop and o:
            finish(lanes, period, feature, integers, narrow, state, layout, span)
            feature += hop
            begin(x, here, rows, stride, lanes, period, floats, integers)
        add_blocks(x, here, whole, size, stride, ahead, lanes, period, feature, floats, integers, state, layout, span)
        last = rows - whole * size
        if last:
            here += whole * ahead
            after = lanes - whole * ahead if strided else last * stride
            add_blocks(x, here, ONE, last, stride, after, lanes, period, feature, floats, integers, state, layout, span)
    finish(lanes, period, feature, integers, narrow, state, layout, span)
