"""Laws of Moments, each an equality against exact rational arithmetic: no tolerances."""

import json
import math
from fractions import Fraction
from pathlib import Path

import ml_dtypes
import naive
import numpy as np
import pytest
import strategies as arrays
from checks import assert_exact, assert_field, generator
from hypothesis import given
from hypothesis import strategies as st

from fastnorm import Moments

THREADS = (None, 1, 2, 7)


# Exactness


@given(arrays.cases(), st.sampled_from(THREADS))
def test_moments_are_exact(case, threads):
    """Every field equals exact rational arithmetic, rounded once, for any array and axis."""
    x, axis = case
    assert_exact(Moments.of(x, axis=axis, threads=threads), naive.moments(x, axis))


@given(arrays.cases(arrays.float_dtypes))
def test_moments_of_floats_are_exact(case):
    """The same law, all examples spent on the magnitudes of floats."""
    x, axis = case
    assert_exact(Moments.of(x, axis=axis), naive.moments(x, axis))


@given(arrays.weighted_cases())
def test_weighted_moments_are_exact(case):
    """Weights of any magnitude enter the sums without rounding."""
    x, axis, weights = case
    moments = Moments.of(x, axis=axis, weights=weights)
    assert_exact(moments, naive.moments(x, axis, weights))


@pytest.mark.parametrize("dtype", arrays.DTYPES, ids=str)
def test_long_columns_are_exact(dtype):
    """More blocks than one 64-bit accumulator can hold leave mean and variance exact."""
    rows, width = (6, 5) if arrays.UNJITTED else (70_001, 256)
    if dtype in arrays.FLOATS:
        tile = arrays.window(generator(), (7, width), ml_dtypes.finfo(dtype)).astype(dtype)
        tile[:, ::2] = abs(tile[:, :1])
    else:
        tile = arrays.seeded_integers((7, width), dtype, "ends", 20)
    times = -(-rows // len(tile))
    moments = Moments.of(np.tile(tile, (times, 1)), threads=1)
    expected = naive.moments(tile)
    assert_field(moments, "count", times * expected.counts("count"))
    assert_field(moments, "mean", expected.array("mean"))
    assert_field(moments, "variance", expected.array("variance"))


@pytest.mark.parametrize("dtype", arrays.FLOATS, ids=str)
def test_data_that_change_their_kind_on_the_way_are_exact(dtype):
    """Some NaN, some infinities, many magnitudes, plain values again: each way of taking a block, and back."""
    rows, width = (70, 3) if arrays.UNJITTED else (900, 19)
    rng = generator()
    plain, few, many, infinite, spread, other = (rng.standard_normal((rows, width)) for _ in range(6))
    few[rng.random((rows, width)) < 0.01] = np.nan
    many[rng.random((rows, width)) < 0.4] = np.nan
    infinite[rng.random((rows, width)) < 0.1] = np.nan
    infinite[rng.random((rows, width)) < 0.001] = -np.inf
    with np.errstate(over="ignore"):
        x = np.concatenate([plain, few, plain, many, infinite, np.exp(9 * spread), 1000 * other]).astype(dtype)
    assert_exact(Moments.of(x, threads=1), naive.moments(x))


@given(arrays.tables())
def test_doubling_keeps_mean_and_variance(x):
    """Forty doublings change the weight alone."""
    once = many = Moments.of(x[:, :9])
    for _ in range(40):
        many = many + many
    assert many.rows == once.rows << 40
    for name in ("mean", "variance", "std", "mean_low"):
        assert_field(many, name, getattr(once, name))


@given(arrays.float_dtypes, st.data(), st.integers(1, arrays.ELEMENTS))
def test_a_constant_feature_has_variance_zero(dtype, data, rows):
    """Any number of copies of any finite value have that mean and variance exactly 0."""
    finite = np.isfinite
    value = data.draw(arrays.one_by_one((1, 1), dtype).filter(lambda x: finite(x).all()))
    moments = Moments.of(np.repeat(value, rows, axis=0))
    assert moments.mean[0] == float(value[0, 0])
    assert (moments.variance[0], moments.std[0], moments.mean_low[0]) == (0, 0, 0)


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e9 + 0.1, 1e308, 5e-324])
def test_a_thousand_tenths_have_variance_zero(value):
    """Values that no sum of doubles can hold exactly are constant all the same."""
    moments = Moments.of(np.full((1000, 1), value))
    assert (moments.mean[0], moments.variance[0], moments.std[0]) == (value, 0, 0)


@given(arrays.tables(st.just(np.dtype("f8"))), st.data())
def test_changing_one_value_changes_the_moments(x, data):
    """Even one unit in the last place of one value makes another Moments."""
    finite = np.argwhere(np.isfinite(x) & (abs(x) < 1e308))
    if len(finite):
        place = tuple(data.draw(st.sampled_from(finite.tolist())))
        changed = x.copy()
        changed[place] = np.nextafter(x[place], np.inf)
        assert Moments.of(x) != Moments.of(changed)


# NIST Statistical Reference Datasets: the digits that exact arithmetic on float64 data can reach


DIGITS = {"Lew": 15.3, "Lottery": 15.5, "Mavro": 13.1, "Michelso": 13.8}
DIGITS |= {"NumAcc1": math.inf, "NumAcc2": 15.7, "NumAcc3": 9.46, "NumAcc4": 8.25}


def nist(name):
    """Return the data and the certified mean and standard deviation, as written."""
    if name == "NumAcc1":
        return ["10000001", "10000003", "10000002"], "10000002", "1"
    if name in ("NumAcc2", "NumAcc3", "NumAcc4"):
        base = {"NumAcc2": "1", "NumAcc3": "1000000", "NumAcc4": "10000000"}[name]
        return [f"{base}.2", *[f"{base}.1", f"{base}.3"] * 500], f"{base}.2", "0.1"
    known = json.loads((Path(__file__).parent / "data" / "nist.json").read_text())["sets"][name]
    return known["data"], known["mean"], known["std"]


def correct_digits(value, certified):
    """Return the log relative error: how many digits of the certified value are right."""
    error = abs(Fraction(float(value)) / Fraction(certified) - 1)
    return -math.log10(error) if error else math.inf


@pytest.mark.parametrize("name", DIGITS)
def test_nist_values_are_reached(name):
    """Mean and std have every certified digit that rounding the data to float64 leaves."""
    data, mean, std = nist(name)
    n = len(data)
    x = np.array([float(number) for number in data])[:, None]
    moments = Moments.of(x)
    assert_exact(moments, naive.moments(x))
    assert correct_digits(moments.mean[0], mean) >= 14.7
    assert correct_digits(math.sqrt(moments.variance[0] * n / (n - 1)), std) >= DIGITS[name] - 0.3
