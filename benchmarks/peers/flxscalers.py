"""flxscalers: StandardScaler in C++, which works in float64.

It shows no statistics. They are read from what its `inverse_transform` makes of 0 and 1, so a variance far smaller than
the mean has fewer digits here than inside.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.peers import Call, Given, Peer


def fit(given: Given) -> Call:
    from flxscalers import StandardScaler

    x, scaler = given.table, StandardScaler()
    scores = np.repeat([[0.0], [1.0]], x.shape[1], axis=1)

    def run() -> Any:
        mean, above = scaler.fit(x).inverse_transform(scores)
        return mean, (above - mean) ** 2

    return run


def transform_to_new(given: Given) -> Call:
    from flxscalers import StandardScaler

    scaler = StandardScaler().fit(given.x)
    return lambda: scaler.transform(given.x)


def fit_transform_to_new(given: Given) -> Call:
    from flxscalers import StandardScaler

    return lambda: StandardScaler().fit_transform(given.x)


PEER = Peer(
    "flxscalers",
    ("flxscalers",),
    {"fit": fit, "transform to new": transform_to_new, "fit_transform to new": fit_transform_to_new},
    dtypes=("float16", "float32", "float64", "uint8", "int32"),
    note="float64 inside and out; statistics read through inverse_transform",
)
