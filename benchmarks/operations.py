"""What is timed: an operation makes of an array a check of the result and a sample of the time."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from benchmarks import checks, processes
from benchmarks.data import Array
from fastnorm import Moments, Normalization


class Job(NamedTuple):
    """Ready to run: ``check`` raises AssertionError, ``sample`` returns the seconds of a call."""

    check: Callable[[], None]
    sample: Callable[[], float]


Operation = Callable[[Array, int | None, contextlib.ExitStack], Job]


def timed(call: Callable[[], Any], calls: int = 1) -> Callable[[], float]:
    """A sample of the time of ``call``: the mean of so many calls in a row."""

    def sample() -> float:
        start = perf_counter()
        for _ in repeat(None, calls):
            result = call()
        seconds = perf_counter() - start
        del result  # giving memory back is not part of it
        return seconds / calls

    return sample


def fit(x: Array, threads: int | None, stack: contextlib.ExitStack, weights: Array | None = None) -> Job:
    """Adapt, up to a mean and variance that can be read."""
    layer = Normalization(threads=threads)

    def run() -> tuple[Array, Array]:
        layer.adapt(x, weights=weights)
        return layer.mean, layer.variance

    return Job(lambda: checks.moments(x, *run(), weights=weights), timed(run))


def fit_weighted(x: Array, threads: int | None, stack: contextlib.ExitStack) -> Job:
    return fit(x, threads, stack, np.random.default_rng(0).uniform(0.5, 2.0, len(x)))


def moments(x: Array, threads: int | None, stack: contextlib.ExitStack) -> Job:
    """The exact sums alone; mean and variance are read in the check."""

    def run() -> Moments:
        return Moments.of(x, threads=threads)

    def check() -> None:
        found = run()
        checks.moments(x, found.mean, found.variance)

    return Job(check, timed(run))


def _transforming(x: Array, run: Callable[[], Array]) -> Job:
    scores = checks.Scores(x)
    return Job(lambda: scores.compare(run()), timed(run))


def transform_in_place(x: Array, threads: int | None, stack: contextlib.ExitStack) -> Job:
    layer = Normalization(threads=threads).adapt(x)
    return _transforming(x, lambda: layer.transform(x, out=x))


def transform_into(x: Array, threads: int | None, stack: contextlib.ExitStack) -> Job:
    layer, out = Normalization(threads=threads).adapt(x), np.empty_like(x)
    return _transforming(x, lambda: layer.transform(x, out=out))


def transform_to_new(x: Array, threads: int | None, stack: contextlib.ExitStack) -> Job:
    layer = Normalization(threads=threads).adapt(x)
    return _transforming(x, lambda: layer.transform(x))


def fit_transform_in_place(x: Array, threads: int | None, stack: contextlib.ExitStack) -> Job:
    layer = Normalization(threads=threads)
    return _transforming(x, lambda: layer.fit_transform(x, out=x))


def transform_one_row(x: Array, threads: int | None, stack: contextlib.ExitStack) -> Job:
    """One row in place, again and again: with mean 0 and variance 1, lest it becomes subnormal."""
    row, ones = x[:1].copy(), np.ones((1, x.shape[1]), x.dtype)
    steady = Normalization(threads=threads).adapt(np.concatenate([ones, -ones]))
    scores = checks.Scores(x)
    layer = Normalization(threads=threads).adapt(x)

    def check() -> None:
        parts = np.split(x.copy(), len(x))
        scores.compare(np.concatenate([layer.transform(part, out=part) for part in parts]))
        if not np.array_equal(steady.transform(row, out=row), x[:1]):
            raise AssertionError("mean 0 and variance 1 changed a row")

    return Job(check, timed(lambda: steady.transform(row, out=row), 2000))


def update_one_row(x: Array, threads: int | None, stack: contextlib.ExitStack) -> Job:
    layer, row = Normalization(threads=threads), x[:1]

    def check() -> None:
        for part in np.split(x, len(x)):
            layer.update(part)
        checks.moments(x, layer.mean, layer.variance)

    return Job(check, timed(lambda: layer.update(row), 1000))


def _file(x: Array, stack: contextlib.ExitStack) -> tuple[Normalization, Path]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fastnorm-")))
    return Normalization().adapt(x), folder / "state.json"


def save(x: Array, threads: int | None, stack: contextlib.ExitStack) -> Job:
    layer, path = _file(x, stack)

    def check() -> None:
        layer.save(path)
        if Normalization.load(path).moments != layer.moments:
            raise AssertionError("a saved layer is not what was loaded")

    return Job(check, timed(lambda: layer.save(path)))


def load(x: Array, threads: int | None, stack: contextlib.ExitStack) -> Job:
    layer, path = _file(x, stack)
    layer.save(path)

    def check() -> None:
        loaded = Normalization.load(path)
        checks.moments(x, loaded.mean, loaded.variance)

    return Job(check, timed(lambda: Normalization.load(path)))


def warm_process(x: Array, threads: int | None, stack: contextlib.ExitStack) -> Job:
    """A whole process with its kernels in the cache: interpreter, imports, adapt, transform."""

    def check() -> None:
        processes.warm(x.dtype.name)  # which checks what the process computed

    return Job(check, lambda: processes.warm(x.dtype.name))


def cold_compile(x: Array, threads: int | None, stack: contextlib.ExitStack) -> Job:
    """First adapt, transform and transform in place with an empty cache, after the imports."""
    return Job(lambda: None, lambda: processes.cold(x.dtype.name))  # each sample checks itself


OPERATIONS: dict[str, Operation] = {
    "fit": fit,
    "fit with weights": fit_weighted,
    "moments": moments,
    "transform in place": transform_in_place,
    "transform into": transform_into,
    "transform to new": transform_to_new,
    "fit_transform in place": fit_transform_in_place,
    "transform one row": transform_one_row,
    "update one row": update_one_row,
    "save": save,
    "load": load,
    "warm process": warm_process,
    "cold compile": cold_compile,
}
