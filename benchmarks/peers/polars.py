"""Polars: the mean and the variance of all columns in one query; NaN of an array are nulls here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import files
from benchmarks.peers import Call, Given, Peer


def _frame(given: Given) -> Any:
    import polars

    if isinstance(given.x, np.ndarray):
        return polars.DataFrame(given.table, schema=[f"c{i}" for i in range(given.x.shape[-1])], nan_to_null=True)
    return given.x


def fit(given: Given) -> Call:
    frame = _frame(given)
    return lambda: _statistics(frame.lazy())


def _statistics(frame: Any) -> Any:
    import polars as pl

    query = frame.select(mean=pl.concat_list(pl.all().mean()), variance=pl.concat_list(pl.all().var(ddof=0)))
    row = query.collect()
    return row["mean"][0].to_numpy(), row["variance"][0].to_numpy()


def scan(path: Path) -> Any:
    """A lazy query over a file."""
    import polars as pl

    return _statistics(pl.scan_csv(path) if path.suffix == ".csv" else pl.scan_parquet(path))


def transform_to_new(given: Given) -> Call:
    import polars as pl

    frame = _frame(given)
    mean, std = frame.mean().row(0), frame.std(ddof=0).row(0)
    scores = [(pl.col(n) - m) / s for n, m, s in zip(frame.columns, mean, std, strict=True)]
    return lambda: frame.select(scores)


def fit_transform_to_new(given: Given) -> Call:
    import polars as pl

    frame = _frame(given)
    return lambda: frame.select((pl.all() - pl.all().mean()) / pl.all().std(ddof=0))


PEER = Peer(
    "Polars",
    ("polars",),
    {
        "fit": fit,
        "transform to new": transform_to_new,
        "fit_transform to new": fit_transform_to_new,
        **files.ways(scan, suffixes=(".parquet", ".csv")),
    },
    dtypes=("float32", "float64", "int32", "uint8"),
    missing=True,
    tables=("polars",),
    columns=10_000,
    note="Its DataFrame is made before the time starts",
)
