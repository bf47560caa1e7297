"""Laws of fixed statistics, and of layers before they have any."""

import copy
import math
import pickle

import numpy as np
import pytest
from layers import FIXED, SEEN, WHOLE, Tensor, generator

from fastnorm import Moments, Normalization

# Fixed statistics


def test_fixed_statistics_are_no_parameters():
    """As in Keras from 2.6 on: nothing to learn, nothing to report."""
    layer = Normalization(mean=[1, 2], variance=[4, 9])
    assert layer.parameters() == []
    assert layer.count_params() == 0
    assert layer.get_weights() == []
    lines = []
    layer.summary(print_fn=lines.append)
    assert "Total params: 0 (0.00 B)" in "\n".join(lines)
    np.testing.assert_array_equal([1, 2], layer.mean)
    np.testing.assert_array_equal([4, 9], layer.variance)
    np.testing.assert_array_equal([2, 3], layer.std)
    np.testing.assert_array_equal([[2, 1], [-0.5, 0]], layer.transform([[5, 5], [0, 2]]))
    np.testing.assert_array_equal([[5, 5], [0, 2]], layer.inverse_transform([[2, 1], [-0.5, 0]]))


def test_a_layer_with_fixed_statistics_does_not_learn():
    """adapt, update, forget, merge and + say that its statistics are fixed."""
    layer = Normalization(mean=0, variance=1)
    other = Normalization().adapt(WHOLE)
    for verb, argument in (
        ("adapt", WHOLE),
        ("update", WHOLE),
        ("forget", WHOLE),
        ("merge", other),
        ("__add__", other),
    ):
        with pytest.raises(ValueError, match=f"{FIXED}.*without `mean` and `variance`"):
            getattr(layer, verb)(argument)
    for name in ("moments", "count"):
        with pytest.raises(ValueError, match=FIXED):
            getattr(layer, name)


@pytest.mark.parametrize("form", [list, tuple, np.array, np.float32, Tensor])
def test_fixed_statistics_may_be_any_numbers(form):
    """Lists, tuples, arrays, other dtypes and array-likes mean the same."""
    layer = Normalization(mean=form([1, 2]), variance=form([4, 16]))
    np.testing.assert_array_equal([[1, 0.5]], layer.transform([[3, 4]]))


def test_fixed_statistics_are_copied():
    """What the caller does to the arrays later does not reach the layer."""
    mean, variance = np.zeros(3), np.ones(3)
    layer = Normalization(mean=mean, variance=variance)
    mean[:], variance[:] = 7, 9
    np.testing.assert_array_equal(WHOLE, layer.transform(WHOLE))


@pytest.mark.parametrize(
    ("axis", "x_shape", "mean_shape", "aligned"),
    [
        (-1, (3, 7), (), (1, 1)),
        (-1, (3, 7), (1,), (1, 1)),
        (-1, (3, 7), (7,), (1, 7)),
        (2, (2, 4, 5, 3), (5,), (1, 1, 5, 1)),
        (1, (2, 4, 5), (4,), (1, 4, 1)),
        ((1, 2), (2, 7, 5, 3), (7, 5), (1, 7, 5, 1)),
        ((1, 2), (2, 7, 5, 3), (5,), (1, 1, 5, 1)),
        ((1, 2), (2, 7, 5, 3), (7, 1), (1, 7, 1, 1)),
        ((2, 1), (2, 7, 5, 3), (5,), (1, 1, 5, 1)),
        ((1, 2), (2, 7, 5, 3), (), (1, 1, 1, 1)),
        ((0, 2), (3, 4, 2), (3, 2), (3, 1, 2)),
        (None, (3, 7), (), (1, 1)),
    ],
)
def test_fixed_statistics_broadcast_from_the_right(axis, x_shape, mean_shape, aligned):
    """As in Keras: scalars go everywhere, other shapes align with the last kept axes."""
    x = generator().normal(size=x_shape)
    mean, variance = generator(1).normal(size=mean_shape), 1 + generator(2).random(mean_shape)
    layer = Normalization(axis, mean=mean, variance=variance)
    expected = (x - mean.reshape(aligned)) / np.sqrt(variance).reshape(aligned)
    np.testing.assert_allclose(layer.transform(x), expected, rtol=1e-15)
    back = x * np.sqrt(variance).reshape(aligned) + mean.reshape(aligned)
    np.testing.assert_allclose(layer.inverse_transform(x), back, rtol=1e-14, atol=1e-15)


def test_a_fixed_scalar_goes_to_every_element():
    """Two concrete cases of Keras: a mean of 3 with variance 2, and a mean of 5."""
    got = Normalization(mean=3, variance=2).transform([[1, 2, 3]])
    np.testing.assert_allclose([[-math.sqrt(2), -1 / math.sqrt(2), 0]], got, rtol=1e-15)
    got = Normalization(mean=5, variance=1).transform(np.zeros((3, 7)))
    np.testing.assert_array_equal(np.full((3, 7), -5), got)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"mean": 0.5}, "both `mean` and `variance`", id="mean alone"),
        pytest.param({"variance": 0.1}, "both `mean` and `variance`", id="variance alone"),
        pytest.param({"mean": [1, 2], "variance": [1]}, "same shape", id="two shapes"),
        pytest.param({"mean": [1, 2], "variance": 1}, "same shape", id="array and scalar"),
        pytest.param({"mean": [[1, 2]], "variance": [[1, 2]]}, "rank", id="2-D for one axis"),
        pytest.param({"axis": None, "mean": [1], "variance": [1]}, "rank", id="1-D for no axis"),
        pytest.param({"mean": [math.nan], "variance": [1]}, "finite", id="NaN mean"),
        pytest.param({"mean": [math.inf], "variance": [1]}, "finite", id="infinite mean"),
        pytest.param({"mean": [0], "variance": [math.inf]}, "finite", id="infinite variance"),
        pytest.param({"mean": [0], "variance": [math.nan]}, "finite", id="NaN variance"),
        pytest.param({"mean": [0], "variance": [-1]}, "variance.*>= 0", id="negative variance"),
        pytest.param({"mean": [], "variance": []}, "(?i)feature|empty", id="no features"),
        pytest.param({"mean": ["a"], "variance": [1]}, "(?i)mean", id="text"),
        pytest.param({"mean": [1j], "variance": [1]}, "(?i)mean|complex", id="complex"),
    ],
)
def test_wrong_fixed_statistics_are_refused(options, words):
    """Both or none, of one shape that the kept axes can take, finite, variances not negative."""
    with pytest.raises((ValueError, TypeError), match=words):
        Normalization(**options)


def test_the_wrong_number_of_features_for_fixed_statistics_is_named():
    """The error says both numbers and what to do."""
    layer = Normalization(mean=[1, 2], variance=[1, 1])
    for verb in ("transform", "inverse_transform"):
        with pytest.raises(ValueError, match=r"3 feature.* 2\b.*; pass"):
            getattr(layer, verb)(WHOLE)


def test_a_fixed_variance_of_zero_is_a_constant_feature():
    """The words for constant features hold for fixed statistics too."""
    still = {"mean": [1, 2], "variance": [0, 4]}
    np.testing.assert_array_equal([[3, 1]], Normalization(**still).transform([[4, 4]]))
    layer = Normalization(**still, constant="epsilon", epsilon=0.5)
    np.testing.assert_array_equal([[6, 1]], layer.transform([[4, 4]]))
    with pytest.raises(ValueError, match='constant="center"'):
        Normalization(**still, constant="raise").transform([[4, 4]])


# Before data


@pytest.mark.parametrize("make", [Normalization, lambda: Normalization().update(WHOLE[:0])])
def test_a_layer_that_has_seen_nothing_says_so(make):
    """Keras silently does nothing; here every use is an error that says to adapt."""
    layer = make()
    for verb in ("transform", "inverse_transform", "__call__"):
        for out in (None, WHOLE.copy()):
            with pytest.raises(ValueError, match=SEEN):
                getattr(layer, verb)(WHOLE, out)
    for name in ("mean", "variance", "std", "count", "moments"):
        with pytest.raises(ValueError, match=SEEN):
            getattr(layer, name)
    for verb in ("parameters", "count_params", "summary", "get_weights", "statistics"):
        with pytest.raises(ValueError, match=SEEN):
            getattr(layer, verb)()
    assert "Normalization" in repr(layer)
    assert "Normalization" in layer._repr_html_()
    for twin in (copy.copy(layer), copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert twin.adapt(WHOLE).moments == Moments.of(WHOLE)


def test_gamma_and_beta_wait_for_data():
    """Without data their number is not known."""
    layer = Normalization(affine=True)
    for name in ("gamma", "beta"):
        with pytest.raises(ValueError, match=SEEN):
            getattr(layer, name)
        with pytest.raises(ValueError, match=SEEN):
            setattr(layer, name, 1)
        with pytest.raises(AttributeError, match="affine=True"):
            getattr(Normalization().adapt(WHOLE), name)
