"""Is the result right? Everything is checked before it is timed, by arithmetic that shares nothing with fastnorm.

Sums are exact: the halves of each significand are whole numbers, which `numpy.bincount` adds up by exponent without
rounding; products are pairs of doubles (T. J. Dekker, "A floating-point technique for extending the available
precision", Numer. Math. 18, 1971). So a mean and a variance are rationals, rounded once. Values are scaled to at most
1, and what is below 2**-1000 of the largest is lost.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]

VALUES = 2_000_000  # about how many are checked where there are many columns
PART = 1 << 20
UNIT = 1200  # 2**-UNIT divides every double of at most 1
ALL = 16.0  # digits of a double that is right to the last bit
ENOUGH = 2.0  # digits; with fewer, the result of a peer is called wrong


class Digits(NamedTuple):
    """Correct decimal digits: -log10 of the relative error, the least of all columns that were looked at."""

    mean: float
    variance: float


def chosen(columns: int, rows: int) -> list[int]:
    """Columns to check: at least the first, the middle and the last."""
    count = max(3, min(50, VALUES // rows))
    return sorted({round(i * (columns - 1) / (count - 1)) for i in range(count)})


def expected(column: Array, weights: Floats | None = None) -> tuple[float, float]:
    """Mean and variance of the finite values, rounded once."""
    values = doubles(column)
    keep = np.isfinite(values)
    values = values[keep]
    exponent = int(np.frexp(np.abs(values).max())[1])
    np.ldexp(values, -exponent, out=values)
    square, rest = product(values, values)
    parts = [[values], [square, rest]]
    total = Fraction(values.size)
    if weights is not None:
        weight = weights[keep].astype(np.float64)
        parts = [[term for factor in factors for term in product(factor, weight)] for factors in parts]
        total = exact(weight)
    mean, squares = (sum(map(exact, terms), Fraction()) / total for terms in parts)
    scale = Fraction(2) ** exponent
    return float(mean * scale), rounded((squares - mean**2) * scale**2)


def doubles(values: Array) -> Floats:
    with np.errstate(invalid="ignore"):  # of signalling NaN
        return values.astype(np.float64)


def rounded(value: Fraction) -> float:
    """The nearest double; infinity beyond all of them."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def product(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Dekker's product: two arrays whose sum is x * y without rounding."""
    (x1, x2), (y1, y2) = split(x), split(y)
    high = x * y
    return high, ((x1 * y1 - high) + x1 * y2 + x2 * y1) + x2 * y2


def split(x: Floats) -> tuple[Floats, Floats]:
    """Veltkamp's splitting into two halves of 26 bits."""
    factor = (2.0**27 + 1) * x
    high = factor - (factor - x)
    return high, x - high


def exact(values: Floats) -> Fraction:
    """The sum of finite values, of which none is beyond 1 by more than a few hundred binades."""
    result = 0
    for start in range(0, values.size, PART):
        significand, exponent = np.frexp(values[start : start + PART])
        lowest = int(exponent.min())
        significand *= 2.0**26
        high = np.trunc(significand)
        low = (significand - high) * 2.0**27
        places = exponent - lowest
        sums = (np.bincount(places, half).tolist() for half in (high, low))  # below 2**47: no rounding
        for place, (upper, lower) in enumerate(zip(*sums, strict=True)):
            shift = place + lowest - 53 + UNIT
            whole = (int(upper) << 27) + int(lower)
            result += whole << shift if shift >= 0 else 0
    return Fraction(result, 1 << UNIT)


def digits(got: Floats, want: Floats) -> float:
    """Correct digits of the worst of some numbers; 0 for NaN."""
    with np.errstate(invalid="ignore"):  # infinity less itself
        off = np.where(got == want, 0.0, np.abs(got - want))
    error = np.divide(off, np.abs(want), out=off, where=want != 0)
    worst = float(np.max(error, initial=0.0))  # NaN if one is
    if math.isnan(worst) or worst >= 1:
        return 0.0
    return ALL if worst == 0 else round(min(ALL, -math.log10(worst)), 1)


class Reference:
    """What must come out for the rows of ``x``: of some columns the statistics, of some elements the scores."""

    def __init__(self, x: Array, weights: Floats | None = None) -> None:
        table = x.reshape(-1, x.shape[-1])
        rows, self.features = table.shape
        rng = np.random.default_rng(0)
        self.columns = np.array(chosen(self.features, rows))
        self.rows = np.unique([0, rows - 1, *rng.integers(0, rows, 10_000)])
        self.before = doubles(table[np.ix_(self.rows, self.columns)])
        found = [expected(table[:, j], weights) for j in self.columns]
        self.mean, self.variance = np.array(found).T

    def statistics(self, mean: Any, variance: Any) -> Digits:
        """Correct digits of a mean and a variance; AssertionError for another number of them."""
        found = []
        for name, values, want in (("mean", mean, self.mean), ("variance", variance, self.variance)):
            array = np.asarray(values, np.float64).reshape(-1)
            if array.size != self.features:
                raise AssertionError(f"the {name} of {self.features} columns has {array.size} numbers")
            found.append(digits(array[self.columns], want))
        return Digits(*found)

    def useless(self, mean: Any) -> bool:
        """Whether a mean is off by more than a hundredth of the standard deviation."""
        off = np.abs(np.asarray(mean, np.float64).reshape(-1)[self.columns] - self.mean)
        return not bool((off <= 10**-ENOUGH * np.sqrt(self.variance)).all())

    def wanted(self, inverse: bool = False) -> Floats:
        """The scores of the elements that are looked at, or the values of which they are the scores."""
        std = np.sqrt(self.variance)
        std[std == 0] = 1.0
        return self.before * std + self.mean if inverse else (self.before - self.mean) / std

    def error(self, z: Any, inverse: bool = False) -> float:
        """The largest error of a score, in standard deviations or of the score itself where that is larger."""
        want = self.wanted(inverse)
        got = np.asarray(self._looked_at(z), np.float64)
        off = np.abs(got - want) / np.maximum(1.0, np.abs(want))
        return math.inf if np.isnan(off).any() else float(off.max())

    def compare(self, z: Array, inverse: bool = False) -> None:
        """Raise AssertionError unless ``z`` holds the scores, to an ulp of its dtype and what `wanted` rounds."""
        got, want = self._looked_at(z), self.wanted(inverse)
        std = np.sqrt(self.variance)
        std[std == 0] = 1.0
        slack = 2.0**-50 * (np.abs(want) + np.abs(self.mean) if inverse else 1 + np.abs(self.mean) / std)
        off = ~(np.abs(got - want) <= np.finfo(got.dtype).eps * np.abs(want) + slack)
        if off.any():
            i, j = np.argwhere(off)[0]
            place = int(self.rows[i]), int(self.columns[j])
            raise AssertionError(f"the score at {place} is {got[i, j]!r}, but must be {want[i, j]!r}")

    def _looked_at(self, z: Any) -> Array:
        table = np.asarray(z)
        return table.reshape(-1, table.shape[-1])[np.ix_(self.rows, self.columns)]
