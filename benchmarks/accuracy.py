"""Errors of the variance by library and data, as the table in README.md: `python -m benchmarks.accuracy`.

Relative errors of the variance of 200 000 values, the worst of four columns, measured against exact rationals.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np

from benchmarks.cells import Columns, Entry, table
from benchmarks.checks import expected
from benchmarks.peers import Array, Given, installed, load

VALUES, BATCHES = 200_000, 200
COLUMNS = {  # as the README has them: module and operation
    "scikit-learn": ("sklearn", "fit"),
    "`partial_fit`, 200 batches": ("sklearn", "partial_fit"),
    "NumPy": ("numpy", "fit"),
    "PyTorch": ("torch", "fit"),
    "Polars": ("polars", "fit"),
    "Keras 3": ("keras", "fit"),
    "fastnorm": ("fastnorm", "fit"),
}


def data() -> dict[str, Array]:
    """Four columns each, in rows, as tables are."""
    x = np.random.default_rng(0).standard_normal((VALUES, 4))
    return {
        "float64, N(0, 1)": x,
        "float64, N(10⁹, 0.1)": 1e9 + 0.1 * x,
        "float64, Unix time in ns, σ = 1 s": 1.7e18 + 1e9 * x,
        "float32, N(1000, 1)": (1000 + x).astype(np.float32),
        "float32, N(10⁵, 1)": (100_000 + x).astype(np.float32),
    }


def error(x: Array, module: str, operation: str) -> float:
    """Relative error of the variance."""
    call = load(module).ways[operation](Given(x, batch=VALUES // BATCHES if operation == "partial_fit" else None))
    _, variance = call()
    want = np.array([expected(column)[1] for column in x.T])
    return float(np.max(np.abs(np.asarray(variance, np.float64) - want) / want))


def page() -> str:
    there = {"fastnorm", *installed()}
    columns: Columns = {"data": lambda e: str(e["name"])}
    for name, (module, operation) in COLUMNS.items():
        if module in there:
            columns[name] = lambda e, way=(module, operation): _words(error(e["x"], *way))  # type: ignore[misc]
    rows: list[Entry] = [{"name": name, "x": x} for name, x in data().items()]
    return table(columns, rows)


def _words(value: float) -> str:
    return "0" if value == 0 else f"{value:.0e}"


def main() -> int:
    warnings.simplefilter("ignore")  # of the libraries, about the data
    print(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
