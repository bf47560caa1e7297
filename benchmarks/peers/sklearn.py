"""scikit-learn's StandardScaler; it works in one thread."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import files
from benchmarks.peers import Call, Given, Peer


def _scaler(**settings: Any) -> Any:
    from sklearn.preprocessing import StandardScaler

    return StandardScaler(**settings)


def _data(given: Given) -> Any:
    return given.x if getattr(given.x, "ndim", 2) == 2 else given.table


def fit(given: Given) -> Call:
    x, scaler = _data(given), _scaler()

    def run() -> Any:
        scaler.fit(x, sample_weight=given.weights)
        return scaler.mean_, scaler.var_

    return run


def partial_fit(given: Given) -> Call:
    batches = given.batches(given.x)

    def run() -> Any:
        scaler = _scaler()
        for batch in batches:
            scaler.partial_fit(batch)
        return scaler.mean_, scaler.var_

    return run


def transform_in_place(given: Given) -> Call:
    scaler = _scaler(copy=False).fit(given.x)
    return lambda: scaler.transform(given.target)


def transform_to_new(given: Given) -> Call:
    scaler = _scaler().fit(given.x)
    return lambda: scaler.transform(given.x)


def inverse_in_place(given: Given) -> Call:
    scaler = _scaler(copy=False).fit(given.x)
    return lambda: scaler.inverse_transform(given.target)


def fit_transform_in_place(given: Given) -> Call:
    scaler = _scaler(copy=False)
    return lambda: scaler.fit_transform(given.target)


def fit_transform_to_new(given: Given) -> Call:
    scaler = _scaler()
    return lambda: scaler.fit_transform(given.x)


def transform_rows(given: Given) -> Call:
    scaler, rows = _scaler(copy=False).fit(given.x), given.batches(given.target)

    def run() -> Any:
        for row in rows:
            scaler.transform(row)
        return given.target

    return run


def partial_fit_file(path: Path) -> Any:
    """Part after part, in constant memory."""
    scaler = _scaler()
    if path.suffix == ".npy":
        x = np.load(path, mmap_mode="r")
        for start in range(0, len(x), files.ROWS):
            scaler.partial_fit(x[start : start + files.ROWS])
    else:
        for batch in files.batches(path):
            scaler.partial_fit(np.column_stack(batch.columns))
    return scaler.mean_, scaler.var_


PEER = Peer(
    "scikit-learn",
    ("scikit-learn",),
    {
        "fit": fit,
        "fit a StandardScaler": fit,
        "fit with weights": fit,
        "partial_fit": partial_fit,
        "transform in place": transform_in_place,
        "transform to new": transform_to_new,
        "inverse in place": inverse_in_place,
        "fit_transform in place": fit_transform_in_place,
        "fit_transform to new": fit_transform_to_new,
        "transform row by row": transform_rows,
        **files.ways(partial_fit_file),
    },
    dtypes=("float16", "float32", "float64", "uint8", "int32"),
    missing=True,
    tables=("pandas", "polars"),
    note="One thread",
)
