"""Is the result right? Each case is checked before it is timed, by arithmetic of its own.

Means and variances are `math.fsum` in two passes, right to a few units in the last place. That the
library's are right to the last bit is shown in tests/; here it is that no wrong result is timed.
"""

from __future__ import annotations

import math
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]

VALUES = 2_000_000  # about how many are checked where there are many columns
PART = 1 << 20


def chosen(columns: int, rows: int) -> list[int]:
    """Columns to check: at least the first, the middle and the last."""
    count = max(3, min(50, VALUES // rows))
    return sorted({round(i * (columns - 1) / (count - 1)) for i in range(count)})


def expected(column: Array, weights: Floats | None = None) -> tuple[float, float]:
    """Mean and variance of the finite values, scaled meanwhile so that no square overflows."""
    values = column.astype(np.float64)
    keep = np.isfinite(values)
    values = values[keep]
    weight = np.ones(()) if weights is None else weights[keep]
    exponent = int(np.frexp(np.abs(values).max())[1])
    np.ldexp(values, -exponent, out=values)
    total = float(values.size) if weights is None else _sum(weight)
    mean = _sum(values * weight) / total
    values -= mean
    variance = _sum(values * values * weight) / total
    with np.errstate(over="ignore"):
        return float(np.ldexp(mean, exponent)), float(np.ldexp(variance, 2 * exponent))


def _sum(values: Floats) -> float:
    parts = (values[i : i + PART].tolist() for i in range(0, values.size, PART))
    return math.fsum(chain.from_iterable(parts))


def moments(x: Array, mean: Floats, variance: Floats, weights: Floats | None = None) -> None:
    """Raise AssertionError unless these are the mean and the variance of ``x``."""
    rows, columns = x.shape
    if mean.shape != (columns,) or variance.shape != (columns,):
        shapes = f"{mean.shape} and {variance.shape}"
        raise AssertionError(f"the statistics of {columns} columns have the shapes {shapes}")
    for j in chosen(columns, rows):
        want = expected(x[:, j], weights)
        # with weights, fsum adds rounded products
        slack = 0.0 if weights is None else 2.0**-51 * math.sqrt(want[1])
        _near(f"mean of column {j}", mean[j], want[0], 2.0**-51 * abs(want[0]) + slack)
        _near(f"variance of column {j}", variance[j], want[1], 2.0**-48 * want[1])


def _near(name: str, got: float, want: float, tolerance: float) -> None:
    if not (got == want or abs(got - want) <= tolerance):
        raise AssertionError(f"{name} is {got!r}, but must be {want!r} within {tolerance:.1e}")


class Scores:
    """A sample of what ``x`` must become; made before the transform, which may work in place."""

    def __init__(self, x: Array) -> None:
        rows, columns = x.shape
        rng = np.random.default_rng(0)
        self.columns = np.array(chosen(columns, rows))
        self.rows = np.unique([0, rows - 1, *rng.integers(0, rows, 10_000)])
        self.before = x[np.ix_(self.rows, self.columns)].astype(np.float64)
        self.statistics = [expected(x[:, j]) for j in self.columns]

    def compare(self, z: Array) -> None:
        """Raise AssertionError unless ``z`` holds the z-scores."""
        got = z[np.ix_(self.rows, self.columns)]
        for j, (mean, variance) in enumerate(self.statistics):
            std = math.sqrt(variance) or 1.0
            want = (self.before[:, j] - mean) / std
            slack = 2.0**-50 * (1 + abs(mean) / std)
            off = np.abs(got[:, j] - want) > np.finfo(z.dtype).eps * np.abs(want) + slack
            if off.any() or np.isnan(got[:, j]).any():
                i = int((off | np.isnan(got[:, j])).argmax())
                place = self.rows[i], self.columns[j]
                wrong = f"is {got[i, j]!r}, but must be {want[i]!r}"
                raise AssertionError(f"the z-score at {place} {wrong}")
