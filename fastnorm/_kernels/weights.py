"""Exact sums of weighted values: blocks in vectors, and products of whole numbers, element by element, for the rest."""

from __future__ import annotations

import numpy as np

from fastnorm._jit import exact_kernel, inner_kernel
from fastnorm._kernels.lanes import AT_E, BLOCKS, FLAGS, FLUSH, begin, fitting, move
from fastnorm._kernels.limbs import NAN, NEGINF, POSINF, SQUARE, TOTAL, WEIGHT, ZERO, flush, put, split
from fastnorm._kernels.steps import (
    BLOCK,
    LIGHTEST,
    WEIGHTED,
    WEIGHTED_FLOOR,
    WEIGHTED_FLOOR_NARROW,
    WEIGHTED_NARROW,
    weighted_block,
)
from fastnorm._kernels.vector import LANES, SPREAD, not_inlined, part

UNIT = 2.0**45  # weights below 1 are two whole numbers: of units 1 / UNIT and 1 / UNIT**2
HIGH, LOW = np.int64(-45), np.int64(-90)
SCRATCH = SPREAD * BLOCK


@exact_kernel
def scan_weighted(
    x, weights, scale, start, rows, stride, lanes, feature, floats, integers, spread, state, layout, scaled, span
):
    """Add w, w*x and w*x**2 of float32 or float64: element (r, c) is x[start + r*stride + c], with weights[r].

    ``scale`` is a power of two that makes the weights less than 1, and ``scaled`` the layout of their sums; ``layout``
    is that of the sums of the weights as they are.
    """
    begin(x, start, rows, stride, lanes, lanes, floats, integers)
    flags = part(integers, FLAGS, 2 * LANES)
    high = low = ZERO
    for first in range(0, rows, BLOCK):
        count = min(BLOCK, rows - first)
        here = start + first * stride
        for r in range(count):
            w = weights[first + r] * scale
            if w < LIGHTEST:
                if weights[first + r] > 0.0:
                    add_row(x, here + r * stride, weights[first + r], lanes, feature, state, layout, span)
                w = 0.0
            units = np.int64(w * UNIT)
            high += units
            low += np.int64((w * UNIT - units) * UNIT)
            for i in range(SPREAD):
                spread[r * SPREAD + i] = w
        ahead = count * stride
        if weighted_block(x, here, count, stride, ZERO, lanes, ahead, floats, integers, flags, spread):
            for c in range(lanes):
                if flags[c]:
                    sweep(x, here, count, stride, c, spread, floats, integers, state, scaled, feature + c, span)
        integers[BLOCKS] += 1
        if integers[BLOCKS] == FLUSH or first + count == rows:
            for c in range(lanes):
                settle(c, integers, x.itemsize == 4, state, scaled, feature + c, span)
                put_weight(HIGH, high, state, scaled, feature + c, span)
                put_weight(LOW, low, state, scaled, feature + c, span)
            high = low = ZERO
            integers[BLOCKS] = 0


@inner_kernel
def put_weight(exponent, whole, state, layout, feature, span):
    """Add whole * 2**exponent to the weight of a feature."""
    not_inlined()
    if whole != 0:
        put(state, layout[WEIGHT], layout[WEIGHT + 1], feature, exponent, whole, span, WEIGHT)


@inner_kernel
def settle(c, integers, narrow, state, layout, feature, span):
    """Empty lane c."""
    not_inlined()
    flush(integers, WEIGHTED_NARROW if narrow else WEIGHTED, c, integers[AT_E + c], state, layout, feature, span)


@inner_kernel
def sweep(x, start, rows, stride, c, spread, floats, integers, state, layout, feature, span):
    """After a block: add what lay outside the window of lane c, and let the window follow the data."""
    not_inlined()
    narrow = x.itemsize == 4
    top = floats[c] * floats[c]
    floor = top * (WEIGHTED_FLOOR_NARROW if narrow else WEIGHTED_FLOOR)
    squares = 0.0
    for r in range(rows):
        v = np.float64(x[start + r * stride + c])
        w = v * v
        whole, exponent = split(spread[r * SPREAD], layout[6])
        if v != v or abs(v) == np.inf:
            state[NAN if v != v else POSINF if v > 0 else NEGINF, feature] += 1
            put_weight(exponent, -whole, state, layout, feature, span)
        elif whole > 0:
            squares += w
            if v != 0.0 and (w >= top or w < floor):
                put_product(state, layout, feature, exponent, whole, v, span)
    E = fitting(squares, rows)
    if squares > 0.0 and (E > integers[AT_E + c] or E + 8 < integers[AT_E + c]):
        settle(c, integers, narrow, state, layout, feature, span)
        move(c, E, floats, integers, narrow)


@inner_kernel
def add_row(x, start, weight, lanes, feature, state, layout, span):
    """Add the finite values of a row, whatever the weight."""
    not_inlined()
    whole, exponent = split(weight, layout[6])
    for c in range(lanes):
        v = np.float64(x[start + c])
        if abs(v) < np.inf:
            put_weight(exponent, whole, state, layout, feature + c, span)
            put_product(state, layout, feature + c, exponent, whole, v, span)


@inner_kernel
def put_product(state, layout, f, exponent, whole, value, span):
    """Add w*x and w*x**2 for w = whole * 2**exponent and a finite x."""
    not_inlined()
    size, power = split(value, layout[6])
    sign = 1 if value > 0.0 else -1
    w1, w0 = whole >> 27, whole & 0x7FFFFFF
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
