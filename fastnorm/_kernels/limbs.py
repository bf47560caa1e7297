"""Wide whole numbers, one a column: limbs of 32 bits in int64, lowest first, the last one signed."""

from __future__ import annotations

from fastnorm._jit import exact_kernel


@exact_kernel
def carry(limbs, out):
    """Write ``limbs`` with all carries done into ``out``, which has one row more."""
    rows, columns = limbs.shape
    for j in range(columns):
        out[rows, j] = 0
    for i in range(rows):
        for j in range(columns):
            total = limbs[i, j] + out[rows, j]
            out[i, j] = total & 0xFFFFFFFF
            out[rows, j] = total >> 32


@exact_kernel
def trim(limbs):
    """First and last row that are needed, after carries; the last of them is made signed in place."""
    rows, columns = limbs.shape
    high = rows
    while high > 1:
        needed = False
        for j in range(columns):  # a top limb is superfluous where it only repeats the sign of the next
            if limbs[high - 1, j] != -(limbs[high - 2, j] >> 31):
                needed = True
                break
        if needed:
            break
        high -= 1
        for j in range(columns):
            limbs[high - 1, j] += limbs[high, j] << 32
    low = 0
    while low < high:
        for j in range(columns):
            if limbs[low, j] != 0:
                return low, high
        low += 1
    return low, high


@exact_kernel
def add(out, at, limbs, sign):
    """Add ``sign * limbs`` to the rows of ``out`` from ``at``, without carries."""
    for i in range(limbs.shape[0]):
        for j in range(limbs.shape[1]):
            out[at + i, j] += sign * limbs[i, j]
