"""The speed of tables beside that of the array with the same values: `pytest benchmarks --benchmark-compare`."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.data import Array, Data
from fastnorm import Moments, Normalization

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")

Make = Callable[[Data], Array]

TABLES: dict[str, Callable[[dict[str, Array]], Any]] = {
    "array": lambda columns: np.column_stack(list(columns.values())),
    "pandas in one block": lambda columns: pd.DataFrame(columns).copy(),
    "pandas by column": lambda columns: pd.DataFrame(columns, copy=False),
    "nullable pandas": lambda columns: pd.DataFrame(columns).astype(columns["c0"].dtype.name.capitalize()),
    "polars": lambda columns: pl.DataFrame(columns, nan_to_null=True),
    "Arrow": lambda columns: pl.DataFrame(columns, nan_to_null=True).to_arrow(),
}


def columns(x: Array) -> dict[str, Array]:
    return {f"c{index}": np.ascontiguousarray(column) for index, column in enumerate(x.T)}


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("values", ["normal", "missing"])
def test_statistics(values: Any, dtype: str, table: str, make: Make, benchmark: BenchmarkFixture) -> None:
    """100 columns, complete or with 1 % missing."""
    x = TABLES[table](columns(make(Data(dtype, 100, values=values))))
    benchmark.group = f"moments of 100 columns of {dtype}, {values}"
    benchmark(Moments.of, x)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("values", ["normal", "missing"])
def test_transform(values: Any, table: str, make: Make, benchmark: BenchmarkFixture) -> None:
    """Another table of 100 columns of float64."""
    x = TABLES[table](columns(make(Data("float64", 100, values=values))))
    layer = Normalization().adapt(x)
    benchmark.group = f"transform 100 columns, {values}"
    benchmark(layer.transform, x)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("rows", [1, 1000])
def test_wide(rows: int, table: str, benchmark: BenchmarkFixture) -> None:
    """1 000 columns of few rows: what a column costs."""
    x = TABLES[table](columns(np.random.default_rng(0).standard_normal((rows, 1000))))
    benchmark.group = f"moments of {rows} x 1000"
    benchmark(Moments.of, x)
