"""Bottleneck: `nanmean` and `nanvar` in C, in one thread."""

from __future__ import annotations

from benchmarks.peers import Call, Given, Peer


def fit(given: Given) -> Call:
    import bottleneck

    x = given.table
    return lambda: (bottleneck.nanmean(x, axis=0), bottleneck.nanvar(x, axis=0))


PEER = Peer(
    "Bottleneck", ("bottleneck",), {"fit": fit}, dtypes=("float32", "float64", "int32"), missing=True, note="One thread"
)
