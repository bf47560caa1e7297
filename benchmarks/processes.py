"""Whole processes: a warm start, a first compilation with an empty cache."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

import fastnorm
from benchmarks.checks import Scores

IMPORTS = "import numpy, numba"

# Both print the seconds of the first calls and the z-scores of the numbers 0 to 89 in 9 columns.
WARM = """
from time import perf_counter
start = perf_counter()
import numpy as np
from fastnorm import Normalization
x = np.arange(90, dtype="{dtype}").reshape(10, 9)
z = Normalization().adapt(x).transform(x)
print(perf_counter() - start, *z.ravel().tolist())
"""
COLD = """
from time import perf_counter
import numba
import numpy as np
from fastnorm import Normalization
x = np.arange(90, dtype="{dtype}").reshape(10, 9)
start = perf_counter()
layer = Normalization().adapt(x)
z = layer.transform(x)
layer.transform(x, out=x)
print(perf_counter() - start, *x.ravel().tolist())
assert np.array_equal(x, z)
"""


def run(code: str, **environment: str) -> str:
    """Run ``code`` in a new interpreter that imports the same fastnorm; return what it prints."""
    path = os.pathsep.join(filter(None, [_home(), os.environ.get("PYTHONPATH")]))
    variables = {**os.environ, "PYTHONPATH": path, **environment}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=variables, check=False, capture_output=True, text=True)
    if done.returncode:
        raise AssertionError(f"a process failed:\n{done.stderr}")
    return done.stdout


def _home() -> str:
    return str(Path(fastnorm.__file__).parents[1])


def warm(dtype: str) -> float:
    """Seconds of a process from its start to its end."""
    start = perf_counter()
    printed = run(WARM.format(dtype=dtype))
    seconds = perf_counter() - start
    _check(printed, dtype)
    return seconds


def imports() -> float:
    """Seconds of a process that imports NumPy and numba and does nothing."""
    start = perf_counter()
    run(IMPORTS)
    return perf_counter() - start


def cold(dtype: str) -> float:
    """Seconds of the first calls with an empty cache, as the process measured them."""
    with tempfile.TemporaryDirectory(prefix="fastnorm-cache-") as folder:
        printed = run(COLD.format(dtype=dtype), FASTNORM_CACHE=folder)
        if not list(Path(folder).rglob("*.nbi")):
            raise AssertionError("nothing was compiled into the empty cache")
        return _check(printed, dtype)


def _check(printed: str, dtype: str) -> float:
    """The seconds that a process printed; AssertionError unless its z-scores are right."""
    seconds, *scores = map(float, printed.split())
    table = np.arange(90, dtype=dtype).reshape(10, 9)
    Scores(table).compare(np.array(scores, dtype).reshape(10, 9))
    return seconds
