"""What `test_engines_speed.py` measured, as a Markdown table: `python -m benchmarks.engines FILE`."""

from __future__ import annotations

import json
import sys
from itertools import groupby
from pathlib import Path
from typing import Any


def table(report: dict[str, Any]) -> str:
    """One line an engine: fastnorm's median time and that of its own scaler, each with correct digits of a variance."""
    lines = [
        "| engine | fastnorm | correct digits | its own scaler | correct digits | time, own / fastnorm |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    measured = sorted(report["benchmarks"], key=lambda found: found["group"])
    for group, pair in groupby(measured, key=lambda found: found["group"]):
        ours, theirs = sorted(pair, key=lambda found: not found["param"].startswith("fastnorm."))
        seconds = [found["stats"]["median"] for found in (ours, theirs)]
        digits = [found["extra_info"]["digits"] for found in (ours, theirs)]
        cells = [f"{time:.2g} s | {min(15, int(right))}" for time, right in zip(seconds, digits, strict=True)]
        lines.append(f"| {group.removeprefix('fit ')} | {' | '.join(cells)} | {seconds[1] / seconds[0]:.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table(json.loads(Path(sys.argv[1]).read_text("utf-8"))))
