"""Laws of equal bits: any layout, destination, number of threads; missing values pass."""

import functools

import naive
import numpy as np
import pytest
import strategies as arrays
from hypothesis import given
from hypothesis import strategies as st
from places import (
    DIRECTIONS,
    PLACES,
    adapted,
    as_dtype,
    assert_same_bits,
    by_place,
    column_major,
    every_nth,
    filled_memory,
    generator,
    memory,
    plainly,
    rows_apart,
)
from scores import FEW, check_z_scores, result_dtype

from fastnorm import Normalization
from fastnorm._apply import FOURS, STRIP
from fastnorm._tiles import RUN, RUNS


@given(adapted())
def test_any_layout_gives_the_same_bits(case):
    """Order, strides, byte order and alignment of x change no bit of the result, nor x."""
    x, layer, direction = case
    apply = getattr(layer, direction)
    expected = apply(x)
    for place in PLACES.values():
        raw = filled_memory(place, x, x.dtype)
        before = raw.tobytes()
        assert_same_bits(expected, apply(place(raw, x.shape, x.dtype)))
        assert before == raw.tobytes()
    assert_same_bits(expected, apply(arrays.read_only(x)))


@pytest.mark.parametrize("dtype", ["f4", "f8", "u1", "i8", "u8"])
@pytest.mark.parametrize("affine", [False, True])
def test_features_that_lie_one_after_the_other_get_the_same_bits(dtype, affine):
    """A table of many rows and columns in either order, forward and back, in place and into another."""
    rng = generator()
    x = (100 * rng.random((RUN + 13, RUNS + 1)) * np.arange(1, RUNS + 2)).astype(dtype)
    columns = np.asfortranarray(x)
    layer = Normalization(affine=affine).adapt(x)
    if affine:
        layer.gamma, layer.beta = rng.random((2, RUNS + 1)) + 0.5
    for direction in DIRECTIONS:
        apply = getattr(layer, direction)
        expected, found = apply(x), apply(columns)
        assert_same_bits(expected, found)
        assert_same_bits(expected, apply(columns, out=np.empty_like(found)))
        for order in "CF":
            again = found.copy(order)
            assert_same_bits(apply(found.copy("C")), apply(again, out=again))


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("rows", [6, 5 * FOURS])
def test_wide_rows_get_the_scores_of_their_columns(dtype, rows):
    """Rows that take several strips of columns, forward and back, in place and into another."""
    features = STRIP + 77
    x = (generator(rows).normal(size=(rows, features)) * np.arange(1, features + 1)).astype(dtype)
    check_z_scores(x)
    layer = Normalization().adapt(x)
    parts = [Normalization().adapt(x[:, half]) for half in (slice(70), slice(70, None))]
    for direction in DIRECTIONS:
        expected = np.hstack([getattr(parts[0], direction)(x[:, :70]), getattr(parts[1], direction)(x[:, 70:])])
        again = x.copy()
        assert_same_bits(expected, getattr(layer, direction)(x))
        assert_same_bits(expected, getattr(layer, direction)(again, out=again))


@given(adapted(), st.integers(1, 4))
def test_a_broadcast_array_gives_every_repetition(case, times):
    """A stride of 0 means what the written-out array means."""
    x, layer, direction = case
    apply = getattr(layer, direction)
    repeated = np.broadcast_to(x[:1], (times, *x.shape[1:]))
    if layer.axis is None or 0 not in naive.kept_axes(layer.axis, x.ndim):
        assert_same_bits(apply(repeated.copy()), apply(repeated))
    single = np.broadcast_to(x.ravel()[0], x.shape)
    assert_same_bits(apply(single.copy()), apply(single))


@given(adapted(), arrays.float_dtypes, st.sampled_from(list(PLACES)))
def test_any_destination_gets_the_same_bits(case, dtype, name):
    """Out may have any layout and float dtype; nothing around it is touched, nor x."""
    x, layer, direction = case
    before = x.tobytes()
    expected = getattr(as_dtype(layer, dtype), direction)(x)
    raw = memory(x.shape, dtype)
    out = PLACES[name](raw, x.shape, dtype)
    assert getattr(layer, direction)(x, out=out) is out
    assert_same_bits(expected, out)
    assert raw.tobytes() == filled_memory(PLACES[name], expected, dtype).tobytes()
    assert before == x.tobytes()


@by_place
@FEW
@given(adapted(arrays.float_dtypes))
def test_in_place_gives_the_same_bits(place, case):
    """Out may be x in any layout; nothing around it is touched."""
    x, layer, direction = case
    expected = getattr(layer, direction)(x)
    raw = filled_memory(place, x, x.dtype)
    view = place(raw, x.shape, x.dtype)
    assert getattr(layer, direction)(view, out=view) is view
    assert_same_bits(expected, view)
    assert raw.tobytes() == filled_memory(place, expected, x.dtype).tobytes()


@by_place
@FEW
@given(adapted(arrays.float_dtypes))
def test_a_second_view_of_x_works_in_place(place, case):
    """Out may be another array object on the same elements."""
    x, layer, direction = case
    expected = getattr(layer, direction)(x)
    raw = filled_memory(place, x, x.dtype)
    view, same = (place(raw, x.shape, x.dtype) for _ in range(2))
    getattr(layer, direction)(view, out=same)
    assert_same_bits(expected, view)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i8", "u1"])
@pytest.mark.parametrize("shape", [(40_001, 3), (9_000, 17), (300, 1_100), (20, 5_001)])
def test_any_number_of_threads_gives_the_same_bits(shape, dtype, direction):
    """One, two or seven threads share the work and leave every bit alone, in any layout."""
    if arrays.UNJITTED:
        shape = (shape[0] % 97 + 5, shape[1] % 29)
    x = (50 + 20 * generator().standard_normal(shape)).astype(dtype)
    layer = Normalization().adapt(x)
    one, two, seven = (Normalization(threads=n).merge(layer) for n in (1, 2, 7))
    for place in (plainly, column_major, rows_apart, functools.partial(every_nth, step=2)):
        view = place(filled_memory(place, x, x.dtype), x.shape, x.dtype)
        expected = getattr(one, direction)(view).tobytes()
        for other in (two, seven):
            assert expected == getattr(other, direction)(view).tobytes()


@given(adapted(), st.data())
def test_a_result_depends_on_its_own_row_alone(case, data):
    """Any rows, together or alone, in any order, get the results that they get in the whole."""
    x, layer, direction = case
    apply = getattr(layer, direction)
    along = naive.reduced_axes(layer.axis, x.ndim)[0]
    chosen = data.draw(st.lists(st.integers(0, x.shape[along] - 1), max_size=20))
    expected = np.take(apply(x), chosen, along)
    assert_same_bits(expected, apply(np.take(x, chosen, along)))


@given(arrays.tables(arrays.float_dtypes))
def test_one_row_gets_what_the_whole_gets(x):
    """A single row, also in place as a server does it, has the bits of the batch."""
    if not len(x):
        return
    layer = Normalization(inf="omit").adapt(x)
    whole = layer.transform(x)
    for i in {0, len(x) // 2, len(x) - 1}:
        row = x[i : i + 1].copy()
        assert_same_bits(whole[i : i + 1], layer.transform(row))
        assert_same_bits(whole[i], layer.transform(x[i]))
        assert layer.transform(row, out=row) is row
        assert_same_bits(whole[i : i + 1], row)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("shape", [(4,), (1, 4), (700, 4), (5, 6, 4), (20_000, 4)])
def test_rows_of_any_number_of_dimensions_get_what_the_whole_gets(shape, dtype):
    """Few rows that lie together have a way of their own once a layer was used: the bits are those of the other way."""
    x = generator().normal(3, 2, shape).astype(dtype)
    fresh = Normalization().adapt(x.reshape(-1, 4))
    used = fresh.copy()
    used.transform(x)
    before, expected = x.copy(), fresh.transform(x)
    assert_same_bits(expected, used.transform(x))
    assert_same_bits(expected, used.transform(arrays.read_only(x)))
    out = np.full_like(x, np.nan)
    assert used.transform(x, out=out) is out
    assert_same_bits(expected, out)
    assert_same_bits(before, x)
    assert used.transform(x, out=x) is x
    assert_same_bits(expected, x)
    fixed = arrays.read_only(before)
    for source in (fixed, before):
        with pytest.raises(ValueError, match="out is read-only; pass an array you may write"):
            used.transform(source, out=fixed)


# Missing values, infinities, masks, no rows


@given(adapted(arrays.float_dtypes), arrays.seeds, st.sampled_from(list(PLACES)))
def test_nan_and_infinities_pass(case, seed, name):
    """NaN stays NaN, an infinity gives an infinity, and all other elements keep their bits."""
    x, layer, direction = case
    with np.errstate(invalid="ignore"):  # signalling NaN
        clean = np.where(np.isfinite(x), x, x.dtype.type(1))
    kept = generator(seed).choice([0, 1, 2, 3], x.shape, p=[0.7, 0.1, 0.1, 0.1])
    values = np.array([0, np.nan, np.inf, -np.inf], x.dtype)
    poisoned = np.where(kept == 0, clean, values[kept])
    raw = filled_memory(PLACES[name], poisoned, x.dtype)
    got = getattr(layer, direction)(PLACES[name](raw, x.shape, x.dtype))
    dead = np.isnan(getattr(layer, direction)(np.zeros_like(x)))  # features without a value
    expected = np.where(kept == 0, getattr(layer, direction)(clean), values[kept])
    expected[dead] = np.nan
    assert_same_bits(expected, got)


def test_a_feature_that_is_to_propagate_is_nan_throughout():
    """nan="propagate" makes a feature with a NaN NaN, and leaves the others alone."""
    x = generator().normal(size=(9, 3))
    clean = Normalization().adapt(x).transform(x)
    x[4, 1] = np.nan
    y = Normalization(nan="propagate").adapt(x).transform(x)
    assert np.isnan(y[:, 1]).all()
    np.testing.assert_array_equal(clean[:, [0, 2]], y[:, [0, 2]])


@given(adapted(), st.integers(0, 3))
def test_no_rows_give_no_rows(case, extra):
    """An array without rows keeps its shape and gets the dtype of the results."""
    x, layer, direction = case
    along = naive.reduced_axes(layer.axis, x.ndim)[0]
    nothing = x[(slice(None),) * along + (slice(0),)]
    got = getattr(layer, direction)(nothing)
    assert (got.shape, got.dtype) == (nothing.shape, result_dtype(x.dtype))
    out = np.empty(nothing.shape, "f4")
    assert getattr(layer, direction)(nothing, out=out) is out


@given(adapted(), arrays.seeds)
def test_a_masked_array_gives_a_masked_array(case, seed):
    """The mask stays, what is not masked gets the bits of a plain array, and x stays as it was."""
    x, layer, direction = case
    mask = generator(seed).random(x.shape) < 0.3
    masked = np.ma.array(x.copy(), mask=mask.copy())
    got = getattr(layer, direction)(masked)
    assert isinstance(got, np.ma.MaskedArray)
    np.testing.assert_array_equal(mask, np.ma.getmaskarray(got))
    plain = getattr(layer, direction)(x)
    assert_same_bits(plain[~mask], np.ma.getdata(got)[~mask])
    got[...] = 0  # the mask of the result is its own
    np.testing.assert_array_equal(mask, np.ma.getmaskarray(masked))
    assert x.tobytes() == np.ma.getdata(masked).tobytes()


def test_a_masked_array_works_in_place():
    """Out may be a masked x: its mask stays and its values are transformed."""
    x = np.ma.array(generator().normal(size=(9, 3)), mask=generator().random((9, 3)) < 0.3)
    layer = Normalization().adapt(x)
    expected = layer.transform(x)
    mask = x.mask.copy()
    assert layer.transform(x, out=x) is x
    np.testing.assert_array_equal(mask, x.mask)
    np.testing.assert_array_equal(expected.compressed(), x.compressed())


@pytest.mark.parametrize("mask", [False, True, [True, False, True]], ids=str)
def test_what_is_masked_is_missing_in_out(mask):
    """A masked out gets the mask of x and keeps none of its own; any other gets NaN there."""
    x = np.ma.array(generator().normal(size=(9, 3)), mask=np.broadcast_to(mask, (9, 3)))
    layer = Normalization(mean=1.0, variance=4.0)
    want = layer(x.data)
    plain, masked = np.empty((9, 3)), np.ma.masked_all((9, 3))
    assert layer.transform(x, out=plain) is plain
    assert layer.transform(x, out=masked) is masked
    np.testing.assert_array_equal(np.where(np.ma.getmaskarray(x), np.nan, want), plain)
    np.testing.assert_array_equal(np.ma.getmaskarray(x), np.ma.getmaskarray(masked))
    np.testing.assert_array_equal(want, masked.data)
    layer.transform(x.data, out=masked)
    assert not np.ma.getmaskarray(masked).any()
