"""Turn results into the page docs/performance.md: `python -m benchmarks.table results.json`."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import beside, plot
from benchmarks.cases import ROWS
from benchmarks.cells import Columns, Entry, aims, cell, exactness, mark, missed, shape, size, table
from benchmarks.measure import spread
from benchmarks.run import FORMAT
from benchmarks.texts import ABOUT, BESIDE, LIBRARIES, NOTES, REPRODUCE, SUMMARY, TOO_SMALL

IN_CACHE = 200_000_000  # bytes that a last-level cache may hold


def page(results: dict[str, Any]) -> str:
    """The whole page as MyST Markdown."""
    if results.get("format") != FORMAT:
        raise ValueError(f"these results have format {results.get('format')!r}, not {FORMAT}; run python -m benchmarks")
    cases = results["cases"]
    about = {"rounds": results["rounds"], "size": size(results["bytes"])}
    parts = [ABOUT.format(**about)]
    if results["bytes"] < IN_CACHE:
        parts.append(TOO_SMALL)
    parts.append(f"{SUMMARY}\n{beside.summary(results)}\n{_picture('libraries', results)}")
    parts.append(f"## Targets\n\n{_verdict(cases)}\n")
    for group in dict.fromkeys(entry["group"] for entry in cases):
        members = [entry for entry in cases if entry["group"] == group]
        parts.append(f"## {group}\n\n{NOTES.get(group, '')}\n\n{table(_columns(group, members), members)}")
        if others := beside.peers(results, members):
            parts.append(f"{BESIDE}\n{others}")
        parts.append(_picture(group, results))
    parts.append(f"{LIBRARIES}\n{beside.notes(results)}")
    parts.append(f"## The limits, and the machine\n\n{_limits(cases)}\n{_machine(results)}")
    parts.append(REPRODUCE.format(**results))
    return "\n".join(parts)


def _picture(name: str, results: dict[str, Any]) -> str:
    return f"![{plot.PICTURES[name][1]}](images/{plot.file_of(name)})\n" if name in plot.there(results) else ""


def _verdict(cases: Sequence[Entry]) -> str:
    targets = [target for entry in cases for target in entry.get("targets", ())]
    wrong = [f"{entry['name']}: {entry['error']}" for entry in cases if "error" in entry]
    lines = [f"**{sum(target['met'] for target in targets)} of {len(targets)} targets are met.**"]
    if short := [f"- {entry['name']}: {words}" for entry in cases for words in missed(entry)]:
        lines += ["Missed:\n", *short]
    if wrong:
        lines += ["\n**Wrong result, not timed:**\n", *(f"- {name}" for name in wrong)]
    return "\n".join(lines)


def _beside(entry: Entry) -> str:
    if "limit" not in entry:
        return "–"
    limit = entry["limit"]
    return f"{limit['name']}: {cell(limit, 'GB/s' if 'GB/s' in limit else 'seconds', 'median')}"


def _each(entry: Entry) -> str:
    """Nanoseconds for a value."""
    return f"{entry['seconds']['median'] / math.prod(entry['shape']) * 1e9:.3g} ns" if "seconds" in entry else "–"


NAME: Columns = {"case": lambda e: str(e["name"])}
AIM: Columns = {"target": aims, "": mark, "fastest peer": beside.leader}
RATIOS: Columns = {
    **NAME,
    "ratio": lambda e: cell(e, "ratio", "median"),
    "quartiles": lambda e: cell(e, "ratio", "q1", "q3"),
    **AIM,
    "digits": exactness,
    "speed": lambda e: cell(e, "GB/s", "median"),
    "limit": _beside,
    "shape": shape,
}
TIMES: Columns = {
    **NAME,
    "time": lambda e: cell(e, "memory" if "memory" in e else "seconds", "median"),
    "quartiles": lambda e: cell(e, "memory" if "memory" in e else "seconds", "q1", "q3"),
    **AIM,
    "beside it": _beside,
}
SCALING: Columns = {
    **NAME,
    "a value": _each,
    "time": lambda e: cell(e, "seconds", "median"),
    "ratio": lambda e: cell(e, "ratio", "median"),
    "fastest peer": beside.leader,
    "shape": shape,
}


def _columns(group: str, members: Sequence[Entry]) -> Columns:
    if group == ROWS:
        return SCALING
    return RATIOS if any("GB/s" in entry for entry in members) else TIMES


def _limits(cases: Iterable[Entry]) -> str:
    """Each limit over the whole run: how much the machine itself varied."""
    found: dict[str, list[float]] = {}
    for entry in cases:
        if "GB/s" in entry.get("limit", ()) and entry["group"] != ROWS and entry["threads"] is None:
            speeds = [entry["bytes"] / seconds / 1e9 for seconds in entry["limit"]["samples"]]
            found.setdefault(entry["limit"]["name"], []).extend(speeds)
    columns: Columns = {
        "limit": lambda e: str(e["name"]),
        "median": lambda e: cell(e, "GB/s", "median"),
        "quartiles": lambda e: cell(e, "GB/s", "q1", "q3"),
        "extremes": lambda e: cell(e, "GB/s", "min", "max"),
    }
    return table(columns, [{"name": name, "GB/s": spread(v)} for name, v in found.items()])


def _machine(results: dict[str, Any]) -> str:
    known = {name: value for name, value in results["machine"].items() if value is not None}
    return "\n".join(f"- {name}: {value}" for name, value in known.items()) + f"\n- minutes: {results['minutes']}\n"


def main(arguments: Sequence[str]) -> int:
    """Print the page of one results file."""
    if len(arguments) != 1:
        print("usage: python -m benchmarks.table results.json > docs/performance.md", file=sys.stderr)
        return 2
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # a redirected one on Windows
    sys.stdout.write(page(json.loads(Path(arguments[0]).read_text("utf-8"))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
