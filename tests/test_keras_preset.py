"""What fastnorm.keras.Normalization takes, refuses and keeps, side by side with the layer of Keras itself."""

import copy
import pickle

import keras
import numpy as np
import pytest

import fastnorm
from fastnorm import NotAdaptedError
from fastnorm.keras import Normalization

ROWS = np.array([[0.0, 7.0, 4.0], [2.0, 9.0, 6.0]] * 2)

# Mistakes: the same words as in Keras, for which a program may look


def failing_batches(*batches):
    def act(layer):
        layer().adapt(iter(batches))

    return act


def adapt_built(layer):
    made = layer()
    made.build((10, 5))
    made.adapt(np.ones((10, 3)))


MISTAKES = {
    "mean only": (lambda layer: layer(mean=0.5), ValueError, "both `mean` and `variance` must be set"),
    "variance only": (lambda layer: layer(variance=0.1), ValueError, "both `mean` and `variance` must be set"),
    "unequal shapes": (lambda layer: layer(mean=[1.0], variance=[1.0, 2.0]), ValueError, "must have the same shape"),
    "too many axes": (
        lambda layer: layer(axis=None, mean=[1.0], variance=[1.0]),
        ValueError,
        "The rank of `mean` must be less than or equal to the number of axes",
    ),
    "axis too high": (lambda layer: layer(axis=3).build((2, 2)), ValueError, "All `axis` values must be in the range"),
    "axis too low": (lambda layer: layer(-4).build((2, 3, 4)), ValueError, "All `axis` values must be in the range"),
    "one axis too high": (lambda layer: layer((1, 3)).build((2, 3, 4)), ValueError, "All `axis` values must be in the"),
    "axis too high for data": (lambda layer: layer(axis=2).adapt(np.ones((2, 2))), ValueError, "All `axis` values"),
    "unknown features": (
        lambda layer: layer(axis=1).build((None, None)),
        ValueError,
        "All `axis` values to be kept must have a known shape",
    ),
    "built for others": (adapt_built, ValueError, "The layer was built with input_shape=.*incompatible shape"),
    "an empty iterable": (failing_batches(), ValueError, "empty iterable"),
    "unequal batches": (failing_batches(np.ones((8, 4)), np.ones((8, 6))), ValueError, "incompatible shape"),
    "batches of numbers": (failing_batches(42), TypeError, r"`\.shape`"),
}


@pytest.mark.parametrize("name", MISTAKES)
@pytest.mark.parametrize("layer", [Normalization, keras.layers.Normalization])
def test_mistakes_have_the_words_of_keras(layer, name):
    """Both layers refuse them with an error of one type, in words that both have."""
    act, error, words = MISTAKES[name]
    with pytest.raises(error, match=words):
        act(layer)


def test_a_failed_adapt_leaves_the_layer_as_it_was():
    """Neither statistics nor shape of the good batches before the bad one stay."""
    layer = Normalization()
    with pytest.raises(ValueError, match="infinit"):
        layer.adapt([np.ones((2, 3)), np.full((2, 3), np.inf)])
    assert not layer.built
    assert (2,) == layer.adapt([[1.0, 2.0]]).mean.shape


def test_a_built_layer_takes_no_other_features_in_any_way():
    """Neither from another layer nor as weights or moments; it is then as it was."""
    layer, other = Normalization(input_shape=(4,)), Normalization().adapt(np.eye(3))
    for take in (
        lambda: layer.merge(other),
        lambda: layer + other,
        lambda: layer.set_weights(other.get_weights()),
        lambda: Normalization.from_moments(other.moments, input_shape=(4,)),
    ):
        with pytest.raises(ValueError, match=r"The layer was built with .*4\), but .* incompatible shape \(3,\)"):
            take()
    assert (2, 4) == layer.merge(Normalization().adapt(np.eye(4))).adapt(np.ones((2, 4)))(np.ones((2, 4))).shape


def test_a_layer_that_was_not_adapted_says_so():
    """Keras passes data through unchanged, which nobody wants."""
    layer = Normalization()
    layer.build((None, 3))
    assert layer.built
    with pytest.raises(NotAdaptedError):
        layer(np.ones((2, 3)))


def test_a_symbolic_tensor_is_answered_with_the_cure():
    """A fastnorm layer is no part of a model; an exported one is."""
    with pytest.raises(TypeError, match=r"to_keras\(layer\)"):
        Normalization().adapt(ROWS)(keras.Input((3,)))


def test_fixed_statistics_that_do_not_fit_fail_in_build():
    """As in Keras, before there are data."""
    with pytest.raises(ValueError, match="fixed mean"):
        Normalization(mean=[1.0, 2.0], variance=[1.0, 1.0]).build((None, 3))


# Arguments and methods of Keras


def test_positions_of_arguments_are_those_of_keras():
    """axis, mean, variance, invert."""
    want = keras.layers.Normalization(-1, [1.0, 2.0], [4.0, 9.0], True)(np.ones((1, 2)))
    np.testing.assert_array_equal(np.asarray(want), Normalization(-1, [1.0, 2.0], [4.0, 9.0], True)(np.ones((1, 2))))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "mixed_float16"])
@pytest.mark.parametrize("form", [str, keras.DTypePolicy, lambda name: keras.DTypePolicy(name).get_config()])
def test_the_dtype_of_a_result_is_the_compute_dtype(dtype, form):
    """Dtypes and policies mean what they mean in Keras, for floats and integers."""
    given = form(dtype)
    given = {"config": given} if isinstance(given, dict) else given
    want = keras.layers.Normalization(dtype=dtype).compute_dtype
    for x in (np.array([[3.0]]), np.array([[3]])):
        z = Normalization(mean=1.0, variance=4.0, dtype=given)(x)
        assert (1.0, want) == (z.item(), z.dtype.name)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"axis": None, "invert": True, "name": "delay"},
        {"axis": (1, 2), "dtype": "float64", "trainable": False},
        {"axis": (1, 2), "mean": [[1.0, 2.0]], "variance": [[3.0, 4.0]]},
        {"mean": 1, "variance": 2},
        {"dtype": "mixed_bfloat16"},
    ],
)
def test_configs_go_both_ways(settings):
    """Each layer is made from the config of the other, and makes the same config of it."""
    settings = {"name": "same"} | settings
    ours, theirs = Normalization(**settings), keras.layers.Normalization(**settings)
    config = ours.get_config()
    assert config == Normalization.from_config(theirs.get_config()).get_config()
    assert theirs.get_config() == keras.layers.Normalization.from_config(config).get_config()
    assert config | {"dtype": None} == theirs.get_config() | {"dtype": None}


def test_settings_that_keras_does_not_have_stay_in_the_config():
    """Only where they differ from the preset's, and Keras then refuses the config."""
    config = Normalization(nan="omit").get_config()
    assert "omit" == Normalization.from_config(config).nan == config["nan"]
    with pytest.raises((TypeError, ValueError), match="nan"):
        keras.layers.Normalization.from_config(config)


def test_methods_of_keras_are_there():
    """build, compute_output_shape, weights, update_state, reset_state, finalize_state."""
    layer = Normalization(input_shape=(3,))
    assert (None, 3) == layer.compute_output_shape((None, 3))
    layer.update_state(ROWS[:1])
    layer.update_state(ROWS[1:])
    layer.update_state(ROWS)
    layer.reset_state()
    layer.update_state(ROWS[:1])
    layer.update_state(ROWS[1:])
    layer.finalize_state()
    for got, want in zip(layer.weights, ([1, 8, 5], [1, 1, 1], 4), strict=True):
        np.testing.assert_array_equal(want, got)
    layer.reset_state()
    assert layer.built
    with pytest.raises(NotAdaptedError):
        layer(ROWS)
    assert 2 == layer.adapt(ROWS[:2]).count


def test_copies_and_files_keep_name_and_shape(tmp_path):
    """Pickle, copy and a state file; a fastnorm.Normalization reads the file too."""
    layer = Normalization(name="delay", invert=True).adapt(ROWS)
    layer.save(tmp_path / "state.json")
    loaded = Normalization.load(tmp_path / "state.json")
    for twin in (loaded, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert ("delay", True, layer.get_config()) == (twin.name, twin.built, twin.get_config())
        assert layer.moments == twin.moments
    plain = fastnorm.Normalization.load(tmp_path / "state.json")
    assert (layer.moments, "epsilon", True) == (plain.moments, plain.constant, plain.invert)
    plain.save(tmp_path / "plain.json")
    assert layer.moments == Normalization.load(tmp_path / "plain.json").moments


@pytest.mark.parametrize("kind", [fastnorm.Normalization, Normalization, fastnorm.BatchNormalization])
def test_symbols_are_no_numbers(kind):
    """A layer called in a model under construction says what belongs there."""
    layer = kind().adapt(ROWS) if hasattr(kind, "adapt") else kind().build((None, 3))
    with pytest.raises(TypeError, match=r"x is symbolic \(KerasTensor\).*put fastnorm.keras.to_keras\(layer\) into"):
        layer(keras.Input((3,)))
