"""Laws of TensorFlow's tensors and datasets, beside Keras itself; left out where TensorFlow is not installed."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import fastnorm
from fastnorm.keras import Normalization, adapt, to_keras

X = np.random.default_rng(0).normal(50, 3, (100, 4)).astype(np.float32)
Dataset = tf.data.Dataset.from_tensor_slices

DATASETS = {
    "batches": lambda: Dataset(X).batch(32),
    "pairs": lambda: Dataset((X, np.zeros(100))).batch(32),
    "triples": lambda: Dataset((X, np.zeros(100), np.ones(100))).batch(32),
    "rows": lambda: Dataset(X),
    "rows with targets": lambda: Dataset((X, np.zeros(100))),
    "prefetched": lambda: Dataset(X).batch(32).cache().prefetch(2),
}


@pytest.mark.parametrize("axis", [-1, 1, None])
@pytest.mark.parametrize("name", DATASETS)
def test_datasets_are_those_of_keras(name, axis):
    """Every dataset gives the bits of the array, and Keras the same to its rounding."""
    theirs = keras.layers.Normalization(axis)
    theirs.adapt(DATASETS[name]())
    ours = Normalization(axis).adapt(DATASETS[name]())
    whole = fastnorm.Moments.of(X, axis)
    assert (whole.mean.tolist(), whole.variance.tolist()) == (ours.mean.tolist(), ours.variance.tolist())
    np.testing.assert_allclose(ours.mean, np.asarray(theirs.adapt_mean), rtol=1e-5)
    np.testing.assert_allclose(ours.variance, np.asarray(theirs.adapt_variance), rtol=1e-4)


@pytest.mark.parametrize(
    ("axis", "elements", "x", "want"),
    [
        (-1, [[2.0, 0, 2, 0], [0, 2, 0, 2]], [[2, 0, 2, 0]], [[1, -1, 1, -1]]),
        (None, [2.0, 0, 2, 0], [2, 0, 2, 0], [1, -1, 1, -1]),
        (-1, np.arange(1.0, 6)[:, None], [[1], [2], [3]], [[-1.414214], [-0.707107], [0]]),
    ],
)
def test_known_numbers_of_elements_without_a_batch(axis, elements, x, want):
    """Rows and single numbers one by one, as the tests of Keras 2 have them."""
    theirs = keras.layers.Normalization(axis)
    theirs.adapt(Dataset(elements))
    np.testing.assert_allclose(want, Normalization(axis).adapt(Dataset(elements))(x), atol=1e-6)
    np.testing.assert_allclose(want, np.asarray(theirs(np.array(x, np.float32))), atol=1e-6)


def test_targets_are_not_looked_at():
    """Ones with any label have mean 1 and variance 0."""
    layer = Normalization().adapt(Dataset((np.ones((32, 3)), np.arange(32))).batch(8))
    assert ([1.0] * 3, [0.0] * 3) == (layer.mean.tolist(), layer.variance.tolist())


def test_an_axis_that_rows_do_not_have_is_named_as_in_keras():
    """Rows are put together first, so that there are two axes."""
    for layer in (Normalization(2), keras.layers.Normalization(2)):
        with pytest.raises(ValueError, match="All `axis` values must be in the range"):
            layer.adapt(Dataset(X))


@pytest.mark.parametrize("kind", [tf.constant, tf.Variable])
def test_tensors_come_in_and_arrays_go_out(kind):
    """A tensor is what its numbers are."""
    layer = Normalization().adapt(kind(X))
    assert fastnorm.Moments.of(X) == layer.moments
    z = layer(kind(X))
    assert isinstance(z, np.ndarray)
    np.testing.assert_array_equal(layer(X), z)


def test_a_layer_of_keras_adapts_to_a_dataset():
    """Built with a shape that leaves the rows open, for any batch size."""
    layer = adapt(keras.layers.Normalization(), Dataset(X))
    assert (None, 4) == tuple(layer.get_build_config()["input_shape"])
    np.testing.assert_array_equal(fastnorm.Moments.of(X).mean.astype("f4"), np.asarray(layer.adapt_mean))


def test_an_exported_layer_works_in_a_dataset():
    """As every layer of Keras that was adapted by Keras."""
    ours = Normalization().adapt(X)
    rows = Dataset(X).batch(50).map(to_keras(ours))
    np.testing.assert_allclose(np.concatenate(list(rows.as_numpy_iterator())), ours(X), rtol=1e-5, atol=1e-5)
