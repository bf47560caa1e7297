"""The numbers of the documentation and the tests of Keras 2.15."""

import functools

import naive
import numpy as np
import pytest
from layers import generator, state

from fastnorm import Normalization

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
