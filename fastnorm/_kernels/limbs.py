"""Wide whole numbers, one a column: limbs of 32 bits in int64, lowest first, the last one signed."""

from __future__ import annotations

import numpy as np

from fastnorm._jit import exact_kernel, inner_kernel
from fastnorm._kernels.vector import LANES, not_inlined, part

NAN, POSINF, NEGINF = 0, 1, 2  # rows of a state before its limbs: how many there are
# Arguments as np.int64: numba compiles a function anew for each literal number that it is called with.
ZERO, ONE = np.int64(0), np.int64(1)
TOTAL, SQUARE, WEIGHT = np.int64(0), np.int64(2), np.int64(4)  # sides of a layout and a span


@inner_kernel
def pieces(value, shift):
    """What value * 2**shift adds to three limbs, for a shift below 32."""
    low, high = (value & 0xFFFFFFFF) << shift, (value >> 32) << shift
    return low & 0xFFFFFFFF, (low >> 32) + (high & 0xFFFFFFFF), high >> 32


@inner_kernel
def put(state, row, exponent, feature, position, value, span, side):
    """Add value * 2**position to the limbs that begin at ``row`` with weight 2**exponent; note the rows touched."""
    at = row + ((position - exponent) >> 5)
    low, middle, high = pieces(value, (position - exponent) & 31)
    state[at, feature] += low
    state[at + 1, feature] += middle
    state[at + 2, feature] += high
    if at < span[side]:
        span[side] = at
    if at + 3 > span[side + 1]:
        span[side + 1] = at + 3


@inner_kernel
def split(value, lowest):
    """Return (whole, exponent) with abs(value) = whole * 2**exponent; no bit of the data lies below 2**lowest."""
    bits = np.float64(value).view(np.int64)
    whole = bits & 0xFFFFFFFFFFFFF
    exponent = (bits >> 52) & 0x7FF
    if exponent > 0:
        whole |= 0x10000000000000
        exponent -= 1
    exponent -= 1074
    if exponent < lowest:
        whole >>= lowest - exponent
        exponent = lowest
    return whole, exponent


@inner_kernel
def deposit(state, layout, feature, value, span):
    """Add one finite float64 and its square, whatever its magnitude."""
    not_inlined()
    whole, exponent = split(value, layout[6])
    put(state, layout[0], layout[1], feature, exponent, whole if value > 0.0 else -whole, span, TOTAL)
    # the square in digits of 32 bits, for all its limbs at once: putting its parts would touch them twice
    high, middle, low = whole >> 32, (whole >> 16) & 0xFFFF, whole & 0xFFFF
    cross = 2 * middle * low
    ones = low * low + ((cross & 0xFFFF) << 16)
    double = 2 * high * (whole & 0xFFFFFFFF)
    tens = middle * middle + (cross >> 16) + (double & 0xFFFFFFFF) + (ones >> 32)
    hundreds = (double >> 32) + high * high + (tens >> 32)
    position = 2 * exponent - layout[3]
    at = layout[2] + (position >> 5)
    shift = position & 31
    digit = (ones & 0xFFFFFFFF) << shift
    state[at, feature] += digit & 0xFFFFFFFF
    digit = ((tens & 0xFFFFFFFF) << shift) + (digit >> 32)
    state[at + 1, feature] += digit & 0xFFFFFFFF
    digit = ((hundreds & 0xFFFFFFFF) << shift) + (digit >> 32)
    state[at + 2, feature] += digit & 0xFFFFFFFF
    digit = ((hundreds >> 32) << shift) + (digit >> 32)
    state[at + 3, feature] += digit & 0xFFFFFFFF
    state[at + 4, feature] += digit >> 32
    if at < span[SQUARE]:
        span[SQUARE] = at
    if at + 5 > span[SQUARE + 1]:
        span[SQUARE + 1] = at + 5


@inner_kernel
def flush(sums, table, first, E, state, layout, feature, span):
    """Move the whole numbers of a lane, the first of them at ``sums[first]``, into its feature's limbs."""
    not_inlined()
    for k in range(table.shape[0]):
        value = sums[first + k * LANES]
        if value != 0:
            side = 2 * (table[k, 0] - 1)
            position = table[k, 0] * E + table[k, 1] + table[k, 2]
            put(state, layout[side], layout[side + 1], feature, position, value, span, side)
            sums[first + k * LANES] = 0


@exact_kernel
def trim(limbs, out, row, column):
    """Write ``limbs`` with all carries done from this place of ``out`` on, and one row more; the rows that are needed.

    They are given as the first and one past the last, counted from ``row``. The last is signed, all others are below
    2**32.
    """
    rows, columns = limbs.shape
    carry = part(out[row + rows], column, columns)
    for j in range(columns):
        carry[j] = 0
    for i in range(rows):
        limb, done = part(limbs[i], ZERO, columns), part(out[row + i], column, columns)
        for j in range(columns):
            total = limb[j] + carry[j]
            done[j] = total & 0xFFFFFFFF
            carry[j] = total >> 32
    high = rows + 1
    while high > 1:
        last, before = part(out[row + high - 1], column, columns), part(out[row + high - 2], column, columns)
        needed = 0
        for j in range(columns):  # a top limb is superfluous where it only repeats the sign of the next
            needed |= last[j] + (before[j] >> 31)
        if needed:
            break
        high -= 1
        for j in range(columns):
            before[j] += last[j] << 32
    for low in range(high):
        first = part(out[row + low], column, columns)
        used = 0
        for j in range(columns):
            used |= first[j]
        if used:
            return low, high
    return high, high
