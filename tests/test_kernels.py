"""The kernels of the sums as a whole: long runs, the ends of every dtype, the borders of E (docs/exactness.md)."""

import itertools
from fractions import Fraction

import ml_dtypes
import naive
import numpy as np
import pytest
from model import sums_of
from strategies import UNJITTED

from fastnorm import Moments, _scan, _sums
from fastnorm._kernels import lanes, steps
from fastnorm._tiles import Tile

SEED = 40
TOP = 1 - 2.0**-53  # the largest float64 below 1
HUGE = float(np.finfo(np.float64).max)
DOUBLE, SINGLE = np.dtype("f8"), np.dtype("f4")


def scanned(x, *tiles, features=1):
    """Return the sums that the kernels find in these tiles of a flat array."""
    state = _scan.State(_scan.kind_of(x.dtype), features)
    scanner = _scan.Scanner(x.dtype, state)
    flat = _scan.native(x).view()
    flat.flags.writeable = False
    for tile in tiles:
        scanner.add(flat, tile)
    return state.counted(sum(tile.outer * tile.rows for tile in tiles))


LONG = steps.BLOCK * (lanes.FLUSH + 1)  # rows: one block more than an int64 is trusted with


@pytest.mark.parametrize("odd", [None, 2.0**-30], ids=["plain", "wide"])
@pytest.mark.parametrize("dtype", [DOUBLE, SINGLE], ids=str)
def test_long_runs_at_the_top_of_the_window_are_exact(dtype, odd):
    """More blocks than are flushed at once, whose budget is all but spent and whose slices are the largest."""
    # E is 3: so p is a unit below 1, q half a unit, and Σq² fills its binade to the end.
    top = 1 - 2.0**-22 + 2.0**-23 - 2.0**-53 if dtype == DOUBLE else 1 - 2.0**-24
    x = np.full(LONG + 16, top, dtype)
    x[:16] = 0.6  # from which the grid is set
    if odd is not None:
        x[40::64] = odd  # below the plain window: every block is taken by the wide one
    values, counts = np.unique(x, return_counts=True)
    pairs = list(zip(map(Fraction, values.tolist()), counts.tolist(), strict=True))
    expected = tuple(sum(v**power * n for v, n in pairs) for power in (1, 2))
    assert [expected] == sums_of(scanned(x, Tile(0, 1, 0, len(x), 1, 1, 1, 0)))


@pytest.mark.parametrize("dtype", [DOUBLE, SINGLE], ids=str)
def test_values_around_the_floor_of_the_window_are_exact(dtype):
    """One large value a block, and beside it values of every depth with a bit at their end: a column for each depth."""
    depths = np.arange(10, 30)
    x = np.ldexp(dtype.type(1) + np.finfo(dtype).eps, -np.broadcast_to(depths, (3 * steps.BLOCK, len(depths))))
    x[:: steps.BLOCK] = 1.0
    x[5 :: steps.BLOCK] = 0.0
    expected = [(f.total, f.squares) for f in naive.moments(x).features]
    assert expected == sums_of(Moments.of(x.astype(dtype))._counted)


@pytest.mark.parametrize("dtype", [DOUBLE, SINGLE], ids=str)
def test_blocks_around_the_budget_are_exact(dtype):
    """Rows that outgrow the first ones, by which the grid is set, with the largest slices: a column for each size."""
    sizes = np.array([0.9, 0.99, 1.0, 1.01, 1.1, 1.25, 1.5, 1.75, 1.99, 2.0, 3.0, 4.0])
    p = np.round(sizes * 2**22 - 1) / 2**22  # E is 3, as above
    rest = 2.0**-23 - 2.0**-52 if dtype == DOUBLE else 0.0
    x = np.broadcast_to(p + rest, (5 * steps.BLOCK, len(sizes))).astype(dtype)
    x[:16] = 0.6
    expected = [(f.total, f.squares) for f in naive.moments(x).features]
    tile = Tile(0, 1, 0, len(x), len(sizes), len(sizes), len(sizes), 0)
    assert expected == sums_of(scanned(x.ravel(), tile, features=len(sizes)))


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"])
def test_long_runs_of_the_largest_integers_are_exact(dtype):
    """More blocks of the ends of a dtype than one accumulator is trusted with are exact."""
    info = np.iinfo(dtype)
    for value in (info.min, info.max):
        row = np.full(8, value, dtype)
        rows = 2048 if UNJITTED else LONG
        found = sums_of(scanned(row, Tile(0, 1, 0, rows, 0, 8, 1, 0)))
        assert [(rows * 8 * int(value), rows * 8 * int(value) ** 2)] == found


def bordering(dtype, exponents, rng, rows):
    """Rows whose columns lie around these powers of two, at the ends of windows below them."""
    steps = [0, 0, 1, 2, 3, 19, 20, 21, 23, 24, 25, 36, 37, 38, 65, 66, 67]
    info = np.finfo(dtype)
    exponent = np.array(exponents) - rng.choice(steps, (rows, len(exponents)))
    significand = rng.choice([1.0, 2 - float(info.eps), 1 + float(info.eps), 1.5], exponent.shape)
    with np.errstate(all="ignore"):
        x = np.ldexp(significand, np.clip(exponent, -1080, 1023)).astype(dtype)
    x[~np.isfinite(x)] = info.max
    x *= rng.choice(np.array([-1, 1, 1, 0], dtype), x.shape)
    return x


BORDERS = {
    "f8": (
        lanes.LOWEST,
        lanes.LOWEST + 1,
        lanes.HIGHEST,
        lanes.HIGHEST + 1,
        -1021,
        -1060,
        1023,
        -538,
        511,
        0,
        40,
    ),
    "f4": (
        lanes.LOWEST_NARROW,
        lanes.LOWEST_NARROW + 1,
        lanes.HIGHEST_NARROW,
        lanes.HIGHEST_NARROW + 1,
        -126,
        -140,
        127,
        126,
        0,
        24,
    ),
}


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("steady", [True, False])
def test_kernels_are_exact_at_the_borders_of_their_range(dtype, steady):
    """Around the least and largest E, subnormals and the largest values, every sum is exact."""
    rng = np.random.default_rng(SEED)
    exponents = BORDERS[dtype]
    for rows in (1, 63, 200 if UNJITTED else 1300):
        x = bordering(dtype, exponents, rng, rows)
        x = x if steady else rng.permuted(x, axis=1)  # each column sees every magnitude
        expected = [(f.total, f.squares) for f in naive.moments(x).features]
        assert expected == sums_of(Moments.of(x)._counted)


@pytest.mark.parametrize("dtype", ["f8", "f4"])
def test_kernels_are_exact_for_any_bits(dtype):
    """All exponents, subnormals, NaN and infinities at once: sums and counts equal the oracle's."""
    rng = np.random.default_rng(SEED)
    x = rng.integers(0, 256, (100 if UNJITTED else 1000, 7, np.dtype(dtype).itemsize), np.uint8).view(dtype)[..., 0]
    expected = naive.moments(x)
    found = Moments.of(x)
    assert [(f.total, f.squares) for f in expected.features] == sums_of(found._counted)
    for name in ("missing", "posinf", "neginf"):
        assert expected.counts(name).tolist() == getattr(found, name).tolist()


@pytest.mark.parametrize("dtype", [np.dtype("f2"), np.dtype(ml_dtypes.bfloat16)], ids=["float16", "bfloat16"])
def test_every_half_is_widened_exactly(dtype):
    """All 65536 bit patterns, each a feature of its own, give their value and its square."""
    x = np.arange(1 << 16, dtype=np.uint16).view(dtype)[np.newaxis]
    if UNJITTED:
        x = x[:, ::17]
    with np.errstate(invalid="ignore"):
        values = x[0].astype(np.float64)
    finite = np.isfinite(values)
    found = Moments.of(x)
    assert finite.astype(int).tolist() == found.count.tolist()
    assert np.isnan(values).astype(int).tolist() == found.missing.tolist()
    expected = [
        (Fraction(v), Fraction(v) ** 2) if ok else (0, 0) for v, ok in zip(values.tolist(), finite, strict=True)
    ]
    assert expected == sums_of(found._counted)


def test_weights_are_exact_at_the_ends():
    """The smallest and largest weights and values, all bits set, of either sign, are exact."""
    ends = [5e-324, 2.0**-1022 * (2 - 2.0**-52), TOP, 1 / 3, 1.0, HUGE, 2.0**-538, 2.0**512]
    pairs = list(itertools.product(ends, [*ends, *(-v for v in ends), 0.0]))
    weights = np.array([w for w, _ in pairs])
    x = np.array([[v] for _, v in pairs])
    feature = naive.moments(x, weights=weights).features[0]
    found = Moments.of(x, weights=weights)._counted
    assert [(feature.total, feature.squares)] == sums_of(found)
    assert feature.weight == _sums.to_integers(found.weight)[0] * naive.power_of_two(found.weight.exponent)


@pytest.mark.parametrize("dtype", ["i8", "u8"])
def test_weighted_long_integers_are_exact(dtype):
    """64-bit integers, which no float64 holds, keep every digit under weights."""
    info = np.iinfo(dtype)
    x = np.array([[info.min], [info.max], [info.max - 1], [info.max // 3], [7]], dtype)
    weights = np.array([1 / 3, HUGE, 5e-324, 0.1, 3.0])
    feature = naive.moments(x, weights=weights).features[0]
    assert [(feature.total, feature.squares)] == sums_of(Moments.of(x, weights=weights)._counted)
