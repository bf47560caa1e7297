"""Run the cases, each library in turn with the limit of the machine, and write every sample to a JSON file."""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks import peers as libraries
from benchmarks.cases import BYTES, CASES, Case
from benchmarks.machine import machine
from benchmarks.measure import TooLarge, described, measure
from benchmarks.peers import Peer

FORMAT = 2
ROUNDS = 11


def run(cases: Sequence[Case], size: int, rounds: int, peers: Mapping[str, Peer]) -> dict[str, Any]:
    """Measure all cases, or until Ctrl-C; one with a wrong result is not timed and says what is wrong."""
    here, results, start = machine(), [], perf_counter()
    try:
        for number, case in enumerate(cases, 1):
            print(f"[{number}/{len(cases)}] {case.name}: ", end="", file=sys.stderr, flush=True)
            results.append(_entry(case, size, rounds, peers))
            print(_line(results[-1]), file=sys.stderr, flush=True)
    except KeyboardInterrupt:  # what is done is kept
        print("stopped", file=sys.stderr)
    return {
        "format": FORMAT,
        "machine": here,
        "bytes": size,
        "rounds": rounds,
        "minutes": round((perf_counter() - start) / 60, 1),
        "peers": {key: {"name": p.name, "version": p.version, "note": p.note} for key, p in peers.items()},
        "cases": results,
    }


def _entry(case: Case, size: int, rounds: int, peers: Mapping[str, Peer]) -> dict[str, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of peers, about the data
            return measure(case, size, rounds, peers)
    except TooLarge as error:
        return {**described(case), "skipped": str(error)}
    except AssertionError as error:
        return {**described(case), "error": str(error)}


def _line(entry: dict[str, Any]) -> str:
    if "error" in entry:
        return f"WRONG: {entry['error']}"
    if "skipped" in entry:
        return f"left out: {entry['skipped']}"
    if "memory" in entry:
        words = [f"{entry['memory']['median'] / 1e6:.1f} MB"]
    else:
        words = [f"{entry['seconds']['median']:.3g} s"]
    if "GB/s" in entry:
        words.append(f"{entry['GB/s']['median']:.1f} GB/s")
    if "ratio" in entry:
        words.append(f"{entry['ratio']['median']:.2f} of '{entry['limit']['name']}'")
    if "lead" in entry:
        words.append(f"{entry['lead']['median']:.2g} times as fast as {entry['lead']['peer']}")
    words += ["met" if target["met"] else "MISSED" for target in entry["targets"]]
    return ", ".join(words)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns 1 if a result was wrong."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow has much to say
    there = libraries.installed()
    today = Path("results", f"{datetime.now(UTC):%Y-%m-%d}.json")
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description="Time fastnorm beside other libraries and what the machine can do."
    )
    add = parser.add_argument
    add("--bytes", type=int, default=BYTES, help="of each array (%(default)s)")
    add("--rounds", type=int, default=ROUNDS, help="of a case and its limit (%(default)s)")
    add("--only", default="", metavar="PATTERN", help="cases with this in the name; * and ? work")
    add("--peers", nargs="*", default=list(there), metavar="PEER", help=f"beside these alone: {' '.join(there)}")
    add("--out", type=Path, default=today, help="JSON file (%(default)s)")
    given = parser.parse_args(arguments)
    cases = [case for case in CASES if fnmatch(case.name, f"*{given.only}*")]
    if not cases:
        parser.error(f"no case has {given.only!r} in its name")
    if min(given.rounds, given.bytes) < 1:
        parser.error("--rounds and --bytes must be at least 1")
    if unknown := set(given.peers) - set(there):
        parser.error(f"{', '.join(sorted(unknown))}: not installed or unknown; there are {' '.join(there)}")
    results = run(cases, given.bytes, given.rounds, {name: there[name] for name in given.peers})
    given.out.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False)
    given.out.write_text(text + "\n", "utf-8")
    print(given.out, file=sys.stderr)
    return int(any("error" in entry for entry in results["cases"]))
