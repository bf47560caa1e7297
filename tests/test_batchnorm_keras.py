"""Laws of BatchNormalization and its conversions against the real Keras."""

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

from fastnorm import BatchNormalization, Normalization, NotAdaptedError
from fastnorm.keras import from_keras, to_keras

# Keras 3.15 on torch 2.13 meets a deprecation of NumPy 2.4 in convert_to_numpy.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")

NAMES = ("gamma", "beta", "moving_mean", "moving_variance")


def normal(shape, seed=0):
    return np.random.default_rng(seed).normal(5, 10, shape).astype(np.float32)


def called(layer, *arguments, **options):
    return convert_to_numpy(layer(*arguments, **options))


def agree(ours, theirs, x):
    """Same averages and predictions, to the rounding of float32 (Keras's variance may be E[x²] - E[x]²)."""
    given = [convert_to_numpy(getattr(theirs, name)) for name in NAMES if getattr(theirs, name) is not None]
    for mine, other in zip(ours.get_weights(), given, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(ours(x), called(theirs, x, training=False), rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize(
    "settings",
    [{}, {"center": False}, {"scale": False}, {"center": False, "scale": False}, {"trainable": False}, {"axis": 1}],
)
def test_parameters_are_those_of_keras(settings):
    """Number, names, order, shapes and values of the weights, and which of them are trainable."""
    ours = BatchNormalization(**settings).build((None, 4))
    theirs = keras.layers.BatchNormalization(**settings)
    theirs.build((None, 4))
    trainable = [p for p in ours.parameters() if p.trainable]
    assert len(theirs.trainable_weights) == len(trainable)
    assert len(theirs.non_trainable_weights) == len(ours.parameters()) - len(trainable)
    assert theirs.count_params() == ours.count_params()
    assert {w.name for w in theirs.weights} == {p.name for p in ours.parameters()}
    ours.set_weights(theirs.get_weights())
    assert [w.tolist() for w in theirs.get_weights()] == [w.tolist() for w in ours.get_weights()]


@pytest.mark.parametrize("shape", [(5, 2, 3), (5, 3, 3, 2), (50, 3)])
@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("momentum", [0.0, 0.8, 0.99])
@pytest.mark.parametrize("epsilon", [1e-3, 1e-7])
def test_training_goes_as_in_keras(shape, axis, momentum, epsilon):
    """Over several batches: the output of each, the averages after each, and predictions between them."""
    ours = BatchNormalization(axis, momentum, epsilon)
    theirs = keras.layers.BatchNormalization(axis=axis, momentum=momentum, epsilon=epsilon)
    for seed in range(3):
        x = normal(shape, seed)
        y = ours(x, training=True)
        np.testing.assert_allclose(y, called(theirs, x, training=True), rtol=1e-5, atol=2e-5)
        agree(ours, theirs, x)
    if momentum == 0:  # a batch that alone is remembered is normalized alike with and without training
        np.testing.assert_allclose(y, ours(x), rtol=1e-6, atol=1e-6)
        moved = np.moveaxis(y, axis, -1).reshape(-1, y.shape[axis])
        np.testing.assert_allclose(moved.mean(0), 0, atol=1e-6)
        np.testing.assert_allclose(moved.std(0), 1, atol=1e-4)


def test_masks_count_as_in_keras():
    """Statistics are of what the mask keeps; Keras's 1e-7 in the divisor is below the rounding of float32."""
    ours, theirs = BatchNormalization(momentum=0.5), keras.layers.BatchNormalization(momentum=0.5)
    for seed in range(4):
        x = normal((8, 6, 3), seed)
        mask = np.random.default_rng(seed).random((8, 6)) < 0.5
        y = ours(x, training=True, mask=mask)
        np.testing.assert_allclose(y, called(theirs, x, training=True, mask=mask), rtol=1e-5, atol=2e-5)
        agree(ours, theirs, x)
        assert ours(x).tobytes() == ours(x, mask=mask).tobytes()
        assert y.tobytes() != ours.copy()(x, training=True).tobytes()


@pytest.mark.parametrize("masked", [0.0, 0.1, 1.0])
def test_masked_values_are_ignored(masked):
    """Ten batches [[1, 5], [2, 5], [m, m], [m, m]] with momentum 0: mean [1.5, 5], variance [0.25, 0], whatever m."""
    x = np.array([[1, 5], [2, 5], [masked, masked], [masked, masked]], np.float32)
    mask = np.array([1, 1, 0, 0])
    ours, theirs = BatchNormalization(momentum=0.0), keras.layers.BatchNormalization(momentum=0.0)
    for _ in range(10):
        y = ours(x, training=True, mask=mask)
        np.testing.assert_allclose(y, called(theirs, x, training=True, mask=mask), rtol=1e-5, atol=1e-5)
    assert [1.5, 5.0] == ours.moving_mean.tolist()
    assert [0.25, 0.0] == ours.moving_variance.tolist()
    agree(ours, theirs, x)


def test_a_batch_that_is_masked_as_a_whole_gives_no_nan():
    """Zeros stay zeros, as in Keras; the averages stay, where Keras lets them decay towards 0."""
    x, mask = np.zeros((4, 5), np.float32), np.zeros(4, np.float32)
    ours, theirs = BatchNormalization(), keras.layers.BatchNormalization()
    expected = called(theirs, x, training=True, mask=mask)
    assert expected.tolist() == ours(x, training=True, mask=mask).tolist() == x.tolist()
    assert [1.0] * 5 == ours.moving_variance.tolist()


def test_a_mask_is_broadcast():
    """Ones of shape (1, 2, 3, 4) under a mask of shape (1, 2, 1) become 0; the batch has mean 1 and variance 0."""
    x, mask = np.ones((1, 2, 3, 4), np.float32), np.ones((1, 2, 1), bool)
    ours, theirs = BatchNormalization(momentum=0.0), keras.layers.BatchNormalization(momentum=0.0)
    assert not ours(x, training=True, mask=mask).any()
    called(theirs, x, training=True, mask=mask)
    assert [1.0] * 4 == ours.moving_mean.tolist()
    assert [0.0] * 4 == ours.moving_variance.tolist()
    np.testing.assert_allclose(called(theirs, x), ours(x), atol=1e-4)
    with pytest.raises(ValueError, match="one dimension less"):
        theirs(x, training=True, mask=np.ones((1, 2)))
    with pytest.raises(ValueError, match="one dimension less"):
        ours(x, training=True, mask=np.ones((1, 2)))


def test_a_frozen_layer_runs_in_inference_mode():
    """trainable=False: training changes nothing, as in Keras; set to True, both learn."""
    x = normal((4, 3))
    ours = BatchNormalization(epsilon=1e-7, trainable=False)
    theirs = keras.layers.BatchNormalization(epsilon=1e-7, trainable=False)
    for trainable in (False, True):
        ours.trainable = theirs.trainable = trainable
        y = ours(x, training=True)
        np.testing.assert_allclose(y, called(theirs, x, training=True), rtol=1e-5, atol=1e-5)
        agree(ours, theirs, x)
        np.testing.assert_allclose(y.std(0), 1 if trainable else x.std(0), rtol=1e-4)


def test_float16_does_not_overflow():
    """Values whose variance is beyond float16 are normalized, and averages beyond it are kept."""
    x = (normal((64, 3)) * 1000).astype(np.float16)
    ours, theirs = (
        BatchNormalization(momentum=0.0),
        keras.layers.BatchNormalization(momentum=0.0, dtype="mixed_float16"),
    )
    y = ours(x, training=True)
    assert np.float16 == y.dtype
    np.testing.assert_allclose(y, called(theirs, x, training=True), atol=2e-3)
    assert (ours.moving_variance > 70_000).all()
    ours.moving_mean = 70_000.0
    assert [70_000.0] * 3 == ours.moving_mean.tolist()


CASES = [
    ({}, (None, 3)),
    ({"axis": 1, "momentum": 0.9}, (None, 3, 4)),
    ({"axis": -2, "center": False}, (None, 3, 4)),
    ({"scale": False, "epsilon": 0.1}, (None, 5, 4, 3)),
    ({"trainable": False, "dtype": "float64"}, (None, 3)),
    ({"dtype": "mixed_float16"}, (None, 3)),
]


@pytest.mark.parametrize(("settings", "shape"), CASES)
def test_from_keras_there_and_back(settings, shape):
    """The layer of a Keras layer predicts and trains on as that does, and gives an equal Keras layer again."""
    theirs = keras.layers.BatchNormalization(**settings)
    theirs.build(shape)
    rng = np.random.default_rng(1)
    for variable in theirs.weights:
        variable.assign(rng.random(3) + 0.5)
    ours = from_keras(theirs)
    back = to_keras(ours, input_shape=shape)
    for name in ("axis", "momentum", "epsilon", "center", "scale", "trainable", "compute_dtype", "variable_dtype"):
        assert getattr(theirs, name) == getattr(back, name)
    assert [w.tolist() for w in theirs.get_weights()] == [w.tolist() for w in back.get_weights()]
    for seed in range(2):
        x = normal((6, *shape[1:]), seed)
        tolerance = 1e-2 if theirs.compute_dtype == "float16" else 2e-5
        for training in (True, False):
            expected = called(theirs, x, training=training)
            y = ours(x, training)
            assert expected.dtype == y.dtype
            np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance)


def test_an_unbuilt_layer_stays_unbuilt():
    """A Keras layer without weights gives a layer without parameters, which cannot go back."""
    ours = from_keras(keras.layers.BatchNormalization(momentum=0.3))
    assert 0.3 == ours.momentum
    with pytest.raises(NotAdaptedError, match="call build"):
        to_keras(ours)


@pytest.mark.parametrize("convention", ["keras", "torch"])
@pytest.mark.parametrize(
    ("axis", "shape"), [(-1, (6, 3)), (1, (6, 3)), (1, (6, 3, 4)), (-1, (6, 2, 3)), (-2, (6, 3, 2))]
)
def test_an_exported_layer_saves_and_loads(convention, axis, shape, tmp_path):
    """In a model, saved and loaded by Keras, it predicts what the layer predicts; momentum has Keras's meaning."""
    ours = BatchNormalization(axis, 0.75, 1e-2, convention=convention)
    for seed in range(3):
        ours(normal(shape, seed), training=True)
    ours.gamma, ours.beta = [1.0, -2.0, 0.0], [0.5, 0.0, 3.0]
    exported = to_keras(ours, input_shape=None if len(shape) == (2 if axis == -1 else 1 + abs(axis)) else shape)
    assert (0.75 if convention == "keras" else 0.25) == exported.momentum
    model = keras.Sequential([keras.Input(shape[1:]), exported])
    model.save(tmp_path / "model.keras")
    agree(ours, keras.saving.load_model(tmp_path / "model.keras").layers[-1], normal(shape))


def test_an_affine_normalization_is_batch_normalization_that_learns_no_more():
    """With its averages as a fixed mean and variance, and any gamma and beta that Keras may have learned, also 0."""
    x, layer = normal((50, 3)), keras.layers.BatchNormalization(epsilon=0.0)
    layer.build((None, 3))
    layer.set_weights(np.array([[2, 0, -1], [0.5, 3, 0], [1, 2, 3], [4, 9, 16]], "f4"))
    learned = from_keras(layer)
    ours = Normalization(mean=learned.moving_mean, variance=learned.moving_variance, affine=True)
    ours.gamma, ours.beta = learned.gamma, learned.beta
    np.testing.assert_allclose(ours(x), called(layer, x), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(3, ours(x)[:, 1])


def test_what_cannot_be_converted_says_why():
    """Other layers, renormalization, synchronized statistics, momentum=None, shapes that do not fit."""
    with pytest.raises(TypeError, match=r"keras's Dense, but .* BatchNormalization is wanted"):
        from_keras(keras.layers.Dense(2))
    with pytest.raises(ValueError, match="renorm=True, which fastnorm does not do"):
        from_keras(keras.layers.BatchNormalization(renorm=True))
    with pytest.raises(ValueError, match="momentum=None"):
        to_keras(BatchNormalization(momentum=None).build((None, 3)))
    with pytest.raises(ValueError, match="x has 4 features"):
        to_keras(BatchNormalization().build((None, 3)), input_shape=(None, 4))
    layer = BatchNormalization().build((None, 1))
    layer.moving_variance = 1e60
    with pytest.raises(ValueError, match="moving_variance is too large for float32"):
        to_keras(layer)


@pytest.mark.parametrize("shape", [(4, 3), (4, 5, 3), (4, 6, 5, 3)])
def test_the_exported_layer_takes_data_of_the_rank_that_was_seen(shape):
    """Without input_shape the Keras layer is built for as many axes as the last batch had."""
    x = normal(shape)
    layer = BatchNormalization()
    layer(x, training=True)
    agree(layer, to_keras(layer), x)
