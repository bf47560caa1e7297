"""Laws of the batch normalization layer: parameters, settings, destinations, state."""

import copy
import math
import pickle
import threading

import numpy as np
import pytest
from batches import BOTH, X, state_of, trained

from fastnorm import BatchNormalization, Normalization, NotAdaptedError

# ------------------------------------------------------------------------------------------------ the layer


def test_four_parameters_a_feature_of_which_two_are_trainable():
    """The report has gamma, beta, moving_mean, moving_variance, in the order of the weights, as Keras has."""
    layer = BatchNormalization().build((None, 9))
    names = ["gamma", "beta", "moving_mean", "moving_variance"]
    assert names == [p.name for p in layer.parameters()]
    assert [True, True, False, False] == [p.trainable for p in layer.parameters()]
    assert 36 == layer.count_params() == sum(w.size for w in layer.get_weights())
    assert [[1.0] * 9, [0.0] * 9, [0.0] * 9, [1.0] * 9] == [w.tolist() for w in layer.get_weights()]
    printed = []
    layer.summary(printed.append)
    for words in ("batch_normalization", "Total params: 36", "Trainable params: 18", "Non-trainable params: 18"):
        assert words in printed[0]
        assert words in layer._repr_html_()
    layer.trainable = False
    assert not any(p.trainable for p in layer.parameters())


def test_the_numbers_of_each_feature_stand_in_the_notebook():
    """statistics() has a column for each weight, with the names of the features, and the page shows it."""
    layer = trained(scale=False)
    layer.feature_names = ["width", "height", "<depth>"]
    columns = layer.statistics()
    assert ["feature", "beta", "moving_mean", "moving_variance"] == list(columns)
    assert layer.moving_mean.tolist() == columns["moving_mean"].tolist()
    for words in ("width", "&lt;depth&gt;", "1,000", f"{layer.moving_mean[0]:.6g}"):
        assert words.replace(",", "") in layer._repr_html_().replace(",", "")


@pytest.mark.parametrize(("center", "scale"), [(False, False), (True, False), (False, True)])
def test_center_and_scale_may_be_left_away(center, scale):
    """Without them there is no beta or gamma, and y is the same as with 0 and 1."""
    layer, full = BatchNormalization(center=center, scale=scale), BatchNormalization()
    assert full(X, training=True).tolist() == layer(X, training=True).tolist()
    assert full(X).tolist() == layer(X).tolist()
    assert 2 + center + scale == len(layer.get_weights()) == len(layer.parameters())
    for name, there in (("gamma", scale), ("beta", center)):
        if not there:
            with pytest.raises(AttributeError, match=f"has no {name}; make it with"):
                getattr(layer, name)


def test_a_frozen_layer_is_in_inference_mode():
    """trainable=False takes the moving averages even in training, and they stay; True again, and it learns."""
    layer = BatchNormalization(trainable=False, epsilon=1e-7)
    np.testing.assert_allclose(layer(X, training=True), X, rtol=1e-6)
    assert 0 == layer.num_batches_tracked
    layer.trainable = True
    np.testing.assert_allclose(layer(X, training=True).std(0), 1, rtol=1e-6)
    assert 1 == layer.num_batches_tracked


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2])
def test_features_lie_on_any_axis(axis):
    """Moving the axis of the features to the end changes no bit."""
    x = np.random.default_rng(5).normal(size=(4, 5, 6))
    layer, last = BatchNormalization(axis), BatchNormalization()
    for training in (True, False):
        expected = last(np.moveaxis(x, axis, -1), training)
        assert expected.tolist() == np.moveaxis(layer(x, training), axis, -1).tolist()


def test_no_axis_or_several_are_refused():
    """One int names the axis, as in Keras."""
    for axis in (None, (1, 2), 1.5):
        with pytest.raises(TypeError, match="axis must be an int"):
            BatchNormalization(axis)
    with pytest.raises(ValueError, match=r"must be in the range \[-2, 2\)"):
        BatchNormalization(3)(X)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"momentum": 1.5}, "momentum must be a number from 0 to 1"),
        ({"momentum": math.nan}, "momentum must be a number from 0 to 1"),
        ({"epsilon": -1.0}, "epsilon must be 0 or"),
        ({"convention": "caffe"}, "choose one of 'keras', 'torch'"),
        ({"dtype": "int32"}, "z-scores are fractions"),
        ({"threads": 0}, "threads"),
    ],
)
def test_settings_are_checked_when_the_layer_is_made(settings, words):
    """A setting that cannot be is an error that says what can."""
    with pytest.raises(ValueError, match=words):
        BatchNormalization(**settings)


def test_a_setting_stays_as_it_was_made():
    """All but `trainable` is fixed."""
    layer = BatchNormalization()
    for name in ("axis", "momentum", "epsilon", "center", "scale", "convention", "dtype", "threads"):
        with pytest.raises(AttributeError, match=f"{name} of a BatchNormalization cannot be changed"):
            setattr(layer, name, None)


def test_parameters_are_made_by_build_or_the_first_use():
    """Before that there are none; afterwards other features are an error."""
    layer = BatchNormalization()
    for ask in (layer.parameters, layer.get_weights, lambda: layer.moving_mean, layer.count_params):
        with pytest.raises(NotAdaptedError, match="call build"):
            ask()
    assert "not built" in repr(layer)
    assert "not built" in layer._repr_html_()
    np.testing.assert_allclose(layer(X), X / np.sqrt(1.001), rtol=1e-15)
    assert 12 == layer.count_params()
    for call in (lambda: layer(X[:, :2]), lambda: layer(X[:, :2], training=True), lambda: layer.build((None, 2))):
        before = state_of(layer)
        with pytest.raises(ValueError, match=r"x has 2 features .*but this BatchNormalization has 3"):
            call()
        assert before == state_of(layer)
    for shape in ((None, None), (4, 0)):
        with pytest.raises(ValueError, match="give a shape with at least one"):
            BatchNormalization().build(shape)
    named = BatchNormalization()
    named.feature_names = ["a", "b"]
    with pytest.raises(ValueError, match="2 feature_names"):
        named(X)


def test_weights_may_be_set_but_not_to_what_cannot_be():
    """gamma may be 0; a variance is not negative, and nothing is NaN; an error leaves all as it was."""
    layer = trained()
    layer.gamma = 0.0
    layer.moving_variance = [0.0, 1.0, 2.0]
    assert (np.zeros_like(X) + layer.beta).tolist() == layer(X).tolist()
    before = state_of(layer)
    for name, values in (("moving_variance", -1.0), ("gamma", np.nan), ("moving_mean", np.inf), ("beta", [1.0, 2.0])):
        with pytest.raises(ValueError, match=name):
            setattr(layer, name, values)
    good = layer.get_weights()
    for weights in ([], good[:3], [*good, good[0]], [w[:2] for w in good], [*good[:3], -good[3]]):
        with pytest.raises(ValueError, match=r"set_weights takes 4|features|moving_variance"):
            layer.set_weights(weights)
    assert before == state_of(layer)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "uint8"])
@pytest.mark.parametrize("training", [True, False])
def test_every_destination_gets_the_same_numbers(dtype, training):
    """A new array, another one and x itself hold the same bits, in the dtype that Normalization gives."""
    x = np.clip(X, 0, 50).astype(dtype)
    learned = trained()
    new = learned.copy()(x, training)
    assert Normalization().adapt(x).transform(x).dtype == new.dtype
    other = np.empty_like(new)
    assert learned.copy()(x, training, out=other) is other
    assert new.tobytes() == other.tobytes()
    if x.dtype.kind == "f":
        layer, given = learned.copy(), x.copy()
        assert layer(given, training, out=given) is given
        assert new.tobytes() == given.tobytes()
    assert np.float16 == BatchNormalization(dtype="float16")(x, training).dtype


def test_a_destination_that_cannot_be_written_changes_nothing():
    """out is checked before the batch is learned from."""
    layer = trained()
    before = state_of(layer)
    for out, error in ((np.empty((3, 3)), ValueError), (np.empty(X.shape, int), TypeError), ([], TypeError)):
        with pytest.raises(error, match="out "):
            layer(X, training=True, out=out)
    assert before == state_of(layer)


# --------------------------------------------------------------------------------------------------- state


@BOTH
@pytest.mark.parametrize("settings", [{}, {"center": False}, {"momentum": None, "dtype": "float32", "axis": 1}])
def test_every_copy_goes_on_like_the_layer(convention, settings, tmp_path):
    """Saved and loaded, copied or pickled: the same bits now and after the next batch."""
    layer = trained(convention, **settings)
    layer.trainable = True
    layer.feature_names = ["a", "b", "c"]
    layer.save(tmp_path / "state.json")
    twins = [
        BatchNormalization.load(tmp_path / "state.json"),
        pickle.loads(pickle.dumps(layer)),
        copy.deepcopy(layer),
        layer.copy(),
    ]
    now, after = layer(X), layer(X * 2, training=True)
    for twin in twins:
        assert now.tobytes() == twin(X).tobytes()
        assert after.tobytes() == twin(X * 2, training=True).tobytes()
        assert state_of(layer) == state_of(twin)
        assert ("a", "b", "c") == twin.feature_names
        assert [getattr(layer, s) for s in layer._settings] == [getattr(twin, s) for s in layer._settings]


def test_an_unbuilt_and_a_frozen_layer_are_saved_too(tmp_path):
    """What a layer does not have yet, it does not have after loading either."""
    BatchNormalization(trainable=False).save(tmp_path / "state.json")
    layer = BatchNormalization.load(tmp_path / "state.json")
    assert state_of(BatchNormalization(trainable=False)) == state_of(layer)
    with pytest.raises(ValueError, match="holds a BatchNormalization, not a Normalization"):
        Normalization.load(tmp_path / "state.json")


def test_weights_move_from_layer_to_layer():
    """set_weights takes what get_weights gave, built or not."""
    layer = trained()
    for other in (BatchNormalization(), BatchNormalization().build((None, 3))):
        for _ in range(2):
            other.set_weights(layer.get_weights())
            assert layer(X).tobytes() == other(X).tobytes()
            layer(X, training=True)  # what was applied before this is not applied after it


def test_threads_that_train_one_layer_lose_no_batch():
    """Each of the batches that several threads give is counted."""
    layer = BatchNormalization(momentum=None).build(X.shape)
    barrier = threading.Barrier(4)

    def train():
        barrier.wait()
        for _ in range(25):
            layer(X, training=True)

    threads = [threading.Thread(target=train) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 100 == layer.num_batches_tracked
    np.testing.assert_allclose(layer.moving_mean, X.mean(0), rtol=1e-13)
