"""numbagg: `nanmean` and `nanvar`, compiled by numba, on all cores."""

from __future__ import annotations

from benchmarks.peers import Call, Given, Peer


def fit(given: Given) -> Call:
    import numbagg

    x = given.table
    return lambda: (numbagg.nanmean(x, axis=0), numbagg.nanvar(x, axis=0, ddof=0))


PEER = Peer("numbagg", ("numbagg",), {"fit": fit}, missing=True)
