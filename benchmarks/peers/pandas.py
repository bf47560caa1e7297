"""pandas: the mean and the variance of a DataFrame."""

from __future__ import annotations

from benchmarks.peers import Call, Given, Peer


def fit(given: Given) -> Call:
    return lambda: (given.x.mean(), given.x.var(ddof=0))


def fit_transform_to_new(given: Given) -> Call:
    return lambda: (given.x - given.x.mean()) / given.x.std(ddof=0)


PEER = Peer(
    "pandas",
    ("pandas",),
    {"fit": fit, "fit_transform to new": fit_transform_to_new},
    dtypes=("float32", "float64", "int32", "uint8"),
    missing=True,
    tables=("pandas",),
    arrays=False,
)
