"""The arrays of the benchmarks, described as values and made from a fixed seed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Fill = Callable[[np.random.Generator, Array], None]
Table = Literal["pandas", "polars"]

FEWEST = 8  # rows: a small size has fewer columns instead,
NARROW = 10  # but not fewer than this
PART = 1 << 20  # elements made at a time, so that making data takes no second copy of them


@dataclass(frozen=True)
class Data:
    """An array of ``columns`` features and as many rows as the size allows, or exactly ``rows``.

    Each row may be an image of ``pixels``. A ``table`` is made of the array by `as_table`.
    """

    dtype: str
    columns: int
    rows: int | None = None
    order: Literal["C", "F"] = "C"
    values: Literal["normal", "offset", "integers", "missing", "lognormal", "bits"] = "normal"
    pixels: tuple[int, ...] = ()
    table: Table | None = None

    def shape(self, size: int) -> tuple[int, ...]:
        """Rows, pixels and columns in at most ``size`` bytes."""
        elements = size // np.dtype(self.dtype).itemsize // math.prod(self.pixels)
        columns = min(self.columns, max(NARROW, elements // (self.rows or FEWEST)))
        return (self.rows or max(1, elements // columns), *self.pixels, columns)

    def make(self, size: int) -> Array:
        """Return the array, always the same one for a size."""
        shape = self.shape(size)
        flat = np.empty(math.prod(shape), self.dtype)
        rng = np.random.default_rng(shape[-1])
        for start in range(0, flat.size, PART):
            FILL[self.values](rng, flat[start : start + PART])
        return flat.reshape(shape) if self.order == "C" else flat.reshape(shape[::-1]).T


def as_table(x: Array, table: Table | None) -> Any:
    """Return the array itself, or a DataFrame of its columns."""
    if table is None:
        return x
    names = [f"c{index}" for index in range(x.shape[1])]
    if table == "polars":
        import polars

        return polars.DataFrame(x, schema=names)
    import pandas

    return pandas.DataFrame(x, columns=names, copy=False)


def _normal(rng: np.random.Generator, out: Array) -> None:
    if out.dtype.char in "fd":
        rng.standard_normal(out=out, dtype=out.dtype)
    else:
        out[...] = rng.standard_normal(out.size)


def _offset(rng: np.random.Generator, out: Array) -> None:
    """N(100 000, 1)."""
    _normal(rng, out)
    out += 100_000


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
    "offset": _offset,
    "integers": _integers,
    "missing": _missing,
    "lognormal": _lognormal,
    "bits": _bits,
}
