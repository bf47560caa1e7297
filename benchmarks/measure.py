"""One case: every library's result is checked, then all are timed in turn, the limit of the machine among them."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import repeat
from time import perf_counter, sleep
from typing import Any

import numpy as np

from benchmarks import limits, processes
from benchmarks.cases import Case
from benchmarks.checks import ENOUGH, Reference
from benchmarks.data import Array, as_table
from benchmarks.operations import OPERATIONS, call_of, cannot
from benchmarks.peers import Call, Given, Peer, load

SHORT = 2e-3  # seconds: what takes less is repeated within a sample
PROBED = 8_000_000  # bytes beyond which a peer is tried on a part first
BUDGET = 0.8  # seconds for all samples of a peer, but for the fewest
FEWEST = 3  # samples
PAUSE = 5e-3  # seconds between samples: threads of a library may wait a while for more work
TOO_LARGE = 8  # times the size of a run
OTHERS = {  # limits that are what a library does with the array
    "fit, then transform in place": ("fastnorm", "fit, then transform in place"),
    "in memory": ("fastnorm", "fit"),
    "read .parquet": ("pyarrow", "read .parquet"),
    "read .csv": ("pyarrow", "read .csv"),
}


class TooLarge(Exception):
    """A case for larger runs."""


@dataclass
class Contender:
    """A library with its call, ready to be timed."""

    call: Call
    rows: int
    rounds: int
    found: dict[str, Any]
    measures: bool  # the call returns its measure
    calls: int

    def sample(self) -> float:
        """The measure, or the mean seconds of ``calls`` calls in a row."""
        sleep(PAUSE)
        if self.measures:
            return float(self.call())
        return seconds_of(self.call, self.calls)


def seconds_of(call: Call, calls: int = 1) -> float:
    start = perf_counter()
    for _ in repeat(None, calls):
        result = call()
    seconds = perf_counter() - start
    del result  # giving memory back is not part of it
    return seconds / calls


def repetitions(call: Call) -> int:
    """How many calls make a sample that is long enough to be timed."""
    return max(1, math.ceil(SHORT / max(seconds_of(call), 1e-9)))


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, quartiles and extremes."""
    low, q1, median, q3, high = np.quantile(values, [0, 0.25, 0.5, 0.75, 1]).tolist()
    return {"median": median, "q1": q1, "q3": q3, "min": low, "max": high}


class Measurement:
    """A case with its array, for all libraries that take part."""

    def __init__(self, case: Case, size: int, rounds: int, stack: contextlib.ExitStack) -> None:
        self.case, self.size, self.stack = case, size, stack
        self.operation = OPERATIONS[case.operation]
        self.rounds = min(rounds, case.rounds or rounds)
        self.process = self.operation.result in ("seconds", "bytes")
        shape = case.data.shape(size)
        if math.prod(shape) * np.dtype(case.data.dtype).itemsize > TOO_LARGE * size:
            raise TooLarge(f"its array of {' × '.join(map(str, shape))} is more than {TOO_LARGE} times --bytes")
        # A process makes its own.
        self.x = (replace(case.data, rows=1) if self.process else case.data).make(size)
        self.shape = shape
        self.scratch = self.x.copy("K") if self.operation.writes or case.against == "in place" else None
        self.weights = np.random.default_rng(0).uniform(0.5, 2.0, len(self.x)) if "weights" in case.operation else None
        self.reference = cache(self._reference)

    def _reference(self, rows: int) -> Reference:
        return Reference(self.x[:rows], None if self.weights is None else self.weights[:rows])

    def given(self, rows: int) -> Given:
        """The first rows for a library, all of them or fewer."""
        case, x = self.case, self.x
        whole = rows == len(x)

        def part(values: Array | None) -> Array | None:
            return values if whole or values is None else np.copy(values[:rows], order=case.data.order)

        if case.data.order == "C" and not whole:  # rows lie together: no copy
            x, scratch = x[:rows], None if self.scratch is None else self.scratch[:rows]
        else:
            x, scratch = part(x), part(self.scratch)  # type: ignore[assignment]
        if self.operation.writes and scratch is not None:
            scratch[...] = x
        weights = None if self.weights is None else self.weights[:rows]
        missing = case.data.values == "missing"
        return Given(as_table(x, case.data.table), scratch, weights, case.batch, case.threads, missing, self.stack)

    def call(self, name: str, peer: Peer, given: Given) -> Call:
        return call_of(name, peer, self.case.operation, given, self.case.data, self.size)

    def ours(self) -> Contender:
        """fastnorm; AssertionError unless it is right to the last bit."""
        given = self.given(len(self.x))
        call = self.call("fastnorm", load("fastnorm"), given)
        found: dict[str, Any] = {}
        if not self.process:
            result = call()
            reference = self.reference(len(self.x))
            if self.operation.result == "statistics":
                digits = reference.statistics(*result)
                if min(digits) < self.operation.digits:
                    raise AssertionError(f"{digits}, but must have {self.operation.digits}")
                found = {"digits": digits._asdict()}
            else:
                inverse = self.operation.result == "values"
                reference.compare(result, inverse)
                found = {"off": reference.error(result, inverse)}
        return self._contender(call, len(self.x), self.rounds, found)

    def peer(self, name: str, peer: Peer) -> Contender:
        """A peer, on as many rows as it does within the cap of the case; ``wrong`` if its result is of no use."""
        rows = self._rows_for(name, peer)
        given = self.given(rows)
        call = self.call(name, peer, given)
        found: dict[str, Any] = {}
        start = perf_counter()
        if self.process:
            return self._contender(call, rows, self.rounds, found)
        result = call()
        taken = perf_counter() - start
        reference = self.reference(rows)
        if self.operation.result == "statistics":
            mean, variance = result
            digits = reference.statistics(mean, variance)
            found = {"digits": digits._asdict()}
            wrong = digits.variance < ENOUGH or reference.useless(mean)
        else:
            off = reference.error(result, self.operation.result == "values")
            found = {"off": off if math.isfinite(off) else None}
            wrong = not off < 10**-ENOUGH
        if rows < len(self.x):
            found["rows"] = rows
        rounds = max(FEWEST, min(self.rounds, int(BUDGET / taken)))
        if wrong:
            found["wrong"] = True
        return self._contender(call, rows, min(self.rounds, rounds), found, taken)

    def _rows_for(self, name: str, peer: Peer) -> int:
        """A power of two of times fewer rows, until a call should stay within the cap."""
        rows = len(self.x)
        if self.process or self.x.nbytes <= PROBED:
            return rows
        few = max(min(rows, 8), rows * PROBED // (4 * self.x.nbytes))
        call = self.call(name, peer, self.given(few))
        call()  # compiles
        expected = seconds_of(call) * rows / few
        while expected > self.case.cap and rows > few:
            rows, expected = max(few, rows // 2), expected / 2
        return rows

    def _contender(self, call: Call, rows: int, rounds: int, found: dict[str, Any], taken: float = 0.0) -> Contender:
        """``taken`` are the seconds of the first call, which compiles."""
        calls = 1 if self.process or "wrong" in found or taken > 100 * SHORT else repetitions(call)
        return Contender(call, rows, rounds, found, self.process, calls)

    def limit(self) -> Callable[[], float] | None:
        """A sample of the time of the case's limit, on the same memory."""
        case, x = self.case, self.x
        if case.against is None:
            return None
        if case.against == "import numpy, numba":
            return processes.imports
        if case.against == "N(0, 1)":
            call = load("fastnorm").ways[case.operation](Given(replace(case.data, values="normal").make(self.size)))
        elif case.against in OTHERS:
            peer, operation = OTHERS[case.against]
            call = load(peer).ways[operation](self.given(len(x)))
        else:
            call = self._pass()
        call()
        calls = repetitions(call)

        def sample() -> float:
            sleep(PAUSE)
            return seconds_of(call, calls)

        if case.against != "copy":
            return sample
        return lambda: min(sample(), seconds_of(lambda: limits.stream(x, self.scratch), calls))  # the better of two

    def _pass(self) -> Call:
        x, scratch, threads = self.x, self.scratch, self.case.threads
        passes: dict[str, Call] = {
            "read": lambda: limits.read(x, threads),
            "in place": lambda: limits.multiply(scratch, threads),
            "copy": lambda: limits.copy(x, scratch),
            "copy to new": lambda: limits.copy_to_new(x),
            "read + copy to new": lambda: (limits.read(x), limits.copy_to_new(x)),
        }
        return passes[str(self.case.against)]


def measure(case: Case, size: int, rounds: int, peers: Mapping[str, Peer]) -> dict[str, Any]:
    """One entry of the results; AssertionError if fastnorm's own result is wrong."""
    with contextlib.ExitStack() as stack:
        run = Measurement(case, size, rounds, stack)
        ours = run.ours()
        limit = run.limit()
        others: dict[str, dict[str, Any]] = {}
        timed: dict[str, Contender] = {}
        what = (case.data.dtype, run.shape[-1], case.data.values == "missing", case.data.table)
        for name, peer in peers.items():
            if case.peers is not None and name not in case.peers:
                continue
            reason = cannot(peer, case.operation, *what)
            if reason is not None:
                others[name] = {"cannot": reason}
                continue
            try:
                contender = run.peer(name, peer)
            except Exception as error:  # whatever a library raises is its result
                others[name] = {"cannot": f"raises {type(error).__name__}: {str(error)[:200]}"}
                continue
            others[name] = contender.found
            if "wrong" not in contender.found:
                timed[name] = contender
        mine: list[float] = []
        limits_: list[float] = []
        theirs: dict[str, list[float]] = {name: [] for name in timed}
        for number in range(run.rounds):
            if limit is not None:
                limits_.append(limit())
            mine.append(ours.sample())
            for name, contender in timed.items():
                if number < contender.rounds:
                    theirs[name].append(contender.sample())
        return _entry(case, run, peers, ours, mine, limits_, timed, theirs, others)


def _entry(
    case: Case,
    run: Measurement,
    peers: Mapping[str, Peer],
    ours: Contender,
    mine: list[float],
    limit: list[float],
    timed: Mapping[str, Contender],
    theirs: Mapping[str, list[float]],
    others: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    octets = run.x.nbytes if case.moves_memory else None
    per = len(run.x) if case.batch == 1 else 1  # calls within the call
    kind = run.operation.result
    result: dict[str, Any] = described(case) | {
        "dtype": case.data.dtype,
        "shape": list(run.shape),
        "order": case.data.order,
        "values": case.data.values,
        "threads": case.threads,
        "bytes": octets,
        **ours.found,
        **_timing([value / per for value in mine], octets, kind),
    }
    if limit:
        result["limit"] = {"name": case.against, **_timing(limit, octets, kind)}
        result["ratio"] = spread([b / a for a, b in zip(mine, limit, strict=True)])
    for name, samples in theirs.items():
        whole = [value * len(run.x) / timed[name].rows for value in samples]  # as if it had seen all rows
        others[name] |= _timing([value / per for value in whole], octets, kind)
        if kind != "bytes":
            others[name]["lead"] = spread([b / a for a, b in zip(mine, whole, strict=False)])
    if others:
        result["peers"] = others
    leading = [(entry["lead"]["median"], peers[name].name) for name, entry in others.items() if "lead" in entry]
    if leading:
        result["lead"] = dict(zip(("median", "peer"), min(leading), strict=True))
    result["targets"] = [
        {**target._asdict(), "met": target.met(result[target.kind]["median"])}
        for target in case.targets
        if target.kind in result
    ]
    return result


def described(case: Case) -> dict[str, Any]:
    """What stands in the entry of a case even if its result is wrong."""
    return {"name": case.name, "group": case.group, "operation": case.operation, "headline": case.headline}


def _timing(samples: list[float], octets: int | None, result: str) -> dict[str, Any]:
    if result == "bytes":
        return {"samples": samples, "memory": spread(samples)}
    timing: dict[str, Any] = {"samples": samples, "seconds": spread(samples)}
    if octets is not None:
        timing["GB/s"] = spread([octets / seconds / 1e9 for seconds in samples])
    return timing
