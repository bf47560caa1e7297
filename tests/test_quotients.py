"""Finalising: quotients and roots are rounded once, and a variance is 0 only for equal values (docs/exactness.md)."""

import random
from fractions import Fraction

import naive
import numpy as np

from fastnorm import Moments, _statistics

SEED = 40


def half_way_points():
    """Fractions on and beside the middle of two neighbouring float64, over the whole range."""
    rng = random.Random(SEED)
    for exponent in (-1074, -1073, -1050, -1022, -538, -1, 0, 52, 500, 970, 971):
        for whole in (1, 2, 3, 2**52, 2**53 - 1, rng.getrandbits(52) | 1 << 52):
            middle = (2 * whole + 1) * naive.power_of_two(exponent - 1)
            for beside in (0, 1, -1):
                yield middle * (1 + beside * naive.power_of_two(-300))
                yield middle + beside * naive.power_of_two(-2400)


def test_quotients_are_correctly_rounded():
    """On the middle of two floats and a hair beside it, from subnormals to infinity."""
    for value in half_way_points():
        for exponent in (0, 7, -33, 2000, -2000):
            n, d = value.numerator, value.denominator
            scaled = Fraction(n, d) / naive.power_of_two(exponent)
            for sign in (1, -1):
                found = _statistics.quotient(sign * scaled.numerator, scaled.denominator, exponent)
                assert naive.nearest(sign * value) == found


def test_roots_are_correctly_rounded():
    """Roots that lie on the middle of two floats, or a hair beside it, go to the right one."""
    for root in half_way_points():
        for square in (root * root, root * root * (1 + naive.power_of_two(-2400))):
            for exponent in (0, 1, -33, 2000):
                scaled = square / naive.power_of_two(exponent)
                found = _statistics.root(scaled.numerator, scaled.denominator, exponent)
                assert naive.nearest_sqrt(square) == found


def test_a_variance_is_zero_only_for_equal_values():
    """Equal values have variance 0, and one ulp in one of a thousand rows shows."""
    for value in (0.1, 1e300, -1 / 3, 1e9 + 0.1):
        x = np.full((1000, 1), value)
        assert Moments.of(x).variance.tolist() == [0.0]
        x[500] = np.nextafter(value, 0)
        assert Moments.of(x).variance.tolist() > [0.0]
