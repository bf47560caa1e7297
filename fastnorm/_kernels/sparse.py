"""Exact sums of scattered values: each comes with the number of its feature."""

from __future__ import annotations

import numpy as np

from fastnorm._jit import exact_kernel
from fastnorm._kernels.limbs import NAN, NEGINF, POSINF, WEIGHT, deposit, put, split
from fastnorm._kernels.weights import put_product


@exact_kernel
def scan_scattered(values, features, state, layout, span):
    """Add float64 values and their squares."""
    for i in range(len(values)):
        v, f = values[i], features[i]
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
