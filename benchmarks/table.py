"""Turn results into the page docs/performance.md: `python -m benchmarks.table results.json`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.run import FORMAT, spread
from benchmarks.texts import ABOUT, NOTES, REPRODUCE, TOO_SMALL

IN_CACHE = 200_000_000  # bytes that a last-level cache may hold

Entry = dict[str, Any]


def page(results: dict[str, Any]) -> str:
    """The whole page as MyST Markdown."""
    if results.get("format") != FORMAT:
        raise ValueError(f"these results have format {results.get('format')!r}, not {FORMAT}")
    cases = results["cases"]
    about = {"rounds": results["rounds"], "size": _size(results["bytes"])}
    parts = [ABOUT.format(**about, verdict=_verdict(cases))]
    if results["bytes"] < IN_CACHE:
        parts.append(TOO_SMALL)
    for group in dict.fromkeys(entry["group"] for entry in cases):
        members = [entry for entry in cases if entry["group"] == group]
        in_ratios = any("GB/s" in entry for entry in members)
        columns = RATIOS if in_ratios else TIMES
        parts.append(f"## {group}\n\n{NOTES.get(group, '')}\n\n{_table(columns, members)}")
    parts.append(f"## The limits, and the machine\n\n{_limits(cases)}\n{_machine(results)}")
    parts.append(REPRODUCE.format(**results))
    return "\n".join(parts)


def _size(octets: int) -> str:
    return f"{octets / 1e6:,.0f} MB".replace(",", " ")


def _verdict(cases: Sequence[Entry]) -> str:
    aimed = [entry for entry in cases if "target" in entry]
    missed = [entry for entry in aimed if not entry["target"]["met"]]
    wrong = [entry["name"] for entry in cases if "error" in entry]
    lines = [f"**{len(aimed) - len(missed)} of {len(aimed)} targets are met.**"]
    if missed:
        lines += ["Missed:\n", *(f"- {e['name']}: {_reached(e)}, {_aim(e)}" for e in missed)]
    if wrong:
        lines += ["\n**Wrong result, not timed:**\n", *(f"- {name}" for name in wrong)]
    return "\n".join(lines)


def _reached(entry: Entry) -> str:
    kind = str(entry["target"]["kind"])
    return FORMATS[kind](float(entry[kind]["median"]))


def _aim(entry: Entry) -> str:
    if "target" not in entry:
        return "–"
    kind, bound = entry["target"]["kind"], entry["target"]["bound"]
    return f"{'<' if kind == 'seconds' else '≥'} {FORMATS[kind](bound)}"


def _mark(entry: Entry) -> str:
    if "error" in entry:
        return "**wrong result**"
    return "–" if "target" not in entry else "met" if entry["target"]["met"] else "**missed**"


def _duration(seconds: float) -> str:
    units = {"s": 1.0, "ms": 1e3, "µs": 1e6, "ns": 1e9}
    unit = next((unit for unit, factor in units.items() if seconds * factor >= 1), "ns")
    return f"{seconds * units[unit]:.3g} {unit}"


def _rate(value: float) -> str:
    return f"{value:.1f} GB/s" if value >= 1 else f"{value:.2g} GB/s"


FORMATS: dict[str, Callable[[float], str]] = {
    "ratio": lambda value: f"{value:.2f}" if value >= 0.1 else f"{value:.2g}",
    "seconds": _duration,
    "GB/s": _rate,
}


def _cell(entry: Entry, kind: str, *keys: str) -> str:
    """One or two numbers of a spread, or a dash."""
    if kind not in entry:
        return "–"
    return " – ".join(FORMATS[kind](entry[kind][key]) for key in keys)


def _shape(entry: Entry) -> str:
    return " × ".join(f"{n:_}".replace("_", " ") for n in entry.get("shape", ())) or "–"


def _beside(entry: Entry) -> str:
    if "limit" not in entry:
        return "–"
    limit = entry["limit"]
    return f"{limit['name']}: {_cell(limit, 'GB/s' if 'GB/s' in limit else 'seconds', 'median')}"


Columns = dict[str, Callable[[Entry], str]]

RATIOS: Columns = {
    "case": lambda e: str(e["name"]),
    "ratio": lambda e: _cell(e, "ratio", "median"),
    "quartiles": lambda e: _cell(e, "ratio", "q1", "q3"),
    "target": _aim,
    "": _mark,
    "speed": lambda e: _cell(e, "GB/s", "median"),
    "limit": _beside,
    "shape": _shape,
}
TIMES: Columns = {
    "case": lambda e: str(e["name"]),
    "time": lambda e: _cell(e, "seconds", "median"),
    "quartiles": lambda e: _cell(e, "seconds", "q1", "q3"),
    "target": _aim,
    "": _mark,
    "beside it": _beside,
}


def _table(columns: Columns, entries: Iterable[Entry]) -> str:
    lines = [_row(columns), _row(["---"] + ["--:"] * (len(columns) - 1))]
    lines += [_row([show(entry) for show in columns.values()]) for entry in entries]
    return "\n".join(lines) + "\n"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _limits(cases: Iterable[Entry]) -> str:
    """Each limit over the whole run: how much the machine itself varied."""
    found: dict[str, list[float]] = {}
    for entry in cases:
        if "GB/s" in entry.get("limit", ()) and entry["limit"]["name"] != "N(0, 1)":
            speeds = [entry["bytes"] / seconds / 1e9 for seconds in entry["limit"]["samples"]]
            found.setdefault(entry["limit"]["name"], []).extend(speeds)
    columns: Columns = {
        "limit": lambda e: str(e["name"]),
        "median": lambda e: _cell(e, "GB/s", "median"),
        "quartiles": lambda e: _cell(e, "GB/s", "q1", "q3"),
        "extremes": lambda e: _cell(e, "GB/s", "min", "max"),
    }
    return _table(columns, [{"name": name, "GB/s": spread(v)} for name, v in found.items()])


def _machine(results: dict[str, Any]) -> str:
    known = {name: value for name, value in results["machine"].items() if value is not None}
    return "\n".join(f"- {name}: {value}" for name, value in known.items()) + "\n"


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
