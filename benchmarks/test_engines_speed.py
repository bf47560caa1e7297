"""Scalers of engines beside those that come with them, on the same Parquet files: speed, and digits of the variance.

The digits stand in `extra_info`. Files of 8 MB; FASTNORM_BENCH_BYTES=512000000 for a size that is worth an engine.
"""

import math
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow.parquet import write_table
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.data import Array, Data

NAMES = [f"c{index}" for index in range(9)]
FILES = 8
pytestmark = pytest.mark.filterwarnings("ignore")  # peers have many to give


@pytest.fixture(scope="module")
def x() -> Array:
    """Nine features of mean a million and variance 1."""
    return Data("float64", len(NAMES)).make(int(os.environ.get("FASTNORM_BENCH_BYTES") or 8_000_000)) + 1e6


@pytest.fixture(scope="module")
def folder(x: Array, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("engines")
    for number, part in enumerate(np.array_split(x, FILES)):
        write_table(pa.table(dict(zip(NAMES, part.T, strict=True))), path / f"{number}.parquet")
    return path


@pytest.fixture(scope="module")
def variance(x: Array) -> Fraction:
    """The exact biased variance of the first feature."""
    values = [Fraction(value) for value in x[:, 0].tolist()]
    mean = sum(values, Fraction()) / len(values)
    return sum(((value - mean) ** 2 for value in values), Fraction()) / len(values)


@pytest.fixture
def measure(benchmark: BenchmarkFixture, variance: Fraction) -> Callable[[str, Callable[[], Any]], None]:
    """Time a function that gives the variance of the first feature, and count its correct digits."""

    def run(engine: str, fit: Callable[[], Any]) -> None:
        benchmark.group = f"fit {engine}"
        found = benchmark.pedantic(fit, rounds=3, warmup_rounds=1)
        error = float(abs(Fraction(float(found)) - variance) / variance)
        benchmark.extra_info["digits"] = round(-math.log10(max(error, 1e-17)), 1)
        assert error < 1e-3

    return run


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    pytest.importorskip("ray.data").DataContext.get_current().enable_progress_bars = False
    yield ray
    ray.shutdown()


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    builder = pytest.importorskip("pyspark.sql").SparkSession.builder.master("local[2]")
    with builder.config("spark.ui.enabled", "false").getOrCreate() as session:
        session.sparkContext.setLogLevel("OFF")
        yield session


@pytest.mark.parametrize("library", ["fastnorm.dask", "dask_ml.preprocessing"])
def test_dask(library: str, folder: Path, measure: Any) -> None:
    """DataFrames, with threads."""
    scaler = pytest.importorskip(library).StandardScaler
    frame = pytest.importorskip("dask.dataframe").read_parquet(folder)
    measure("Dask", lambda: np.asarray(scaler().fit(frame).var_)[0])


@pytest.mark.parametrize("library", ["fastnorm.ray", "ray.data.preprocessors"])
def test_ray(library: str, ray: Any, folder: Path, measure: Any) -> None:
    """Two worker processes."""
    scaler = pytest.importorskip(library).StandardScaler
    ds = ray.data.read_parquet(str(folder))
    measure("Ray", lambda: scaler(NAMES).fit(ds).stats_["std(c0)"] ** 2)


@pytest.mark.parametrize("library", ["fastnorm.spark", "pyspark.ml.feature"])
def test_spark(library: str, spark: Any, folder: Path, x: Array, measure: Any) -> None:
    """Two tasks at a time; vectors, which Spark's own scaler needs, are assembled from columns."""
    scaler = pytest.importorskip(library).StandardScaler
    table = spark.read.parquet(str(folder))
    if library == "fastnorm.spark":
        made = scaler(inputCols=NAMES, outputCols=[f"z{name}" for name in NAMES])
    else:
        assembler = pytest.importorskip("pyspark.ml.feature").VectorAssembler(inputCols=NAMES, outputCol="v")
        table, made = assembler.transform(table), scaler(inputCol="v", outputCol="z")
    measure("Spark", lambda: made.fit(table).std[0] ** 2 * (len(x) - 1) / len(x))
