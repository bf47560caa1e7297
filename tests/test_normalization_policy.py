"""Laws of what NaN, infinities, constant features and epsilon mean, and of the other settings."""

import itertools
import math

import naive
import numpy as np
import pytest
from layers import HOLES, WHOLE, assert_unchanged, generator, state

from fastnorm import Normalization


def test_nan_omit_leaves_missing_values_out():
    """NaN and masked values take no part; this is the default."""
    hidden = np.ma.array(np.nan_to_num(HOLES, nan=1e30), mask=np.isnan(HOLES))
    for options, x in itertools.product([{}, {"nan": "omit"}], [HOLES, hidden]):
        layer = Normalization(**options).adapt(x)
        np.testing.assert_array_equal([4, 6, 5], layer.mean)
        assert (layer.mean[1], layer.variance[1], layer.std[1]) == (6, 1, 1)
        assert layer.moments.missing.tolist() == [0, 1, 0]
        assert layer.count == 3


def test_nan_propagate_makes_the_statistics_nan():
    """A feature with a missing value has no mean, variance and std; the others keep theirs."""
    whole = Normalization().adapt(HOLES)
    for layer in (
        Normalization(nan="propagate").adapt(HOLES),
        Normalization(nan="propagate").update(HOLES[:1]).update(HOLES[1:2]).update(HOLES[2:]),
    ):
        for name in ("mean", "variance", "std"):
            assert [False, True, False] == np.isnan(getattr(layer, name)).tolist()
            expected = getattr(whole, name)[[0, 2]]
            np.testing.assert_array_equal(expected, getattr(layer, name)[[0, 2]])
        layer.forget(HOLES[1:2])
        np.testing.assert_array_equal([4.5, 6, 5.5], layer.mean)


@pytest.mark.parametrize("x", [HOLES, np.ma.masked_invalid(HOLES)])
def test_nan_raise_refuses_missing_values(x):
    """The error says what was found and what to do; the layer stays as it was."""
    layer = Normalization(nan="raise").adapt(WHOLE).update(WHOLE[:1])
    before = state(layer)
    for verb in ("adapt", "update"):
        with pytest.raises(ValueError, match=r'(?i)NaN.*nan="omit"'):
            getattr(layer, verb)(x)
        with pytest.raises(ValueError, match=r'(?i)NaN.*nan="omit"'):
            getattr(layer, verb)(x[1:2])
    assert_unchanged(layer, before)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
@pytest.mark.parametrize("options", [{}, {"inf": "raise"}])
def test_infinities_are_refused_unless_asked_for(value, options):
    """The error names the word that leaves them out; the layer stays as it was."""
    layer = Normalization(**options).adapt(WHOLE).update(WHOLE[:1])
    before = state(layer)
    for verb, x in itertools.product(["adapt", "update"], [np.full((1, 3), value), WHOLE * value]):
        with pytest.raises(ValueError, match=r'(?i)infinit.*inf="omit"'):
            getattr(layer, verb)(x)
    assert_unchanged(layer, before)


def test_inf_omit_leaves_infinities_out():
    """They are counted apart and take no part in the statistics."""
    x = np.array([[1.0], [np.inf], [3.0], [-np.inf], [np.inf]])
    layer = Normalization(inf="omit").adapt(x[:2]).update(x[2:])
    assert (layer.mean[0], layer.variance[0], layer.count) == (2, 1, 5)
    assert (layer.moments.posinf[0], layer.moments.neginf[0], layer.moments.count[0]) == (2, 1, 2)
    np.testing.assert_array_equal([[-1], [np.inf], [1], [-np.inf], [np.inf]], layer.transform(x))


@pytest.mark.parametrize("value", [0.1, 0, 1e30, 1e-45, -1 / 3])
@pytest.mark.parametrize("dtype", ["f8", "f4"])
def test_a_constant_feature_is_only_centred(value, dtype):
    """By default exactly 0 comes out of it, and another value keeps its distance."""
    x = np.full((1000, 2), value).astype(dtype)
    x[:, 1] = np.resize([1, 3], 1000)
    for options in ({}, {"constant": "center"}):
        layer = Normalization(**options).adapt(x)
        assert (layer.variance[0], layer.std[0]) == (0, 0)
        assert not layer.transform(x)[:, 0].any()
        other = np.array([[np.float64(x[0, 0]) + 2, 3]])
        np.testing.assert_array_equal([[other[0, 0] - x[0, 0], 1]], layer.transform(other))
        back = layer.inverse_transform(np.zeros((1, 2)))
        np.testing.assert_array_equal([[x[0, 0], 2]], back)


def test_constant_epsilon_is_the_floor_of_keras():
    """A constant feature is divided by epsilon, as max(std, epsilon) says."""
    x = np.array([[3.0, 0], [3.0, 4], [3.0, 8]])
    layer = Normalization(constant="epsilon").adapt(x)
    assert not layer.transform(x)[:, 0].any()
    np.testing.assert_allclose([[1e7, 0]], layer.transform([[4, 4]]), rtol=1e-15)
    layer = Normalization(constant="epsilon", epsilon=0.5).adapt(x)
    np.testing.assert_array_equal([[2, 0]], layer.transform([[4, 4]]))
    np.testing.assert_array_equal([[4, 4]], layer.inverse_transform([[2, 0]]))
    layer = Normalization(constant="epsilon", epsilon=16).adapt(x)
    np.testing.assert_array_equal([[0.0625, 0.25]], layer.transform([[4, 8]]))
    np.testing.assert_array_equal([0, 32 / 3], layer.variance)


def test_constant_raise_refuses_a_constant_feature():
    """The error names the feature and what to do; features that vary are fine."""
    layer = Normalization(constant="raise")
    assert layer.adapt(WHOLE).transform(WHOLE).shape == WHOLE.shape
    x = WHOLE.copy()
    x[:, 1] = 0.1
    with pytest.raises(ValueError, match=r'constant.*feature 1.*constant="center"'):
        layer.adapt(x).transform(x)


@pytest.mark.parametrize("weights", [None, 7])
def test_constant_sklearn_centres_what_scikit_learn_takes_for_constant(weights):
    """A std within the error bound of two passes, which grows with rows or weights, is 0; a larger one is not."""
    deviation = 1e-6 * np.linspace(0.5, 1.5, 11)
    x = 1e5 + np.resize([1, -1], 60_000)[:, np.newaxis] * deviation
    w = None if weights is None else np.full(60_000, weights)
    layer = Normalization(constant="sklearn").adapt(x, weights=w)
    n, eps = 60_000 * (weights or 1), np.finfo(float).eps
    still = layer.variance <= n * eps * layer.variance + (n * eps * layer.mean) ** 2
    assert (still.all(), still.any()) == ((False, True) if weights is None else (True, True))
    z = layer.transform(x)
    np.testing.assert_allclose(np.where(still, layer.std, 1), np.abs(z).max(axis=0), rtol=1e-4)
    assert not Normalization(mean=1e5, variance=1e-12, constant="sklearn").transform([[1e5]]).any()


WORDS = {
    "nan": ("omit", "propagate", "raise"),
    "inf": ("raise", "omit"),
    "constant": ("center", "epsilon", "raise", "sklearn"),
}


@pytest.mark.parametrize("option", WORDS)
@pytest.mark.parametrize("word", ["ignore", "", "OMIT", None, True, 0])
def test_an_unknown_word_is_answered_with_the_known_ones(option, word):
    """The error has the option, the word and the whole set to choose from."""
    with pytest.raises(ValueError, match=option) as error:
        Normalization(**{option: word})
    for known in (*WORDS[option], word):
        assert repr(known) in str(error.value)


@pytest.mark.parametrize("epsilon", [-1e-7, 1e-310, math.nan, math.inf])
def test_epsilon_is_zero_or_a_finite_number_whose_inverse_is_one(epsilon):
    """Anything else is named."""
    with pytest.raises(ValueError, match="epsilon"):
        Normalization(epsilon=epsilon)


@pytest.mark.parametrize("dtype", ["i4", "c8", "g", "U1", "?", "O", "M8[s]"])
def test_the_dtype_of_results_is_a_float(dtype):
    """The error lists the dtypes there are."""
    with pytest.raises(ValueError, match=r"dtype.*float16.*bfloat16.*float32.*float64"):
        Normalization(dtype=dtype)


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2"])
def test_threads_is_a_whole_number_from_one_up(threads):
    """Anything else is named at once, not at the first use."""
    with pytest.raises((ValueError, TypeError), match="threads"):
        Normalization(threads=threads)


@pytest.mark.parametrize("options", [(-1, 0.5), (-1, 0.5, 0.5)])
def test_options_are_words_not_positions(options):
    """Only axis may come without its name."""
    with pytest.raises(TypeError, match="positional"):
        Normalization(*options)


@pytest.mark.parametrize("axis", [3, -4, (1, 3), (1, -4), (1, 1), (1, -2), "last", 0.5, (0, "b")])
def test_a_bad_axis_is_named(axis):
    """An axis that does not exist, twice the same, or no whole number."""
    with pytest.raises((ValueError, TypeError), match="axis"):
        Normalization(axis).adapt(np.ones((2, 3, 4)))
    with pytest.raises((ValueError, TypeError), match="axis"):
        Normalization(axis, mean=0, variance=1).transform(np.ones((2, 3, 4)))


@pytest.mark.parametrize(
    ("axis", "shape"),
    [(-1, (4,)), (0, (2,)), ((1, 2), (3, 4)), ((2, 1), (3, 4)), ((-1, 1), (3, 4)), (None, ())],
)
def test_statistics_have_the_shape_of_the_kept_axes(axis, shape):
    """Kept axes come in the order of the array, whatever the order of their names."""
    x = generator().normal(size=(2, 3, 4))
    layer = Normalization(axis).adapt(x)
    reduced = naive.reduced_axes(axis, 3)
    for name, expected in (("mean", x.mean(reduced)), ("variance", x.var(reduced))):
        assert getattr(layer, name).shape == shape
        assert getattr(layer, name).dtype == np.float64
        np.testing.assert_allclose(getattr(layer, name), expected, rtol=1e-13)
    np.testing.assert_allclose(layer.std, x.std(reduced), rtol=1e-13)
    z = layer.transform(x)
    np.testing.assert_allclose(z.mean(reduced), 0, atol=1e-15)
    np.testing.assert_allclose(z.var(reduced), 1, rtol=1e-13)
