"""The speed of statistics of files beside that of pyarrow unpacking them, and of other libraries."""

from contextlib import ExitStack

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.conftest import SIZE
from benchmarks.data import Data
from benchmarks.peers import Given, installed, load

WORKS = [
    (name, operation)
    for name, peer in {"fastnorm": load("fastnorm"), **installed()}.items()
    for operation in peer.ways
    if operation.endswith((".npy", ".parquet", ".csv"))
]


@pytest.mark.parametrize(("library", "operation"), WORKS)
def test_statistics(library: str, operation: str, benchmark: BenchmarkFixture) -> None:
    """Mean and variance of 32 columns of a file; *read* only unpacks it."""
    benchmark.group = operation.partition(" ")[2]
    with ExitStack() as stack:
        call = load(library).ways[operation](Given(Data("float64", 32).make(SIZE), stack=stack))
        benchmark.pedantic(call, rounds=5, warmup_rounds=1)
