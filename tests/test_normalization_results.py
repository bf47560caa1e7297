"""Laws of results: their dtype, where they are written, gamma and beta."""

import copy
import math

import ml_dtypes
import naive
import numpy as np
import pytest
import strategies as arrays
from layers import WHOLE, Tensor, assert_unchanged, generator, state, table

from fastnorm import Normalization

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
    for _ in range(2):
        with pytest.raises((ValueError, TypeError), match=f"(?s)out.*{words}") as error:
            getattr(layer, direction)(x, out=out)
        assert kind in ("", error.type.__name__)
        getattr(layer, direction)(x)  # from now on few rows have a way of their own
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


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("invert", [False, True])
def test_a_gamma_of_zero_gives_beta_and_has_no_way_back(invert, fixed):
    """In each layout, a few rows or many; back is refused and nothing is written, also where transform goes back."""
    layer = Normalization(affine=True, invert=invert).adapt(WHOLE)
    if fixed:
        layer = Normalization(mean=layer.mean, variance=layer.variance, affine=True, invert=invert)
        layer.transform(WHOLE)
    layer.gamma, layer.beta = [2, 0, 1], [1, 2, 3]
    scale, restore = (layer.transform, layer.inverse_transform)[:: -1 if invert else 1]
    for x in (WHOLE, np.asfortranarray(WHOLE), np.tile(WHOLE, (2000, 1)), WHOLE.astype(">f4")):
        y = scale(x)
        np.testing.assert_array_equal(2, y[:, 1])
        assert len(np.unique(y[:, 0])) == len(np.unique(x[:, 0]))
        before = y.copy()
        with pytest.raises(ValueError, match=r"gamma of feature 1 is 0.*cannot be scaled back; set gamma"):
            restore(y, out=y)
        np.testing.assert_array_equal(before, y)


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
