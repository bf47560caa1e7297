"""The tables that set fastnorm beside other libraries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.cells import Columns, Entry, cell, digits, duration, exactness, rate, table, times

OURS = "fastnorm"


def summary(results: dict[str, Any]) -> str:
    """A row a library, a column for each case that has a headline."""
    cases = {entry["headline"]: entry for entry in results["cases"] if entry.get("headline") and "targets" in entry}
    names = {OURS: f"**{OURS}**", **{key: peer["name"] for key, peer in results["peers"].items()}}
    # The quickest to fit first; what does none of it is left to the tables below.
    here = [key for key in names if key == OURS or any("lead" in _of(case, key) for case in cases.values())]
    first = next(iter(cases.values()), {})
    here.sort(key=lambda key: (key != OURS, _of(first, key).get("lead", {}).get("median", float("inf"))))
    columns: Columns = {"library": lambda e: names[e["key"]]}
    for headline, case in cases.items():
        columns[headline] = lambda e, case=case: _short(case, e["key"])  # type: ignore[misc]
    return table(columns, [{"key": key} for key in here])


def _of(case: Entry, key: str) -> Entry:
    found: Entry = case if key == OURS else case.get("peers", {}).get(key, {})
    return found


def _short(case: Entry, key: str) -> str:
    """A speed or a time for fastnorm; for a peer how many times longer it takes; digits behind both."""
    entry = _of(case, key)
    if "wrong" in entry:
        return f"**wrong** ({exactness(entry)})"
    if "seconds" not in entry:
        return "–"
    if key == OURS:
        speed = rate(entry["GB/s"]["median"]) if "GB/s" in entry else duration(entry["seconds"]["median"])
    else:
        speed = times(entry["lead"]["median"])
    known = exactness(entry)
    return speed if known == "–" else f"{speed} ({known})"


def leader(entry: Entry) -> str:
    """How many times longer the fastest of the others takes."""
    if "lead" not in entry:
        return "–"
    return f"{times(entry['lead']['median'])} {entry['lead']['peer']}"


def peers(results: dict[str, Any], cases: Sequence[Entry]) -> str:
    """Each case beside each library that takes part in one of them; nothing where none does."""
    cases = [case for case in cases if any("seconds" in e or "memory" in e for e in case.get("peers", {}).values())]
    known = results["peers"]
    taking = [key for key in known if any(_takes_part(case, key) for case in cases)]
    if not taking:
        return ""
    columns: Columns = {"case": lambda e: str(e["name"]), OURS: _ours}
    for key in taking:
        columns[known[key]["name"]] = lambda e, key=key: _theirs(e["peers"].get(key, {}))  # type: ignore[misc]
    return table(columns, cases)


def _takes_part(case: Entry, key: str) -> bool:
    return "cannot" not in case.get("peers", {}).get(key, {"cannot": ""})


def _ours(case: Entry) -> str:
    kind = next(kind for kind in ("memory", "GB/s", "seconds") if kind in case)
    return f"{cell(case, kind, 'median')}" + (f" ({exactness(case)})" if digits(case) is not None else "")


def _theirs(entry: Entry) -> str:
    if "wrong" in entry:
        return f"**wrong** ({exactness(entry)})"
    if "memory" in entry:
        return cell(entry, "memory", "median")
    if "lead" not in entry:
        return "–"
    return times(entry["lead"]["median"]) + (f" ({exactness(entry)})" if digits(entry) is not None else "")


def notes(results: dict[str, Any]) -> str:
    """What each library is, what is noted of it, and what it does not take."""
    lines = []
    for key, peer in results["peers"].items():
        entries = [(case, case["peers"][key]) for case in results["cases"] if key in case.get("peers", {})]
        refused = dict.fromkeys(entry["cannot"] for _, entry in entries if "cannot" in entry)
        does = dict.fromkeys(case["operation"] for case, entry in entries if "cannot" not in entry)
        words = [f"**{peer['name']}** {peer['version']}", *([peer["note"]] if peer["note"] else [])]
        words.append(f"Takes part in {', '.join(does) or 'nothing'}")
        if reasons := [reason for reason in refused if not reason.startswith(("has no way", "is not asked"))]:
            words.append(_sentence(reasons))
        if parts := [f"{c['name']} ({e['rows'] / c['shape'][0]:.0%})" for c, e in entries if "rows" in e]:
            words.append(f"Saw a part of the rows in {'; '.join(parts)}")
        lines.append(f"- {'. '.join(words)}.")
    return "\n".join(lines) + "\n"


def _sentence(reasons: Sequence[str]) -> str:
    """Reasons in one sentence; what begins alike is said once."""
    takes = [reason.removeprefix("takes no ") for reason in reasons if reason.startswith("takes no ")]
    others = [reason for reason in reasons if not reason.startswith("takes no ")]
    words = "; ".join([*([f"takes no {', '.join(takes)}"] if takes else []), *others])
    return words[:1].upper() + words[1:]
