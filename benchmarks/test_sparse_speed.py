"""The speed of fitting sparse matrices: `pytest benchmarks --benchmark-compare`."""

from typing import Literal

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

scipy_sparse = pytest.importorskip("scipy.sparse")
pytest.importorskip("sklearn")

Format = Literal["csr", "csc"]


@pytest.mark.parametrize("form", ["csr", "csc"])
@pytest.mark.parametrize("columns", [1000, 100_000])
def test_fit(columns: int, form: Format, benchmark: BenchmarkFixture) -> None:
    """A million values of float32."""
    from fastnorm.sklearn import StandardScaler

    shape = (20_000_000 // columns, columns)
    x = scipy_sparse.random_array(shape, density=0.05, format=form, dtype=np.float32, rng=0)
    benchmark.group = f"sparse fit {columns} {form}"
    benchmark(StandardScaler(with_mean=False).fit, x)
