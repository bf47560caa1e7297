"""What the numbers of a run belong to: processor, versions, commit, load, date."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastnorm import _jit, _threads


def machine() -> dict[str, Any]:
    """Name and value, ready for JSON."""
    return {
        "cpu": _cpu(),
        "compiled for": _jit.cpu_name(),
        "cores": os.cpu_count(),
        "threads": _threads.count(),
        "load at the start": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: version(name) for name in ("numpy", "numba", "fastnorm-numba")},
        "commit": _commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def _cpu() -> str:
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text("utf-8")
        if found := re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE):
            return found[1]
    return platform.processor() or "unknown"


def _commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return done.stdout.strip()
    return None
