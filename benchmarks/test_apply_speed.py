"""The speed of each path through transform: `pytest benchmarks --benchmark-compare`."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.data import Array, Data
from fastnorm import Normalization

Make = Callable[[Data], Array]

FLOATS = ("float32", "float64")
LAYOUTS: list[tuple[int, Literal["C", "F"]]] = [
    *((columns, "C") for columns in (1, 9, 64, 1024, 100_000)),
    (64, "F"),
]


@pytest.mark.parametrize(("columns", "order"), LAYOUTS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_in_place(dtype: str, columns: int, order: Literal["C", "F"], make: Make, benchmark: BenchmarkFixture) -> None:
    """transform(x, out=x)."""
    x = make(Data(dtype, columns, order=order))
    layer = Normalization().adapt(x)
    benchmark.group = f"in place {dtype}"
    benchmark(layer.transform, x, out=x)


@pytest.mark.parametrize("out", [*FLOATS, "new"])
@pytest.mark.parametrize("dtype", [*FLOATS, "uint8", "int32", "int64", "uint64", "float16"])
def test_into(dtype: str, out: str, make: Make, benchmark: BenchmarkFixture) -> None:
    """Transform into another array, or a new one."""
    floating = np.dtype(dtype).kind == "f"
    x = make(Data(dtype, 64, values="normal" if floating else "integers"))
    layer = Normalization().adapt(x)
    target = None if out == "new" else np.empty(x.shape, out)
    benchmark.group = f"into {out}"
    benchmark(layer.transform, x, out=target)


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("dtype", FLOATS)
def test_inverse(dtype: str, affine: bool, make: Make, benchmark: BenchmarkFixture) -> None:
    """inverse_transform(z, out=z)."""
    z = make(Data(dtype, 64))
    layer = Normalization(affine=affine).adapt(z)
    benchmark.group = f"in place {dtype}"
    benchmark(layer.inverse_transform, z, out=z)


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("dtype", FLOATS)
def test_affine(dtype: str, in_place: bool, make: Make, benchmark: BenchmarkFixture) -> None:
    """With gamma and beta."""
    x = make(Data(dtype, 64))
    layer = Normalization(affine=True).adapt(x)
    benchmark.group = f"{'in place' if in_place else 'into'} {dtype}"
    benchmark(layer.transform, x, out=x if in_place else np.empty_like(x))


@pytest.mark.parametrize("verb", ["transform", "transform in place", "update"])
def test_one_row(verb: str, benchmark: BenchmarkFixture) -> None:
    """One row of nine features."""
    table = np.tile([[1.0], [-1.0]], (5, 9))  # mean 0, variance 1: nothing drifts
    layer, row = Normalization().adapt(table), table[:1].copy()
    benchmark.group = "one row"
    if verb == "update":
        benchmark(layer.update, row)
    else:
        benchmark(layer.transform, row, out=None if verb == "transform" else row)
