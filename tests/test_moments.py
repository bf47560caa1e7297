"""Laws of Moments, each an equality against exact rational arithmetic: no tolerances."""

import copy
import functools
import json
import math
import operator
import pickle
import statistics
from fractions import Fraction
from pathlib import Path

import ml_dtypes
import naive
import numpy as np
import pytest
import strategies as arrays
from hypothesis import example, given
from hypothesis import strategies as st

from fastnorm import Moments, Normalization

COUNTS = ("count", "missing", "posinf", "neginf")
VALUES = ("weight", "mean", "variance", "std", "mean_low")
THREADS = (None, 1, 2, 7)
REMOVAL = r"(?i)remov|subtract|forget"
SHAPES = r"(?i)feature|shape"
DAMAGE = r"(?i)damage|truncat|checksum|corrupt|short|not "


def assert_exact(moments, expected):
    """Every field has the bits of the oracle and the shape of the kept axes."""
    assert moments.rows == expected.rows
    for name in COUNTS:
        assert_field(moments, name, expected.counts(name))
    for name in ("weight", "mean", "variance", "mean_low"):
        assert_field(moments, name, expected.array(name))
    assert_field(moments, "std", expected.array("variance", naive.nearest_sqrt))


def assert_field(moments, name, expected):
    field = getattr(moments, name)
    assert np.shape(field) == np.shape(expected), name
    assert np.asarray(field).dtype.kind == expected.dtype.kind, name
    np.testing.assert_array_equal(field, expected, err_msg=name)


def assert_same(left, right):
    """Two Moments are one value: equal, with one hash and one sequence of bytes."""
    assert left == right
    assert hash(left) == hash(right)
    assert left.to_bytes() == right.to_bytes()


def total(parts):
    return functools.reduce(operator.add, parts)


def any_tree(parts, random):
    """Merge in any order: take two at random, put their sum back."""
    parts = list(parts)
    while len(parts) > 1:
        left = parts.pop(random.randrange(len(parts)))
        right = parts.pop(random.randrange(len(parts)))
        parts.append(left + right)
    return parts[0]


def one_row_each(x):
    return [Moments.of(x[i : i + 1]) for i in range(len(x))]


def generator(seed=20):
    return np.random.default_rng(seed)


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


# Order, layout and threads


@given(arrays.cases(with_rows=True), st.data())
def test_any_split_merges_to_the_whole(case, data):
    """Cutting any reduced axis anywhere leaves every bit of the moments unchanged."""
    x, axis = case
    along = data.draw(st.sampled_from(naive.reduced_axes(axis, x.ndim)))
    places = data.draw(arrays.cuts(x.shape[along]))
    parts = [Moments.of(piece, axis=axis) for piece in arrays.pieces(x, places, along)]
    assert_same(Moments.of(x, axis=axis), total(parts))


@given(arrays.tables(), st.data(), st.randoms(use_true_random=False))
def test_any_merge_tree_gives_the_whole(x, data, random):
    """Addition is associative and commutative to the last bit."""
    parts = [Moments.of(piece) for piece in arrays.pieces(x, data.draw(arrays.cuts(len(x))))]
    assert_same(Moments.of(x), any_tree(parts, random))


@given(arrays.tables(arrays.float_dtypes), arrays.seeds)
def test_rows_merge_one_by_one(x, seed):
    """A stream of single rows, in any order, gives the moments of the whole."""
    few = x[:10]
    order = generator(seed).permutation(len(few))
    assert_same(Moments.of(few), total([Moments.of(few[:0]), *one_row_each(few[order])]))


@given(arrays.cases(with_rows=True), arrays.seeds)
@example((np.zeros((64, 2, 2)), 1), 0)  # more lanes than features, and nothing to sum
def test_any_order_of_rows_gives_the_same_moments(case, seed):
    """The state depends on the multiset of the rows alone."""
    x, axis = case
    rows, kept = arrays.rows_of(x, axis)
    order = generator(seed).permutation(len(rows))
    assert_same(Moments.of(x, axis=axis), Moments.of(rows[order], axis=kept))


@given(arrays.weighted_cases(), arrays.seeds)
def test_any_order_of_weighted_rows_gives_the_same_moments(case, seed):
    """Rows may be permuted together with their weights."""
    x, axis, weights = case
    rows, kept = arrays.rows_of(x, axis)
    order = generator(seed).permutation(len(rows))
    shuffled = Moments.of(rows[order], axis=kept, weights=weights.ravel()[order])
    assert_same(Moments.of(x, axis=axis, weights=weights), shuffled)


@given(arrays.shapes_and_axes(), arrays.dtypes, st.data())
def test_any_memory_layout_gives_the_same_moments(shape_and_axis, dtype, data):
    """Order, strides, byte order and alignment of the memory leave no trace."""
    shape, axis = shape_and_axis
    x = data.draw(arrays.filled(shape, dtype))
    expected = Moments.of(x, axis=axis)
    for layout in arrays.LAYOUTS.values():
        assert_same(expected, Moments.of(layout(x), axis=axis))


@given(arrays.tables(), st.integers(0, 9))
def test_a_broadcast_array_counts_every_repetition(x, times):
    """A stride of 0 means what the written-out array means."""
    repeated = np.broadcast_to(x, (times, *x.shape))
    assert_same(Moments.of(np.array(repeated)), Moments.of(repeated))


@pytest.mark.parametrize("shape", [(300_001, 3), (70_000, 17), (1_000, 300), (20, 20_001)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("layout", ["C", "F"])
def test_any_number_of_threads_gives_the_same_moments(shape, weighted, layout):
    """One, two or seven threads share the work and leave every bit alone."""
    if arrays.UNJITTED:
        shape = (shape[0] % 97 + 5, shape[1] % 29)
    x = arrays.LAYOUTS[layout](arrays.log_normal(generator(), shape, np.finfo("f8")))
    weights = generator(1).random(len(x)) if weighted else None
    expected, *others = (Moments.of(x, weights=weights, threads=n) for n in (1, 2, 7))
    for other in others:
        assert_same(expected, other)


@pytest.mark.parametrize("dtype", ["f8", "f4"])
def test_moments_of_many_rows_are_exact(dtype):
    """Work that is large enough for several threads is exact as well."""
    x = generator().normal(1e5, 1, (arrays.ELEMENTS * 6, 2)).astype(dtype)
    assert_exact(Moments.of(x, threads=2), naive.moments(x))


@given(arrays.tables(), arrays.dtypes, st.data())
def test_batches_of_different_dtypes_merge_exactly(x, dtype, data):
    """A merge of dtypes equals the oracle on the two batches written as one."""
    y = data.draw(arrays.filled((len(x) % 7, x.shape[1]), dtype))
    merged = Moments.of(x) + Moments.of(y)
    rows = np.concatenate([naive.python_exact(batch).astype(object) for batch in (x, y)])
    assert_exact(merged, naive.moments(rows))


@given(arrays.tables(arrays.float_dtypes), arrays.tables(arrays.float_dtypes))
def test_widening_leaves_the_moments_alone(x, y):
    """The same values in a wider dtype are the same Moments, alone and merged."""
    with np.errstate(invalid="ignore"):  # signalling NaN
        x64, y64 = x.astype("f8")[:, :1], y.astype("f8")[:, :1]
    merged = Moments.of(x[:, :1]) + Moments.of(y64)
    assert_same(Moments.of(np.concatenate([x64, y64])), merged)


# Removal


@given(arrays.cases(with_rows=True), st.data())
def test_removing_what_was_added_gives_the_state_before(case, data):
    """(a + b) - b is a, bit for bit, and taking a as well leaves no rows."""
    x, axis = case
    along = data.draw(st.sampled_from(naive.reduced_axes(axis, x.ndim)))
    cut = data.draw(st.integers(0, x.shape[along]))
    a, b = (Moments.of(piece, axis=axis) for piece in arrays.pieces(x, [cut], along))
    assert_same(a, (a + b) - b)
    assert_same(a - a, (a + b) - b - a)


@given(arrays.weighted_cases(), st.data())
def test_removing_weighted_rows_gives_the_state_before(case, data):
    """Weighted rows are removed as exactly as they were added."""
    x, axis, weights = case
    rows, kept = arrays.rows_of(x, axis)
    cut = data.draw(st.integers(0, len(rows)))
    shares = weights.ravel()
    a = Moments.of(rows[:cut], axis=kept, weights=shares[:cut])
    b = Moments.of(rows[cut:], axis=kept, weights=shares[cut:])
    assert_same(a, (a + b) - b)


@given(arrays.seeds, arrays.seeds)
def test_removal_is_exact_over_the_whole_range(seed, other):
    """Adding and removing values near 1e308 keeps the last bit of values near 1e-308."""
    info = np.finfo("f8")
    a = Moments.of(arrays.subnormal(generator(seed), (9, 3), info))
    b = Moments.of(arrays.enormous(generator(other), (70, 3), info))
    assert_same(a, (a + b) - b)
    assert_same(b, (a + b) - a)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        pytest.param([1, 2], [1, 2, 3], id="more rows"),
        pytest.param([1, 1], [5], id="negative variance"),
        pytest.param([1], [2], id="a sum without values"),
        pytest.param([0, 2], [1], id="one value with a variance"),
        pytest.param([1, 2], [math.nan], id="missing"),
        pytest.param([1, 2], [math.inf], id="infinite"),
        pytest.param([1, math.nan], [1, 2], id="count"),
    ],
)
def test_removing_what_was_not_there_is_an_error(left, right):
    """No data have the moments that would be left, and the error says so."""
    left, right = (Moments.of(np.array(x, "f8")[:, None]) for x in (left, right))
    with pytest.raises(ValueError, match=REMOVAL):
        left - right


@pytest.mark.parametrize(("left", "right"), [(1, 2), (2, 1)])
def test_removing_another_weight_is_an_error(left, right):
    """A row leaves with the weight it came with."""
    left, right = (Moments.of(np.ones((1, 1)), weights=[w]) for w in (left, right))
    with pytest.raises(ValueError, match=REMOVAL):
        left - right


@given(arrays.cases(with_rows=True), arrays.dtypes)
def test_zero_rows_are_the_neutral_element(case, dtype):
    """Adding or removing no rows, of any dtype, changes nothing."""
    x, axis = case
    along = naive.reduced_axes(axis, x.ndim)[0]
    nothing = Moments.of(x[(slice(None),) * along + (slice(0),)].astype(dtype), axis=axis)
    some = Moments.of(x, axis=axis)
    assert_exact(nothing, naive.moments(x[(slice(None),) * along + (slice(0),)], axis))
    for same in (some + nothing, nothing + some, some - nothing):
        assert_same(some, same)


# Weights


@given(arrays.tables(), arrays.seeds)
def test_integer_weights_equal_repeated_rows(x, seed):
    """A row of weight 3 counts as three rows, bit for bit."""
    weights = arrays.seeded_weights(len(x), "integers", seed)
    weighted = Moments.of(x, weights=weights)
    repeated = Moments.of(np.repeat(x, weights, axis=0))
    for name in VALUES:
        assert_field(weighted, name, getattr(repeated, name))


@given(arrays.tables(), arrays.seeds)
def test_zero_weight_equals_a_removed_row(x, seed):
    """A row of weight 0 takes no part in weight, mean and variance."""
    weights = arrays.seeded_weights(len(x), "uniform", seed)
    weights[generator(seed).random(len(x)) < 0.5] = 0
    used = weights > 0
    some, all_rows = Moments.of(x[used], weights=weights[used]), Moments.of(x, weights=weights)
    for name in VALUES:
        assert_field(all_rows, name, getattr(some, name))


@pytest.mark.parametrize("dtype", ["i8", "u8"])
def test_large_integer_weights_are_exact(dtype):
    """Integer weights beyond 2**53 keep their last digit."""
    weights = np.array([2**53 + 1, 2**62 + 1, 1], dtype)
    x = np.array([[0.1], [-3], [7]])
    assert_exact(Moments.of(x, weights=weights), naive.moments(x, -1, weights))


@pytest.mark.parametrize("form", [list, tuple, *(np.dtype(c) for c in ("f4", "f2", ">i2", "u1"))])
def test_weights_may_be_any_sequence_of_numbers(form):
    """A list, a tuple and any real dtype hold the same weights."""
    x, weights = generator().normal(size=(4, 2)), [0, 1, 2, 3]
    given_weights = form(weights) if isinstance(form, type) else np.array(weights, form)
    expected = Moments.of(x, weights=np.array(weights, "f8"))
    assert_same(expected, Moments.of(x, weights=given_weights))


# Inputs


@given(arrays.cases(), st.sampled_from([0, 0.3, 1]), arrays.seeds)
def test_masked_values_are_missing(case, share, seed):
    """A masked element is missing whatever lies under the mask, in any dtype."""
    x, axis = case
    masked = np.ma.array(x, mask=generator(seed).random(x.shape) < share)
    assert_exact(Moments.of(masked, axis=axis), naive.moments(masked, axis))


def test_a_masked_array_without_a_mask_is_an_array():
    """`nomask` hides nothing."""
    x = generator().normal(size=(9, 3))
    assert_same(Moments.of(x), Moments.of(np.ma.array(x)))


@given(arrays.tables(st.sampled_from([np.dtype("f8"), np.dtype("i8"), np.dtype(bool)])))
def test_lists_and_array_likes_are_arrays(x):
    """Nested lists and objects with `__array__` mean the array they hold."""

    class ArrayLike:
        def __array__(self, dtype=None, copy=None):
            return np.asarray(x, dtype)

    few = x[:20]
    expected = Moments.of(few)
    if len(few):  # an empty list has no columns
        assert_same(expected, Moments.of(few.tolist()))
    assert_same(Moments.of(x), Moments.of(ArrayLike()))


def test_a_memory_mapped_file_is_an_array(tmp_path):
    """Data on disk have the moments of the same data in memory, in either byte order."""
    for dtype in ("<f8", ">f4", "<i2"):
        x = (100 * generator().normal(size=(500, 4))).astype(dtype)
        np.save(tmp_path / "x.npy", x)
        mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
        assert_same(Moments.of(x), Moments.of(mapped))


@pytest.mark.parametrize(
    ("axis", "shape"),
    [
        (-1, (4,)),
        (0, (2,)),
        ((0, -1), (2, 4)),
        ((2, 1), (3, 4)),
        (None, ()),
        ((0, 1, 2), (2, 3, 4)),
    ],
)
def test_fields_have_the_shape_of_the_kept_axes(axis, shape):
    """`axis` names the axes that stay, in the order of the array; None keeps none."""
    moments = Moments.of(np.ones((2, 3, 4)), axis=axis)
    for name in (*COUNTS, *VALUES):
        assert np.shape(getattr(moments, name)) == shape
    assert moments.rows == 24 // math.prod(shape)


@given(arrays.cases())
def test_the_input_is_left_alone(case):
    """Reading the moments writes nothing, and later writes to the input do not reach them."""
    x, axis = case
    before = x.tobytes()
    moments = Moments.of(x, axis=axis)
    state = moments.to_bytes()
    assert x.tobytes() == before
    if x.flags.writeable:
        x[...] = 1
    assert moments.to_bytes() == state


NUMBERS = np.ones((5, 3))


@pytest.mark.parametrize("dtype", [*"?bHilQefd", ">f8", "bfloat16"])
def test_a_single_number_is_one_value_of_one_feature(dtype):
    """With axis=None, a number, an array of no axes and an array of one value are the same; weights too."""
    number = np.array(1, dtype)
    assert Moments.of([1.0], None) == Moments.of(number, None) == Moments.of(number, ())
    assert Moments.of([1.0], None, [2.0]) == Moments.of(number, None, 2.0)
    layer = Normalization(None, mean=3.0, variance=4.0)
    for z, want in ((layer(number), -1.0), (layer.inverse_transform(number), 5.0)):
        assert ((), want) == (z.shape, float(z))


@pytest.mark.parametrize(
    ("x", "options", "words"),
    [
        pytest.param(np.array(3.0), {}, "0-d|scalar|dimension", id="0-d"),
        pytest.param(3.0, {}, "0-d|scalar|dimension", id="number"),
        pytest.param(np.ones((5, 0)), {}, "feature", id="no features"),
        pytest.param(np.ones((0, 3)), {"axis": 0}, "feature", id="no kept features"),
        pytest.param(np.ones((5, 3), "c16"), {}, "complex", id="complex"),
        pytest.param(np.array([["a", None]], object), {}, "object", id="object"),
        pytest.param(np.array([["a", "b"]]), {}, "str|<U1|text", id="strings"),
        pytest.param(np.array([[b"a", b"b"]]), {}, "bytes|S1|text", id="bytes"),
        pytest.param(np.ones((5, 3), "M8[s]"), {}, "datetime", id="datetime"),
        pytest.param(np.ones((5, 3), "m8[s]"), {}, "timedelta", id="timedelta"),
        pytest.param(np.ones((5, 3), "g"), {}, "longdouble|float128|long double", id="longdouble"),
        pytest.param(NUMBERS, {"axis": 2}, "axis", id="axis too large"),
        pytest.param(NUMBERS, {"axis": -3}, "axis", id="axis too small"),
        pytest.param(NUMBERS, {"axis": (0, 5)}, "axis", id="one of the axes too large"),
        pytest.param(NUMBERS, {"axis": (1, 1)}, "axis", id="axis repeated"),
        pytest.param(NUMBERS, {"axis": (1, -1)}, "axis", id="axis repeated, other sign"),
        pytest.param(NUMBERS, {"axis": "last"}, "axis", id="axis a word"),
        pytest.param(NUMBERS, {"axis": 0.5}, "axis", id="axis a fraction"),
        pytest.param(NUMBERS, {"weights": [1, 1, -1, 1, 1]}, "weight", id="negative weight"),
        pytest.param(NUMBERS, {"weights": [1, 1, math.nan, 1, 1]}, "weight", id="NaN weight"),
        pytest.param(NUMBERS, {"weights": [1, 1, math.inf, 1, 1]}, "weight", id="infinite weight"),
        pytest.param(NUMBERS, {"weights": np.ones(4)}, "weight", id="too few weights"),
        pytest.param(NUMBERS, {"weights": np.ones(3)}, "weight", id="weights of the columns"),
        pytest.param(NUMBERS, {"weights": np.ones((5, 1))}, "weight", id="2-D weights"),
        pytest.param(NUMBERS, {"weights": np.ones((5, 3))}, "weight", id="a weight per element"),
        pytest.param(NUMBERS, {"weights": 1.0}, "weight", id="one weight"),
        pytest.param(NUMBERS, {"weights": ["a"] * 5}, "weight", id="weights of text"),
        pytest.param(NUMBERS, {"weights": np.ones(5, "c16")}, "weight", id="complex weights"),
        pytest.param(np.ones((2, 3, 4)), {"weights": np.ones(2)}, "weight", id="weights of an axis"),
        pytest.param(np.ones((2, 3, 4)), {"weights": np.ones(6)}, "weight", id="flat weights"),
    ],
)
def test_bad_input_is_named(x, options, words):
    """The error says which argument was wrong."""
    with pytest.raises((ValueError, TypeError), match=f"(?i){words}"):
        Moments.of(x, **options)


@pytest.mark.parametrize("merge", [operator.add, operator.sub])
def test_moments_of_other_features_do_not_merge(merge):
    """Merging needs the same features, and a Moments on both sides."""
    with pytest.raises(ValueError, match=SHAPES):
        merge(Moments.of(np.ones((5, 3))), Moments.of(np.ones((5, 2))))
    with pytest.raises(ValueError, match=SHAPES):
        merge(Moments.of(np.ones((5, 3))), Moments.of(np.ones((5, 1, 3)), axis=(1, 2)))
    with pytest.raises(TypeError):
        merge(Moments.of(NUMBERS), 1)


# Values


@given(arrays.weighted_cases())
def test_every_round_trip_gives_an_equal_value(case):
    """Bytes, a dict through JSON, pickle and copy keep every bit."""
    x, axis, weights = case
    for moments in (Moments.of(x, axis=axis), Moments.of(x, axis=axis, weights=weights)):
        assert_same(moments, Moments.from_bytes(moments.to_bytes()))
        assert_same(moments, Moments.from_dict(json.loads(json.dumps(moments.to_dict()))))
        assert_same(moments, pickle.loads(pickle.dumps(moments)))
        assert_same(moments, copy.deepcopy(moments))


@given(arrays.cases())
def test_a_round_trip_keeps_every_field(case):
    """What is read back has the moments of the data, and merges like them."""
    x, axis = case
    moments = Moments.of(x, axis=axis)
    read = Moments.from_bytes(moments.to_bytes())
    assert_exact(read, naive.moments(x, axis))
    assert_same(moments + moments, read + moments)


def test_damaged_bytes_are_an_error():
    """Every truncation, every flipped bit and foreign bytes are noticed."""
    state = Moments.of(generator().normal(size=(9, 2))).to_bytes()
    damaged = [state[:length] for length in range(len(state))]
    for place in range(len(state)):
        for bit in range(8):
            flipped = bytearray(state)
            flipped[place] ^= 1 << bit
            damaged.append(bytes(flipped))
    for blob in (*damaged, state + b"\0", state + state, b"PK\3\4", bytes(len(state))):
        with pytest.raises(ValueError, match=DAMAGE):
            Moments.from_bytes(blob)


@given(arrays.cases(), st.data())
def test_a_changed_byte_is_an_error(case, data):
    """The checksum covers states of every dtype and shape."""
    x, axis = case
    state = bytearray(Moments.of(x, axis=axis).to_bytes())
    state[data.draw(st.integers(0, len(state) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match=DAMAGE):
        Moments.from_bytes(bytes(state))


def test_moments_cannot_be_changed():
    """Attributes cannot be set or deleted, and the arrays they give are read-only."""
    moments = Moments.of(generator().normal(size=(9, 2)))
    for name in ("rows", *COUNTS, *VALUES, "something_new"):
        with pytest.raises(AttributeError):
            setattr(moments, name, 1)
    for name in (*COUNTS, *VALUES):
        with pytest.raises(ValueError, match="read-only"):
            getattr(moments, name)[0] = 1
        with pytest.raises(AttributeError):
            delattr(moments, name)


def test_moments_compare_with_anything():
    """Another type is unequal, not an error."""
    assert Moments.of(NUMBERS) != 1
    assert Moments.of(NUMBERS) != Moments.of(np.ones((5, 2)))
    assert len({Moments.of(NUMBERS), Moments.of(NUMBERS + 0), Moments.of(NUMBERS + 1)}) == 2


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


# The oracle itself


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
