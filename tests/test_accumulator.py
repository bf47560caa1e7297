"""Moments that grow batch by batch are those of the whole, and what is refused leaves no trace."""

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastnorm import Moments, Normalization
from fastnorm._accumulator import FEW, Accumulator
from fastnorm._reduce import KEPT, SHORT

SEEDS = st.integers(0, 1 << 32)


def rows(seed, width, dtypes=("f4", "f8")):
    """Rows of any magnitude with a NaN or an infinity here and there, of either dtype."""
    rng = np.random.default_rng(seed)
    dtype = rng.choice(dtypes)
    x = np.exp(rng.choice((0.1, 12)) * rng.standard_normal((rng.integers(1, 200), width))).astype(dtype)
    x *= rng.choice([-1, 1], x.shape).astype(dtype)
    holes = rng.random(x.shape)
    x[holes < rng.choice((0, 0.1))] = np.nan
    x[holes > 1 - rng.choice((0, 0.02))] = np.inf
    return x


@given(st.lists(SEEDS, min_size=1, max_size=8), st.sampled_from([1, 3, 70, 600]))
def test_batches_of_rows_add_up_to_the_whole(seeds, width):
    """Sums that wait between batches of changing dtypes give the counts and statistics of all rows together."""
    batches = [rows(seed, width) for seed in seeds]
    total = Accumulator(Moments.of(batches[0]), nan=True, inf=True)
    assert all(total.add_rows(batch) for batch in batches[1:])
    whole = np.concatenate([batch.astype("f8") for batch in batches])
    assert Moments.of(whole) == total.moments


@given(SEEDS, st.sampled_from(["f4", "f8"]))
def test_waiting_sums_are_exact(seed, dtype):
    """What waited has the correctly rounded statistics of rational arithmetic."""
    x = rows(seed, 3, [dtype])
    total = Accumulator(Moments.of(x[:0]), nan=True, inf=True)
    assert total.add_rows(x[:50])
    assert total.add_rows(x[50:] if len(x) > 50 else x[:1])
    whole = x if len(x) > 50 else np.concatenate([x, x[:1]])
    expected = naive.moments(whole)
    for name in ("count", "missing", "posinf"):
        np.testing.assert_array_equal(expected.counts(name), getattr(total.moments, name))
    for name in ("mean", "variance"):
        np.testing.assert_array_equal(expected.array(name), getattr(total.moments, name))


@given(SEEDS, SEEDS, st.booleans(), st.booleans())
def test_refused_rows_leave_no_trace(before, seed, nan, inf):
    """A batch with a value that may not be in it is not added, not even in part."""
    first, batch = rows(before, 5), rows(seed, 5)
    clean = np.where(np.isfinite(first), first, 1)
    total = Accumulator(Moments.of(clean[:0]), nan=nan, inf=inf)
    assert total.add_rows(clean)
    refused = (not nan and np.isnan(batch).any()) or (not inf and np.isinf(batch).any())
    assert (not refused) is total.add_rows(batch)
    whole = clean if refused else np.concatenate([clean.astype("f8"), batch.astype("f8")])
    assert Moments.of(whole) == total.moments


@pytest.mark.parametrize("width", [1, 9, SHORT, SHORT + 1])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_row_by_row_is_exact(width, dtype):
    """More rows than wait together, among them some whose squares are beyond their dtype, NaN, and -inf."""
    x = np.random.default_rng(width).standard_normal((2 * KEPT // width + 3, width)).astype(dtype)
    x[1::7] *= np.finfo(dtype).max / 8
    x[5, 0], x[-2, -1] = np.nan, -np.inf
    total = Accumulator(Moments.of(x[:0]), nan=True, inf=True)
    assert all(total.add_rows(x[row : row + 1]) for row in range(len(x)))
    assert Moments.of(x) == total.moments


NO_ROWS = {
    "one dimension": np.ones(3),
    "Fortran order": np.ones((4, 3), order="F"),
    "integers": np.ones((4, 3), "i4"),
    "the other byte order": np.ones((4, 3), np.dtype("f8").newbyteorder()),
    "masked": np.ma.array(np.ones((4, 3)), mask=np.eye(4, 3)),
    "other features": np.ones((4, 2)),
    "no rows": np.ones((0, 3)),
    "many rows": np.ones((FEW // 3 + 1, 3), "f4"),
}


@pytest.mark.parametrize("name", NO_ROWS)
def test_other_batches_are_left_to_others(name):
    """What kernels cannot take as it is, or what several threads do sooner, is not added."""
    total = Accumulator(Moments.of(np.ones((1, 3))), nan=True, inf=True)
    assert not total.add_rows(NO_ROWS[name])
    assert Moments.of(np.ones((1, 3))) == total.moments


def test_rows_of_a_mapped_file_are_added(tmp_path):
    """Slices of a memory-mapped file, which are read-only, are rows like any other."""
    x = np.arange(30.0).reshape(10, 3)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    total = Accumulator(Moments.of(x[:5]), nan=True, inf=True)
    assert total.add_rows(mapped[5:])
    assert Moments.of(x) == total.moments


@pytest.mark.parametrize("verb", ["update", "adapt"])
@pytest.mark.parametrize(("policy", "bad"), [("nan", np.nan), ("inf", np.inf)])
def test_a_small_batch_with_refused_values_changes_nothing(verb, policy, bad):
    """The layer names the first such feature and is as it was, also after small batches that wait."""
    x = np.arange(12.0).reshape(4, 3)
    spoilt = x.copy()
    spoilt[2, 1] = bad
    layer = Normalization(**{policy: "raise"}).adapt(x).update(x)
    with pytest.raises(ValueError, match=r"1 in all, first in feature 1"):
        layer.update(spoilt) if verb == "update" else layer.adapt(iter([x, spoilt]))
    assert Moments.of(np.concatenate([x, x])) == layer.moments
