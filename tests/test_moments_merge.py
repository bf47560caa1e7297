"""Laws of + and -: any order, layout, number of threads and weights."""

import functools
import math
import operator

import naive
import numpy as np
import pytest
import strategies as arrays
from checks import VALUES, assert_exact, assert_field, assert_same, generator
from hypothesis import example, given
from hypothesis import strategies as st

from fastnorm import Moments

REMOVAL = r"(?i)remov|subtract|forget"


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


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("sigma", [2, 3, 5])
def test_moments_of_a_wide_range_are_exact(dtype, sigma):
    """Log-normal rows: blocks of every step, of lanes that are aimed again and again; with gaps as well."""
    x = generator().lognormal(0, sigma, (arrays.ELEMENTS * 3, 3)).astype(dtype)
    x[::997, 1] = np.nan
    assert_exact(Moments.of(x, threads=1), naive.moments(x))


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
