"""Laws of the inverse and of the trainable pair."""

from fractions import Fraction

import naive
import numpy as np
import strategies as arrays
from hypothesis import given
from places import assert_same_bits, generator
from scores import (
    FEW,
    SMALLEST,
    UNIT,
    assert_near,
    by_far,
    by_float,
    by_magnitude,
    divisor,
    exact,
    result_dtype,
    shapes,
    spacing,
    with_features,
)

from fastnorm import Normalization


def restored(z, feature):
    """Return the exact z * std + mean, and how far a float64 computation may be from it.

    std and the product are rounded (one unit together), then the sum with the low part of the
    mean (half a unit of the product) and that with the mean (half a unit of the result).
    """
    product = z * divisor(feature)
    value = product + feature.mean
    underflow = SMALLEST * (3 + abs(z))
    return value, UNIT * (2 * abs(product) + abs(value)) + underflow


@given(arrays.cases(arrays.float_dtypes, with_rows=True), arrays.seeds)
def test_the_inverse_is_exact(case, seed):
    """inverse_transform gives z * std + mean, computed in float64 and rounded once."""
    x, axis = case
    if not x.size:
        return
    layer = Normalization(axis, inf="omit").adapt(x)
    z = generator(seed).normal(0, 3, x.shape).astype(x.dtype)
    back = layer.inverse_transform(z)
    assert back.dtype == result_dtype(z.dtype)
    assert_restored(back, z, axis, naive.moments(x, axis))


def assert_restored(back, z, axis, expected):
    got = back.ravel()
    for place, value, feature in with_features(z, axis, expected):
        if not feature.count:
            assert np.isnan(got[place])
            continue
        true, most = restored(exact(value), feature)
        if back.dtype != np.float64:
            most += spacing(true, back.dtype) / 2
        assert_near(float(got[place]), true, most, back.dtype)


@by_magnitude
@FEW
@given(shapes, arrays.seeds)
def test_the_inverse_brings_the_data_back(magnitude, shape, seed):
    """float64 data come back within 6 units of their distance from the mean, 1 of their own."""
    x = arrays.seeded_floats(shape, np.dtype("f8"), magnitude, seed, 0, 0)
    layer = Normalization().adapt(x)
    assert_brought_back(layer.inverse_transform(layer.transform(x)), x)


@by_far
def test_the_inverse_brings_far_data_back(x):
    """The same for times and other data with far means, in float64."""
    layer = Normalization(dtype="f8").adapt(x)
    assert_brought_back(layer.inverse_transform(layer.transform(x)), x)


def assert_brought_back(back, x):
    """4 units of z, 1.5 of its product with std, half a unit of the result; times std, not of 1."""
    for place, value, feature in with_features(x, -1, naive.moments(x)):
        true = exact(value)
        most = UNIT * (6 * abs(true - feature.mean) + abs(true))
        underflow = 8 * SMALLEST * (1 + divisor(feature))
        assert_near(float(back.ravel()[place]), true, most + underflow, np.dtype("f8"))


@given(arrays.cases(with_rows=True), arrays.seeds)
def test_invert_swaps_the_directions(case, seed):
    """The transform of an inverting layer is the inverse of a plain one, and vice versa."""
    x, axis = case
    if not x.size:
        return
    plain = Normalization(axis, inf="omit").adapt(x)
    swapped = Normalization(axis, inf="omit", invert=True).adapt(x)
    z = generator(seed).normal(size=x.shape).astype(result_dtype(x.dtype))
    assert_same_bits(plain.inverse_transform(z), swapped.transform(z))
    assert_same_bits(plain.inverse_transform(z), swapped(z))
    assert_same_bits(plain.transform(x), swapped.inverse_transform(x))
    assert_same_bits(plain.transform(z), swapped.inverse_transform(z.copy(), out=z))


# The trainable pair


@by_float
@FEW
@given(shapes, arrays.seeds)
def test_the_pair_scales_and_shifts(dtype, shape, seed):
    """y is gamma * z + beta, with two more roundings in float64 and one to the dtype."""
    x = generator(seed).normal(5, 3, shape).astype(dtype)
    layer, gamma, beta = with_pair(x, seed)
    y = layer.transform(x)
    for place, value, feature in with_features(x, -1, naive.moments(x)):
        j = place % shape[1]
        z = (exact(value) - feature.mean) / divisor(feature)
        true = Fraction(gamma[j]) * z + Fraction(beta[j])
        most = UNIT * (5 * abs(Fraction(gamma[j]) * z) + abs(true))
        if dtype != np.float64:
            most += spacing(true, dtype) / 2
        assert_near(float(y.ravel()[place]), true, most, y.dtype)


@FEW
@given(shapes, arrays.seeds)
def test_the_inverse_undoes_the_pair(shape, seed):
    """The inverse subtracts beta and divides by gamma first."""
    x = generator(seed).normal(5, 3, shape)
    layer, gamma, beta = with_pair(x, seed)
    y = layer.transform(x)
    most = 1e-15 * (10 * abs(y) + 10 * abs(beta)) / abs(gamma) * layer.std + 1e-14
    assert (abs(layer.inverse_transform(y) - x) <= most).all()
    assert layer.inverse_transform(y, out=y) is y
    assert (abs(y - x) <= most).all()


def with_pair(x, seed=1):
    layer = Normalization(affine=True, inf="omit").adapt(x)
    gamma = generator(seed + 1).uniform(0.5, 4, x.shape[-1]) * (-1) ** seed
    beta = generator(seed + 2).normal(size=x.shape[-1])
    layer.gamma, layer.beta = gamma, beta
    return layer, gamma, beta
