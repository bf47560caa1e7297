"""From exact sums to correctly rounded statistics, in whole numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastnorm import _few, _sums, _threads
from fastnorm._counted import Counted
from fastnorm._sums import Integers, Sums

Floats = NDArray[np.float64]
Features = slice | NDArray[np.intp]
Wide = tuple[list[int], int]

MANY = 256  # features from which a kernel does the division; fewer are not worth compiling it
PATIENCE = 1 << 14  # until there were so many, a few at a time (0.3 s): after that, all are for the kernel
SHARE = 1 << 13  # features of a unit of work
EVERY = slice(None)

_so_far = 0  # features that came a few at a time


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
    divisors = _divisors(counted, "statistics")
    if divisors is None:
        out = _nothing(len(counted.missing))
        _by_integers(counted, EVERY, out)
        return out
    out, left = _by_kernel(counted, divisors)
    if len(left):
        _by_integers(counted, left, out)
    return out


def _divisors(counted: Counted, kernel: str) -> Integers | None:
    """What the sums are divided by, if it is a job for the kernel: many features, no weights but whole numbers."""
    global _so_far  # noqa: PLW0603
    if len(counted.missing) < MANY and _so_far < PATIENCE and not _at_hand(kernel):
        _so_far += len(counted.missing)
        return None
    weight = counted.weight
    if weight is None:
        return counted.counts
    return weight.limbs[0] if weight.exponent == 0 and len(weight.limbs) == 1 else None


def _at_hand(kernel: str) -> bool:
    """Whether a kernel needs no compiling: then it is faster from one feature on."""
    if not _few.kernels_are_loaded():
        return False
    from fastnorm._jit import is_compiled
    from fastnorm._kernels import statistics as kernels

    return is_compiled(getattr(kernels, kernel))


def _by_kernel(counted: Counted, divisors: Integers) -> tuple[Statistics, NDArray[np.intp]]:
    """Statistics, and the features whose turn is still to come: large counts, results near the ends of float64."""
    from fastnorm._kernels import quick
    from fastnorm._kernels import statistics as kernels

    values, verdicts = np.empty((5, len(divisors))), np.empty(len(divisors), np.int8)
    scratch = ((quick.WHOLES, np.int64), (quick.FLOATS, np.float64))
    _launch(kernels.statistics, counted, divisors, scratch, values, verdicts)
    mean, low, rest, variance, std = values
    left = np.flatnonzero(verdicts == kernels.UNDECIDED)
    # One array for both, unless some are still to be scaled; memory that is new costs more than the division.
    applied = [values.copy() for values in (mean, low, std)] if len(left) else [mean, low, std]
    scaled = Scaled(applied[0], applied[1], rest, applied[2], np.zeros(len(mean), np.int64))
    constant = verdicts == kernels.CONSTANT
    return Statistics(divisors.astype(np.float64), mean, low, variance, std, constant, scaled), left


def _launch(
    kernel: Any, counted: Counted, divisors: Integers, scratch: Sequence[tuple[int, Any]], *out: NDArray[Any]
) -> None:
    """Run a kernel over all features in all workers, each with digits and further scratch of its own."""
    from fastnorm._kernels.statistics import EXTRA, QUOTIENT

    (e, total), (f, square) = counted.total, counted.square
    total, square, divisors = (np.ascontiguousarray(numbers) for numbers in (total, square, divisors))
    low, high = min(2 * e, f), max(2 * e + 64 * len(total), f + 32 * len(square) + 32)
    units = np.array([(2 * e - low) // 32, (f - low) // 32, e, low])
    size = max((high - low) // 32, len(total) + EXTRA, QUOTIENT) + 1

    def work(firsts: Iterator[int]) -> None:
        mine = np.zeros((3, size), np.uint64), *(np.zeros(length, dtype) for length, dtype in scratch)
        for first in firsts:
            kernel(first, min(first + SHARE, len(divisors)), divisors, total, square, units, *mine, *out)

    _threads.share(work, range(0, len(divisors), SHARE), _threads.count())


def _nothing(features: int) -> Statistics:
    scaled = Scaled(*np.full((4, features), np.nan), np.zeros(features, np.int64))  # type: ignore[call-arg]
    return Statistics(*np.full((5, features), np.nan), np.zeros(features, bool), scaled)  # type: ignore[call-arg]


def _by_integers(counted: Counted, which: Features, out: Statistics) -> None:
    """Write the statistics of some features, with Python's integers: clear, and microseconds each."""
    _, (weights, g), (totals, e), (squares, f) = _integers(counted, which)
    features = zip(weights, totals, squares, strict=True)
    columns = zip(*(_of_feature(n, g, total, e, square, f) for n, total, square in features), strict=True)
    for values, column in zip((*out[:-1], *out.scaled), columns, strict=True):
        values[which] = column


def _of_feature(n: int, g: int, total: int, e: int, square: int, f: int) -> tuple[float, ...]:
    """The statistics of one feature in the order of `Statistics`, then what is applied in that of `Scaled`."""
    if not n:
        return (0.0, *[math.nan] * 4, False, *[math.nan] * 4, 0)
    numerator, exponent = _spread(n, g, total, e, square, f)
    mean, low, rest = expansion(total, n, e - g)
    variance = quotient(numerator, n * n, exponent - 2 * g)
    std = root(numerator, n * n, exponent - 2 * g)
    scaled = mean, low, rest, std
    if shift := _shift(mean, std):
        scaled = *expansion(total, n, e - g + shift), root(numerator, n * n, exponent - 2 * g + 2 * shift)
    return quotient(n, 1, g), mean, low, variance, std, numerator == 0, *scaled, shift


def invert(weights: list[int | float], mean: Floats, variance: Floats) -> tuple[Sums, Sums, Sums]:
    """Return the sums of values with these weights, means and variances: n, S = n*mean, Q = n*(variance + mean**2)."""
    scale = 1 << 1088  # every float64 is a whole number of 2**-1088
    columns = zip(weights, mean.tolist(), variance.tolist(), strict=True)
    triples = [(_whole(n, scale), _whole(m, scale), _whole(v, scale)) for n, m, v in columns]
    return (
        _sums.from_integers(-1088, (n for n, _, _ in triples)),
        _sums.from_integers(-2176, (n * m for n, m, _ in triples)),
        _sums.from_integers(-3264, (n * (v * scale + m * m) for n, m, v in triples)),
    )


def _whole(value: int | float, scale: int) -> int:
    numerator, denominator = value.as_integer_ratio()
    return numerator * (scale // denominator)


def _shift(mean: float, std: float) -> int:
    """Power of two by which values are multiplied before they are standardized."""
    if abs(mean) > 2.0**960 or std > 2.0**960:
        return -4  # x - mean could overflow
    if 0.0 < std < 2.0**-960 and abs(mean) < 2.0**-800:
        return 200  # std would be subnormal: not to 53 bits
    return 0


def expansion(numerator: int, denominator: int, exponent: int) -> tuple[float, float, float]:
    """Return ``numerator / denominator * 2**exponent`` as a sum of three float64, each the nearest to what is left."""
    parts = []
    for _ in range(3):
        part = quotient(numerator, denominator, exponent)
        parts.append(part)
        fraction, place = math.frexp(part)
        place -= 53
        low = min(exponent, place)
        taken = int(math.ldexp(fraction, 53)) * denominator
        numerator, exponent = (numerator << exponent - low) - (taken << place - low), low
    return parts[0], parts[1], parts[2]


def impossible(counted: Counted) -> int | None:
    """Return the first feature whose sums no data can have, or None."""
    divisors = _divisors(counted, "signs")
    if divisors is None:
        return next(_impossible(counted, EVERY), None)
    from fastnorm._kernels.statistics import signs

    found = np.empty(len(divisors), np.int8)
    _launch(signs, counted, divisors, (), found)
    wrong = (found < 0) | (counted.counts == 0) & (divisors != 0) | (counted.counts == 1) & (found == 1)
    bad = [int(wrong.argmax())] if wrong.any() else []
    return min((*bad, *_impossible(counted, np.flatnonzero(found == 2))), default=None)


def _impossible(counted: Counted, which: Features) -> Iterator[int]:
    """Those of some features whose sums no data can have."""
    features, (weights, g), (totals, e), (squares, f) = _integers(counted, which)
    counts = counted.counts[which].tolist()
    for j, values, n, total, square in zip(features, counts, weights, totals, squares, strict=True):
        spread = _spread(n, g, total, e, square, f)[0]
        if n < 0 or (n == 0 and (total or square)) or (values == 0 and n) or spread < 0 or (values == 1 and spread):
            yield j


def _integers(counted: Counted, which: Features) -> tuple[list[int], Wide, Wide, Wide]:
    """Numbers of some features, and their weights, sums and sums of squares as whole numbers with an exponent each."""

    def wide(sums: Sums) -> Wide:
        return _sums.to_integers(Sums(sums.exponent, sums.limbs[:, which])), sums.exponent

    features = np.arange(len(counted.missing))[which].tolist()
    weight = (counted.counts[which].tolist(), 0) if counted.weight is None else wide(counted.weight)
    return features, weight, wide(counted.total), wide(counted.square)


def _spread(n: int, g: int, total: int, e: int, square: int, f: int) -> tuple[int, int]:
    """n*Q - S**2 as (whole number, exponent)."""
    low = min(g + f, 2 * e)
    return (n * square << g + f - low) - (total * total << 2 * e - low), low


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
