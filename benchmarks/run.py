"""Run the cases, each in turn with its limit, and write every sample to a JSON file."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import limits, processes
from benchmarks.cases import BYTES, CASES, Case
from benchmarks.data import Array
from benchmarks.machine import machine
from benchmarks.operations import OPERATIONS, timed

FORMAT = 1
ROUNDS = 20


def limit_of(case: Case, x: Array, size: int, stack: contextlib.ExitStack) -> Callable[[], float] | None:
    """A sample of the time of the case's limit, on the same memory."""
    if case.against is None:
        return None
    if case.against == "import numpy, numba":
        return processes.imports
    if case.against == "N(0, 1)":
        twin = replace(case.data, values="normal").make(size)
        return OPERATIONS[case.operation](twin, case.threads, stack).sample
    if case.against == "copy":
        out = np.empty_like(x)
        return timed(lambda: limits.copy(x, out))
    passes: dict[str, Callable[[], Any]] = {
        "read": lambda: limits.read(x),
        "read, one thread": lambda: limits.read(x, 1),
        "in place": lambda: limits.multiply(x),
        "copy to new": lambda: limits.copy_to_new(x),
        "read + in place": lambda: limits.read_and_multiply(x),
    }
    return timed(passes[case.against])


def measure(case: Case, size: int, rounds: int) -> dict[str, Any]:
    """Check the case, then time it and its limit in turn: one entry of the results."""
    x = case.data.make(size)
    mine: list[float] = []
    theirs: list[float] = []
    with contextlib.ExitStack() as stack:
        job = OPERATIONS[case.operation](x, case.threads, stack)
        limit = limit_of(case, x, size, stack)
        job.check()  # warms it up too
        if limit is not None:
            limit()
        for _ in range(min(rounds, case.rounds or rounds)):
            if limit is not None:
                theirs.append(limit())
            mine.append(job.sample())
    octets = x.nbytes if case.moves_memory else None
    result: dict[str, Any] = _described(case) | {
        "dtype": x.dtype.name,
        "shape": list(x.shape),
        "order": case.data.order,
        "values": case.data.values,
        "threads": case.threads,
        "bytes": octets,
        **_timing(mine, octets),
    }
    if theirs:
        result["limit"] = {"name": case.against, **_timing(theirs, octets)}
        result["ratio"] = spread([b / a for a, b in zip(mine, theirs, strict=True)])
    if case.target is not None:
        met = case.target.met(result[case.target.kind]["median"])
        result["target"] = {**case.target._asdict(), "met": met}
    return result


def _described(case: Case) -> dict[str, Any]:
    return {"name": case.name, "group": case.group, "operation": case.operation}


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, quartiles and extremes."""
    low, q1, median, q3, high = np.quantile(values, [0, 0.25, 0.5, 0.75, 1]).tolist()
    return {"median": median, "q1": q1, "q3": q3, "min": low, "max": high}


def _timing(samples: list[float], octets: int | None) -> dict[str, Any]:
    timing: dict[str, Any] = {"samples": samples, "seconds": spread(samples)}
    if octets is not None:
        timing["GB/s"] = spread([octets / seconds / 1e9 for seconds in samples])
    return timing


def run(cases: Sequence[Case], size: int, rounds: int) -> dict[str, Any]:
    """Measure all cases; one with a wrong result is not timed and says what is wrong."""
    here, results = machine(), []
    for number, case in enumerate(cases, 1):
        print(f"[{number}/{len(cases)}] {case.name}: ", end="", file=sys.stderr, flush=True)
        try:
            entry = measure(case, size, rounds)
        except AssertionError as error:
            entry = {**_described(case), "error": str(error)}
        print(_line(entry), file=sys.stderr, flush=True)
        results.append(entry)
    return {"format": FORMAT, "machine": here, "bytes": size, "rounds": rounds, "cases": results}


def _line(entry: dict[str, Any]) -> str:
    if "error" in entry:
        return f"WRONG: {entry['error']}"
    words = [f"{entry['seconds']['median']:.3g} s"]
    if "GB/s" in entry:
        words.append(f"{entry['GB/s']['median']:.1f} GB/s")
    if "ratio" in entry:
        words.append(f"{entry['ratio']['median']:.2f} of '{entry['limit']['name']}'")
    if "target" in entry:
        words.append("met" if entry["target"]["met"] else "MISSED")
    return ", ".join(words)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns 1 if a result was wrong."""
    today = Path("results", f"{datetime.now(UTC):%Y-%m-%d}.json")
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description="Time fastnorm beside what the machine can do."
    )
    add = parser.add_argument
    add("--bytes", type=int, default=BYTES, help="of each array (%(default)s)")
    add("--rounds", type=int, default=ROUNDS, help="of a case and its limit (%(default)s)")
    add("--only", default="", metavar="PATTERN", help="cases with this in the name; * and ? work")
    add("--out", type=Path, default=today, help="JSON file (%(default)s)")
    given = parser.parse_args(arguments)
    cases = [case for case in CASES if fnmatch(case.name, f"*{given.only}*")]
    if not cases:
        parser.error(f"no case has {given.only!r} in its name")
    if min(given.rounds, given.bytes) < 1:
        parser.error("--rounds and --bytes must be at least 1")
    results = run(cases, given.bytes, given.rounds)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False)
    given.out.write_text(text + "\n", "utf-8")
    print(given.out, file=sys.stderr)
    return int(any("error" in entry for entry in results["cases"]))
