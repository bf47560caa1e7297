"""From exact sums to correctly rounded statistics, in whole numbers."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastnorm import _sums
from fastnorm._reduce import Counted

Floats = NDArray[np.float64]


class Scaled(NamedTuple):
    """What is applied to x * 2**shift, where the shift keeps float64 from under- and overflow; mostly it is 0."""

    mean: Floats
    low: Floats
    rest: Floats  # what mean + low still lack, which counts for integers far from 0
    std: Floats
    shift: NDArray[np.int64]


class Statistics(NamedTuple):
    """Correctly rounded values of each feature; NaN where there is no data."""

    weight: Floats
    mean: Floats
    mean_low: Floats
    variance: Floats
    std: Floats
    constant: NDArray[np.bool_]
    scaled: Scaled


def of(counted: Counted) -> Statistics:
    """Return the statistics of sums; source: mean = S/n, variance = (n*Q - S**2)/n**2."""
    features = len(counted.missing)
    scaled = Scaled(*np.full((4, features), np.nan), np.zeros(features, np.int64))  # type: ignore[call-arg]
    out = Statistics(*np.full((5, features), np.nan), np.zeros(features, bool), scaled)  # type: ignore[call-arg]
    weights, g = _weights(counted)
    totals, squares = _sums.to_integers(counted.total), _sums.to_integers(counted.square)
    e, f = counted.total.exponent, counted.square.exponent
    for j, (n, total, square) in enumerate(zip(weights, totals, squares, strict=True)):
        out.weight[j] = quotient(n, 1, g)
        if not n:
            continue
        numerator, exponent = _spread(n, g, total, e, square, f)
        out.mean[j], out.mean_low[j], rest = expansion(total, n, e - g)
        out.variance[j] = quotient(numerator, n * n, exponent - 2 * g)
        out.constant[j] = numerator == 0
        out.std[j] = root(numerator, n * n, exponent - 2 * g)
        shift = _shift(out.mean[j], out.std[j])
        scaled.shift[j] = shift
        if shift:
            scaled.mean[j], scaled.low[j], scaled.rest[j] = expansion(total, n, e - g + shift)
            scaled.std[j] = root(numerator, n * n, exponent - 2 * g + 2 * shift)
        else:
            scaled.mean[j], scaled.low[j], scaled.rest[j] = out.mean[j], out.mean_low[j], rest
            scaled.std[j] = out.std[j]
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


def _shift(mean: float, std: float) -> int:
    """Power of two by which values are multiplied before they are standardized."""
    if abs(mean) > 2.0**960 or std > 2.0**960:
        return -4  # x - mean could overflow
    if std < 2.0**-960 and abs(mean) < 2.0**-800:
        return 200  # std would be subnormal: not to 53 bits
    return 0


def expansion(numerator: int, denominator: int, exponent: int) -> tuple[float, float, float]:
    """Return ``numerator / denominator * 2**exponent`` as a sum of three float64, each the nearest to what is left."""
    parts = []
    left = (numerator, denominator, exponent)
    for _ in range(3):
        part = quotient(*left)
        parts.append(part)
        above, below = part.as_integer_ratio()
        left = _difference(left, (above, below, 0))
    return parts[0], parts[1], parts[2]


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
