"""The size of the arrays of the pytest-benchmark files: FASTNORM_BENCH_BYTES, 64 MB without it."""

import os
from collections.abc import Callable

import pytest

from benchmarks.data import Array, Data

SIZE = int(os.environ.get("FASTNORM_BENCH_BYTES") or 64_000_000)


@pytest.fixture
def make() -> Callable[[Data], Array]:
    """Make an array of the size of this run."""
    return lambda data: data.make(SIZE)
