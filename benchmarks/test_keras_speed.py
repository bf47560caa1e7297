"""A layer of Keras adapted by Keras and by us: FASTNORM_BENCH_BYTES=512000000 pytest benchmarks/test_keras_speed.py."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

import fastnorm.keras
from benchmarks import processes
from benchmarks.conftest import SIZE
from benchmarks.data import Array, Data
from fastnorm import Moments

Make = Callable[[Data], Array]

ADAPT: dict[str, Callable[[Array], Any]] = {
    "Keras": lambda x: keras.layers.Normalization().adapt(x),
    "fastnorm": lambda x: fastnorm.keras.Normalization().adapt(x),
    "Keras's layer by fastnorm": lambda x: fastnorm.keras.adapt(keras.layers.Normalization(), x),
}

# Prints by how many bytes the highest memory of a process rises while it adapts, beyond the array and what a small
# adapt has loaded.
PEAK = """
import resource
import sys
import keras
import fastnorm.keras
from benchmarks.data import Data
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
x = Data("float32", 9).make({size})
{adapt}(x[:1000])
before = peak()
{adapt}(x)
print(peak() - before)
"""
MOST = 16_000_000


@pytest.mark.parametrize("columns", [1, 9, 64])
@pytest.mark.parametrize("who", ADAPT)
def test_adapt(who: str, columns: int, make: Make, benchmark: BenchmarkFixture) -> None:
    """One array of float32."""
    x = make(Data("float32", columns))
    ADAPT[who](x[:1000])  # compiles
    benchmark.group = f"adapt a layer of Keras, {columns} columns"
    benchmark(ADAPT[who], x)


@pytest.mark.parametrize("who", ADAPT)
def test_batches(who: str, make: Make, benchmark: BenchmarkFixture) -> None:
    """The same in batches of 1024 rows."""
    x = make(Data("float32", 64))
    batches = [x[first : first + 1024] for first in range(0, len(x), 1024)]
    benchmark.group = "adapt a layer of Keras, batches"
    benchmark(ADAPT[who], batches)


@pytest.mark.parametrize(
    "adapt", ["fastnorm.keras.Normalization().adapt", "lambda x: fastnorm.keras.adapt(keras.layers.Normalization(), x)"]
)
def test_memory(adapt: str) -> None:
    """No copy of the data, however large they are."""
    printed = processes.run(PEAK.format(size=SIZE, adapt=f"({adapt})"))
    assert int(printed) < MOST


def test_weights(make: Make) -> None:
    """What is timed is right: the weights of the layer are the exact statistics, rounded once."""
    x = make(Data("float32", 9))
    layer, moments = fastnorm.keras.adapt(keras.layers.Normalization(), x), Moments.of(x)
    for got, want in ((layer.adapt_mean, moments.mean), (layer.adapt_variance, moments.variance)):
        np.testing.assert_array_equal(want.astype(np.float32), [float(got[index]) for index in range(x.shape[1])])
