"""Laws of docs/scale.md: its figures that depend on no machine are those of the code."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from fastnorm import Moments

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # benchmarks/ is not installed

from benchmarks import scale  # noqa: E402

ROWS = re.findall(r"^\| ([\d ]+) \|(.*)\|$", (ROOT / "docs" / "scale.md").read_text("utf-8"), re.MULTILINE)
SIZES = {
    int(features.replace(" ", "")): [int(cell.replace(" ", "")) for cell in cells.split("|")]
    for features, cells in ROWS[:3]
}


@pytest.mark.parametrize("features", [9, 1000])
def test_states_have_the_sizes_of_the_page(features):
    """Bytes of 64 rows; those of lognormal values depend on the extremes that chance gives them."""
    found = [len(scale.states(1, features, dtype)[0]) for dtype in ("float32", "float64")]
    assert found == SIZES[features][:2]
    wide = np.random.default_rng(0).lognormal(0, 3, (64, features))
    assert len(Moments.of(wide).to_bytes()) == pytest.approx(SIZES[features][2], rel=0.2)


def test_a_state_grows_with_its_features():
    """A million features take a thousand times what a thousand do, but for the header."""
    assert [1000 * size for size in SIZES[1000]] == pytest.approx(SIZES[1_000_000], rel=0.01)


@pytest.mark.parametrize("features", [9, 1000])
def test_a_tree_of_a_thousand_gives_the_bits_of_one_sum(features):
    """Four levels of additions of eight, 999 states moved, and not a bit of difference."""
    parts = scale.states(1000, features, "float64")
    tree = scale.merged(parts)
    assert sum(map(Moments.from_bytes, parts)) == tree.result
    assert 4 == tree.levels
    assert 999 * len(parts[0]) == pytest.approx(tree.moved, rel=0.02)
