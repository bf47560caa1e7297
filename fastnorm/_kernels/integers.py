"""Exact sums of integers: digits whose products fit an int64."""

from __future__ import annotations

import numpy as np

from fastnorm._jit import exact_kernel, inner_kernel
from fastnorm._kernels.lanes import FLUSH
from fastnorm._kernels.limbs import ZERO, flush
from fastnorm._kernels.steps import BLOCK
from fastnorm._kernels.vector import LANES, part

# As the tables of the steps, but E is 0.
SHORT = np.array([[1, 0, 0], [2, 0, 0]])
MIDDLE = np.array([[1, 0, 0], [2, 32, 0], [2, 16, 1], [2, 0, 0]])
LONG = np.array([[1, 44, 0], [1, 22, 0], [1, 0, 0], [2, 88, 0], [2, 66, 1], [2, 44, 0], [2, 22, 1], [2, 0, 0]])


@exact_kernel
def scan_integer(
    x, mask, start, outer, step, rows, stride, lanes, period, feature, hop, sums, short, state, layout, span
):
    """Add integers of any width; 64-bit ones come as int64, with ``mask`` 2**20 - 1 where they stand for uint64.

    ``sums``, and ``short`` (int32) those of a block of bytes, are 0 before and after.
    """
    blocks = 0
    values, squares = part(short, ZERO, LANES), part(short, LANES, LANES)
    for o in range(outer):
        if hop and o:
            empty_integers(x.itemsize, sums, lanes, period, feature, state, layout, span)
            feature += hop
            blocks = 0
        for r in range(0, rows, BLOCK):
            for i in range(r, min(r + BLOCK, rows)):
                here = start + o * step + i * stride
                row = part(x, here, lanes)
                if x.itemsize == 1:
                    for c in range(lanes):
                        v = np.int32(row[c])
                        values[c] += v
                        squares[c] += v * v
                elif x.itemsize == 2:
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
            if x.itemsize == 1:
                for c in range(lanes):
                    sums[c] += values[c]
                    sums[c + LANES] += squares[c]
                    values[c] = squares[c] = 0
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
