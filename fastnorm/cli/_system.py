"""The commands about fastnorm itself."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from typing import Any

from fastnorm.cli import _options as options
from fastnorm.cli._app import command


@command("Example: fastnorm info --json")
def info(as_json: options.AsJson = False) -> str:
    """Print versions, processor, threads and the kernel cache."""
    facts = _facts()
    if as_json:
        return json.dumps(facts, indent=2)
    lines = [f"{name:<10}{version}" for name, version in facts["versions"].items()]
    cpu, threads, cache = facts["cpu"], facts["threads"], facts["cache"]
    lines.append(f"{'cpu':<10}{cpu['name']}, vectors of {cpu['vector_bytes']} bytes")
    features = textwrap.fill(" ".join(cpu["features"]) or "none", 78)
    lines.append("features" + textwrap.indent(features, " " * 10).removeprefix(" " * 8))
    lines.append(f"{'threads':<10}{threads['count']} ({threads['source']})")
    lines.append(f"{'cache':<10}{cache['folder'] or 'none'} ({cache['note']})")
    return "\n".join([*lines, *(f"warning: {warning}" for warning in facts["warnings"])])


@command("Example: fastnorm warmup && fastnorm info")
def warmup() -> str:
    """Compile every kernel ahead of its first use."""
    from fastnorm._warmup import warmup

    warmup()
    return "The kernels are compiled."


def _facts() -> dict[str, Any]:
    from importlib.metadata import version

    from fastnorm import _jit, _threads
    from fastnorm._kernels import exact

    chosen = os.environ.get("FASTNORM_NUM_THREADS")
    switch = os.environ.get("FASTNORM_CACHE")
    stats = getattr(exact.scan, "stats", None)  # plain Python under NUMBA_DISABLE_JIT has none
    folder = stats.cache_path if stats else None
    if folder:
        note = "writable" if os.access(folder, os.W_OK) else "not writable"
    elif _jit.INTERPRETED:
        note = "kernels are plain Python: NUMBA_DISABLE_JIT is set"
    elif switch == "0":
        note = "switched off: FASTNORM_CACHE is 0"
    else:
        note = "no folder can be written: set FASTNORM_CACHE to one that can"
    packages = {"fastnorm": "fastnorm-numba", "numpy": "numpy", "numba": "numba"}
    return {
        "versions": {
            "python": ".".join(map(str, sys.version_info[:3])),
            **{name: version(package) for name, package in packages.items()},
            "llvmlite": version("llvmlite"),
        },
        "cpu": {
            "name": _jit.cpu_name(),
            "vector_bytes": _jit.vector_bytes(),
            "features": _jit.cpu_features(),
        },
        "threads": {
            "count": _threads.count(),
            "source": "FASTNORM_NUM_THREADS" if chosen else "the CPUs this process may use",
        },
        "cache": {"folder": folder, "switch": switch, "note": note},
        "warnings": _warnings(_jit.cpu_name()),
    }


def _warnings(cpu: str) -> list[str]:
    if cpu == "generic":
        return ["kernels for a generic processor use short vectors; NUMBA_CPU_NAME names another"]
    # numba.core.config: virtual machines report some of these names for processors that have AVX.
    without = {"corei7-avx", "core-avx-i", "sandybridge", "ivybridge", "nocona"}
    if cpu in without and "NUMBA_ENABLE_AVX" not in os.environ:
        return [f"numba uses no AVX on {cpu!r}; if the processor has it, set NUMBA_ENABLE_AVX=1"]
    return []
