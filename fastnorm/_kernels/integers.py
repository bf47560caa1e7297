"""Exact sums of integers: digits whose products, and a block of them, fit an int32, a float64 or an int64."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnorm._jit import exact_kernel, inner_kernel
from fastnorm._kernels.lanes import FLUSH, block_rows
from fastnorm._kernels.limbs import ZERO, flush
from fastnorm._kernels.rows import WholeLoop, row_loop
from fastnorm._kernels.vector import fused, shifted

# As the tables of the steps, but E is 0.
SHORT = np.array([[1, 0, 0, 3], [2, 0, 0, 3]])
MIDDLE = np.array([[1, 16, 0, 3], [1, 0, 0, 3], [2, 32, 0, 3], [2, 16, 1, 3], [2, 0, 0, 3]])
LONG = np.array(
    [
        [1, 44, 0, 0],
        [1, 22, 0, 0],
        [1, 0, 0, 0],
        [2, 88, 0, 0],
        [2, 66, 1, 0],
        [2, 44, 0, 0],
        [2, 22, 1, 0],
        [2, 0, 0, 0],
    ]
)


def _short_step(v: Any, constants: Any, state: Any) -> Any:
    """Up to 16 bits: the sums of a block of 64 are below 2**38, those of bytes below 2**22."""
    total, square = state
    return total + v, square + v * v


def _middle_step(v: Any, constants: Any, state: Any) -> Any:
    """32 bits: v = p + q, of which p is a multiple of 2**16 and q is at most half of that."""
    P, Q, PP, PQ, QQ = state
    new = P + v
    p = new - P
    q = v - p
    return new, Q + q, fused(p, p, PP), fused(p, q, PQ), fused(q, q, QQ)


def _long_step(signed: bool) -> Any:
    """64 bits: v = p * 2**44 + q * 2**22 + s, of which p has the sign."""

    def step(v: Any, constants: Any, state: Any) -> Any:
        P, Q, S, PP, PQ, QQ, QS, SS = state
        p, q, s = shifted(v, 44, signed), shifted(v, 22, signed) & 0x3FFFFF, v & 0x3FFFFF
        cross = p * s
        return P + p, Q + q, S + s, PP + p * p, PQ + p * q, QQ + (q * q + (cross + cross)), QS + q * s, SS + s * s

    return step


LOOPS = {
    "int8": WholeLoop(_short_step, SHORT, 32, signed=True),
    "uint8": WholeLoop(_short_step, SHORT, 32, signed=False),
    "int16": WholeLoop(_short_step, SHORT, 0, signed=True),
    "uint16": WholeLoop(_short_step, SHORT, 0, signed=False),
    "int32": WholeLoop(_middle_step, MIDDLE, 0, signed=True),
    "uint32": WholeLoop(_middle_step, MIDDLE, 0, signed=False),
    "int64": WholeLoop(_long_step(True), LONG, 64, signed=True),
    "uint64": WholeLoop(_long_step(False), LONG, 64, signed=False),
}
_loop = row_loop(**LOOPS)


@exact_kernel
def scan_integer(x, start, outer, step, rows, stride, lanes, period, feature, hop, sums, state, layout, span):
    """Add integers of any width; ``sums`` are 0 before and after."""
    size = block_rows(rows, stride, lanes, x.itemsize)
    blocks = 0
    for o in range(outer):
        if hop and o:
            empty_integers(x.itemsize, sums, lanes, period, feature, state, layout, span)
            feature += hop
            blocks = 0
        for r in range(0, rows, size):
            ahead = size * stride if r + size < rows or stride == lanes else lanes - r * stride
            _loop(x, start + o * step + r * stride, min(size, rows - r), stride, ZERO, lanes, ahead, sums)
            blocks += 1
            if blocks == FLUSH:
                empty_integers(x.itemsize, sums, lanes, period, feature, state, layout, span)
                blocks = 0
    empty_integers(x.itemsize, sums, lanes, period, feature, state, layout, span)


@inner_kernel
def empty_integers(itemsize, sums, lanes, period, feature, state, layout, span):
    """Move the whole numbers of every lane into the limbs."""
    table = SHORT if itemsize <= 2 else MIDDLE if itemsize == 4 else LONG
    for c in range(lanes):
        flush(sums, table, c, ZERO, state, layout, feature + c % period, span)
