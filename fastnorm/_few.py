"""Few values in a process that has not loaded the kernels: Python's whole numbers and NumPy, with the same bits.

To load numba takes half a second, to compile the kernels on a new machine five: more than a small table is worth.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MOST = 1 << 15  # values at once
CALL = 1 << 12  # values that a call costs as much as
BUDGET = 1 << 17  # values in a process, about 0.2 s, until kernels are worth loading

_left = BUDGET


def without_kernels(values: int) -> bool:
    """Whether to do without kernels for so many values more."""
    return not kernels_are_loaded() and values <= min(MOST, _left)


def kernels_are_loaded() -> bool:
    """Whether this process has loaded the kernels."""
    return "fastnorm._kernels.limbs" in sys.modules


def spend(values: int) -> None:
    """Count so many values that were done without kernels."""
    global _left  # noqa: PLW0603
    _left -= values + CALL


def sums(x: NDArray[Any]) -> tuple[int, list[int], list[int]]:
    """Sums of the finite values in each column, and of their squares: e, S and Q in units of 2**e and 4**e.

    e is a multiple of 32, 0 for whole numbers.
    """
    spend(x.size)
    if x.dtype.kind in "biu":
        lowest, columns = 0, x.T.tolist()
    else:
        fraction, exponent = np.frexp(x.astype(np.float64))
        there = np.isfinite(fraction) & (fraction != 0)
        whole = np.where(there, fraction * 2.0**53, 0).astype(np.int64)
        place = np.where(there, exponent - 53, 0)
        lowest = int(place.min(initial=0)) // 32 * 32
        pairs = zip(whole.T.tolist(), (place - lowest).T.tolist(), strict=True)
        columns = [[number << bits for number, bits in zip(*pair, strict=True)] for pair in pairs]
    return lowest, [sum(column) for column in columns], [sum(v * v for v in column) for column in columns]


def scores(
    x: NDArray[Any],
    inverse: bool,
    multiplies: bool,
    mean: Floats,
    low: Floats,
    scale: Floats,
    gamma: Floats | None = None,
    beta: Floats | None = None,
) -> Floats:
    """What the kernels of `_kernels.apply` compute with these parameters, operation by operation."""
    spend(x.size)
    with np.errstate(all="ignore"):
        v = x.astype(np.float64)
        if inverse:
            v = v if gamma is None or beta is None else (v - beta) / gamma
            return np.add(v * scale + low, mean)
        v = v - mean - low
        v = v * scale if multiplies else v / scale
        return v if gamma is None or beta is None else v * gamma + beta
