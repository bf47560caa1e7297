"""NumPy, whose `var` takes the mean that is already there; sums have the dtype of the data. One thread."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.peers import Call, Given, Peer


def _statistics(given: Given, x: Any) -> Any:
    if given.missing:
        mean = np.nanmean(x, axis=0, keepdims=True)
        return mean[0], np.nanvar(x, axis=0, mean=mean)
    mean = np.mean(x, axis=0, keepdims=True)
    return mean[0], np.var(x, axis=0, mean=mean)


def fit(given: Given) -> Call:
    x = given.table
    return lambda: _statistics(given, x)


def fit_with_weights(given: Given) -> Call:
    x, weights = given.x, given.weights

    def run() -> Any:
        mean = np.average(x, axis=0, weights=weights)
        return mean, np.average((x - mean) ** 2, axis=0, weights=weights)

    return run


def _fitted(x: Any) -> tuple[Any, Any]:
    return x.mean(axis=0), x.std(axis=0)


def _apply(x: Any, mean: Any, std: Any, out: Any = None) -> Any:
    z = np.subtract(x, mean, out=out)
    z /= std
    return z


def transform_in_place(given: Given) -> Call:
    mean, std = _fitted(given.x)
    return lambda: _apply(given.target, mean, std, given.target)


def transform_into(given: Given) -> Call:
    mean, std = _fitted(given.x)
    return lambda: _apply(given.x, mean, std, given.target)


def transform_to_new(given: Given) -> Call:
    mean, std = _fitted(given.x)
    return lambda: _apply(given.x, mean, std)


def inverse_in_place(given: Given) -> Call:
    mean, std = _fitted(given.x)

    def run() -> Any:
        z = given.target
        z *= std
        z += mean
        return z

    return run


def fit_transform_in_place(given: Given) -> Call:
    def run() -> Any:
        mean, variance = _statistics(given, given.target)
        return _apply(given.target, mean, np.sqrt(variance), given.target)

    return run


def fit_transform_to_new(given: Given) -> Call:
    def run() -> Any:
        mean, variance = _statistics(given, given.x)
        return _apply(given.x, mean, np.sqrt(variance))

    return run


def transform_rows(given: Given) -> Call:
    (mean, std), rows = _fitted(given.x), given.batches(given.target)

    def run() -> Any:
        for row in rows:
            _apply(row, mean, std, row)
        return given.target

    return run


PEER = Peer(
    "NumPy",
    ("numpy",),
    {
        "fit": fit,
        "fit with weights": fit_with_weights,
        "transform in place": transform_in_place,
        "transform into": transform_into,
        "transform to new": transform_to_new,
        "inverse in place": inverse_in_place,
        "fit_transform in place": fit_transform_in_place,
        "fit_transform to new": fit_transform_to_new,
        "transform row by row": transform_rows,
    },
    dtypes=("float16", "float32", "float64", "uint8", "int32"),
    missing=True,
    note="One thread",
)
