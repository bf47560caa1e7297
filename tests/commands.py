"""The command line from outside and from inside."""

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from fastnorm import cli

ROOT = Path(__file__).resolve().parents[1]


def start(*words, **environment):
    """A process of `python -m fastnorm`; None removes a variable."""
    merged = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", **environment}
    return subprocess.Popen(
        [sys.executable, "-m", "fastnorm", *map(str, words)],
        env={name: value for name, value in merged.items() if value is not None},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def run(*words, **environment):
    """Status, output and errors of a process of `python -m fastnorm`."""
    process = start(*words, **environment)
    output, errors = process.communicate(timeout=300)
    return process.returncode, output, errors


def fine(*words, **environment):
    status, output, errors = run(*words, **environment)
    assert (0, "") == (status, errors)
    return output


def quick(*words):
    """The same as `run` without a new process."""
    output, errors = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    with redirect_stdout(output), redirect_stderr(errors), pytest.raises(SystemExit) as end:
        cli.app(list(map(str, words)), prog_name="fastnorm")
    output.seek(0)
    errors.seek(0)
    return end.value.code, output.read(), errors.read()


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}
