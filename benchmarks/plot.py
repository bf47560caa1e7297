"""Turn results into the pictures of docs/performance.md: `python -m benchmarks.plot results.json docs/images`."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.cases import ROWS, THREADS
from benchmarks.cells import Entry, exactness

BLUE, GREY = "#1f5fa8", "#b8b8b8"
SETTINGS = {"svg.fonttype": "none", "svg.hashsalt": "fastnorm", "font.size": 9}  # text as text; the same ids each time


def _cases(results: dict[str, Any], group: str) -> list[Entry]:
    return [entry for entry in results["cases"] if entry["group"] == group and "seconds" in entry]


def libraries(results: dict[str, Any], figure: Any) -> None:
    """Speeds of the cases whose headline is a fit, beside the limit."""
    cases = [e for e in results["cases"] if "fit" in (e.get("headline") or "") and "GB/s" in e]
    for place, case in zip(figure.subplots(1, len(cases), squeeze=False)[0], cases, strict=True):
        rows = [("fastnorm", case)]
        rows += [(results["peers"][key]["name"], e) for key, e in case.get("peers", {}).items() if "GB/s" in e]
        rows.sort(key=lambda row: row[1]["GB/s"]["median"])
        names, speeds = [name for name, _ in rows], [entry["GB/s"]["median"] for _, entry in rows]
        bars = place.barh(names, speeds, color=[BLUE if name == "fastnorm" else GREY for name in names])
        place.bar_label(bars, [f" {exactness(entry)}" for _, entry in rows])
        place.axvline(case["limit"]["GB/s"]["median"], color="black", linestyle=":", linewidth=1)
        place.set(title=case["headline"], xlabel="GB/s; digits of mean, variance")


def rows(results: dict[str, Any], figure: Any) -> None:
    """Nanoseconds for a value, by the number of values."""
    place, cases = figure.subplots(), _cases(results, ROWS)
    lines: dict[str, list[tuple[int, float]]] = {}
    for case in cases:
        values = math.prod(case["shape"])
        named = [("fastnorm", case), ("read", case["limit"])]
        named += [(results["peers"][k]["name"], e) for k, e in case.get("peers", {}).items() if "seconds" in e]
        for name, entry in named:
            lines.setdefault(name, []).append((values, entry["seconds"]["median"] / values * 1e9))
    for name, points in lines.items():
        style = {"fastnorm": {"color": BLUE, "linewidth": 2.5}, "read": {"color": "black", "linestyle": ":"}}
        place.loglog(*zip(*points, strict=True), label=name, marker=".", **style.get(name, {}))
    place.set(xlabel="values", ylabel="ns for a value")
    place.legend()


def threads(results: dict[str, Any], figure: Any) -> None:
    """Speed by the number of threads."""
    place, lines = figure.subplots(), {}
    for case in _cases(results, THREADS):
        name = f"{case['operation']} {case['dtype']}"
        lines.setdefault(name, []).append((case["threads"], case["GB/s"]["median"]))
        lines.setdefault(case["limit"]["name"], []).append((case["threads"], case["limit"]["GB/s"]["median"]))
    for name, points in lines.items():
        limit = name in ("read", "in place")
        known = sorted(dict(points).items())
        place.plot(*zip(*known, strict=True), label=name, marker=".", linestyle=":" if limit else "-")
    place.set(xlabel="threads", ylabel="GB/s", xticks=sorted({count for p in lines.values() for count, _ in p}))
    place.set_ylim(bottom=0)
    place.legend()


Draw = Callable[[dict[str, Any], Any], None]
PICTURES: dict[
    str, tuple[str, str, Draw, Callable[[dict[str, Any]], bool]]
] = {  # file, what it shows, drawing, whether
    "libraries": (
        "speed-libraries.svg",
        "Speed of a fit by library, with the correct digits, beside the limit of the machine",
        libraries,
        lambda results: any("fit" in (e.get("headline") or "") and "GB/s" in e for e in results["cases"]),
    ),
    ROWS: (
        "speed-rows.svg",
        "Time for a value by the number of values",
        rows,
        lambda results: bool(_cases(results, ROWS)),
    ),
    THREADS: (
        "speed-threads.svg",
        "Speed by the number of threads",
        threads,
        lambda results: bool(_cases(results, THREADS)),
    ),
}


def file_of(name: str) -> str:
    return PICTURES[name][0]


def there(results: dict[str, Any]) -> list[str]:
    """The pictures for which there are results."""
    return [name for name, (*_, holds) in PICTURES.items() if holds(results)]


def draw(results: dict[str, Any], folder: Path) -> list[Path]:
    """Write the pictures as SVG; return their paths."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    written = []
    for name in there(results):
        with mpl.rc_context(SETTINGS):
            figure = Figure(figsize=(8, 4), layout="constrained")
            PICTURES[name][2](results, figure)
            written.append(folder / file_of(name))
            figure.savefig(written[-1], metadata={"Date": None})
    return written


def main(arguments: Sequence[str]) -> int:
    """Draw the results of a file into a folder."""
    if len(arguments) != 2:
        print("usage: python -m benchmarks.plot results.json docs/images", file=sys.stderr)
        return 2
    results = json.loads(Path(arguments[0]).read_text("utf-8"))
    print(*draw(results, Path(arguments[1])), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
