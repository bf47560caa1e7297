"""The statistics of most features in float64: quotients and roots with what they lack, and whether that decides them.

Each is computed to far more than 53 bits, with a bound for what is still missing. Where the bound leaves no doubt about
the rounding, it is done; all else is left to long division. docs/exactness.md ("Rounding once") has the bounds.

A chunk of neighbouring features is done at once, in loops without branches. All their numbers are rows of one array:
with an array for each, what LLVM asks to rule out an overlap would cost more than the loops.
"""

from __future__ import annotations

import math

import numpy as np

from fastnorm._jit import inner_kernel
from fastnorm._kernels.vector import not_inlined, part
from fastnorm._kernels.vector import scalar_remainder as remainder

CHUNK = 128  # features whose numbers stay in the first-level cache
DIGITS = 5  # of a sum, at most: 160 bits, which three float64 hold in most cases
PLACES = 16  # of n*Q - S**2, at most
REACH = 400  # of an exponent: far from where anything under- or overflows
LEAST = 2.0**-500  # variance that is taken, beside the highest place
TINY = 2.0**-52  # twice what rounding takes, beside the number that is rounded
DOUBT_MEAN, DOUBT_LEFT = 2.0**-254, 2.0**-49  # of a mean in four parts, beside the first and the last of them
DOUBT = 2.0**-95  # of a variance or std in two parts, beside the first

# Where the rows of a chunk begin: whole numbers, of which S and n*Q - S**2 take several rows, then float64.
SIGN, CARRY, ANY, S, D = 0, CHUNK, 2 * CHUNK, 3 * CHUNK, (3 + DIGITS) * CHUNK
WHOLES = (3 + DIGITS + PLACES) * CHUNK
N, A, B, C, HIGH, LOW, OPEN = 0, CHUNK, 2 * CHUNK, 3 * CHUNK, 4 * CHUNK, 5 * CHUNK, 6 * CHUNK
PARTS, FLOATS = 7 * CHUNK, 12 * CHUNK  # the results: mean in three parts, variance, std

MASK, DIGIT, ONE = np.uint64(0xFFFFFFFF), np.uint64(32), np.int64(1)


@inner_kernel
def two_sum(a, b):
    """The rounded sum, and what rounding took from it."""
    total = a + b
    second = total - a
    return total, (a - (total - second)) + (b - second)


@inner_kernel
def fast_two_sum(a, b):
    """The same for a that is 0, or no multiple of less than b."""
    total = a + b
    return total, b - (total - a)


@inner_kernel
def settled(value, error, doubt):
    """Whether every number within ``doubt`` of value + error is rounded to ``value``."""
    doubt += TINY * abs(error)
    return (value + (error + doubt) == value) & (value + (error - doubt) == value)


@inner_kernel
def digits_of_sums(first, count, limbs, whole):
    """Write the sign of each S and its digits; from which row on and up to which any is not 0, or (0, -1)."""
    rows = limbs.shape[0]
    negative, carry, digit = part(whole, SIGN, count), part(whole, CARRY, count), part(whole, ANY, count)
    for j in range(count):
        negative[j] = carry[j] = 0
    if rows:
        last = part(limbs[rows - 1], first, count)
        for j in range(count):
            negative[j] = last[j] >> 63
    low, high = rows, 0
    for i in range(rows):
        limb = part(limbs[i], first, count)
        used = 0
        for j in range(count):
            total = (limb[j] ^ negative[j]) - negative[j] + carry[j]
            carry[j] = total >> 32
            digit[j] = total & 0xFFFFFFFF
            used |= digit[j]
        if used:
            low, high = min(low, i), i + 1
        if high:
            if i - low < DIGITS:
                digits = part(whole, S + (i - low) * CHUNK, count)
                for j in range(count):
                    digits[j] = digit[j]
            elif used:
                return 0, -1
    return low, high


@inner_kernel
def rows_in_use(first, count, squares):
    """From which row on and up to which a digit is not 0, or (0, -1) for sums that no data can have."""
    low, high = squares.shape[0], 0
    for i in range(squares.shape[0]):
        limb = part(squares[i], first, count)
        used = 0
        for j in range(count):
            used |= limb[j]
        if used < 0:
            return 0, -1
        if used:
            low, high = min(low, i), i + 1
    return low, high


@inner_kernel
def add_products(count, left, right, times, place, whole):
    """Add the products of digits, several times, to the places from this one on."""
    not_inlined()
    low, high = part(whole, D + place * CHUNK, count), part(whole, D + (place + 1) * CHUNK, count)
    for j in range(count):
        product = (np.uint64(left[j]) & MASK) * (np.uint64(right[j]) & MASK)
        low[j] += np.int64(product & MASK) * times
        high[j] += np.int64(product >> DIGIT) * times


@inner_kernel
def spread_of(first, count, counts, squares, low, high, bottom, top, units, whole):
    """Write the digits of n*Q - S**2; their lowest place and their number, 0 where they are too many."""
    lowest, highest = units[1] + bottom, units[1] + top + 1
    if low < high:
        lowest, highest = min(lowest, units[0] + 2 * low), max(highest, units[0] + 2 * high)
    places = max(highest - lowest, 1)
    if places > PLACES:
        return lowest, 0
    for k in range(places * CHUNK):
        whole[D + k] = 0
    n = part(counts, first, count)
    for i in range(bottom, top):
        add_products(count, n, part(squares[i], first, count), ONE, units[1] + i - lowest, whole)
    for i in range(high - low):
        left = part(whole, S + i * CHUNK, count)
        for k in range(i, high - low):
            right = part(whole, S + k * CHUNK, count)
            add_products(count, left, right, -1 if i == k else -2, units[0] + 2 * low + i + k - lowest, whole)
    carry = part(whole, CARRY, count)
    for j in range(count):
        carry[j] = 0
    for k in range(places):
        digits = part(whole, D + k * CHUNK, count)
        for j in range(count):
            total = digits[j] + carry[j]
            digits[j] = total & 0xFFFFFFFF
            carry[j] = total >> 32
    return lowest, places


@inner_kernel
def as_floats(count, digits, places, whole, real):
    """Write S as three float64 and n*Q - S**2 as two, in units of the place above the highest."""
    for j in range(count):
        real[A + j] = real[B + j] = real[C + j] = real[HIGH + j] = real[LOW + j] = 0.0
    for i in range(digits - 1, -1, -1):
        unit, row = 2.0 ** (32 * (i - digits)), part(whole, S + i * CHUNK, count)
        for j in range(count):
            a, rest = fast_two_sum(real[A + j], np.float64(row[j]) * unit)
            b, rest = two_sum(real[B + j], rest)
            c = real[C + j] + rest
            real[OPEN + j] = real[OPEN + j] if c - real[C + j] == rest else 0.0
            real[A + j], real[B + j], real[C + j] = a, b, c
    for k in range(places - 1, -1, -1):
        unit, row = 2.0 ** (32 * (k - places)), part(whole, D + k * CHUNK, count)
        for j in range(count):
            high, rest = fast_two_sum(real[HIGH + j], np.float64(row[j]) * unit)
            real[HIGH + j] = high
            real[LOW + j] += rest


@inner_kernel
def means(count, scale, whole, real):
    """Write S/n in three parts; close what they do not settle."""
    for j in range(count):
        n = real[N + j]
        a, b = fast_two_sum(real[A + j], real[B + j])
        b, c = fast_two_sum(b, real[C + j])
        first = a / n  # long division, by digits of 53 bits: what is left over each time has no error
        a, b = two_sum(-remainder(first, n, a), b)
        b, c = two_sum(b, c)
        second = a / n
        a, b = two_sum(-remainder(second, n, a), b)
        b, c = two_sum(b, c)
        third = a / n
        a, b = two_sum(-remainder(third, n, a), b)
        left = a + (b + c)
        fourth = left / n
        doubt = DOUBT_LEFT * abs(fourth) + DOUBT_MEAN * first
        doubt = 0.0 if (a == 0.0) & (b == 0.0) & (c == 0.0) else doubt
        mean, second = fast_two_sum(first, second)
        middle, third = two_sum(second, third)
        last, fourth = two_sum(third, fourth)
        done = settled(last, fourth, doubt)
        doubt += TINY * abs(last)
        done &= settled(middle, last, doubt)
        done &= settled(mean, middle, doubt + TINY * abs(middle))
        real[OPEN + j] = real[OPEN + j] if done else 0.0
        signed = -scale if whole[SIGN + j] else scale
        real[PARTS + j] = mean * signed + 0.0  # no -0.0
        real[PARTS + CHUNK + j] = middle * signed + 0.0
        real[PARTS + 2 * CHUNK + j] = last * signed + 0.0


@inner_kernel
def variances(count, scale, root, real):
    """Write variance and std; close what they do not settle."""
    for j in range(count):
        n = real[N + j]
        a, b = fast_two_sum(real[HIGH + j], real[LOW + j])
        square = n * n
        variance = a / square
        rest = (b - remainder(variance, square, a)) - variance * remainder(n, n, square)
        variance, rest = fast_two_sum(variance, rest / square)
        done = settled(variance, rest, DOUBT * variance) & (variance >= LEAST)
        std = math.sqrt(variance)
        std, left = fast_two_sum(std, (rest - remainder(std, std, variance)) / (std + std))
        done &= settled(std, left, DOUBT * std)
        constant = a == 0.0
        real[OPEN + j] = real[OPEN + j] if done | constant else 0.0
        real[PARTS + 3 * CHUNK + j] = 0.0 if constant else variance * scale
        real[PARTS + 4 * CHUNK + j] = 0.0 if constant else std * root


@inner_kernel
def quick_statistics(first, count, counts, limbs, squares, units, whole, real):
    """Find the statistics of a chunk of features; ``real[OPEN + j]`` is 0 for those that are not settled."""
    for j in range(count):
        real[OPEN + j] = 0.0
    low, high = digits_of_sums(first, count, limbs, whole)
    bottom, top = rows_in_use(first, count, squares)
    if high < 0 or top < 0:
        return
    lowest, places = spread_of(first, count, counts, squares, low, high, bottom, top, units, whole)
    mean_exponent, exponent = units[2] + 32 * high, units[3] + 32 * (lowest + places)
    if not places or abs(mean_exponent) > REACH or abs(exponent) > REACH:
        return
    for j in range(count):
        n = counts[first + j]
        a_digit = (n > 0) & (n <= 0xFFFFFFFF)
        real[N + j] = np.float64(n) if a_digit else 1.0
        real[OPEN + j] = 1.0 if a_digit & (whole[CARRY + j] == 0) else 0.0  # else n*Q - S**2 is below 0
    as_floats(count, max(high - low, 0), places, whole, real)
    means(count, 2.0**mean_exponent, whole, real)
    variances(count, 2.0**exponent, 2.0 ** (exponent >> 1), real)
