"""scikit-learn-intelex: the statistics of oneDAL; its `patch_sklearn` leaves StandardScaler as it is.

oneDAL's variance has the divisor n - 1, so it is asked for sums of squares about the mean, which have none.
"""

from __future__ import annotations

from typing import Any

from benchmarks.peers import Call, Given, Peer

RESULTS = ["mean", "sum_squares_centered"]


def fit(given: Given) -> Call:
    from sklearnex.basic_statistics import BasicStatistics

    statistics = BasicStatistics(result_options=RESULTS)

    def run() -> Any:
        statistics.fit(given.x)
        return statistics.mean_, statistics.sum_squares_centered_ / len(given.x)

    return run


def partial_fit(given: Given) -> Call:
    from sklearnex.basic_statistics import IncrementalBasicStatistics

    batches = given.batches(given.x)

    def run() -> Any:
        statistics = IncrementalBasicStatistics(result_options=RESULTS)
        for batch in batches:
            statistics.partial_fit(batch)
        return statistics.mean_, statistics.sum_squares_centered_ / len(given.x)

    return run


PEER = Peer("oneDAL", ("scikit-learn-intelex",), {"fit": fit, "partial_fit": partial_fit})
