"""Laws of docs/claims.md: each claim stands in README.md as quoted, and its command can be run."""

import re
import shlex
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # benchmarks/ is not installed

from benchmarks import accuracy, claims  # noqa: E402
from benchmarks.claims import CLAIMS, Claim  # noqa: E402

README = " ".join((ROOT / "README.md").read_text("utf-8").split())
PAGE = (ROOT / "docs" / "claims.md").read_text("utf-8")


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.words[:40])
def test_a_claim_is_quoted(claim):
    """Its words are those of README.md, wherever lines break."""
    assert claim.words in README


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.words[:40])
def test_a_command_names_tests_that_there_are(claim):
    """The files exist, and what is selected of them holds at least one test of each word."""
    words = shlex.split(claim.command)
    assert words[0] in ("python", "fastnorm")
    files = [word for word in words if word.startswith("tests/")]
    text = "".join((ROOT / file).read_text("utf-8") for file in files)
    names = "\n".join(re.findall(r"def (test_\w+)", text))
    for word in (
        words[words.index("-k") + 1].split(" or ") if "-k" in words and "test_documents" not in claim.command else ()
    ):
        assert word in names


def test_the_page_holds_the_claims_of_today():
    """docs/claims.md has every claim with its command in turn, and none fails there."""
    sections = re.split(r"^## \d+\. ", PAGE, flags=re.MULTILINE)[1:]
    for claim, section in zip(CLAIMS, sections, strict=True):
        verdict, _, text = section.partition("\n")
        assert verdict in ("holds", "not run")
        assert f"\n> {claim.words}\n\n```sh\n{claim.command}\n```\n" in text


def test_a_claim_that_fails_is_marked(capsys):
    """The page says so, and the command returns 1."""
    right, text = claims.page(
        [Claim("no", "python -c 'raise SystemExit(1)'"), Claim("yes", "python -c 'print(7)'", True)]
    )
    assert not right
    assert "## 1. **FAILS**" in text
    assert "## 2. holds" in text
    assert "```text\n7\n```" in text


def test_errors_of_fastnorm_are_none():
    """The table of README.md: what is rounded once equals the exact value, rounded once."""
    for x in accuracy.data().values():
        assert 0.0 == accuracy.error(x, "fastnorm", "fit")
