"""Laws of the Normalization layer: what it learns, what it refuses, what it reports."""

import copy
import functools
import html
import itertools
import math
import pickle
import sys
import threading

import ml_dtypes
import naive
import numpy as np
import pytest
import strategies as arrays
from hypothesis import given
from hypothesis import strategies as st
from processes import GUARD, run_python

from fastnorm import Moments, Normalization

SEEN = "not .*seen any data.*adapt|not .*adapted"
FIXED = "fixed"


def generator(seed=40):
    return np.random.default_rng(seed)


def table(rows=12, width=3, seed=1):
    return generator(seed).normal(5, 2, (rows, width))


class Tensor:
    """What torch, JAX and pandas hand out: no ndarray, but it has `__array__` and iterates."""

    def __init__(self, x):
        self.values = np.asarray(x)

    @property
    def shape(self):
        return self.values.shape

    def __len__(self):
        return len(self.values)

    def __iter__(self):
        return map(Tensor, self.values)

    def __array__(self, dtype=None, copy=None):
        return self.values if dtype is None else self.values.astype(dtype)


class Loader:
    """Batches that can be read again and again, as a data loader gives them."""

    def __init__(self, *batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


def state(layer):
    """All bits of what a layer has learned."""
    weights = [array.tobytes() for array in layer.get_weights()]
    return [layer.moments.to_bytes(), *weights]


def assert_unchanged(layer, before):
    assert before == state(layer)


# adapt

WHOLE = table()
HALVES = (WHOLE[:5], WHOLE[5:])
LABELS = (np.arange(5), np.arange(7))
PAIRS = list(zip(HALVES, LABELS, strict=True))
BATCHES = {
    "array": WHOLE,
    "Fortran order": np.asfortranarray(WHOLE),
    "nested list": WHOLE.tolist(),
    "array-like": Tensor(WHOLE),
    "list of batches": list(HALVES),
    "tuple of batches": HALVES,
    "list of rows": list(WHOLE),
    "generator of batches": HALVES,
    "generator of lists": tuple(half.tolist() for half in HALVES),
    "generator of array-likes": tuple(map(Tensor, HALVES)),
    "generator of (x, y)": PAIRS,
    "generator of [x, y]": [list(pair) for pair in PAIRS],
    "generator of (x, y, weight)": [(x, y, y) for x, y in PAIRS],
    "generator of array-like (x, y)": [(Tensor(x), Tensor(y)) for x, y in PAIRS],
    "generator of single rows": WHOLE,
    "list of (x, y)": PAIRS,
    "tuple of (x, y)": tuple(PAIRS),
    "list of array-likes": list(map(Tensor, HALVES)),
    "loader": Loader(*HALVES),
    "loader of (x, y)": Loader(*PAIRS),
    "batches with an empty one": [WHOLE[:5], WHOLE[:0], WHOLE[5:]],
    "batches in other layouts": [np.asfortranarray(HALVES[0]), HALVES[1].astype(">f8")],
}


@pytest.mark.parametrize("name", BATCHES)
def test_adapt_learns_the_same_from_any_form_of_data(name):
    """An array, a list, array-likes and any iterable of batches give equal Moments."""
    data = BATCHES[name]
    if name.startswith("generator"):
        data = (batch for batch in data)
    layer = Normalization()
    assert layer.adapt(data) is layer
    assert layer.moments == Moments.of(WHOLE)
    assert layer.count == 12


@given(arrays.cases(with_rows=True), st.data())
def test_any_chunking_learns_the_same(case, data):
    """Batches cut anywhere along a reduced axis give the moments and results of the whole."""
    x, axis = case
    if not x.size:
        return
    along = data.draw(st.sampled_from(naive.reduced_axes(axis, x.ndim)))
    parts = arrays.pieces(x, data.draw(arrays.cuts(x.shape[along])), along)
    whole = Normalization(axis, inf="omit").adapt(x)
    by_adapt = Normalization(axis, inf="omit").adapt(iter(parts))
    by_update, by_merge = Normalization(axis, inf="omit"), Normalization(axis, inf="omit")
    for part in parts:
        by_update.update(part)
        by_merge += Normalization(axis, inf="omit").update(part)
    assert whole.moments == Moments.of(x, axis=axis)
    for layer in (by_adapt, by_update, by_merge):
        assert state(whole) == state(layer)
        assert whole.transform(x).tobytes() == layer.transform(x).tobytes()


@given(arrays.tables(arrays.float_dtypes), st.data())
def test_rows_that_come_one_by_one_are_learned_exactly(x, data):
    """A stream of single rows, read out at any moment, is always what has been seen so far."""
    some = x[:12, :4]
    if not len(some):
        return
    layer = Normalization(inf="omit").update(some[:1])
    for i in range(1, len(some)):
        layer.update(some[i : i + 1])
        if data.draw(st.booleans()):
            assert layer.moments == Moments.of(some[: i + 1])
            layer.transform(some[:1])
    assert layer.moments == Moments.of(some)
    if len(some) > 1:
        assert layer.forget(some[:1]).moments == Moments.of(some[1:])


@pytest.mark.parametrize("dtype", [">f8", ">f4", "f4", "f8", "f2", "i8", "?", "bfloat16"])
def test_small_batches_of_any_dtype_are_added(dtype):
    """A few rows of any dtype and layout, after others, are added exactly."""
    dtype = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    x = (3 * table(4)).astype(dtype)
    for layout in arrays.LAYOUTS.values():
        layer = Normalization().adapt(WHOLE).update(WHOLE[:2])
        layer.update(layout(x))
        layer.update(WHOLE.astype("f4"))
        parts = (WHOLE, WHOLE[:2], x, WHOLE.astype("f4"))
        assert layer.moments == functools.reduce(Moments.__add__, map(Moments.of, parts))


@pytest.mark.parametrize("width", [1, 63, 64, 65, 255, 256, 257, 800, 4000])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_row_of_any_width_is_added(width, dtype):
    """A stream of single rows is exact for one feature as for thousands."""
    x = generator().standard_normal((5, width)).astype(dtype)
    layer = Normalization().adapt(x[:2])
    for row in x[2:]:
        layer.update(row[None])
    assert layer.moments == Moments.of(x)


def test_adapt_starts_over():
    """What was learned before leaves no trace, whatever its features were."""
    layer = Normalization().adapt(table(7, 4)).update(table(3, 4))
    layer.transform(table(3, 4))
    layer.adapt(WHOLE)
    assert state(Normalization().adapt(WHOLE)) == state(layer)
    np.testing.assert_array_equal(Normalization().adapt(WHOLE)(WHOLE), layer(WHOLE))


def broken_stream():
    yield WHOLE
    raise ConnectionError("the stream broke")


REFUSED = {
    "other features among the batches": ([WHOLE, table(3, 4)], "3.*4|4.*3"),
    "inf": (np.array([[1.0, 2, np.inf]]), "(?i)inf"),
    "inf in a later batch": ([WHOLE, np.array([[1.0, 2, -np.inf]])], "(?i)inf"),
    "complex": (WHOLE + 1j, "complex"),
    "complex in a later batch": ([WHOLE, WHOLE + 1j], "complex"),
    "object": (np.array([[1, None, "a"]], object), "object"),
    "strings": (np.array([["a", "b", "c"]]), "(?i)<U1|str|numeric"),
    "bytes": (np.array([[b"a", b"b", b"c"]]), "(?i)S1|bytes|numeric"),
    "datetimes": (np.ones((2, 3), "M8[s]"), "datetime"),
    "timedeltas": (np.ones((2, 3), "m8[s]"), "timedelta"),
    "longdouble": (WHOLE.astype("g"), "longdouble|float128"),
    "0-d": (np.array(3.0), "0-d"),
    "number": (3.0, "0-d"),
    "no features": (np.ones((5, 0)), "(?i)feature"),
    "a text": ("numbers", "(?i)str|<U|numeric"),
    "None": (None, "(?i)object|None"),
    "a dict": ({"a": WHOLE}, "(?i)dict|`.shape`|array"),
    "batches that are dicts": (({"a": WHOLE} for _ in range(2)), "dict.*a"),
    "batches that are numbers": ((42 for _ in range(2)), r"\.shape"),
    "an empty generator": (iter([]), "(?i)empty"),
    "an empty list": ([], "(?i)empty|feature"),
    "a broken stream": (broken_stream(), "the stream broke"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_failed_adapt_leaves_the_layer_as_it_was(name):
    """Bad data, even in a late batch, are named, and every bit of the layer stays."""
    data, words = REFUSED[name]
    layer = Normalization().adapt(table(9)).update(table(1, seed=5))
    before, z = state(layer), layer.transform(WHOLE)
    with pytest.raises((ValueError, TypeError, ConnectionError), match=words):
        layer.adapt(data)
    assert_unchanged(layer, before)
    np.testing.assert_array_equal(z, layer.transform(WHOLE))


def test_a_failed_first_adapt_leaves_a_layer_that_has_seen_nothing():
    """There is no half-adapted layer."""
    layer = Normalization()
    with pytest.raises(ValueError, match=r"(?i)inf"):
        layer.adapt([WHOLE, WHOLE * np.inf])
    with pytest.raises(ValueError, match=SEEN):
        layer.transform(WHOLE)
    assert layer.adapt(table(3, 5)).moments == Moments.of(table(3, 5))


@pytest.mark.parametrize("verb", ["update", "forget", "transform", "inverse_transform", "adapt"])
@pytest.mark.parametrize(
    "name",
    ["complex", "object", "strings", "bytes", "datetimes", "timedeltas", "longdouble", "0-d"],
)
def test_what_is_no_table_of_numbers_is_refused(verb, name):
    """The error names the dtype and says what to do; the layer stays as it was."""
    x, words = REFUSED[name]
    layer = Normalization().adapt(WHOLE)
    before = state(layer)
    with pytest.raises((ValueError, TypeError), match=words) as error:
        getattr(layer, verb)(x)
    assert "; " in str(error.value), "the error says no cure"
    assert_unchanged(layer, before)


@pytest.mark.parametrize("verb", ["adapt", "update", "forget", "transform", "inverse_transform"])
def test_zero_features_are_refused(verb):
    """A table without columns is an error, not an empty result."""
    layer = Normalization().adapt(WHOLE)
    with pytest.raises(ValueError, match=r"(?i)feature|column"):
        getattr(layer, verb)(np.ones((5, 0)))


@pytest.mark.parametrize("verb", ["transform", "inverse_transform"])
def test_zero_features_are_refused_by_fixed_statistics(verb):
    """A fixed scalar fits any number of features but none."""
    with pytest.raises(ValueError, match=r"(?i)feature|column"):
        getattr(Normalization(mean=0, variance=1), verb)(np.ones((5, 0)))


@pytest.mark.parametrize(
    ("verb", "shape"),
    [
        ("adapt", "(2, 10**15)"),
        ("update", "(2, 10**15)"),
        ("transform", "(2, 10**15)"),
        ("transform", "(10**15, 2)"),
    ],
)
def test_a_memory_request_without_bounds_is_an_error(verb, shape):
    """A quadrillion features, or rows of a result, fail at once and change nothing."""
    code = f"""
        import resource
        import numpy as np
        from fastnorm import Normalization

        layer = Normalization()
        if "{verb}" == "transform":
            layer.adapt(np.ones((3, 2)))
        before = layer.__getstate__()
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        try:
            layer.{verb}(np.broadcast_to(np.float32(1), {shape}))
        except (MemoryError, ValueError) as error:
            print(error)
        assert before == layer.__getstate__()
    """
    assert run_python(code, timeout=10)


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


def test_the_sum_of_layers_is_set_up_like_the_left_one():
    """The options of the right layer do not count."""
    left = Normalization(nan="propagate", constant="epsilon", epsilon=0.5, dtype="f4", invert=True)
    both = left + Normalization().adapt(WHOLE)
    for name in ("nan", "constant", "epsilon", "dtype", "invert"):
        assert getattr(left, name) == getattr(both, name)


def test_only_layers_of_one_kind_merge():
    """Other features, another axis, fixed statistics and other objects are refused by name."""
    layer = Normalization().adapt(WHOLE)
    before = state(layer)
    with pytest.raises(ValueError, match=r"3.*4|4.*3"):
        layer.merge(Normalization().adapt(table(3, 4)))
    with pytest.raises(ValueError, match="axis"):
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


# nan, inf, constant, epsilon

HOLES = np.array([[1.0, 5.0, 2.0], [3.0, np.nan, 4.0], [8.0, 7.0, 9.0]])


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


# Results


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        *((np.dtype(d), np.dtype("f4")) for d in ("i1", "u1", "i2", "u2", "?", "f4", ">f4", ">i2")),
        *((np.dtype(d), np.dtype("f8")) for d in ("i4", "u4", "i8", "u8", "f8", ">f8", ">i8")),
        (np.dtype("f2"), np.dtype("f2")),
        (arrays.BFLOAT16, arrays.BFLOAT16),
    ],
    ids=str,
)
@pytest.mark.parametrize("direction", ["transform", "inverse_transform"])
def test_the_dtype_of_the_result_follows_from_that_of_x(dtype, expected, direction):
    """Floats keep theirs, integers to 16 bits and bool give float32, wider ones float64."""
    x = (abs(WHOLE) + 1).astype(dtype)
    for layer in (Normalization().adapt(x), Normalization(mean=1, variance=4)):
        got = getattr(layer, direction)(x)
        assert type(got) is np.ndarray
        assert (got.dtype, got.shape) == (expected, x.shape)
        for wanted in arrays.FLOATS:
            other = Normalization(mean=1, variance=4, dtype=wanted)
            assert getattr(other, direction)(x).dtype == wanted
            assert getattr(other, direction)(x[:0]).dtype == wanted


def test_results_of_lists_are_float64():
    """Lists have no dtype; their results are float64, whatever the numbers."""
    layer = Normalization().adapt([[1, 2], [3, 4]])
    for x in ([[1, 2]], [[1.0, 2.0]], ((1, 2),), Tensor([[1, 2]])):
        assert layer.transform(x).dtype == np.float64
    assert layer.transform([1, 2]).shape == (2,)


@pytest.mark.parametrize("dtype", ["float16", np.float32, np.dtype("f8"), ml_dtypes.bfloat16])
def test_dtype_may_be_given_in_any_form(dtype):
    """A name, a type or a dtype; the result is rounded to it once."""
    layer = Normalization(dtype=dtype).adapt(WHOLE)
    expected = Normalization().adapt(WHOLE).transform(WHOLE)
    assert layer.transform(WHOLE).dtype == np.dtype(dtype)
    if np.dtype(dtype) != arrays.BFLOAT16:
        np.testing.assert_array_equal(expected.astype(dtype), layer.transform(WHOLE))


def test_a_layer_is_callable_and_fits_in_one_step():
    """layer(x) is transform, fit_transform is adapt and transform."""
    layer = Normalization().adapt(WHOLE)
    np.testing.assert_array_equal(layer.transform(WHOLE), layer(WHOLE))
    out = np.empty_like(WHOLE)
    assert layer(WHOLE, out=out) is out
    assert layer(WHOLE, out) is out
    np.testing.assert_array_equal(out, Normalization().fit_transform(WHOLE))


def test_a_bad_destination_of_fit_transform_changes_nothing():
    """It is refused before the layer adapts, and is never taken by its place: scikit-learn has y there."""
    layer = Normalization().adapt(WHOLE[:5])
    before = layer.moments
    with pytest.raises(ValueError, match="out has shape"):
        layer.fit_transform(WHOLE, out=np.empty((2, 2)))
    with pytest.raises(TypeError):
        layer.fit_transform(WHOLE, WHOLE.copy())
    assert layer.moments == before


def test_any_array_like_is_transformed():
    """Lists, array-likes, memory maps and masked arrays are tables as well."""
    layer = Normalization().adapt(WHOLE)
    expected = layer.transform(WHOLE)
    for x in (WHOLE.tolist(), Tensor(WHOLE), np.ma.array(WHOLE)):
        np.testing.assert_array_equal(expected, layer.transform(x))
    out = np.empty_like(WHOLE)
    assert layer.transform(WHOLE.tolist(), out=out) is out
    np.testing.assert_array_equal(expected, out)


def test_a_memory_mapped_file_is_transformed_in_place(tmp_path):
    """What is on disk afterwards is the result."""
    np.save(tmp_path / "x.npy", WHOLE)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r+")
    layer = Normalization().adapt(mapped)
    assert layer.transform(mapped, out=mapped) is mapped
    mapped.flush()
    np.testing.assert_array_equal(layer.transform(WHOLE), np.load(tmp_path / "x.npy"))
    read = np.load(tmp_path / "x.npy", mmap_mode="r")
    with pytest.raises(ValueError, match="read-only"):
        layer.transform(read, out=read)


# out

SQUARE = table(6, 6)
BUFFER = np.zeros(100)


def read_only(shape):
    array = np.empty(shape)
    array.flags.writeable = False
    return array


OUTS = {
    "fewer rows": (WHOLE, np.empty((11, 3)), "ValueError", r"\(11, 3\).*\(12, 3\)"),
    "other columns": (WHOLE, np.empty((12, 4)), "ValueError", r"\(12, 4\).*\(12, 3\)"),
    "other axes": (WHOLE, np.empty(36), "ValueError", r"\(36,\).*\(12, 3\)"),
    "broadcastable": (WHOLE, np.empty((1, 12, 3)), "ValueError", r"shape"),
    "integers": (WHOLE, np.empty((12, 3), "i8"), "TypeError", "int64.*float"),
    "bool": (WHOLE, np.empty((12, 3), "?"), "TypeError", "bool.*float"),
    "complex": (WHOLE, np.empty((12, 3), "c16"), "TypeError", "complex128.*float"),
    "longdouble": (WHOLE, np.empty((12, 3), "g"), "TypeError", "float128|longdouble"),
    "objects": (WHOLE, np.empty((12, 3), "O"), "TypeError", "object.*float"),
    "read-only": (WHOLE, read_only((12, 3)), "ValueError", "read-only"),
    "a list": (WHOLE, WHOLE.tolist(), "TypeError", "list.*leave it out"),
    "a number": (WHOLE, 1.0, "TypeError", "float.*leave it out"),
    "an array-like": (WHOLE, Tensor(np.empty((12, 3))), "TypeError", "Tensor.*leave it out"),
    "x shifted by a row": (BUFFER[:36].reshape(12, 3), BUFFER[3:39].reshape(12, 3), "", "overlap"),
    "x shifted by one": (BUFFER[:36].reshape(12, 3), BUFFER[1:37].reshape(12, 3), "", "overlap"),
    "x reversed": (BUFFER[:36].reshape(12, 3), BUFFER[:36].reshape(12, 3)[::-1], "", "overlap"),
    "x transposed": (SQUARE, SQUARE.T, "", "overlap"),
    "x as float32": (SQUARE, SQUARE.view("f4")[:, ::2], "", "overlap"),
    "repeated memory": (
        WHOLE,
        np.lib.stride_tricks.as_strided(np.empty(3), (12, 3), (0, 8)),
        "",
        "",
    ),
}


@pytest.mark.parametrize("name", OUTS)
@pytest.mark.parametrize("direction", ["transform", "inverse_transform"])
@pytest.mark.parametrize("fixed", [False, True])
def test_a_destination_that_cannot_hold_the_result_is_refused(name, direction, fixed):
    """The error names what is wrong with out, and neither x nor out is written to."""
    x, out, kind, words = OUTS[name]
    layer = Normalization(mean=1, variance=2) if fixed else Normalization().adapt(x)
    before = np.array(x), copy.deepcopy(out)
    with pytest.raises((ValueError, TypeError), match=f"(?s)out.*{words}") as error:
        getattr(layer, direction)(x, out=out)
    assert kind in ("", error.type.__name__)
    np.testing.assert_array_equal(before[0], x)
    if isinstance(out, np.ndarray) and out.dtype != object:
        assert before[1].tobytes() == out.tobytes()


@pytest.mark.parametrize("dtype", ["i8", "u1", "?"])
def test_integers_do_not_work_in_place(dtype):
    """The error says that z-scores are no integers, and x stays as it was."""
    x = (10 * abs(WHOLE)).astype(dtype)
    before = x.copy()
    layer = Normalization().adapt(x)
    with pytest.raises(TypeError, match=f"{np.dtype(dtype)}.*float"):
        layer.transform(x, out=x)
    np.testing.assert_array_equal(before, x)


def test_neighbours_in_one_buffer_do_not_overlap():
    """Interleaved rows or columns share memory bounds but no element: they are fine."""
    space = np.zeros((12, 6))
    x, out = space[:, ::2], space[:, 1::2]
    x[...] = WHOLE
    layer = Normalization().adapt(WHOLE)
    assert layer.transform(x, out=out) is out
    np.testing.assert_array_equal(layer.transform(WHOLE), out)
    np.testing.assert_array_equal(WHOLE, x)
    stack = np.zeros((24, 3))
    stack[::2] = WHOLE
    layer.transform(stack[::2], out=stack[1::2])
    np.testing.assert_array_equal(layer.transform(WHOLE), stack[1::2])


# The trainable pair


def test_gamma_and_beta_start_as_one_and_zero():
    """A fresh pair changes nothing; setting it takes effect at once."""
    layer = Normalization(affine=True).adapt(WHOLE)
    np.testing.assert_array_equal(np.ones(3), layer.gamma)
    np.testing.assert_array_equal(np.zeros(3), layer.beta)
    z = Normalization().adapt(WHOLE).transform(WHOLE)
    np.testing.assert_array_equal(z, layer.transform(WHOLE))
    layer.gamma, layer.beta = [1, 2, 4], [0, 0.5, -8]
    np.testing.assert_allclose(z * [1, 2, 4] + [0, 0.5, -8], layer.transform(WHOLE), rtol=1e-15)
    layer.gamma = 2
    layer.beta = 0
    np.testing.assert_array_equal(2 * z, layer.transform(WHOLE))
    x = WHOLE.copy()
    np.testing.assert_array_equal(2 * z, layer.transform(x, out=x))
    row = WHOLE[:1].copy()
    np.testing.assert_array_equal(2 * z[:1], layer.transform(row, out=row))


@pytest.mark.parametrize("axis", [-1, 1, (1, 2), None])
def test_the_pair_follows_the_kept_axes(axis):
    """gamma and beta have the shape of the mean, and act along the same axes."""
    x = generator().normal(size=(2, 3, 4))
    layer = Normalization(axis, affine=True).adapt(x)
    assert layer.gamma.shape == layer.beta.shape == layer.mean.shape
    gamma = 1 + generator(1).random(layer.mean.shape)
    layer.gamma, layer.beta = gamma, -gamma
    wide = np.expand_dims(gamma, naive.reduced_axes(axis, 3))
    expected = Normalization(axis).adapt(x).transform(x) * wide - wide
    np.testing.assert_allclose(layer.transform(x), expected, rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(layer.inverse_transform(layer.transform(x)), x, rtol=1e-13)


@pytest.mark.parametrize("name", ["gamma", "beta"])
@pytest.mark.parametrize("values", [[1, 2], [[1, 2, 3]] * 2, [1, math.nan, 1], [1, 2, math.inf]])
def test_bad_trainables_are_refused(name, values):
    """Another shape, NaN and infinity are named, and the layer stays as it was."""
    layer = Normalization(affine=True).adapt(WHOLE)
    before = state(layer)
    with pytest.raises(ValueError, match=f"{name}|shape"):
        setattr(layer, name, values)
    assert_unchanged(layer, before)


def test_a_fixed_layer_may_have_a_pair():
    """Fixed statistics with trainable scale and offset: 2n parameters, all trainable."""
    layer = Normalization(mean=[1, 2], variance=[4, 4], affine=True)
    layer.gamma, layer.beta = [2, 4], [1, 0]
    np.testing.assert_array_equal([[3, 4]], layer.transform([[3, 4]]))
    assert [("gamma", 2, True), ("beta", 2, True)] == [(p.name, p.size, p.trainable) for p in layer.parameters()]


def test_adapting_to_other_features_renews_the_pair():
    """A pair of three does not fit two features."""
    layer = Normalization(affine=True).adapt(WHOLE)
    layer.gamma = [1, 2, 3]
    layer.adapt(table(5, 2))
    np.testing.assert_array_equal([1, 1], layer.gamma)
    assert layer.transform(table(5, 2)).shape == (5, 2)


# Parameters


@pytest.mark.parametrize(
    ("n", "affine", "count", "expected"),
    [
        (1, False, True, 3),
        (9, False, True, 19),
        (1, False, False, 2),
        (9, False, False, 18),
        (1, True, True, 5),
        (9, True, True, 37),
        (9, True, False, 36),
    ],
)
def test_a_layer_has_two_parameters_a_feature_and_the_row_count(n, affine, count, expected, capsys):
    """2n + 1, so 3 for (None, 1) and 19 for (None, 9); 2n without the count, 2n more if affine."""
    layer = Normalization(affine=affine).adapt(table(4, n))
    trainable = 2 * n if affine else 0
    layer.summary(count=count)
    printed = capsys.readouterr().out
    assert f"Total params: {expected} ({8 * expected}.00 B)" in printed
    assert f"\n Trainable params: {trainable} ({8 * trainable}.00 B)" in printed
    frozen = expected - trainable
    assert f"Non-trainable params: {frozen} ({8 * frozen}.00 B)" in printed
    assert f"(None, {n})" in printed
    assert ("count" in printed) == count
    if count:
        assert expected == layer.count_params() == sum(p.size for p in layer.parameters())
        assert expected == sum(array.size for array in layer.get_weights())


def test_every_parameter_is_described():
    """Name, shape, dtype, trainable, size and bytes, those that are trained first."""
    layer = Normalization(axis=(1, 2), affine=True).adapt(np.ones((2, 3, 4)))
    described = [(p.name, p.shape, p.dtype, p.trainable, p.size, p.bytes) for p in layer.parameters()]
    assert described == [
        ("gamma", (3, 4), "float64", True, 12, 96),
        ("beta", (3, 4), "float64", True, 12, 96),
        ("mean", (3, 4), "float64", False, 12, 96),
        ("variance", (3, 4), "float64", False, 12, 96),
        ("count", (), "int64", False, 1, 8),
    ]
    for parameter, array in zip(layer.parameters(), layer.get_weights(), strict=True):
        assert (parameter.shape, parameter.dtype) == (array.shape, array.dtype.name)
    assert Normalization(axis=None).adapt(WHOLE).count_params() == 3


def test_summary_prints_where_it_is_told_to(capsys):
    """print_fn gets the text; the layer names no count where it is left out."""
    lines = []
    layer = Normalization().adapt(table(4, 9))
    assert layer.summary(print_fn=lines.append) is None
    assert capsys.readouterr().out == ""
    assert "Total params: 19" in "\n".join(lines)


def test_a_notebook_shows_parameters_and_statistics():
    """_repr_html_ has the counts and one line a feature, with names escaped."""
    layer = Normalization().adapt(WHOLE)
    layer.feature_names = ("depth <m>", "b&c", "time")
    page = layer._repr_html_()
    assert "Total params: 7" in page
    for name in layer.feature_names:
        assert html.escape(name) in page
    assert "<m>" not in page
    assert f"{layer.mean[0]:.6g}" in page
    assert "Total params: 0" in Normalization(mean=0, variance=1)._repr_html_()


def test_statistics_are_listed_by_feature():
    """Columns of a table: names or places, values, missing values, mean and std."""
    layer = Normalization().adapt(HOLES)
    columns = layer.statistics()
    assert [3, 2, 3] == list(columns["count"])
    assert [0, 1, 0] == list(columns["missing"])
    np.testing.assert_array_equal(layer.mean, columns["mean"])
    np.testing.assert_array_equal(layer.std, columns["std"])
    assert ["0", "1", "2"] == list(columns["feature"])
    layer.feature_names = ("a", "b", "c")
    assert ["a", "b", "c"] == list(layer.statistics()["feature"])
    grid = Normalization(axis=(0, 1)).adapt(np.ones((2, 2, 5))).statistics()
    assert ["0, 0", "0, 1", "1, 0", "1, 1"] == list(grid["feature"])


def test_what_a_layer_shows_cannot_be_written_to():
    """mean, variance, std, gamma and beta are read-only; weights are copies."""
    layer = Normalization(affine=True).adapt(WHOLE)
    before, z = state(layer), layer.transform(WHOLE)
    for name in ("mean", "variance", "std", "gamma", "beta"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(layer, name)[0] = 9
    for array in layer.get_weights():
        array[...] = 9
    with pytest.raises(AttributeError):
        layer.mean = np.zeros(3)
    assert_unchanged(layer, before)
    np.testing.assert_array_equal(z, layer.transform(WHOLE))


# Weights as in Keras


@pytest.mark.parametrize("affine", [False, True])
def test_weights_come_in_the_order_of_keras(affine):
    """The trainable pair, then mean, variance and the count."""
    layer = Normalization(affine=affine).adapt(WHOLE)
    weights = layer.get_weights()
    expected = ["gamma", "beta"] * affine + ["mean", "variance"]
    for name, array in zip(expected, weights, strict=False):
        np.testing.assert_array_equal(getattr(layer, name), array)
    assert (weights[-1].shape, weights[-1].dtype, int(weights[-1])) == ((), np.int64, 12)


@given(
    arrays.hnp.arrays("f8", 3, elements=st.floats(allow_nan=False, allow_infinity=False)),
    arrays.hnp.arrays("f8", 3, elements=st.floats(0, 1e300)),
    st.integers(2, 2**53),
)
def test_weights_round_trip_exactly(mean, variance, count):
    """Any finite mean and variance are taken over bit for bit, and survive pickle."""
    layer = Normalization()
    layer.set_weights([mean, variance, count])
    for twin in (layer, pickle.loads(pickle.dumps(layer)), Normalization().merge(layer)):
        np.testing.assert_array_equal(mean, twin.mean)
        np.testing.assert_array_equal(variance, twin.variance)
        assert count == twin.count


def test_weights_move_to_another_layer():
    """A new layer takes them, transforms like the old one, and goes on learning from there."""
    old = Normalization(affine=True).adapt(WHOLE)
    old.gamma, old.beta = [1, 2, 3], [4, 5, 6]
    new = Normalization(affine=True)
    new.set_weights(old.get_weights())
    for a, b in zip(old.get_weights(), new.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(old.transform(WHOLE), new.transform(WHOLE), rtol=1e-13, atol=1e-15)
    new.update(table(30))
    assert new.count == 42
    both = np.concatenate([WHOLE, table(30)])
    np.testing.assert_allclose(both.mean(0), new.mean, rtol=1e-14)
    np.testing.assert_allclose(both.var(0), new.variance, rtol=1e-13)


@pytest.mark.parametrize("mean", [0, 1 / 3, 1e300])
def test_the_weights_of_one_row_survive(mean):
    """One row has a mean and no variance: that is taken over, anything else is refused."""
    layer = Normalization()
    with pytest.raises(ValueError, match="variance"):
        layer.set_weights([[mean], [2.0], 1])
    layer.set_weights([[mean], [0.0], 1])
    twin = pickle.loads(pickle.dumps(layer))
    assert (mean, 0, 1) == (twin.mean[0], twin.variance[0], twin.count)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([], "3 arrays"),
        ([np.zeros(3), np.ones(3)], "3 arrays"),
        ([np.zeros(3), np.ones(3), 4, 5], "3 arrays"),
        ([np.zeros(3), np.ones(2), 4], "(?i)shape"),
        ([np.zeros(3), -np.ones(3), 4], "variance"),
        ([np.zeros(3), np.full(3, np.nan), 4], "variance"),
        ([np.full(3, np.inf), np.ones(3), 4], "mean"),
        ([np.zeros(3), np.ones(3), -4], "count"),
        ([np.zeros(3), np.ones(3), 1.5], "count"),
        ([np.zeros(3), np.ones(3), math.nan], "count"),
        ([np.zeros(3), np.ones(3), [4, 4, 4]], "count"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights, words):
    """Number, shapes and values are checked, and the layer stays as it was."""
    layer = Normalization().adapt(WHOLE)
    before = state(layer)
    with pytest.raises(ValueError, match=words):
        layer.set_weights(weights)
    assert_unchanged(layer, before)


# Copies

OPTIONS = [
    {},
    {"affine": True},
    {"axis": 0, "invert": True},
    {"axis": (0, 1), "nan": "propagate"},
    {"axis": None, "constant": "epsilon", "epsilon": 0.25},
    {"dtype": "float16", "inf": "omit", "threads": 2},
    {"dtype": ml_dtypes.bfloat16, "nan": "raise"},
    {"mean": [1.0, 2, 3], "variance": [4.0, 5, 6]},
    {"mean": 1.0, "variance": 4.0, "affine": True},
]
COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda layer: pickle.loads(pickle.dumps(layer)),
    "oldest pickle": lambda layer: pickle.loads(pickle.dumps(layer, protocol=2)),
}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_copy_is_the_same_layer_apart(way, options):
    """A copy has all options and bits, and neither notices what the other learns."""
    layer = Normalization(**options)
    if "mean" not in options:
        layer.adapt(WHOLE).update(WHOLE[:1] if "axis" not in options else WHOLE)
    if options.get("affine"):
        layer.gamma = 2 + np.arange(layer.gamma.size).reshape(layer.gamma.shape)
    features = 3 if "mean" in options else layer.mean.size
    layer.feature_names = [f"feature {i}" for i in range(features)]
    twin = COPIES[way](layer)
    assert type(twin) is Normalization
    assert twin is not layer
    for name in (
        "axis",
        "invert",
        "nan",
        "inf",
        "constant",
        "epsilon",
        "affine",
        "dtype",
        "threads",
        "feature_names",
    ):
        assert getattr(layer, name) == getattr(twin, name), name
    z = layer.transform(WHOLE)
    assert z.tobytes() == twin.transform(WHOLE).tobytes()
    if "mean" not in options:
        assert state(layer) == state(twin)
        before = state(layer)
        twin.update(3 * WHOLE)
        assert_unchanged(layer, before)
        assert before != state(twin)
        before = state(twin)
        layer.adapt(WHOLE[::-1] * 2)
        assert_unchanged(twin, before)
    elif options.get("affine"):
        twin.gamma = 7
        assert z.tobytes() == layer.transform(WHOLE).tobytes()


# Threads and processes


@pytest.fixture
def eager_threads():
    """Switch threads a thousand times as often, so that races show."""
    earlier = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(earlier)


def in_threads(*functions):
    """Run all at once and raise the first error of any."""
    start, failures = threading.Barrier(len(functions)), []

    def run(function):
        try:
            start.wait(GUARD)
            function()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(f,), daemon=True) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(GUARD)
        assert not thread.is_alive(), "a thread hangs"
    for error in failures:
        raise error


@pytest.mark.parametrize("dtypes", [("f8",), ("f4", "f8"), ("f8", "i8", "f4", "f2")], ids=str)
@pytest.mark.parametrize("before", [0, 5])
def test_updates_from_many_threads_lose_nothing(eager_threads, dtypes, before):
    """Whatever the order, in the end each row has been added once, and forgotten ones are gone."""
    layer = Normalization()
    if before:
        layer.adapt(table(before))
    batches = [
        [(10 * table(1 + i % 3, seed=100 * t + i)).astype(dtypes[i % len(dtypes)]) for i in range(30)] for t in range(6)
    ]

    def learn(mine):
        for i, batch in enumerate(mine):
            layer.update(batch)
            if i % 7 == 6:
                layer.forget(mine[i - 3])
            elif i % 5 == 4:
                layer.merge(Normalization().adapt(mine[i - 3]))

    def look():
        for _ in range(20):
            if before:
                assert layer.transform(WHOLE).shape == (12, 3)
                assert np.isfinite(layer.mean).all()
                pickle.dumps(layer)

    in_threads(*(functools.partial(learn, mine) for mine in batches), look)
    expected = Normalization()
    if before:
        expected.adapt(table(before))
    for mine in batches:
        for i, batch in enumerate(mine):
            expected.update(batch)
            if i % 7 == 6:
                expected.forget(mine[i - 3])
            elif i % 5 == 4:
                expected.update(mine[i - 3])
    assert expected.moments == layer.moments
    assert expected.transform(WHOLE).tobytes() == layer.transform(WHOLE).tobytes()


def test_transforms_from_many_threads_do_not_meet(eager_threads):
    """One layer serves many threads at once, each with its own data, in place or not."""
    rows = 50 if arrays.UNJITTED else 20_000
    x = generator().normal(3, 2, (rows, 5))
    layer = Normalization().adapt(x)
    whole = layer.transform(x)

    def serve(seed):
        for i in range(8):
            rows = generator(seed + i).integers(0, len(x), 1 + 500 * (i % 3) if i % 4 else len(x))
            mine = x[rows]
            np.testing.assert_array_equal(whole[rows], layer.transform(mine))
            layer.transform(mine, out=mine)
            np.testing.assert_array_equal(whole[rows], mine)

    in_threads(*(functools.partial(serve, 100 * t) for t in range(6)))


def test_a_result_comes_from_one_state(eager_threads):
    """A transform while another thread adapts gives the old or the new result, never a mixture."""
    data = [np.array([[0.0, 0.0], [2.0, 2.0]]), np.array([[10.0, 10.0], [30.0, 30.0]])]
    layer = Normalization().adapt(data[0])
    valid = [Normalization().adapt(x).transform([[4.0, 4.0]]).tolist() for x in data]
    done = threading.Event()

    def learn():
        try:
            for i in range(200):
                layer.adapt(data[i % 2])
        finally:
            done.set()

    def use():
        while not done.is_set():
            assert layer.transform([[4.0, 4.0]]).tolist() in valid
            row = np.array([[4.0, 4.0]])
            layer.transform(row, out=row)
            assert row.tolist() in valid

    in_threads(learn, use, use)


FORKS = """
    import os, signal, threading, time
    import numpy as np
    from fastnorm import Moments, Normalization

    rows, width = {rows}, {width}
    x = np.random.default_rng(0).normal(3, 2, (rows, width))
    layer = Normalization(threads=2).adapt(x)
    expected = layer.transform(x)
    stop = threading.Event()

    def keep_learning():
        while not stop.is_set():
            busy.update(x, weights=np.ones(rows))

    busy = Normalization(threads=2).adapt(x).update(x, weights=np.ones(rows)).update(x)
    busy.moments  # all is compiled: numba itself does not survive a fork while it compiles
    thread = threading.Thread(target=keep_learning, daemon=True)
    if {busy}:
        thread.start()
    for _ in range({forks}):
        time.sleep(0.003)
        child = os.fork()
        if not child:
            signal.alarm(5)  # a deadlock ends by this signal
            good = (layer.transform(x) == expected).all()
            good &= layer.update(x).moments == Moments.of(x) + Moments.of(x)
            seen = busy.moments.rows
            good &= busy.update(x).moments.rows == seen + rows
            os._exit(0 if good else 1)
        status = os.waitpid(child, 0)[1]
        print(status)
        if status:
            break
    stop.set()
"""


@pytest.mark.posix
@pytest.mark.parametrize("busy", [False, True])
def test_a_layer_works_on_after_a_fork(busy):
    """A forked child goes on with a layer, even with one that was learning at that moment."""
    rows, width = (20, 30) if arrays.UNJITTED else (200, 1000)
    forks = 10 if busy else 2
    code = FORKS.format(rows=rows, width=width, busy=busy, forks=forks)
    assert ["0"] * forks == run_python(code)


# Numbers of Keras (the documentation and the tests of Keras 2.15)

KERAS = functools.partial(Normalization, constant="epsilon")
COLUMN = [[1], [2], [3], [4], [5]]
CUBE = [[[1, 2, 3], [2, 3, 4]], [[3, 4, 5], [4, 5, 6]]]
Z = 1.5491933384829668
ADAPTED = {
    "docs": (None, [1, 2, 3, 4, 5], [1, 2, 3], [-1.4142135, -0.70710677, 0]),
    "docs, columns": (-1, [[0, 7, 4], [2, 9, 6]] * 2, [[0, 7, 4]], [[-1, -1, -1]]),
    "column": (-1, COLUMN, [[1], [2], [3]], [[-1.414214], [-0.707107], [0]]),
    "column, no axis": (None, COLUMN, [[1], [2], [3]], [[-1.414214], [-0.707107], [0]]),
    "3-D, axis 1": (
        1,
        CUBE,
        CUBE,
        [[[-Z, -Z / 2, 0]] * 2, [[0, Z / 2, Z]] * 2],
    ),
    "3-D, two axes": (
        (1, 2),
        [[[1, 0, 3], [2, 3, 4]], [[3, -1, 5], [4, 5, 8]]],
        [[[3, 1, -1], [2, 5, 4]], [[3, 0, 5], [2, 5, 8]]],
        [[[1, 3, -5], [-1, 1, -1]], [[1, 1, 1], [-1, 1, 1]]],
    ),
    "zeros": (-1, np.zeros((3, 4)), np.zeros((3, 4)), np.zeros((3, 4))),
    "api": (
        -1,
        [[1, 2, 1], [2, 3, 4]] * 2,
        [[3, 1, 2], [6, 5, 4]],
        [[3, -3, -0.33333333], [9, 5, 1]],
    ),
    "unbatched rows": (-1, [[2, 0, 2, 0], [0, 2, 0, 2]], [[2, 0, 2, 0]], [[1, -1, 1, -1]]),
    "unbatched numbers": (None, [2, 0, 2, 0], [2, 0, 2, 0], [1, -1, 1, -1]),
}


@pytest.mark.parametrize("name", ADAPTED)
@pytest.mark.parametrize("dtype", ["f4", "f8", "i4"])
def test_adapted_numbers_are_those_of_keras(name, dtype):
    """The examples of Keras's documentation and tests, from arrays and from batches."""
    axis, data, x, expected = ADAPTED[name]
    data, x = np.array(data, dtype), np.array(x, dtype)
    for layer in (
        KERAS(axis).adapt(data),
        KERAS(axis).adapt(data[i : i + 1] for i in range(len(data))),
    ):
        if axis is None or 0 not in naive.kept_axes(axis, data.ndim):
            np.testing.assert_allclose(layer.transform(x), expected, rtol=1e-6, atol=1e-7)
            inverse = KERAS(axis, invert=True).adapt(data)
            np.testing.assert_allclose(inverse(layer.transform(x)), x, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("axis", [(1, 2), (2, 1), (-1, 1), (1, -1), (-1, -2)])
def test_the_order_of_the_axes_does_not_matter(axis):
    """Keras's table of axis permutations: the first sample gives -1, the second +1."""
    x = np.array([[[0, 1, 2], [0, 2, 6]], [[2, 3, 4], [3, 6, 10]]], "f4")
    expected = np.broadcast_to(np.array([-1, 1])[:, None, None], x.shape)
    np.testing.assert_allclose(KERAS(axis).adapt(x).transform(x), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("mean", "variance", "invert", "x", "expected"),
    [
        ([1], [1], False, [[1, 2]], [[0, 1]]),
        ([1], [1], False, [0, 2, 0, 2], [-1, 1, -1, 1]),
        (1, 1, False, [[0]], [[-1]]),
        ([1], [1], True, [[-1], [1]], [[0], [2]]),
        (2, 4, False, [[0], [4], [0], [4]], [[-1], [1], [-1], [1]]),
        (2, 4, True, [[-1], [1], [-1], [1]], [[0], [4], [0], [4]]),
    ],
)
def test_fixed_numbers_are_those_of_keras(mean, variance, invert, x, expected):
    """Keras's tests with mean and variance set directly."""
    layer = KERAS(mean=mean, variance=variance, invert=invert)
    np.testing.assert_array_equal(expected, layer(np.array(x, "f4")))
    assert layer.get_weights() == []


def test_inverted_numbers_are_those_of_keras():
    """mean + z * std, for the examples of the documentation and of the tests."""
    layer = KERAS(invert=True).adapt(np.array([[0, 7, 4], [2, 9, 6]] * 2, "f4"))
    np.testing.assert_array_equal([[2, 10, 8]], layer(np.array([[1, 2, 3]], "f4")))
    layer = KERAS(invert=True).adapt([[0], [4], [0], [4]])
    np.testing.assert_array_equal([[0], [4], [0], [4]], layer([[-1], [1], [-1], [1]]))


def test_each_adapt_of_keras_starts_over():
    """Input 2 gives 1 after [0, 2, 0, 2] and -1 after [2, 4, 2, 4]."""
    layer = KERAS(axis=None).adapt([0, 2, 0, 2])
    np.testing.assert_array_equal([1], layer([2]))
    np.testing.assert_array_equal([-1], layer.adapt([2, 4, 2, 4])([2]))


def test_one_dimension_is_one_row_of_features():
    """As in Keras: axis=-1 of a 1-D array keeps it; its mean is the data, its variance 0."""
    layer = KERAS().adapt([1.0, 2.0, 3.0])
    np.testing.assert_array_equal([1, 2, 3], layer.mean)
    np.testing.assert_array_equal([0, 0, 0], layer.variance)
    assert layer.count == 1
    np.testing.assert_array_equal([0, 0, 0], layer([1.0, 2.0, 3.0]))
    np.testing.assert_allclose([1e7, 0, 0], layer([2.0, 2.0, 3.0]), rtol=1e-15)


def test_saved_numbers_are_those_of_keras(tmp_path):
    """[[0], [2], [0], [2]] gives -1 and 1, adapted or fixed, also after saving."""
    x = np.array([[0], [2], [0], [2]], "f4")
    for layer in (KERAS().adapt(x), KERAS(mean=1, variance=1)):
        layer.save(tmp_path / "state.json")
        for same in (layer, Normalization.load(tmp_path / "state.json")):
            np.testing.assert_array_equal([[-1], [1], [-1], [1]], same(x))


@pytest.mark.parametrize(
    ("axis", "shape", "batch"),
    [(-1, (32, 4), 8), (None, (20, 2, 3), 5), ((1, 2), (32, 4, 3, 5), 8), (-1, (64, 5), 16)],
)
def test_batches_give_the_statistics_of_the_whole_as_in_keras(axis, shape, batch):
    """Keras 3's tests of iterables, with equality where Keras has a tolerance."""
    x = generator().normal(size=shape).astype("f4")
    batches = [x[i : i + batch] for i in range(0, len(x), batch)]
    whole = KERAS(axis).adapt(x)
    for data in (batches, iter(batches), ((b, 0) for b in batches), [(b, b) for b in batches]):
        layer = KERAS(axis).adapt(data)
        assert state(whole) == state(layer)
    z = whole(x)
    reduced = naive.reduced_axes(axis, x.ndim)
    np.testing.assert_allclose(z.mean(reduced, "f8"), 0, atol=1e-6)
    np.testing.assert_allclose(z.var(reduced, "f8"), 1, rtol=1e-5)
