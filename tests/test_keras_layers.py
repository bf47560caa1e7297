"""Laws of layers that go to Keras, come from it and are adapted in it."""

import os
import re
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from processes import run_python

import fastnorm
from fastnorm import NotAdaptedError
from fastnorm.keras import Normalization, adapt, from_keras, to_keras

EPS = float(np.finfo(np.float32).eps)
X = np.random.default_rng(0).normal(3, 2, (100, 4, 3))
SHAPES = {-1: (None, 3), (-2, -1): (None, 4, 3), None: (None, 3)}


def data_for(axis):
    return X if axis == (-2, -1) else X.reshape(-1, 3)


def model_of(layer, shape):
    return keras.Sequential([keras.Input(shape[1:]), layer])


def half(make):
    return model_of(make(dtype="mixed_float16"), (None, 3)).layers[0]


def weights_of(layer):
    return [np.asarray(weight) for weight in layer.weights]


# From ours to Keras's


@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("axis", SHAPES)
def test_an_exported_layer_is_as_if_keras_had_adapted_it(axis, invert, tmp_path):
    """It predicts the same, has the same weights and is saved and loaded in a model; only the count is alive."""
    data = data_for(axis)
    theirs = keras.layers.Normalization(axis, invert=invert)
    theirs.adapt(data)
    ours = to_keras(Normalization(axis, invert=invert).adapt(data))
    model = model_of(ours, SHAPES[axis])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    want = model_of(theirs, SHAPES[axis]).predict(data, verbose=0)
    for made in (model, loaded):
        np.testing.assert_allclose(made.predict(data, verbose=0), want, rtol=4 * EPS, atol=16 * EPS)
    for got, expected in zip(weights_of(loaded.layers[0])[:2], weights_of(theirs)[:2], strict=True):
        assert (expected.shape, expected.dtype) == (got.shape, got.dtype)
        np.testing.assert_allclose(got, expected, rtol=2 * EPS)
    assert (data.size if axis is None else len(data)) == int(loaded.layers[0].count)


def test_an_exported_layer_goes_through_h5_weights(tmp_path):
    """Weights alone can be saved from it and loaded into a layer of Keras."""
    model = model_of(to_keras(Normalization().adapt(X)), (None, 3))
    model.save_weights(tmp_path / "model.weights.h5")
    other = model_of(keras.layers.Normalization(), (None, 3))
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(model.predict(X[0], verbose=0), other.predict(X[0], verbose=0))


@pytest.mark.parametrize(("features", "size"), [(1, 3), (9, 19)])
def test_2n_plus_1_parameters_none_of_them_trainable(features, size):
    """model.summary() counts the exported layer like one of Keras, and ours shows the same lines without bytes."""
    layer = Normalization(name="table").adapt(np.eye(9)[:, :features])
    model = keras.Sequential([keras.Input((features,)), to_keras(layer)], name="table")
    lines, ours = [], []
    model.summary(print_fn=lines.append, line_length=60)
    layer.summary(print_fn=ours.append)
    text = "\n".join(lines)
    assert f"Non-trainable params: {size} (" in text
    assert "Trainable params: 0 (0.00 B)" in text

    def words(table):
        found = re.findall(r"Model: .*|\w[^│\n]*\(Norm[^│]*│[^│]*│[^│]*|\w[\w-]* params: \d+", table)
        return [" ".join(line.replace("│", " ").split()) for line in found]

    assert words(text) == words("\n".join(ours))
    assert size == model.count_params() == layer.count_params()


def test_the_guide_shows_both_summaries():
    """What docs/keras.md says that Keras and fastnorm print is what they print; the backend sets the bytes."""
    layer, printed = Normalization(name="table").adapt(np.eye(9)), []
    model = keras.Sequential([keras.Input((9,)), to_keras(layer)], name="table")
    model.summary(print_fn=printed.append, line_length=76)
    layer.summary(print_fn=printed.append)
    texts = (Path(__file__).parent.parent / "docs" / "keras.md").read_text(encoding="utf-8").split("```text")[1:]
    for got, text in zip(printed, texts, strict=True):
        want = text.partition("```")[0]
        assert re.sub(r"\([\d.]+ B\)", "", want).split() == re.sub(r"\([\d.]+ B\)", "", got).split()


def test_fixed_statistics_are_exported_as_fixed():
    """They are in the config, without weights, in a shape or before there is one."""
    layer = Normalization(mean=[1.0, 2.0], variance=[4.0, 9.0], name="fixed")
    for made in (to_keras(layer), to_keras(layer, input_shape=(None, 2))):
        assert ([], "fixed") == (made.get_weights(), made.name)
        np.testing.assert_array_equal(layer([[3, 5]]), np.asarray(made(np.array([[3, 5]]))))


CENTRED = np.array([[1.0, 5.0], [3.0, 5.0]])


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("settings", [{}, {"constant": "epsilon"}, {"constant": "epsilon", "epsilon": 0.5}])
def test_constant_features_are_divided_by_the_same(settings, fixed):
    """The exported variance is what makes Keras divide by what the layer divides by."""
    layer = fastnorm.Normalization(**settings).adapt(CENTRED)
    if fixed:
        layer = fastnorm.Normalization(mean=layer.mean, variance=layer.variance, **settings)
    x = np.array([[1.0, 6.0], [2.0, 5.0]])
    np.testing.assert_allclose(layer(x), np.asarray(to_keras(layer, input_shape=(None, 2))(x)), rtol=4 * EPS)


def test_an_axis_from_the_front_needs_the_shape():
    """Keras broadcasts from the back, so that a wrong number of axes would go wrong unseen; a preset knows them."""
    with pytest.raises(ValueError, match=r"axis=1 counts from the front.*input_shape="):
        to_keras(fastnorm.Normalization(1).adapt(X))
    plain = to_keras(fastnorm.Normalization(1).adapt(X), input_shape=(None, 4, 3))
    preset = to_keras(Normalization(1).adapt(X))
    want = Normalization(1).adapt(X)(X)
    for made in (plain, preset):
        np.testing.assert_allclose(want, np.asarray(made(X)), rtol=4 * EPS, atol=16 * EPS)


def test_a_count_beyond_the_integers_of_keras_is_the_most_they_hold():
    """int32 but with TensorFlow: the count does not overflow into a negative one."""
    layer = fastnorm.Normalization()
    layer.set_weights([[1.0], [4.0], 2**40])
    made = to_keras(layer)
    assert min(2**40, np.iinfo(made.count.dtype).max) == int(made.count)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Normalization(affine=True).adapt(X), ValueError, "gamma and beta"),
        (Normalization, NotAdaptedError, "not seen any data"),
        (lambda: Normalization().adapt([[0.0], [1e30]]), ValueError, "too large for float32.*float64"),
        (lambda: Normalization(dtype="float16").adapt([[0.0], [1e3]]), ValueError, "too large for float16.*float32"),
        (lambda: Normalization(dtype="float16").adapt([[0.0], [1e-4]]), ValueError, "too small for float16.*float32"),
        (lambda: Normalization(mean=1e5, variance=1.0, dtype="float16"), ValueError, "too large for float16"),
    ],
)
def test_what_keras_cannot_hold_is_refused(make, error, words):
    """No layer is better than a wrong one."""
    with pytest.raises(error, match=words):
        to_keras(make())


def test_large_statistics_fit_into_float64():
    """The cure that the error names."""
    layer = to_keras(Normalization(dtype="float64").adapt([[0.0], [2.0**100]]))
    assert 2.0**198 == weights_of(layer)[1].item()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "mixed_float16"])
def test_statistics_are_not_held_in_16_bits(dtype):
    """A layer with results of 16 bits is exported with the weights of any other, by a mixed policy."""
    data = X[0].astype("f4")
    layer = to_keras(Normalization(dtype=dtype).adapt(data))
    for got, want in zip(weights_of(layer), weights_of(adapt(keras.layers.Normalization(), data)), strict=True):
        np.testing.assert_array_equal(want, got)
    assert dtype.removeprefix("mixed_") == layer.compute_dtype == to_keras(from_keras(layer)).compute_dtype


# From Keras's to ours


@pytest.mark.parametrize("axis", SHAPES)
def test_a_layer_of_keras_becomes_a_fixed_one(axis):
    """Keras 3 does not say how many rows it saw, so that nothing can be added; results are the same."""
    theirs = keras.layers.Normalization(axis, name="theirs")
    theirs.adapt(data_for(axis))
    ours = from_keras(theirs)
    np.testing.assert_allclose(ours(X), np.asarray(theirs(X)), rtol=4 * EPS, atol=16 * EPS)
    for mine, yours in zip((ours.mean, ours.variance), weights_of(theirs)[:2], strict=True):
        np.testing.assert_array_equal(yours, mine)
    assert "theirs" == ours.name
    with pytest.raises(ValueError, match="cannot update: this Normalization has a fixed mean"):
        ours.update(data_for(axis))


@pytest.mark.parametrize("axis", SHAPES)
def test_a_layer_with_a_count_goes_on_learning(axis):
    """The count is in the weights, because fastnorm set it, or given; the rows that follow are added to it."""
    data = data_for(axis)
    theirs = keras.layers.Normalization(axis)
    theirs.adapt(data)
    adapted = adapt(keras.layers.Normalization(axis), data)
    rows = data.size if axis is None else len(data)
    whole = Normalization(axis).adapt(np.concatenate([data, data + 1]))
    for ours in (from_keras(theirs, count=rows), from_keras(adapted)):
        assert rows == ours.count
        ours.update(data + 1)
        assert 2 * rows == ours.count
        np.testing.assert_allclose(ours.mean, whole.mean, rtol=1e-6)
        np.testing.assert_allclose(ours.variance, whole.variance, rtol=1e-6)


def test_fixed_statistics_come_as_fixed():
    """And a layer of Keras without statistics as one that has to be adapted, built or not, but for a given count."""
    theirs = keras.layers.Normalization(mean=[1.0, 2.0], variance=[4.0, 9.0], invert=True, dtype="float64")
    ours = from_keras(theirs)
    assert ([1, 2], [4, 9], True, "float64") == (ours.mean.tolist(), ours.variance.tolist(), ours.invert, ours.dtype)
    theirs = keras.layers.Normalization()
    with pytest.raises(NotAdaptedError):
        from_keras(theirs)(X)
    theirs.build((None, 3))
    with pytest.raises(NotAdaptedError):
        from_keras(theirs)(X)
    np.testing.assert_array_equal(X.astype("f4"), from_keras(theirs, count=5)(X))
    standard = keras.layers.Normalization()
    standard.adapt(np.array([[-1, 0], [1, 4]], "f4"))
    assert [2.0, 0.0] == from_keras(standard)([[2.0, 2.0]])[0].tolist()


@pytest.mark.parametrize("verb", [from_keras, lambda layer: adapt(layer, X)])
@pytest.mark.parametrize("layer", [keras.layers.Dense(1), None])
def test_another_layer_is_refused(verb, layer):
    """The error says what was given and what is wanted."""
    with pytest.raises(
        TypeError, match=rf"{type(layer).__name__}, but keras.layers.Normalization( or BatchNormalization)? is wanted; "
    ):
        verb(layer)


# In place


@pytest.mark.parametrize("axis", [*SHAPES, 1, (0, 1)])
def test_adapt_is_that_of_keras_but_exact(axis):
    """Each weight is the exact statistic rounded once to float32, and the shape is the one that Keras builds."""
    data = data_for(axis)
    ours, theirs = keras.layers.Normalization(axis), keras.layers.Normalization(axis)
    theirs.adapt(data)
    assert adapt(ours, data) is ours
    moments = fastnorm.Moments.of(data, axis)
    for got, want in zip(weights_of(ours), (moments.mean, moments.variance, moments.rows), strict=True):
        np.testing.assert_array_equal(np.asarray(want).astype(got.dtype), got)
    assert np.asarray(theirs.mean).shape == np.asarray(ours.mean).shape
    np.testing.assert_allclose(np.asarray(ours(data)), np.asarray(theirs(data)), rtol=4 * EPS, atol=16 * EPS)


def test_float32_far_from_zero_is_where_keras_goes_wrong():
    """The reason to use it: Keras adds float32 in float32."""
    x = np.random.default_rng(0).normal(1e5, 1, (100_000, 4)).astype(np.float32)
    exact = fastnorm.Moments.of(x).variance
    theirs = keras.layers.Normalization()
    theirs.adapt(x)
    assert (weights_of(theirs)[1] > 2 * exact).all()
    np.testing.assert_array_equal(exact.astype(np.float32), weights_of(adapt(theirs, x))[1])


def test_weights_of_rows_count():
    """A row of weight 2 is two rows."""
    layer = adapt(keras.layers.Normalization(), np.array([[0.0], [3.0]]), weights=[2, 1])
    assert 1.0 == weights_of(layer)[0].item()


def test_a_model_that_has_predicted_gives_the_new_results():
    """Also one that holds the layer deep inside, and one that was trained or evaluated: nothing compiled goes stale."""
    layer = keras.layers.Normalization()
    inner = model_of(layer, (None, 3))
    outer = keras.Sequential([keras.Input((3,)), inner, keras.layers.Dense(1, kernel_initializer="ones")])
    outer.compile(loss="mse")
    data, target = X.reshape(-1, 3)[:64].astype("f4"), np.zeros((64, 1), "f4")
    for factor in (1, 10):
        adapt(layer, data * factor)
        z = Normalization().adapt(data * factor)(data)
        np.testing.assert_allclose(inner.predict(data, verbose=0), z, rtol=4 * EPS, atol=16 * EPS)
        want = z.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(outer.predict(data, verbose=0), want, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(outer.evaluate(data, target, verbose=0), np.mean(want**2), rtol=1e-5)


@pytest.mark.parametrize("backend", [name for name in ("jax", "tensorflow") if find_spec(name)])
def test_no_compiled_function_keeps_the_old_statistics(backend):
    """Backends that compile statistics as constants: what a model of any class, one of the user's too, predicts."""
    code = """
        import keras
        import numpy as np
        from fastnorm.keras import Normalization, adapt

        class Mine(keras.Sequential):
            pass

        layer = keras.layers.Normalization()
        models = [kind([keras.Input((3,)), layer]) for kind in (keras.Sequential, Mine)]
        x = np.arange(12, dtype="float32").reshape(4, 3)
        for factor in (1, 10):
            adapt(layer, factor * x)
            for model in models:
                z = model.predict(factor * x, verbose=0)
                print(np.allclose(z, Normalization().adapt(x)(x), atol=1e-5))
    """
    # with AVX-512, TensorFlow speaks of oneDNN whatever the level
    tensorflow = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "0"}
    quiet = os.environ | tensorflow | {"KERAS_BACKEND": backend}
    assert 4 * ["True"] == run_python(code, environment=quiet)


@pytest.mark.parametrize(
    ("make", "data", "words"),
    [
        (lambda: keras.layers.Normalization(mean=1.0, variance=1.0), X, "cannot adapt.*fixed `mean` and `variance`"),
        (lambda: model_of(keras.layers.Normalization(), (None, 4)).layers[0], X, "The layer was built with"),
        (lambda: model_of(keras.layers.Normalization(), (None, 3)).layers[0], X * np.inf, "infinities"),
        (lambda: model_of(keras.layers.Normalization(), (None, 3)).layers[0], X * 1e30, "too large for float32"),
        (lambda: half(keras.layers.Normalization), X * 1e3, "too large for float16"),
        (lambda: half(keras.layers.Normalization), X * 1e-5, "too small for float16"),
    ],
)
def test_a_failed_adapt_leaves_the_layer_of_keras_as_it_was(make, data, words):
    """Weights and results do not change."""
    layer = make()
    before = weights_of(layer)
    with pytest.raises(ValueError, match=words):
        adapt(layer, data)
    for old, new in zip(before, weights_of(layer), strict=True):
        np.testing.assert_array_equal(old, new)


def test_what_keras_cannot_do_is_not_exported():
    """Columns chosen by name, and what is no layer of ours, are refused with words."""
    layer = Normalization(columns=["b"]).adapt(pd.DataFrame(np.eye(3), columns=["a", "b", "c"]))
    with pytest.raises(ValueError, match="Keras knows no names"):
        to_keras(layer)
    with pytest.raises(TypeError, match=r"keras's Normalization, but fastnorm\.Normalization"):
        to_keras(keras.layers.Normalization())
