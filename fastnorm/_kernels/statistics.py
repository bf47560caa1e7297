"""Mean, variance and std of each feature by long division in whole numbers: no approximation, so nothing to bound.

Numbers are digits of 32 bits in uint64, lowest first, without sign; docs/exactness.md ("Rounding once") has the proof.
The last digit of a scratch array is always 0, so that `word` may look one digit beyond the highest.
"""

from __future__ import annotations

import math

import numpy as np

from fastnorm._jit import exact_kernel, inner_kernel
from fastnorm._kernels.quick import CHUNK, OPEN, PARTS, quick_statistics
from fastnorm._kernels.vector import not_inlined

DECIDED, CONSTANT, UNDECIDED = 0, 1, 2  # verdicts
EXTRA = 9  # digits of the mean below those of the sum: three parts of 53 bits with gaps of 31, and 33 more bits
QUOTIENT = 7  # digits of the spread that are divided: at least 128 bits are left for variance and std
LOWEST, HIGHEST = -852, 906  # of the last of 53 bits: far from where float64 under- or overflows or values are shifted

# Every constant that meets a uint64 is one: numba makes a float64 of uint64 + int64.
ONE, HALF, TAIL, SHIFT, DIGIT = np.uint64(1), np.uint64(1 << 10), np.uint64(2047), np.uint64(11), np.uint64(32)
MASK = np.uint64(0xFFFFFFFF)
RADIX = np.uint64(1 << 32)


@inner_kernel
def magnitude(limbs, j, digits):
    """Write the digits of feature j; return the first that is not 0, one past the last, and the sign."""
    rows = limbs.shape[0]
    sign = -1 if rows and limbs[rows - 1, j] < 0 else 1
    low, high, carry = rows, 0, 0
    for i in range(rows):
        total = sign * limbs[i, j] + carry
        carry = total >> 32
        digit = total & 0xFFFFFFFF
        digits[i] = digit
        if digit:
            high = i + 1
            if low == rows:
                low = i
    return low, high, sign


@inner_kernel
def spread(n, limbs, squares, j, units, s, out):
    """Write n*Q - S**2; return the sign (2: not written, for n is beyond a digit), and what `magnitude` says of S."""
    low, high, sign = magnitude(limbs, j, s)
    rows = squares.shape[0]
    if n < 1 or n > 0xFFFFFFFF:
        any_square = False
        for i in range(rows):
            any_square |= squares[i, j] != 0
        return 2 if n or high or any_square else 0, low, high, sign
    if rows and squares[rows - 1, j] < 0:
        return -1, low, high, sign
    out[:] = 0
    carry, factor = np.uint64(0), np.uint64(n)
    for i in range(rows):
        product = factor * np.uint64(squares[i, j]) + carry
        out[units[1] + i] = product & MASK
        carry = product >> DIGIT
    out[units[1] + rows] = carry
    for i in range(low, high):
        at = units[0] + i
        carry, factor = np.uint64(0), s[i]  # what is still to be taken off, at most 2**32
        for k in range(low, high):
            product = factor * s[k] + carry
            left = out[at + k] + RADIX - (product & MASK)
            out[at + k] = left & MASK
            carry = (product >> DIGIT) + (ONE - (left >> DIGIT))
        k = at + high
        while carry and k < len(out) - 1:
            left = out[k] + RADIX - (carry & MASK)
            out[k] = left & MASK
            carry = (carry >> DIGIT) + (ONE - (left >> DIGIT))
            k += 1
        if carry:
            return -1, low, high, sign
    for digit in out:
        if digit:
            return 1, low, high, sign
    return 0, low, high, sign


@inner_kernel
def divide(digits, high, n):
    """Divide the digits below ``high`` by ``n`` < 2**32; return whether anything is left over."""
    rest = np.uint64(0)
    for i in range(high - 1, -1, -1):
        whole = rest << DIGIT | digits[i]
        digits[i] = whole // n
        rest = whole - digits[i] * n
    return rest != 0


@inner_kernel
def length(digits, high):
    """Bits of the number in the digits below ``high``."""
    while high and not digits[high - 1]:
        high -= 1
    return 32 * (high - 1) + math.frexp(np.float64(digits[high - 1]))[1] if high else 0


@inner_kernel
def word(digits, at):
    """The 64 bits from bit ``at``."""
    i, shift = at >> 5, np.uint64(at & 31)
    return digits[i] >> shift | digits[i + 1] << (DIGIT - shift) | digits[i + 2] << DIGIT << (DIGIT - shift)


@inner_kernel
def beyond(digits, at):
    """Whether any bit below bit ``at`` is set."""
    for i in range(at >> 5):
        if digits[i]:
            return True
    return digits[at >> 5] & ((ONE << np.uint64(at & 31)) - ONE) != 0


@inner_kernel
def nearest(digits, bits, more):
    """The first 53 of ``bits`` bits, rounded, ties to even; ``more``: the number is a little more than its digits."""
    first = word(digits, bits - 64)
    whole, tail = first >> SHIFT, first & TAIL
    if tail > HALF or (tail == HALF and (more or whole & ONE == ONE or beyond(digits, bits - 64))):
        return whole + ONE, True
    return whole, False


@inner_kernel
def take_off(digits, high, at, up):
    """Leave the bits below bit ``at``, or what they lack of 2**at if the first 53 bits were rounded ``up``."""
    i, mask = at >> 5, (ONE << np.uint64(at & 31)) - ONE
    for k in range(i + 1, high):
        digits[k] = 0
    digits[i] &= mask
    if up:
        carry = ONE
        for k in range(i + 1):
            left = (MASK - digits[k]) + carry
            digits[k] = left & MASK
            carry = left >> DIGIT
        digits[i] &= mask


@inner_kernel
def compare(root, high, low, more):
    """Sign of (2*root + 1)**2 less the number high * 2**64 + low, and a little more."""
    odd = root + root + ONE
    a, b = odd >> DIGIT, odd & MASK
    square = b * b
    middle = a * b + a * b + (square >> DIGIT)
    above, below = a * a + (middle >> DIGIT), (middle & MASK) << DIGIT | square & MASK
    if above != high:
        return 1 if above > high else -1
    if below != low:
        return 1 if below > low else -1
    return -1 if more else 0


@inner_kernel
def root(digits, bits, odd, more):
    """The square root of the number, or of half of it if ``odd``, rounded to 53 bits; of its first 107 or 108 bits."""
    shift = np.uint64(20 + odd)
    high, low = word(digits, bits - 64), word(digits, bits - 128)
    more = more or beyond(digits, bits - 128) or low & ((ONE << shift) - ONE) != 0
    low = high << (DIGIT + DIGIT - shift) | low >> shift
    near = np.uint64(math.sqrt(np.float64(high >> np.uint64(odd))) * 2097152.0)
    high >>= shift
    while compare(near, high, low, more) < 0:
        near += ONE
    while compare(near - ONE, high, low, more) > 0:
        near -= ONE
    if near & ONE == ONE:
        if compare(near, high, low, more) == 0:
            near += ONE
        elif compare(near - ONE, high, low, more) == 0:
            near -= ONE
    return near


@inner_kernel
def long_mean(s, low, high, unit, n, sign, digits, values, j):
    """Write S/n of feature j as three float64, each the nearest to what is left; return whether all are in range."""
    if not high:
        values[0, j] = values[1, j] = values[2, j] = 0.0
        return True
    exponent = unit + 32 * (low - EXTRA)
    high += EXTRA - low
    for i in range(high):
        digits[i] = s[low + i - EXTRA] if i >= EXTRA else np.uint64(0)
    digits[high] = 0
    divide(digits, high, n)  # what is left over decides nothing: EXTRA digits are enough
    for part in range(3):
        bits = length(digits, high)
        if not bits:
            values[part, j] = 0.0
            continue
        at = bits - 53
        if exponent + at < LOWEST or exponent + at > HIGHEST:
            return False
        whole, up = nearest(digits, bits, False)
        values[part, j] = math.ldexp(sign * np.float64(whole), int(exponent + at))
        if part < 2:
            take_off(digits, high, at, up)
            if up:
                sign = -sign
    return True


@inner_kernel
def long_variance(digits, n, quotient, values, unit, j):
    """Write variance and std of feature j from the digits of n*Q - S**2; return whether they are in range."""
    top = len(digits)
    while not digits[top - 1]:
        top -= 1
    low = top - QUOTIENT
    size = top - low
    more = False
    for i in range(low):
        if digits[i]:
            more = True
            break
    for i in range(size):
        quotient[i] = digits[low + i] if low + i >= 0 else np.uint64(0)
    quotient[size] = 0
    for _ in range(2):
        more = divide(quotient, size, n) or more
    bits = length(quotient, size)
    exponent = unit + 32 * low
    at = exponent + bits - 53
    if at < LOWEST or at > HIGHEST:
        return False
    values[3, j] = math.ldexp(np.float64(nearest(quotient, bits, more)[0]), int(at))
    odd = (exponent + bits) & 1
    values[4, j] = math.ldexp(np.float64(root(quotient, bits, odd, more)), int(exponent + bits + odd) // 2 - 53)
    return True


@inner_kernel
def long_statistics(j, counts, limbs, squares, units, scratch, values):
    """Write the statistics of feature j by long division; return how they were decided."""
    not_inlined()
    s, out, quotient = scratch[0], scratch[1], scratch[2]
    n = counts[j]
    found, low, high, sign = spread(n, limbs, squares, j, units, s, out)
    if n == 0:
        values[:, j] = np.nan
        return DECIDED
    if found not in (0, 1) or not long_mean(s, low, high, units[2], np.uint64(n), sign, quotient, values, j):
        return UNDECIDED
    if found == 0:
        values[3, j] = values[4, j] = 0.0
        return CONSTANT
    return DECIDED if long_variance(out, np.uint64(n), quotient, values, units[3], j) else UNDECIDED


@exact_kernel
def statistics(first, last, counts, limbs, squares, units, scratch, whole, real, values, verdicts):
    """Write three parts of the mean, variance and std of the features from ``first``, and how they were decided."""
    for start in range(first, last, CHUNK):
        count = min(CHUNK, last - start)
        quick_statistics(start, count, counts, limbs, squares, units, whole, real)
        for part in range(5):
            for j in range(count):
                values[part, start + j] = real[PARTS + part * CHUNK + j]
        for j in range(count):
            if real[OPEN + j]:
                verdicts[start + j] = CONSTANT if real[PARTS + 3 * CHUNK + j] == 0.0 else DECIDED
            else:
                verdicts[start + j] = long_statistics(start + j, counts, limbs, squares, units, scratch, values)


@exact_kernel
def signs(first, last, counts, limbs, squares, units, scratch, verdicts):
    """Write the sign of n*Q - S**2 of the features from ``first``; 2 where n is not within a digit."""
    s, out = scratch[0], scratch[1]
    for j in range(first, last):
        verdicts[j] = spread(counts[j], limbs, squares, j, units, s, out)[0]
