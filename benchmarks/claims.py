"""Run the command of every claim that README.md makes: `python -m benchmarks.claims > docs/claims.md`.

`--only WORDS` runs the claims with these words alone; `--list` runs none. The command line returns 1 if one fails.
"""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from benchmarks.machine import machine

ROOT = Path(__file__).resolve().parents[1]
LINES = 12  # of what a command prints


class Claim(NamedTuple):
    """Words of README.md, as they stand there, and the command that shows them to be true."""

    words: str
    command: str
    printed: bool = False  # what it prints is the result


def tests(*files: str, only: str = "") -> str:
    """A pytest command; ``only`` as for -k."""
    names = " ".join(f"tests/test_{name}.py" for name in files)
    return f"python -m pytest -q {names}" + (f" -k {shlex.quote(only)}" if only else "")


SPEED = "python -m benchmarks --rounds 5 --out results/claims.json --only"

CLAIMS = [
    Claim(
        "nothing but NumPy and numba beneath it",
        "python -c \"from importlib.metadata import requires; "
        "print([r for r in requires('fastnorm-numba') if 'extra' not in r])\"",
        printed=True,
    ),
    Claim(
        "The mean and the variance behind it are exact and rounded once",
        tests("moments", "statistics", only="exact or nist or nearest or rounded"),
    ),
    Claim(
        "neither the order of the rows nor the batches, the threads or the processor can change a bit of them",
        tests("moments", "variants", only="order or split or threads or layout or build"),
    ),
    Claim("rows that were added can be removed without a trace", tests("moments", "normalization", only="remov or forget")),
    Claim("It works in place where you ask for it", tests("transform", only="in_place or destination")),
    Claim("counts what is missing instead of guessing it", tests("moments", "normalization", only="missing or masked")),
    Claim(
        "26 115 rows](docs/data/README.md), 24 thousand missing values, one constant column",
        "fastnorm normalize docs/data/weather.csv --out weather-normalized.csv",
        printed=True,
    ),
    Claim("From a checkout, this installs fastnorm and normalizes", tests("documents", only="README")),
    Claim("a run in place that is killed goes on\nwhere it was", tests("files_crash")),
    Claim("`from fastnorm.sklearn import StandardScaler`", tests("sklearn", "sklearn_attributes", "sklearn_ecosystem", "sklearn_sparse")),
    Claim("`from fastnorm.keras import Normalization`", tests("keras", "keras_preset", "keras_layers", "keras_tensorflow")),
    Claim("DataFrames of pandas or polars, Arrow tables", tests("frames")),
    Claim(".npy, Parquet, CSV, Zarr, HDF5, folders of shards", tests("files", "files_arrays", "files_csv", "files_tables")),
    Claim("a cluster with Dask, Ray or Spark", tests("dask", "dask_scaler", "ray", "spark")),
    Claim(
        "the parts add up to exactly what one of them would have learned\nfrom everything, and a part that must go is subtracted",
        tests("moments", "normalization", only="merge or split or forget or removing"),
    ),
    Claim(
        "**mean and variance are right to the last bit**, for any finite input, of any size and spread",
        tests("moments", "verdict", "statistics"),
    ),
    Claim("**a feature is constant exactly when its variance is 0**", tests("moments", "normalization", only="constant")),
    Claim("The relative error of the variance of 200 000 values", "python -m benchmarks.accuracy", printed=True),
    Claim("has the proof, and the tests compare with `Fraction`", tests("exactness")),
    Claim(
        "Statistics read the data once, at a good part of the speed of memory on all cores",
        f"{SPEED} 'fit float??, 1 024 columns' --peers",
        printed=True,
    ),
    Claim("the transform is one pass, in place if\nyou like", f"{SPEED} 'transform in place float??, 1 024 columns' --peers", printed=True),
    Claim("needs no memory beyond the result", tests("transform", only="second_array or without_a_copy")),
]


def run(claim: Claim) -> tuple[bool, str, float]:
    """Whether the command of a claim succeeds, the result in words, the seconds."""
    words = shlex.split(claim.command)
    words[0] = {"python": sys.executable}.get(words[0], words[0])
    if words[0] == "fastnorm":
        words[:1] = [sys.executable, "-m", "fastnorm"]
    start = perf_counter()
    done = subprocess.run(words, cwd=ROOT, check=False, capture_output=True, text=True)
    seconds = perf_counter() - start
    lines = (done.stdout.strip() or done.stderr.strip() or "nothing printed").splitlines()
    found = "\n".join(lines[:LINES]) if claim.printed else re.sub(r" in [\d.]+s.*", "", lines[-1].strip("= "))
    return done.returncode == 0, found, seconds


ABOUT = """\
% Generated by `python -m benchmarks.claims`; do not edit.

# Claims

What README.md says, the command that checks it in a checkout with `python -m pip install -e ".[benchmarks]"`, and what it
gave when this page was made.
"""


def section(number: int, claim: Claim) -> tuple[bool, str]:
    """Whether a claim holds, and its part of the page."""
    right, found, seconds = run(claim)
    verdict = "holds" if right else "**FAILS**"
    words = " ".join(claim.words.split())
    result = f"\n\n```text\n{found}\n```\n" if claim.printed else f": {found}\n"
    return right, f"## {number}. {verdict}\n\n> {words}\n\n```sh\n{claim.command}\n```\n\n{seconds:.0f} s{result}"


def page(claims: Sequence[Claim]) -> tuple[bool, str]:
    """Whether all claims hold, and the page."""
    parts, all_right = [], True
    for number, claim in enumerate(claims, 1):
        print(f"[{number}/{len(claims)}] {claim.command}", file=sys.stderr, flush=True)
        right, text = section(number, claim)
        all_right &= right
        parts.append(text)
    known = machine()
    where = f"{known['cpu']}, {known['cores']} cores, Python {known['python']}, commit {known['commit']}"
    return all_right, "\n".join([ABOUT, f"{where}, {known['date']}.\n", *parts])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.claims", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", metavar="WORDS", help="claims with these words")
    parser.add_argument("--list", action="store_true", help="print the commands, run nothing")
    given = parser.parse_args(arguments)
    claims = [claim for claim in CLAIMS if given.only in claim.words]
    if given.list:
        print("\n".join(claim.command for claim in claims))
        return 0
    all_right, text = page(claims)
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # a redirected one on Windows
    sys.stdout.write(text)
    return int(not all_right)


if __name__ == "__main__":
    sys.exit(main())
