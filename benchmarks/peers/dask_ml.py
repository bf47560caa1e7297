"""dask-ml: StandardScaler of an array in chunks, with Dask's threads."""

from __future__ import annotations

from typing import Any

from benchmarks.peers import Call, Given, Peer

CHUNK = 1 << 25  # bytes


def _chunks(x: Any) -> Any:
    import dask.array

    rows = max(1, CHUNK * len(x) // x.nbytes)
    return dask.array.from_array(x, chunks=(rows, x.shape[1]), name=False)


def fit(given: Given) -> Call:
    from dask_ml.preprocessing import StandardScaler

    x = _chunks(given.table)

    def run() -> Any:
        scaler = StandardScaler().fit(x)
        return scaler.mean_, scaler.var_

    return run


def transform_to_new(given: Given) -> Call:
    from dask_ml.preprocessing import StandardScaler

    x = _chunks(given.x)
    scaler = StandardScaler().fit(x)
    return lambda: scaler.transform(x).compute()


def fit_transform_to_new(given: Given) -> Call:
    from dask_ml.preprocessing import StandardScaler

    x = _chunks(given.x)
    return lambda: StandardScaler().fit_transform(x).compute()


PEER = Peer(
    "dask-ml",
    ("dask-ml",),
    {"fit": fit, "transform to new": transform_to_new, "fit_transform to new": fit_transform_to_new},
    dtypes=("float32", "float64", "uint8", "int32"),
    missing=True,
)
