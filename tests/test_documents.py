"""README.md and docs/ are run: every Python block, and every `fastnorm` command."""

import re
import shlex
import subprocess
import sys
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE
from importlib.util import find_spec
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.myst import PythonCodeBlockParser, SkipParser

from fastnorm import cli

ROOT = Path(__file__).resolve().parents[1]
NEED = {
    "dask.md": "distributed",
    "keras.md": "tensorflow",
    "ray.md": "ray",
    "sklearn.md": "sklearn",
    "spark.md": "pyspark",
}
PAGES = sorted((ROOT / "docs").glob("**/*.md"))
DOCUMENTS = [ROOT / "README.md", *(page for page in PAGES if find_spec(NEED.get(page.name, "numpy")))]
PYTHON = Sybil([PythonCodeBlockParser(doctest_optionflags=ELLIPSIS | NORMALIZE_WHITESPACE), SkipParser()])

FENCE = re.compile(r"^```(?P<language>[^\n]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(document: Path, language: str) -> list[str]:
    found = FENCE.finditer(document.read_text("utf-8"))
    return [block["text"] for block in found if block["language"].strip() == language]


def commands(document: Path) -> list[str]:
    """The shell lines of a document that run fastnorm, without what stands before `&&`."""
    lines = "".join(blocks(document, "sh")).replace("\\\n", " ").splitlines()
    parts = [part.strip() for line in lines for part in line.split("&&")]
    return [part for part in parts if part.startswith("fastnorm ")]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A scratch folder in which docs/ is the real one, as for a reader in a fresh clone."""
    (tmp_path / "docs").symlink_to(ROOT / "docs", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_blocks_run(path, checkout):
    """The Python blocks of a document run from top to bottom, and print what it says they print."""
    document = PYTHON.parse(path)
    for example in document.examples():
        example.evaluate()
    assert len(blocks(path, "python")) <= len(list(document))


def test_every_command_is_shown():
    """README shows the main job, and the page of the command line every command but `warmup`."""
    assert any(line.startswith("fastnorm normalize ") for line in commands(ROOT / "README.md"))
    shown = {line.split()[1] for line in commands(ROOT / "docs" / "cli.md")}
    assert {command.callback.__name__ for command in cli.app.registered_commands} == shown | {"warmup"}


@pytest.mark.parametrize(
    "path", [path for path in DOCUMENTS if commands(path)], ids=lambda path: str(path.relative_to(ROOT))
)
def test_commands_run(path, checkout):
    """The `fastnorm` lines of a document run one after the other on the table in docs/data/."""
    for line in commands(path):
        words = [sys.executable, "-m", "fastnorm", *shlex.split(line)[1:]]
        run = subprocess.run(words, check=False, capture_output=True, text=True, timeout=300)
        assert run.returncode == 0, f"{line}\n{run.stdout}{run.stderr}"
