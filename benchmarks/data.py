"""The arrays of the benchmarks, described as values and made from a fixed seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Fill = Callable[[np.random.Generator, Array], None]

FEWEST = 8  # rows: a small size has fewer columns instead
PART = 1 << 20  # elements made at a time, so that making data takes no second copy of them


@dataclass(frozen=True)
class Data:
    """An array of ``columns`` features and as many rows as the size allows, or exactly ``rows``."""

    dtype: str
    columns: int
    rows: int | None = None
    order: Literal["C", "F"] = "C"
    values: Literal["normal", "integers", "missing", "lognormal", "bits"] = "normal"

    def shape(self, size: int) -> tuple[int, int]:
        """Rows and columns in at most ``size`` bytes."""
        elements = size // np.dtype(self.dtype).itemsize
        columns = max(1, min(self.columns, elements // (self.rows or FEWEST)))
        return self.rows or max(1, elements // columns), columns

    def make(self, size: int) -> Array:
        """Return the array, always the same one for a size."""
        rows, columns = self.shape(size)
        flat = np.empty(rows * columns, self.dtype)
        rng = np.random.default_rng(columns)
        for start in range(0, flat.size, PART):
            FILL[self.values](rng, flat[start : start + PART])
        return flat.reshape(rows, columns) if self.order == "C" else flat.reshape(columns, rows).T


def _normal(rng: np.random.Generator, out: Array) -> None:
    if out.dtype.char in "fd":
        rng.standard_normal(out=out, dtype=out.dtype)
    else:
        out[...] = rng.standard_normal(out.size)


def _integers(rng: np.random.Generator, out: Array) -> None:
    limits = np.iinfo(out.dtype)
    out[...] = rng.integers(limits.min, limits.max, out.size, out.dtype, endpoint=True)


def _missing(rng: np.random.Generator, out: Array) -> None:
    """N(0, 1) with 1 % NaN."""
    _normal(rng, out)
    out[rng.random(out.size) < 0.01] = np.nan


def _lognormal(rng: np.random.Generator, out: Array) -> None:
    """exp of N(0, 3²)."""
    out[...] = np.exp(3 * rng.standard_normal(out.size))


def _bits(rng: np.random.Generator, out: Array) -> None:
    """Any bit pattern: all exponents equally often, with some NaN and infinities."""
    out.view(np.uint8)[...] = np.frombuffer(rng.bytes(out.nbytes), np.uint8)


FILL: dict[str, Fill] = {
    "normal": _normal,
    "integers": _integers,
    "missing": _missing,
    "lognormal": _lognormal,
    "bits": _bits,
}
