"""The speed of each path from an array to exact sums: `pytest benchmarks --benchmark-compare`."""

from collections.abc import Callable

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.data import Array, Data
from fastnorm import Moments

Make = Callable[[Data], Array]

FLOATS = ("float32", "float64")
COLUMNS = (1, 9, 64, 256, 1024, 100_000)


@pytest.mark.parametrize("columns", COLUMNS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_rows(dtype: str, columns: int, make: Make, benchmark: BenchmarkFixture) -> None:
    """Row-major floats in the window of the fast kernels."""
    benchmark.group = f"moments {dtype}"
    benchmark(Moments.of, make(Data(dtype, columns)))


@pytest.mark.parametrize("columns", [64, 1024])
@pytest.mark.parametrize("dtype", FLOATS)
def test_column_major(dtype: str, columns: int, make: Make, benchmark: BenchmarkFixture) -> None:
    """Runs of one feature, long and short."""
    benchmark.group = f"moments {dtype}"
    benchmark(Moments.of, make(Data(dtype, columns, order="F")))


@pytest.mark.parametrize("values", ["missing", "lognormal", "bits"])
@pytest.mark.parametrize("dtype", FLOATS)
def test_outside_the_window(dtype: str, values: str, make: Make, benchmark: BenchmarkFixture) -> None:
    """Blocks that the fast kernels hand on: NaN, wide ranges, any bits."""
    benchmark.group = f"moments {dtype}"
    benchmark(Moments.of, make(Data(dtype, 64, values=values)))  # type: ignore[arg-type]


@pytest.mark.parametrize("columns", [1, 64])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "int64", "uint64"])
def test_integers(dtype: str, columns: int, make: Make, benchmark: BenchmarkFixture) -> None:
    """Integers over their whole range."""
    benchmark.group = "moments integers"
    benchmark(Moments.of, make(Data(dtype, columns, values="integers")))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves(dtype: str, make: Make, benchmark: BenchmarkFixture) -> None:
    """16-bit floats, which the kernel widens."""
    if dtype == "bfloat16":
        pytest.importorskip("ml_dtypes")  # which gives NumPy the name
    benchmark.group = "moments halves"
    benchmark(Moments.of, make(Data(dtype, 64)))


@pytest.mark.parametrize("dtype", [*FLOATS, "int32"])
def test_weights(dtype: str, make: Make, benchmark: BenchmarkFixture) -> None:
    """A weight for each row."""
    x = make(Data(dtype, 64, values="integers" if dtype == "int32" else "normal"))
    weights = np.random.default_rng(0).uniform(0.5, 2.0, len(x))
    benchmark.group = "moments with weights"
    benchmark(Moments.of, x, weights=weights)


@pytest.mark.parametrize("kind", ["masked", "big-endian", "every other column"])
def test_copied_blocks(kind: str, make: Make, benchmark: BenchmarkFixture) -> None:
    """What no kernel reads where it lies."""
    x = make(Data("float64", 64))
    if kind == "masked":
        x = np.ma.array(x, mask=x > 2)
    elif kind == "big-endian":
        x = x.astype(">f8")
    else:
        x = x[:, ::2]
    benchmark.group = "moments of copied blocks"
    benchmark(Moments.of, x)


@pytest.mark.parametrize("dtype", FLOATS)
def test_statistics(dtype: str, make: Make, benchmark: BenchmarkFixture) -> None:
    """From the sums of 100 000 features to their mean and variance."""
    x = make(Data(dtype, 100_000, rows=8))

    def fresh() -> tuple[tuple[Moments], dict[str, object]]:
        return (Moments.of(x),), {}

    benchmark.group = "statistics"
    run = benchmark.pedantic
    run(lambda moments: moments.variance, setup=fresh, rounds=5)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("columns", [9, 100_000])
def test_add(columns: int, make: Make, benchmark: BenchmarkFixture) -> None:
    """Two Moments become one."""
    x = make(Data("float64", columns, rows=8))
    left, right = Moments.of(x[:4]), Moments.of(x[4:])
    benchmark.group = f"add {columns} features"
    benchmark(lambda: left + right)
