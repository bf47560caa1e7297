"""The statistics of most features in float64: quotients and roots with what they lack, and whether that decides them.

Each is computed to far more than 53 bits, with a bound for what is still missing. Where the bound leaves no doubt about
the rounding, it is done; all else is left to long division. docs/exactness.md ("Rounding once") has the bounds.
"""

from __future__ import annotations

import math

import numpy as np

from fastnorm._jit import inner_kernel
from fastnorm._kernels.vector import scalar_remainder as remainder

DIGITS = 5  # that are looked at: 129 to 160 bits
REACH = 400  # of the exponent of the lowest: far from where anything under- or overflows
TINY = 2.0**-52  # twice what rounding takes, beside the number that is rounded
DOUBT_MEAN, DOUBT_LEFT = 2.0**-254, 2.0**-49  # of a mean in four parts, beside the first and the last of them
DOUBT = 2.0**-95  # of a variance or std in two parts, beside the first


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
    return value + (error + doubt) == value and value + (error - doubt) == value


@inner_kernel
def leading(digits, high):
    """The digits from ``high - DIGITS`` as three float64, largest first, in units of the lowest; whether they fit."""
    a = np.int64(digits[high - 1])
    b = np.int64(digits[high - 2]) if high > 1 else 0
    c = np.int64(digits[high - 3]) if high > 2 else 0
    d = np.int64(digits[high - 4]) if high > 3 else 0
    e = np.int64(digits[high - 5]) if high > 4 else 0
    first = np.float64((a << 16) + (b >> 16)) * 2.0**112
    second = np.float64(((b & 0xFFFF) << 32) + c) * 2.0**64
    third = np.float64((d << 16) + (e >> 16)) * 2.0**16
    fourth = np.float64(e & 0xFFFF)
    first, rest = fast_two_sum(first, second)
    second, rest = fast_two_sum(rest, third)
    third = rest + fourth
    return first, second, third, third - rest == fourth


@inner_kernel
def power(exponent):
    """The power of two with this exponent, of a number in the normal range."""
    return np.int64((exponent + 1023) << 52).view(np.float64)


@inner_kernel
def quick_mean(digits, low, high, unit, n, sign, values, j):
    """Write S/n of feature j in three parts; return whether they are settled."""
    if not high:
        values[0, j] = values[1, j] = values[2, j] = 0.0
        return True
    exponent = unit + 32 * (high - DIGITS)
    a, b, c, exact = leading(digits, high)
    if high - low > DIGITS or not exact or abs(exponent) > REACH:
        return False
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
    doubt = 0.0 if a == b == c == 0.0 else DOUBT_LEFT * abs(fourth) + DOUBT_MEAN * first
    mean, second = fast_two_sum(first, second)
    middle, third = two_sum(second, third)
    last, fourth = two_sum(third, fourth)
    if not settled(last, fourth, doubt):
        return False
    doubt += TINY * abs(last)
    if not settled(middle, last, doubt):
        return False
    if not settled(mean, middle, doubt + TINY * abs(middle)):
        return False
    scale = sign * power(exponent)
    values[0, j] = mean * scale
    values[1, j] = middle * scale + 0.0  # no -0.0
    values[2, j] = last * scale + 0.0
    return True


@inner_kernel
def quick_variance(digits, unit, n, values, j):
    """Write variance and std of feature j from the digits of n*Q - S**2, not 0; return whether they are settled."""
    high = len(digits)
    while not digits[high - 1]:
        high -= 1
    exponent = unit + 32 * (high - DIGITS)
    if abs(exponent) > REACH:
        return False
    a, b, _, _ = leading(digits, high)
    square = n * n
    variance = a / square
    rest = (b - remainder(variance, square, a)) - variance * remainder(n, n, square)
    variance, rest = fast_two_sum(variance, rest / square)
    if not settled(variance, rest, DOUBT * variance):
        return False
    std = math.sqrt(variance)
    std, left = fast_two_sum(std, (rest - remainder(std, std, variance)) / (std + std))
    if not settled(std, left, DOUBT * std):
        return False
    values[3, j] = variance * power(exponent)
    values[4, j] = std * power(exponent >> 1)
    return True
