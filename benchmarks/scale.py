"""What many workers cost: sizes of states, the merge of a tree of them, and a scan: `python -m benchmarks.scale`.

The merge is done, not estimated: as many states as there are workers, each of data of its own, added up in a tree whose
nodes add up to eight. Its critical path is what one worker would do on each level, one level after the other.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from time import perf_counter, process_time
from typing import NamedTuple

import numpy as np

from benchmarks import limits
from fastnorm import Moments

FAN_IN = 8
WORKERS = 1000


class Tree(NamedTuple):
    """What adding up states took."""

    levels: int
    seconds: float  # of the critical path: the slowest node of each level; of the processor, which others may use too
    moved: int  # bytes that reach a node from another
    result: Moments


def states(workers: int, features: int, dtype: str, different: int = 8) -> list[bytes]:
    """The state of each worker, of ``different`` data sets in turn: 64 rows each, of mean 100 and variance 1."""
    rng = np.random.default_rng(0)
    made = (rng.normal(100.0, 1.0, (64, features)).astype(dtype) for _ in range(min(workers, different)))
    found = [Moments.of(x).to_bytes() for x in made]
    return [found[number % len(found)] for number in range(workers)]


def merged(parts: Sequence[bytes], fan_in: int = FAN_IN) -> Tree:
    """Add up states in a tree; each node reads bytes, adds and writes bytes, as one on another machine would."""
    levels, seconds, moved = 0, 0.0, 0
    while len(parts) > 1:
        times, sums = [], []
        for first in range(0, len(parts), fan_in):
            group = parts[first : first + fan_in]
            start = process_time()
            sums.append(reduce(add, map(Moments.from_bytes, group)).to_bytes())
            times.append(process_time() - start)
            moved += sum(map(len, group[1:]))  # a node is one of those whose states it adds
        parts, levels, seconds = sums, levels + 1, seconds + max(times)
    return Tree(levels, seconds, moved, Moments.from_bytes(parts[0]))


def scan_speed(bytes_: int = 256_000_000) -> tuple[float, float]:
    """Bytes a second that one thread takes into moments, and that it can read: 64 float32 features."""
    x = np.random.default_rng(0).standard_normal((bytes_ // 256, 64), np.float32)

    def seconds(work: Callable[[], object]) -> float:
        work()
        times = []
        for _ in range(5):
            start = perf_counter()
            work()
            times.append(perf_counter() - start)
        return sorted(times)[2]

    return x.nbytes / seconds(lambda: Moments.of(x, threads=1)), x.nbytes / seconds(lambda: limits.read(x, 1))


def report(workers: int, features: Sequence[int]) -> str:
    """The tables of docs/scale.md."""
    names = ("features", "dtype", "state", "a feature", "tree", "levels", "moved", "the bits of one sum")
    lines = [f"| {' | '.join(names)} |", "|--:|---|--:|--:|--:|--:|--:|---|"]
    for count in features:
        for dtype in ("float32", "float64"):
            parts = states(workers, count, dtype)
            merged(parts[: FAN_IN + 1])  # compiles
            tree = merged(parts)
            right = tree.result == sum(map(Moments.from_bytes, parts))
            size = len(parts[0])
            lines.append(
                f"| {count} | {dtype} | {size} B | {size / count:.1f} B | {tree.seconds * 1e3:.2f} ms | {tree.levels} "
                f"| {tree.moved / 1e6:.2f} MB | {right} |"
            )
    speed, limit = scan_speed()
    return "\n".join([*lines, "", f"one thread: {speed / 1e9:.1f} GB/s, {speed / limit:.2f} of a plain read"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--features", type=int, nargs="+", default=[9, 1000])
    words = parser.parse_args()
    print(report(words.workers, words.features))
    return 0


if __name__ == "__main__":
    sys.exit(main())
