"""The speed of files beside that of the array, of the decoder alone, and of peers over the same file.

Files are in the page cache. FASTNORM_BENCH_BYTES=512000000 for the size that the docs quote.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.data import Array, Data
from fastnorm import Moments, adapt_files

NAMES = [f"c{index}" for index in range(32)]
SIZE = int(os.environ.get("FASTNORM_BENCH_BYTES") or 64_000_000)


@pytest.fixture(scope="module")
def x() -> Array:
    return Data("float64", len(NAMES)).make(SIZE)


@pytest.fixture(scope="module")
def folder(x: Array, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same array as .npy and Parquet; its first tenth as CSV."""
    path = tmp_path_factory.mktemp("files")
    table = pa.table(dict(zip(NAMES, x.T, strict=True)))
    np.save(path / "x.npy", x)
    pq.write_table(table, path / "x.parquet", row_group_size=1 << 17, use_dictionary=False)
    pa.csv.write_csv(table.slice(0, len(x) // 10), path / "x.csv")
    return path


def decode_parquet(path: Path) -> None:
    """What pyarrow takes to unpack the same parts."""
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        for group in range(file.num_row_groups):
            file.read_row_group(group)


def decode_csv(path: Path) -> None:
    with pa.csv.open_csv(path) as batches:
        for _ in batches:
            pass


def partial_fit(path: Path) -> Any:
    scaler = pytest.importorskip("sklearn.preprocessing").StandardScaler()
    if path.suffix == ".npy":
        data = np.load(path, mmap_mode="r")
        parts = (data[start : start + (1 << 17)] for start in range(0, len(data), 1 << 17))
    elif path.suffix == ".csv":
        parts = (np.column_stack(batch.columns) for batch in pa.csv.open_csv(path))
    else:
        parts = (np.column_stack(batch.columns) for batch in pq.ParquetFile(path).iter_batches(1 << 17))
    for part in parts:
        scaler.partial_fit(part)
    return scaler.mean_


def polars(path: Path) -> Any:
    pl = pytest.importorskip("polars")
    frame = pl.scan_parquet(path) if path.suffix == ".parquet" else pl.scan_csv(path)
    mean, variance = pl.all().mean(), pl.all().var(ddof=0).name.suffix("_variance")
    return frame.select(mean, variance).collect().to_numpy()[0, : len(NAMES)]


def duckdb(path: Path) -> Any:
    words = ", ".join([*(f"avg({name})" for name in NAMES), *(f"var_pop({name})" for name in NAMES)])
    [found] = pytest.importorskip("duckdb").sql(f"select {words} from '{path}'").fetchall()
    return np.array(found[: len(NAMES)])


def fastnorm(path: Path) -> Any:
    return adapt_files(path).mean


WORKS: dict[str, list[Callable[[Path], Any]]] = {
    "x.npy": [fastnorm, partial_fit],
    "x.parquet": [fastnorm, decode_parquet, partial_fit, polars, duckdb],
    "x.csv": [fastnorm, decode_csv, partial_fit, polars, duckdb],
}
CASES = [pytest.param(name, work, id=f"{name} {work.__name__}") for name, works in WORKS.items() for work in works]


@pytest.mark.parametrize(("name", "work"), CASES)
def test_statistics(
    name: str, work: Callable[[Path], Any], folder: Path, x: Array, benchmark: BenchmarkFixture
) -> None:
    """Mean and variance of 32 columns of a file; what a peer finds is checked first."""
    found = work(folder / name)
    if found is not None:
        rows = len(x) // 10 if name == "x.csv" else len(x)
        np.testing.assert_allclose(found, x[:rows].mean(0), atol=1e-12)
    benchmark.group = name
    benchmark.pedantic(work, (folder / name,), rounds=5)


def test_in_memory(x: Array, benchmark: BenchmarkFixture) -> None:
    """The array that x.npy holds."""
    benchmark.group = "x.npy"
    benchmark.pedantic(Moments.of, (x,), rounds=5, warmup_rounds=1)
