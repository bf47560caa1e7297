"""Laws of the oracle itself, against the standard library and hand-made numbers."""

import math
import statistics
from fractions import Fraction

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st


def test_the_oracle_agrees_with_hand_computed_moments():
    """Four numbers done on paper, with and without weights."""
    table = np.array([[1, 0.5], [2, np.nan], [4, -np.inf], [5, 0.25]])
    first, second = naive.moments(table).features
    assert first == naive.Feature(4, 0, 0, 0, 4, 12, 46)
    assert (first.mean, first.variance) == (3, Fraction(5, 2))
    assert second == naive.Feature(2, 1, 0, 1, 2, Fraction(3, 4), Fraction(5, 16))
    assert (second.mean, second.variance) == (Fraction(3, 8), Fraction(1, 64))
    weighted, _ = naive.moments(table, weights=[3, 0, 0.5, 0]).features
    assert weighted == naive.Feature(4, 0, 0, 0, Fraction(7, 2), 5, 11)
    assert naive.moments(table, axis=None).rows == 8
    assert naive.moments(table.reshape(2, 2, 2), axis=(2, 0)).shape == (2, 2)
    hidden = np.ma.array([[7], [8]], mask=[[True], [False]])
    assert naive.moments(hidden).features == (naive.Feature(1, 1, 0, 0, 1, 8, 64),)
    nothing = naive.moments(np.ones((0, 2)))
    assert np.isnan([nothing.array("mean"), nothing.array("variance")]).all()


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1))
def test_the_oracle_agrees_with_statistics(values):
    """The standard library's exact sums and variances are the same numbers."""
    (feature,) = naive.moments(values, axis=None).features
    assert feature.mean == statistics.mean(map(Fraction, values))
    assert feature.variance == statistics.pvariance([Fraction(v) for v in values])
    assert naive.nearest(feature.total) == math.fsum(values)


@given(st.fractions() | st.floats(allow_nan=False, allow_infinity=False).map(Fraction))
def test_nearest_rounds_as_division_does(value):
    """CPython divides integers with correct rounding."""
    for scaled in (value, value / 3, value / 2**1070):
        assert naive.nearest(scaled) == scaled.numerator / scaled.denominator


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Fraction(1, 2**1075), 0.0),
        (Fraction(1, 2**1075) + Fraction(1, 2**1200), 5e-324),
        (Fraction(3, 2**1075), 1e-323),
        (Fraction(2**53 + 1), 2.0**53),
        (Fraction(2**53 + 3), 2.0**53 + 4),
        (Fraction(2**1024 - 2**970 - 1), math.nextafter(math.inf, 0)),
        (Fraction(2**970 - 2**1024), -math.inf),
        (Fraction(0), 0.0),
    ],
)
def test_nearest_at_the_ends_of_the_range(value, expected):
    """Ties go to even, below the subnormals lies 0, above the largest double infinity."""
    assert naive.nearest(value) == expected


@given(st.floats(0, allow_infinity=False), st.fractions(-1, 1))
def test_nearest_sqrt_is_the_closest_double(root, share):
    """Anything less than half a gap from a double squares to something with that root."""
    lower, upper = (math.nextafter(root, to) for to in (-math.inf, math.inf))
    half = min(Fraction(root) - Fraction(lower), Fraction(math.ulp(root))) / 2
    if root > 0 and upper < math.inf and abs(share) < 1:
        assert naive.nearest_sqrt((Fraction(root) + half * share) ** 2) == root
        tie = (Fraction(root) + Fraction(upper)) ** 2 / 4
        assert naive.nearest_sqrt(tie) == naive.nearest((Fraction(root) + Fraction(upper)) / 2)
    assert naive.nearest_sqrt(Fraction(root) ** 2) == root
