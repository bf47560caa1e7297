"""What many workers cost: sizes of states, the merge of a tree of them, and a scan: `python -m benchmarks.scale`.

The merge is done, not estimated: as many states as there are workers, each of data of its own, added up in a tree whose
nodes add up to eight. Its critical path is what one worker would do on each level, one level after the other.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import reduce
from itertools import batched
from operator import add
from time import perf_counter
from typing import NamedTuple

import numpy as np

from benchmarks import limits
from fastnorm import Moments

FAN_IN = 8
WORKERS = 1000


class Tree(NamedTuple):
    """What adding up states took."""

    levels: int
    seconds: float  # of the critical path: the slowest node of each level
    moved: int  # bytes that reach a node from another
    result: Moments


def states(workers: int, features: int, dtype: str, different: int = 8) -> list[bytes]:
    """The state of each worker, of ``different`` data sets in turn: 64 rows each, of mean 100 and variance 1."""
    rng = np.random.default_rng(0)
    made = [rng.normal(100.0, 1.0, (64, features)).astype(dtype) for _ in range(min(workers, different))]
    found = [Moments.of(x).to_bytes() for x in made]
    return [found[number % len(found)] for number in range(workers)]


def merged(parts: Sequence[bytes], fan_in: int = FAN_IN) -> Tree:
    """Add up states in a tree; each node reads bytes, adds and writes bytes, as one on another machine would."""
    levels, seconds, moved = 0, 0.0, 0
    while len(parts) > 1:
        times, sums = [], []
        for group in map(list, _batched(parts, fan_in)):
            start = perf_counter()
            sums.append(reduce(add, map(Moments.from_bytes, group)).to_bytes())
            times.append(perf_counter() - start)
            moved += sum(map(len, group[1:]))  # a node is one of those whose states it adds
        parts, levels, seconds = sums, levels + 1, seconds + max(times)
    return Tree(levels, seconds, moved, Moments.from_bytes(parts[0]))
