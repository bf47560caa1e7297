"""Numbers of the results as words, and tables of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

Entry = dict[str, Any]
Columns = dict[str, Callable[[Entry], str]]


def duration(seconds: float) -> str:
    units = {"s": 1.0, "ms": 1e3, "µs": 1e6, "ns": 1e9}
    unit = next((unit for unit, factor in units.items() if seconds * factor >= 1), "ns")
    return f"{seconds * units[unit]:.3g} {unit}"


def rate(value: float) -> str:
    return f"{value:.1f} GB/s" if value >= 1 else f"{value:.2g} GB/s"


def ratio(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def times(value: float) -> str:
    """How many times: 0.83×, 1.6×, 12×."""
    return f"{value:.2g}×" if value < 100 else f"{value:.0f}×"


def size(octets: float) -> str:
    return f"{octets / 1e6:,.0f} MB".replace(",", " ") if octets >= 1e6 else f"{octets / 1e6:.1f} MB"


FORMATS: dict[str, Callable[[float], str]] = {
    "ratio": ratio,
    "lead": times,
    "seconds": duration,
    "memory": size,
    "GB/s": rate,
}


def cell(entry: Entry, kind: str, *keys: str) -> str:
    """One or two numbers of a spread, or a dash."""
    if kind not in entry:
        return "–"
    return " – ".join(FORMATS[kind](entry[kind][key]) for key in keys)


def shape(entry: Entry) -> str:
    return " × ".join(f"{n:_}".replace("_", " ") for n in entry.get("shape", ())) or "–"


def aim(target: Entry) -> str:
    kind, bound = target["kind"], target["bound"]
    sign = "≤" if kind in ("seconds", "memory") else "≥"
    what = " the fastest peer" if kind == "lead" else ""
    return f"{sign} {FORMATS[kind](bound)}{what}"


def aims(entry: Entry) -> str:
    return ", ".join(map(aim, entry.get("targets", ()))) or "–"


def mark(entry: Entry) -> str:
    """Whether the targets are met."""
    if "error" in entry:
        return "**wrong result**"
    if "skipped" in entry:
        return "left out"
    targets = entry["targets"]
    return "–" if not targets else "met" if all(target["met"] for target in targets) else "**missed**"


def missed(entry: Entry) -> list[str]:
    """What was reached and what was aimed at, for each target that is missed."""
    targets = [target for target in entry.get("targets", ()) if not target["met"]]
    return [f"{FORMATS[t['kind']](entry[t['kind']]['median'])}, {aim(t)}" for t in targets]


def digits(entry: Entry, which: str = "variance") -> float | None:
    """Correct digits of the statistics, or of the scores."""
    if "digits" in entry:
        return float(entry["digits"][which])
    if entry.get("off") is None:
        return 0.0 if "off" in entry else None
    return min(16.0, -math.log10(max(entry["off"], 1e-16)))


def exactness(entry: Entry) -> str:
    """The digits in words: mean and variance, or scores."""
    if "digits" not in entry:
        found = digits(entry)
        return "–" if found is None else f"{found:.0f}"
    words = ["all" if digits(entry, which) == 16 else f"{digits(entry, which):.0f}" for which in ("mean", "variance")]
    return ", ".join(words) if len(set(words)) > 1 else words[0]


def table(columns: Columns, entries: Iterable[Entry]) -> str:
    lines = [_row(columns), _row(["---"] + ["--:"] * (len(columns) - 1))]
    lines += [_row([show(entry) for show in columns.values()]) for entry in entries]
    return "\n".join(lines) + "\n"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
