"""StandardScaler beside scikit-learn's own; FASTNORM_BENCH_BYTES=512000000 for the size that the docs quote."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
import scipy.sparse
import sklearn.preprocessing
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.data import Array, Data
from fastnorm.sklearn import StandardScaler

Make = Callable[[Data], Array]
Scaler = Callable[..., Any]
Format = Literal["csr", "csc"]

SCALERS = {"fastnorm": StandardScaler, "scikit-learn": sklearn.preprocessing.StandardScaler}
pytestmark = pytest.mark.parametrize("scaler", SCALERS.values(), ids=SCALERS)


@pytest.mark.parametrize("values", ["normal", "missing"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fit(dtype: str, values: Any, scaler: Scaler, make: Make, benchmark: BenchmarkFixture) -> None:
    """Fit to 64 features."""
    benchmark.group = f"fit {dtype} {values}"
    benchmark(scaler().fit, make(Data(dtype, 64, values=values)))


@pytest.mark.parametrize("copy", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_transform(dtype: str, copy: bool, scaler: Scaler, make: Make, benchmark: BenchmarkFixture) -> None:
    """Transform 64 features."""
    x = make(Data(dtype, 64))
    fitted = scaler(copy=copy).fit(x)
    benchmark.group = f"transform {dtype} {'copy' if copy else 'in place'}"
    benchmark(fitted.transform, x)


@pytest.mark.parametrize("verb", ["fit", "transform"])
def test_one_row(verb: str, scaler: Scaler, benchmark: BenchmarkFixture) -> None:
    """One row of nine features: what is around the arithmetic."""
    row = np.arange(9.0)[np.newaxis]
    fitted = scaler().fit(row)
    benchmark.group = f"one row {verb}"
    benchmark(getattr(fitted, verb), row)


@pytest.mark.parametrize("form", ["csr", "csc"])
@pytest.mark.parametrize("columns", [1000, 100_000])
def test_sparse_fit(columns: int, form: Format, scaler: Scaler, benchmark: BenchmarkFixture) -> None:
    """Fit to a million values of float32 in a sparse matrix."""
    shape = (20_000_000 // columns, columns)
    x = scipy.sparse.random_array(shape, density=0.05, format=form, dtype=np.float32, rng=0)
    benchmark.group = f"sparse fit {columns} {form}"
    benchmark(scaler(with_mean=False).fit, x)
