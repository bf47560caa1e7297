"""Whole processes: a warm start, an import, a first compilation with an empty cache, the memory of a call."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

import fastnorm
from benchmarks.checks import ENOUGH, Reference

IMPORTS = "import numpy, numba"
HOMES = dict.fromkeys(str(Path(file).parents[1]) for file in (fastnorm.__file__, __file__))

# These print the seconds of the first calls and the z-scores of the numbers 0 to 89 in 9 columns.
WARM = """
import numpy as np
from benchmarks.peers import Given, load
x = np.arange(90, dtype="{dtype}").reshape(10, 9)
z = np.asarray(load("{peer}").ways["fit_transform to new"](Given(x))())
print(0.0, *z.ravel().tolist())
"""
COLD = """
from time import perf_counter
import numba
import numpy as np
from fastnorm import Normalization, _few
_few.without_kernels = lambda values: False
x = np.arange(90, dtype="{dtype}").reshape(10, 9)
start = perf_counter()
layer = Normalization().adapt(x)
z = layer.transform(x)
layer.transform(x, out=x)
print(perf_counter() - start, *x.ravel().tolist())
assert np.array_equal(x, z)
"""
IMPORT = """
import numpy
from time import perf_counter
start = perf_counter()
import fastnorm
print(perf_counter() - start)
"""
# Prints by how many bytes memory rises in a call, beyond the data and what a call with few rows has loaded. Linux
# counts the highest so far anew (clear_refs); elsewhere it is that of the process.
MEMORY = """
import resource, sys
from pathlib import Path
from benchmarks.data import Data
from benchmarks.peers import Given, load
from fastnorm import _few
_few.without_kernels = lambda values: False
status = Path("/proc/self/status")
def peak():
    if status.exists():
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
x = {data}.make({size})
way = load("{peer}").ways["{operation}"]
small, large = Given(x[:1000]), Given(x)  # hold the files that a way makes
way(small)()
call = way(large)
if status.exists():
    Path("/proc/self/clear_refs").write_text("5")
before = peak()
call()
print(peak() - before)
"""


def run(code: str, **environment: str) -> str:
    """Run ``code`` in a new interpreter that imports the same fastnorm; return the last line that it prints."""
    path = os.pathsep.join(filter(None, [*HOMES, os.environ.get("PYTHONPATH")]))
    variables = {**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)  # modules are compiled once, as where they are installed
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=variables, check=False, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"a process failed:\n{done.stderr}")
    return done.stdout.strip().rpartition("\n")[2]


def warm(peer: str, dtype: str) -> float:
    """Seconds of a process from its start to its end."""
    start = perf_counter()
    printed = run(WARM.format(peer=peer, dtype=dtype))
    seconds = perf_counter() - start
    _check(printed, dtype, exact=peer == "fastnorm")
    return seconds


def imports() -> float:
    """Seconds of a process that imports NumPy and numba and does nothing."""
    start = perf_counter()
    run(IMPORTS)
    return perf_counter() - start


def import_fastnorm() -> float:
    """Seconds of `import fastnorm` where NumPy is imported, as the process measured them."""
    return float(run(IMPORT))


def cold(dtype: str) -> float:
    """Seconds of the first calls with an empty cache, as the process measured them."""
    with tempfile.TemporaryDirectory(prefix="fastnorm-cache-") as folder:
        printed = run(COLD.format(dtype=dtype), FASTNORM_CACHE=folder)
        if not list(Path(folder).rglob("*.nbi")):
            raise AssertionError("nothing was compiled into the empty cache")
        return _check(printed, dtype)


def memory(peer: str, operation: str, data: object, size: int) -> float:
    """Bytes by which memory rises in a call."""
    return float(run(MEMORY.format(peer=peer, operation=operation, data=data, size=size)))


def _check(printed: str, dtype: str, exact: bool = True) -> float:
    """The seconds that a process printed; AssertionError unless its z-scores are right."""
    seconds, *scores = map(float, printed.split())
    reference, z = Reference(np.arange(90, dtype=dtype).reshape(10, 9)), np.array(scores, dtype).reshape(10, 9)
    if exact:
        reference.compare(z)
    elif not reference.error(z) < 10**-ENOUGH:
        raise AssertionError("the z-scores are wrong")
    return seconds
