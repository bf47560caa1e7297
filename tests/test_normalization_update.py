"""Laws of `update`, `forget` and `merge`, and of weights."""

import functools
import math

import numpy as np
import pytest
import strategies as arrays
from hypothesis import given
from layers import FIXED, HALVES, PAIRS, SEEN, WHOLE, assert_unchanged, generator, state, table

from fastnorm import Moments, Normalization

# update, forget, merge


def test_update_adds_to_what_is_there():
    """adapt then update is adapt to all rows; it returns the layer."""
    layer = Normalization().adapt(HALVES[0])
    assert layer.update(HALVES[1]) is layer
    assert layer.moments == Moments.of(WHOLE)
    assert state(layer) == state(Normalization().update(WHOLE))


def test_forget_removes_exactly():
    """Forgotten rows leave no trace, one after the other, down to none."""
    layer = Normalization().adapt(HALVES[0]).update(HALVES[1])
    assert layer.forget(HALVES[1]) is layer
    assert state(layer) == state(Normalization().adapt(HALVES[0]))
    layer.forget(HALVES[0])
    with pytest.raises(ValueError, match=SEEN):
        layer.transform(WHOLE)
    assert state(layer.update(WHOLE)) == state(Normalization().adapt(WHOLE))


def test_forget_takes_the_weight_back():
    """Rows that came with a weight go with it."""
    weights = np.arange(1, 8) / 7
    layer = Normalization().adapt(HALVES[0]).update(HALVES[1], weights=weights)
    layer.forget(HALVES[1], weights=weights)
    assert state(layer) == state(Normalization().adapt(HALVES[0]))


@pytest.mark.parametrize("rows", [table(13), table(3, seed=9), np.full((1, 3), 1e300)])
def test_rows_that_were_never_seen_cannot_be_forgotten(rows):
    """The error says that they were not there, and the layer stays as it was."""
    layer = Normalization().adapt(WHOLE)
    before = state(layer)
    with pytest.raises(ValueError, match=r"(?i)remove|forget"):
        layer.forget(rows)
    assert_unchanged(layer, before)
    with pytest.raises(ValueError, match=r"(?i)forget|not.*seen"):
        Normalization().forget(WHOLE)


def test_layers_merge_exactly():
    """merge adds the rows of another layer, + makes a third one and changes neither."""
    left, right = (Normalization().adapt(half) for half in HALVES)
    before = state(left), state(right)
    both = left + right
    assert both is not left
    assert both.moments == Moments.of(WHOLE)
    assert before == (state(left), state(right))
    assert left.merge(right) is left
    assert state(both) == state(left)
    assert before[1] == state(right)
    assert left.merge(left).moments == Moments.of(WHOLE) + Moments.of(WHOLE)


def test_a_layer_that_has_seen_nothing_is_the_neutral_element():
    """Merging it from either side changes nothing; two of them make another."""
    layer = Normalization().adapt(WHOLE)
    for merged in (layer + Normalization(), Normalization() + layer, layer.merge(Normalization())):
        assert state(merged) == state(Normalization().adapt(WHOLE))
    with pytest.raises(ValueError, match=SEEN):
        (Normalization() + Normalization()).transform(WHOLE)


def test_the_sum_of_layers_is_the_left_one_that_has_seen_both():
    """Settings, gamma and beta of the right layer do not count: results are those of the left one, adapted to all."""
    rows = np.where(WHOLE < 5, WHOLE, [[np.nan, 2.0, 7.0]])
    settings = {"nan": "propagate", "constant": "epsilon", "epsilon": 3.5, "dtype": "f4", "invert": True}
    left, alone = (Normalization(affine=True, **settings).adapt(part) for part in (rows[:5], rows))
    right = Normalization().adapt(rows[5:])
    left.gamma = alone.gamma = [1, 2, 3]
    np.testing.assert_array_equal(alone.transform(WHOLE), (left + right).transform(WHOLE))
    plain = right + left
    assert (right.nan, right.epsilon, None) == (plain.nan, plain.epsilon, plain.dtype)
    np.testing.assert_array_equal(Normalization().adapt(rows).transform(WHOLE), plain.transform(WHOLE))


@pytest.mark.parametrize(("setting", "value", "words"), [("nan", np.nan, "NaN"), ("inf", np.inf, "infinities")])
def test_what_the_left_layer_does_not_allow_is_not_merged(setting, value, words):
    """NaN and infinities that the right layer left out are an error of the left one, which stays as it was."""
    left = Normalization(**{setting: "raise"}).adapt(WHOLE)
    right = Normalization(**{setting: "omit"}).adapt([[1, 2, value]])
    before = state(left)
    for merge in (left.merge, left.__add__):
        with pytest.raises(ValueError, match=words):
            merge(right)
    assert_unchanged(left, before)
    assert (right + left).moments == right.moments + left.moments


def test_only_layers_of_one_kind_merge():
    """Other features, another axis, fixed statistics and other objects are refused by name."""
    layer = Normalization().adapt(WHOLE)
    before = state(layer)
    with pytest.raises(ValueError, match=r"3.*4|4.*3"):
        layer.merge(Normalization().adapt(table(3, 4)))
    with pytest.raises(ValueError, match=r"axis=-1 and axis=0.*adapt both with one axis"):
        layer.merge(Normalization(axis=0).adapt(table(3, 3)))
    with pytest.raises(ValueError, match=FIXED):
        layer.merge(Normalization(mean=0, variance=1))
    for other in (Moments.of(WHOLE), 1, None, "layer"):
        with pytest.raises(TypeError, match="Normalization"):
            layer.merge(other)
        with pytest.raises(TypeError, match="unsupported operand"):
            layer + other
    assert_unchanged(layer, before)


def test_no_rows_are_the_neutral_element():
    """Updating with or forgetting no rows changes nothing, before as after the first rows."""
    layer = Normalization().adapt(WHOLE)
    before = state(layer)
    assert_unchanged(layer.update(WHOLE[:0]), before)
    assert_unchanged(layer.forget(WHOLE[:0]), before)
    assert_unchanged(layer.update(np.ones((0, 3), "i2")), before)
    layer = Normalization().update(WHOLE[:0])
    with pytest.raises(ValueError, match=SEEN):
        layer.transform(WHOLE)
    assert_unchanged(layer.update(WHOLE), before)


@pytest.mark.parametrize("verb", ["transform", "inverse_transform", "update", "forget"])
@pytest.mark.parametrize(("x", "got"), [(table(5, 4), 4), (table(5, 1), 1), (np.ones(7), 7)])
def test_the_wrong_number_of_features_is_named_with_the_cure(verb, x, got):
    """The error says how many features there are, how many there should be, and what to do."""
    layer = Normalization().adapt(WHOLE)
    layer.transform(WHOLE)
    before, given_x = state(layer), x.copy()
    words = rf"{got} feature.* 3\b.*; pass .*adapt"
    with pytest.raises(ValueError, match=words):
        getattr(layer, verb)(x)
    if verb.endswith("transform"):
        with pytest.raises(ValueError, match=words):
            getattr(layer, verb)(x, out=x)
    np.testing.assert_array_equal(given_x, x)
    assert_unchanged(layer, before)


def test_features_of_another_shape_are_named():
    """With several kept axes both shapes are in the error."""
    layer = Normalization(axis=(1, 2)).adapt(np.ones((2, 3, 4)))
    with pytest.raises(ValueError, match=r"\(4, 3\).*\(3, 4\).*; pass .*adapt"):
        layer.transform(np.ones((2, 4, 3)))
    with pytest.raises(ValueError, match=r"axis|dimension"):
        layer.transform(np.ones((3, 4)))


# Weights


@given(arrays.tables(), arrays.seeds)
def test_integer_weights_equal_repeated_rows(x, seed):
    """A row of weight 3 is as good as three rows, for the statistics and for the results."""
    if not len(x):
        return
    weights = arrays.seeded_weights(len(x), "integers", seed)
    weights[0] = 1
    weighted = Normalization(inf="omit").adapt(x, weights=weights)
    repeated = Normalization(inf="omit").adapt(np.repeat(x, weights, axis=0))
    for name in ("mean", "variance", "std"):
        np.testing.assert_array_equal(getattr(repeated, name), getattr(weighted, name))
    assert repeated.transform(x).tobytes() == weighted.transform(x).tobytes()


def test_batches_come_with_batches_of_weights():
    """adapt takes weights in the form of the data, update those of its batch."""
    weights = generator().random(12)
    expected = Moments.of(WHOLE, weights=weights)
    split = (weights[:5], weights[5:])
    assert Normalization().adapt(WHOLE, weights=weights).moments == expected
    assert Normalization().adapt(WHOLE, weights=weights.tolist()).moments == expected
    assert Normalization().adapt(HALVES, weights=split).moments == expected
    assert Normalization().adapt(iter(HALVES), weights=iter(split)).moments == expected
    assert Normalization().adapt(iter(PAIRS), weights=split).moments == expected
    layer = Normalization().update(HALVES[0], weights=split[0])
    assert layer.update(HALVES[1], weights=split[1]).moments == expected


BAD_WEIGHTS = {
    "negative": [1, -1, 1, 1, 1],
    "NaN": [1, math.nan, 1, 1, 1],
    "infinite": [1, math.inf, 1, 1, 1],
    "too few": [1, 1],
    "too many": [1] * 6,
    "one for each element": np.ones((5, 3)),
    "one for all": 1.0,
    "text": ["a"] * 5,
    "complex": [1j] * 5,
}


@pytest.mark.parametrize("name", BAD_WEIGHTS)
def test_bad_weights_are_refused(name):
    """The error speaks of the weights, and the layer stays as it was."""
    layer = Normalization().adapt(WHOLE)
    before = state(layer)
    weights = BAD_WEIGHTS[name]
    calls = [
        functools.partial(layer.adapt, HALVES[0]),
        functools.partial(layer.update, HALVES[0]),
        functools.partial(layer.forget, HALVES[0]),
    ]
    for call in calls:
        with pytest.raises((ValueError, TypeError), match="weight"):
            call(weights=weights)
    with pytest.raises((ValueError, TypeError), match="weight"):
        layer.adapt(iter(HALVES), weights=[weights, np.ones(7)])
    assert_unchanged(layer, before)


@pytest.mark.parametrize("weights", [[np.ones(5)], [np.ones(5), np.ones(7), np.ones(1)]])
def test_batches_and_their_weights_are_equally_many(weights):
    """Batches without weights, or weights without a batch, are an error that says so."""
    layer = Normalization().adapt(WHOLE)
    before = state(layer)
    with pytest.raises(ValueError, match="weight"):
        layer.adapt(HALVES, weights=weights)
    with pytest.raises(ValueError, match="weight"):
        layer.adapt(iter(HALVES), weights=iter(weights))
    assert_unchanged(layer, before)
