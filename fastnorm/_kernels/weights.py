"""Exact sums of weighted values: products of whole numbers, element by element."""

from __future__ import annotations

import numpy as np

from fastnorm._jit import exact_kernel, inner_kernel
from fastnorm._kernels.limbs import NAN, NEGINF, POSINF, SQUARE, TOTAL, WEIGHT, put, split


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
