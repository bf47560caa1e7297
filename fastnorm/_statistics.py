"""From exact sums to correctly rounded statistics, in whole numbers."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastnorm import _sums
from fastnorm._reduce import Counted

Floats = NDArray[np.float64]


class Statistics(NamedTuple):
    """Correctly rounded values of each feature; NaN where there is no data."""

    weight: Floats
    mean: Floats
    mean_low: Floats
    variance: Floats
    std: Floats
    constant: NDArray[np.bool_]


def of(counted: Counted) -> Statistics:
    """Return the statistics of sums; source: mean = S/n, variance = (n*Q - S**2)/n**2."""
    features = len(counted.missing)
    out = Statistics(*np.full((5, features), np.nan), np.zeros(features, bool))  # type: ignore[call-arg]
    weights, g = _weights(counted)
    totals, squares = _sums.to_integers(counted.total), _sums.to_integers(counted.square)
    e, f = counted.total.exponent, counted.square.exponent
    for j, (n, total, square) in enumerate(zip(weights, totals, squares, strict=True)):
        out.weight[j] = quotient(n, 1, g)
        if not n:
            continue
        mean = quotient(total, n, e - g)
        low_num, low_den = mean.as_integer_ratio()
        # S/n - mean over a common denominator
        num, den, power = _difference((total, n, e - g), (low_num, low_den, 0))
        numerator, exponent = _spread(n, g, total, e, square, f)
        out.mean[j] = mean
        out.mean_low[j] = quotient(num, den, power)
        out.variance[j] = quotient(numerator, n * n, exponent - 2 * g)
        out.constant[j] = numerator == 0
        out.std[j] = root(numerator, n * n, exponent - 2 * g)
    return out


def invert(rows: int, mean: Floats, variance: Floats) -> Counted:
    """Return the sums of ``rows`` values with this mean and variance: S = n*mean, Q = n*(variance + mean**2)."""
    scale = 1 << 1088  # every float64 is a whole number of 2**-1088
    means, variances = ([_whole(v, scale) for v in values.tolist()] for values in (mean, variance))
    none = np.zeros(len(mean), np.int64)
    total = _sums.from_integers(-1088, (rows * m for m in means))
    square = _sums.from_integers(-2176, (rows * (v * scale + m * m) for m, v in zip(means, variances, strict=True)))
    return Counted(rows, none, none.copy(), none.copy(), total, square, None)


def _whole(value: float, scale: int) -> int:
    numerator, denominator = value.as_integer_ratio()
    return numerator * (scale // denominator)


def impossible(counted: Counted) -> int | None:
    """Return the first feature whose sums no data can have, or None."""
    weights, g = _weights(counted)
    totals, squares = _sums.to_integers(counted.total), _sums.to_integers(counted.square)
    e, f, count = counted.total.exponent, counted.square.exponent, counted.counts
    for j, (n, total, square) in enumerate(zip(weights, totals, squares, strict=True)):
        values = int(count[j])
        if n < 0 or (n == 0 and (total or square)) or (values == 0 and n):
            return j
        spread = _spread(n, g, total, e, square, f)[0]
        if spread < 0 or (values == 1 and spread):
            return j
    return None


def _weights(counted: Counted) -> tuple[list[int], int]:
    """Weight of each feature as whole numbers, and their exponent."""
    if counted.weight is None:
        return counted.counts.tolist(), 0
    return _sums.to_integers(counted.weight), counted.weight.exponent


def _spread(n: int, g: int, total: int, e: int, square: int, f: int) -> tuple[int, int]:
    """n*Q - S**2 as (whole number, exponent)."""
    low = min(g + f, 2 * e)
    return (n * square << g + f - low) - (total * total << 2 * e - low), low


def _difference(left: tuple[int, int, int], right: tuple[int, int, int]) -> tuple[int, int, int]:
    """a/b * 2**c - d/e * 2**f as (numerator, denominator, exponent)."""
    (a, b, c), (d, e, f) = left, right
    low = min(c, f)
    return (a * e << c - low) - (d * b << f - low), b * e, low


def quotient(numerator: int, denominator: int, exponent: int) -> float:
    """Return the float64 nearest to ``numerator / denominator * 2**exponent`` (ties to even; inf beyond the range)."""
    try:
        if exponent >= 0:
            return (numerator << exponent) / denominator
        return numerator / (denominator << -exponent)
    except OverflowError:
        return math.inf if numerator > 0 else -math.inf


def root(numerator: int, denominator: int, exponent: int) -> float:
    """Return the float64 nearest to the square root of ``numerator / denominator * 2**exponent``."""
    if numerator == 0:
        return 0.0
    if exponent & 1:
        numerator, exponent = numerator << 1, exponent - 1
    shift = max(0, 128 - numerator.bit_length() + denominator.bit_length())
    shift += shift & 1
    whole, rest = divmod(numerator << shift, denominator)
    low = math.isqrt(whole)
    # one more bit says whether anything lies beyond: enough to round rightly
    return quotient(2 * low + (low * low != whole or rest != 0), 1, (exponent - shift) // 2 - 1)
