"""Exact sums of scattered values: each comes with the number of its feature."""

from __future__ import annotations

import numpy as np

from fastnorm._jit import exact_kernel, inner_kernel
from fastnorm._kernels.limbs import NAN, NEGINF, ONE, POSINF, SQUARE, TOTAL, WEIGHT, ZERO, deposit, put, split
from fastnorm._kernels.vector import part
from fastnorm._kernels.weights import put_product

BLOCK = 64  # values whose sums stay within 2**53 units
FEWEST = 3  # values that are a block: slicing them and putting the sums costs as much as depositing two
MAGNITUDE = 0x7FFFFFFFFFFFFFFF  # the bits of abs(v)
INFINITE = 0x7FF0000000000000


@exact_kernel
def gather(values, features, starts, out):
    """Sort values by their features, stably: those of feature f are then out[starts[f]:starts[f + 1]].

    ``starts`` are zeros, two more than there are features.
    """
    for i in range(len(features)):
        starts[features[i] + 2] += 1
    for f in range(2, len(starts)):
        starts[f] += starts[f - 1]
    for i in range(len(features)):
        f = features[i] + 1
        out[starts[f]] = values[i]
        starts[f] += 1


@exact_kernel
def scan_runs(values, starts, feature, low, high, state, layout, span):
    """Add float32 or float64 and their squares: values[starts[i]:starts[i + 1]] are of ``feature + i``.

    Grids stay within 2**low and 2**high, for which there are limbs.
    """
    for i in range(len(starts) - 1):
        start, stop = starts[i], starts[i + 1]
        while start < stop:
            count = min(stop - start, BLOCK)
            add_block(part(values, start, count), count, feature + i, low, high, state, layout, span)
            start += count


@inner_kernel
def add_block(x, count, f, low, high, state, layout, span):
    """Add up to 64 values of a feature: in three slices whose sums do not round (docs/exactness.md), below 2**E.

    A value too small for the grid, and what is no number, goes its own way.
    """
    largest = np.int64(0)
    for i in range(count):
        bits = np.float64(x[i]).view(np.int64) & MAGNITUDE
        bits = bits if bits < INFINITE else np.int64(0)
        largest = bits if bits > largest else largest
    E = (largest >> 52) - 1022
    if count < FEWEST or E < low or E > high:
        for i in range(count):
            add_value(np.float64(x[i]), f, state, layout, span)
        return
    floor = power(E - 19)
    to_first, to_second = 1.5 * power(E + 29), 1.5 * power(E + 5)
    P = T = PP = PQ = PS = QQ = QS = SS = 0.0
    for i in range(count):
        v = np.float64(x[i])
        if floor <= abs(v) < np.inf:
            p = (v + to_first) - to_first  # a multiple of 2**(E - 23)
            t = v - p
            q = (t + to_second) - to_second  # of 2**(E - 47)
            s = t - q  # of 2**(E - 71)
            P += p
            T += t
            PP += p * p
            PQ += p * q
            PS += p * s
            QQ += q * q
            QS += q * s
            SS += s * s
        else:
            add_value(v, f, state, layout, span)
    add_sum(P, E - 23, ZERO, TOTAL, f, state, layout, span)
    add_sum(T, E - 71, ZERO, TOTAL, f, state, layout, span)
    add_sum(PP, 2 * E - 46, ZERO, SQUARE, f, state, layout, span)
    add_sum(PQ, 2 * E - 70, ONE, SQUARE, f, state, layout, span)
    add_sum(PS, 2 * E - 94, ONE, SQUARE, f, state, layout, span)
    add_sum(QQ, 2 * E - 94, ZERO, SQUARE, f, state, layout, span)
    add_sum(QS, 2 * E - 118, ONE, SQUARE, f, state, layout, span)
    add_sum(SS, 2 * E - 142, ZERO, SQUARE, f, state, layout, span)


@inner_kernel
def power(k):
    """2.0**k, for an exponent of normal numbers."""
    return np.int64((k + 1023) << 52).view(np.float64)


@inner_kernel
def add_sum(total, unit, doubled, side, f, state, layout, span):
    """Put a sum that is a multiple of 2**unit into its limbs, ``doubled`` (1) or as it is (0)."""
    whole = np.int64(total * power(-unit))
    if whole != 0:
        put(state, layout[side], layout[side + 1], f, unit + doubled, whole, span, side)


@inner_kernel
def add_value(v, f, state, layout, span):
    """Add one float64 and its square."""
    if v != v:
        state[NAN, f] += 1
    elif abs(v) == np.inf:
        state[POSINF if v > 0 else NEGINF, f] += 1
    elif v != 0.0:
        deposit(state, layout, f, v, span)


@exact_kernel
def scan_scattered_weighted(values, features, weights, state, layout, span):
    """Add w*x and w*x**2; the limbs of the weights collect those of values that do not count."""
    for i in range(len(values)):
        v, f = values[i], features[i]
        whole, exponent = split(weights[i], layout[6])
        if v != v or abs(v) == np.inf:
            state[NAN if v != v else POSINF if v > 0 else NEGINF, f] += 1
            if whole > 0:
                put(state, layout[4], layout[5], f, exponent, whole, span, WEIGHT)
        elif v != 0.0 and whole > 0:
            put_product(state, layout, f, exponent, whole, v, span)
