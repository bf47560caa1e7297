"""Laws of BatchNormalization, against exact fractions."""

import copy
import math
import pickle
import threading
from fractions import Fraction

import numpy as np
import pytest
import strategies
from hypothesis import assume, given
from hypothesis import strategies as st
from naive import moments, nearest

from fastnorm import BatchNormalization, Normalization, NotAdaptedError

X = np.random.default_rng(3).normal(5, 10, (20, 3))
BOTH = pytest.mark.parametrize("convention", ["keras", "torch"])


def trained(convention="keras", **settings):
    """A layer that has seen three batches and has gamma and beta of its own."""
    layer = BatchNormalization(convention=convention, **settings)
    for batch in np.split(X, (5, 12)):
        layer(batch, training=True)
    for name, values in (("gamma", [2.0, -0.5, 0.0]), ("beta", [1.0, 0.0, 1e3])):
        if settings.get({"gamma": "scale", "beta": "center"}[name], True):
            setattr(layer, name, values)
    return layer


def state_of(layer):
    return (layer._shape, layer.num_batches_tracked, layer.trainable, repr(layer)) + (
        () if layer._shape is None else tuple(values.tobytes() for values in layer.get_weights())
    )


def root(value):
    """The square root of a Fraction to some 100 digits."""
    return Fraction(math.isqrt(math.floor(value * 2**4000)), 2**2000)


# ------------------------------------------------------------------------------------------------ statistics


@BOTH
@given(x=strategies.tables())
def test_batch_statistics_are_the_exact_ones_rounded_once(x, convention):
    """What moves in with the weight 1 is the nearest float64 to the exact mean and variance of the batch.

    The unbiased variance is the nearest biased one, multiplied in float64. Averages of a feature without values stay.
    """
    exact = moments(x)
    count, mean, variance = exact.counts("count"), exact.array("mean"), exact.array("variance")
    if convention == "torch":
        assume((count != 1).all())
        with np.errstate(over="ignore"):
            variance = variance * (count / np.maximum(count - 1, 1))
    assume(not (exact.counts("posinf") + exact.counts("neginf")).any() and not np.isinf(variance).any())
    layer = BatchNormalization(-1, 0.0 if convention == "keras" else 1.0, convention=convention)
    layer(x, training=True)
    assert np.where(count > 0, mean, 0).tolist() == layer.moving_mean.tolist()
    assert np.where(count > 0, variance, 1).tolist() == layer.moving_variance.tolist()


@given(
    seed=st.integers(0, 2**32 - 1),
    epsilon=st.sampled_from([1e-3, 1e-5, 1.0, 1e-12]),
    offset=st.sampled_from([0.0, 1e6, -1e12]),
)
def test_training_gives_the_formula_of_exact_statistics(seed, epsilon, offset):
    """y is gamma * (x - mean) / sqrt(variance + epsilon) + beta in exact arithmetic, but for some last bits."""
    rng = np.random.default_rng(seed)
    x = rng.normal(offset, 10.0 ** rng.integers(-5, 5), (9, 4))
    gamma, beta = rng.normal(size=(2, 4))
    layer = BatchNormalization(epsilon=epsilon).build(x.shape)
    layer.gamma, layer.beta = gamma, beta
    y = layer(x, training=True)
    for column, feature in enumerate(moments(x).features):
        factor = Fraction(gamma[column]) / root(feature.variance + Fraction(epsilon))
        for row in range(len(x)):
            scaled = factor * (Fraction(x[row, column]) - feature.mean)
            exact = scaled + Fraction(beta[column])
            error = abs(Fraction(y[row, column]) - exact)
            assert error <= 8 * Fraction(2) ** -53 * (abs(scaled) + abs(Fraction(beta[column])))


@BOTH
def test_inference_gives_the_formula_of_the_moving_averages(convention):
    """Without training, mean and variance are the moving ones, and nothing moves."""
    layer = trained(convention)
    before = state_of(layer)
    spread = np.sqrt(layer.moving_variance + layer.epsilon)
    expected = layer.gamma * ((X - layer.moving_mean) / spread) + layer.beta
    np.testing.assert_allclose(layer(X), expected, rtol=4e-16, atol=1e-15)
    assert before == state_of(layer)


def test_threads_and_the_order_of_rows_do_not_count():
    """The averages have the same bits for any number of threads and any order of the rows, and so has each row of y."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(40_000, 7)) * 10.0 ** rng.integers(-6, 6, (40_000, 1))).astype(np.float32)
    order = rng.permutation(len(x))
    one, two, mixed = (BatchNormalization(threads=threads) for threads in (1, 2, 2))
    y = one(x, training=True)
    assert y.tobytes() == two(x, training=True).tobytes()
    assert y[order].tobytes() == mixed(x[order], training=True).tobytes()
    assert state_of(one) == state_of(two) == state_of(mixed)


def test_a_far_offset_takes_nothing_from_the_variance():
    """float32 values around 10 000 have the variance that they have, where E[x²] - E[x]² has lost every digit."""
    x = np.random.default_rng(1).normal(1e4, 0.01, (1000, 2)).astype(np.float32)
    layer = BatchNormalization(momentum=0.0)
    layer(x, training=True)
    assert [nearest(f.variance) for f in moments(x).features] == layer.moving_variance.tolist()


# ----------------------------------------------------------------------------------------------- conventions


def test_keras_keeps_momentum_and_torch_takes_it():
    """Keras: moving * momentum + batch * (1 - momentum), biased; torch: the other way round, unbiased."""
    mean, variance = X.mean(0), X.var(0)
    layer = BatchNormalization(momentum=0.75)
    layer(X, training=True)
    np.testing.assert_allclose(layer.moving_mean, mean * 0.25, rtol=1e-14)
    np.testing.assert_allclose(layer.moving_variance, 0.75 + variance * 0.25, rtol=1e-14)
    layer = BatchNormalization(momentum=0.75, convention="torch")
    layer(X, training=True)
    np.testing.assert_allclose(layer.moving_mean, mean * 0.75, rtol=1e-14)
    np.testing.assert_allclose(layer.moving_variance, 0.25 + X.var(0, ddof=1) * 0.75, rtol=1e-14)


@pytest.mark.parametrize(
    ("convention", "momentum", "epsilon", "other"), [("keras", 0.99, 1e-3, 0.01), ("torch", 0.1, 1e-5, 0.9)]
)
def test_each_convention_has_its_defaults(convention, momentum, epsilon, other):
    """0.99 and 1e-3 in Keras, 0.1 and 1e-5 in torch; the momentum of the other side is what is left to 1."""
    layer = BatchNormalization(convention=convention)
    assert (momentum, epsilon) == (layer.momentum, layer.epsilon)
    assert momentum == layer.momentum_of(convention)
    assert other == layer.momentum_of({"keras": "torch", "torch": "keras"}[convention])


@BOTH
def test_without_momentum_every_batch_counts_alike(convention):
    """momentum=None gives the average over the batches of their means and variances."""
    layer = BatchNormalization(momentum=None, convention=convention)
    batches = np.split(X, 4)
    for batch in batches:
        layer(batch, training=True)
    ddof = int(convention == "torch")
    assert len(batches) == layer.num_batches_tracked
    np.testing.assert_allclose(layer.moving_mean, np.mean([b.mean(0) for b in batches], 0), rtol=1e-14)
    np.testing.assert_allclose(layer.moving_variance, np.mean([b.var(0, ddof=ddof) for b in batches], 0), rtol=1e-14)


def test_a_single_value_has_no_unbiased_variance():
    """With torch's convention a batch of one row is an error; with Keras's its variance is 0."""
    layer = BatchNormalization(convention="torch")
    with pytest.raises(ValueError, match=r"single value of feature 0.*pass 2 rows"):
        layer([[1.0, 2.0]], training=True)
    assert state_of(BatchNormalization(convention="torch")) == state_of(layer)
    assert [[0.0, 0.0]] == BatchNormalization()([[1.0, 2.0]], training=True).tolist()


# ---------------------------------------------------------------------------------- what is left out, and what is not


@pytest.mark.parametrize("how", ["mask", "masked array", "NaN"])
def test_what_is_left_out_counts_nowhere(how):
    """Masked rows, masked values and NaN leave the statistics of the others as if they had never been there."""
    keep = np.arange(20) % 3 > 0
    alone, among = BatchNormalization(), BatchNormalization()
    expected = alone(X[keep], training=True)
    x = np.where(keep[:, None], X, np.nan) if how == "NaN" else X
    x = np.ma.array(X, mask=np.repeat(~keep[:, None], 3, 1)) if how == "masked array" else x
    y = among(x, training=True, mask=keep if how == "mask" else None)
    assert expected.tobytes() == np.asarray(y)[keep].tobytes()
    assert state_of(alone) == state_of(among)
    assert (how == "NaN") == np.isnan(np.asarray(y)[~keep]).all()
    assert (how == "masked array") == np.ma.isMaskedArray(y)


def test_a_mask_leaves_out_of_the_statistics_alone():
    """What a mask leaves out is still normalized; masks of a masked array and of the argument add up."""
    x = np.ma.array([[1.0], [3.0], [100.0], [7.0]], mask=[[0], [0], [0], [1]])
    y = BatchNormalization(epsilon=0.0)(x, training=True, mask=[1, 1, 0, 1])
    assert [[-1.0], [1.0], [98.0], [None]] == y.tolist()


@pytest.mark.parametrize("axis", [1, -1])
def test_a_mask_holds_for_any_axis(axis):
    """A mask covers all dimensions of x but the last, whatever the axis of the features."""
    x = np.arange(24.0).reshape(2, 3, 4) ** 2
    mask = np.array([[1, 1, 0], [0, 1, 1]], bool)
    layer = BatchNormalization(axis, 0.0)
    layer(x, training=True, mask=mask)
    exact = moments(np.ma.array(x, mask=np.repeat(~mask[..., None], 4, 2)), axis)
    assert exact.array("mean").tolist() == layer.moving_mean.tolist()
    assert exact.array("variance").tolist() == layer.moving_variance.tolist()


@pytest.mark.parametrize("mask", [np.ones((20, 3), bool), np.ones(19, bool), True])
def test_a_mask_that_does_not_fit_is_refused(mask):
    """A mask without exactly one dimension less than x, or of other lengths, is an error; nothing is learned."""
    layer = BatchNormalization()
    with pytest.raises(ValueError, match="must have one dimension less"):
        layer(X, training=True, mask=mask)
    assert state_of(BatchNormalization()) == state_of(layer)


@BOTH
@pytest.mark.parametrize("momentum", [0.5, None])
def test_nothing_is_learned_from_nothing(convention, momentum):
    """A batch without any values moves nothing, is not counted, and is normalized by the moving averages."""
    layer = trained(convention, momentum=momentum)
    before = state_of(layer)
    expected = layer(X)
    for mask in (np.zeros(20, bool), np.zeros((20,), int)):
        assert expected.tobytes() == layer(X, training=True, mask=mask).tobytes()
    assert np.isnan(layer(np.full((4, 3), np.nan), training=True)).all()
    assert (0, 3) == layer(np.empty((0, 3)), training=True).shape
    assert before == state_of(layer)


def test_a_feature_without_values_keeps_its_averages():
    """The other features learn; this one is as in inference."""
    layer, alone = trained(), trained()
    x = X.copy()
    x[:, 1] = np.nan
    layer(x, training=True)
    alone(X, training=True)
    assert trained().moving_mean[1] == layer.moving_mean[1]
    assert trained().moving_variance[1] == layer.moving_variance[1]
    for name in ("moving_mean", "moving_variance"):
        assert getattr(alone, name)[::2].tolist() == getattr(layer, name)[::2].tolist()


@pytest.mark.parametrize(
    ("x", "words"),
    [
        ([[1.0, np.inf], [2.0, 3.0]], "infinities .*feature 1.*mask"),
        ([[1e200, 1.0], [-1e200, 2.0]], "variance of feature 0 .*beyond float64"),
    ],
)
def test_a_batch_without_finite_statistics_is_refused(x, words):
    """Infinities and variances beyond float64 are errors that leave the layer as it was, even unbuilt."""
    for layer in (BatchNormalization(), BatchNormalization().build((None, 2))):
        before = state_of(layer)
        with pytest.raises(ValueError, match=words):
            layer(x, training=True)
        assert before == state_of(layer)
    assert np.isinf(BatchNormalization()([[np.inf, -np.inf]])).all()


def test_epsilon_zero_only_centres_what_does_not_vary():
    """With epsilon=0 a constant feature becomes 0 in training; the smallest variance is still divided by."""
    layer = BatchNormalization(epsilon=0.0)
    assert [[0.0], [0.0]] == layer([[7.0], [7.0]], training=True).tolist()
    tiny = np.array([[1.0], [-1.0]]) * 1e-300
    assert [[1.0], [-1.0]] == BatchNormalization(epsilon=0.0)(tiny, training=True).tolist()
    assert (tiny / np.sqrt(1e-3)).tolist() == BatchNormalization()(tiny, training=True).tolist()
    far = BatchNormalization()([*tiny, [1e300]], training=True, mask=[True, True, False])
    np.testing.assert_allclose(far[2], 1e300 / np.sqrt(1e-3), rtol=1e-15)
    layer.moving_variance = 0.0
    layer.moving_mean = 1.0
    assert [[2.0]] == layer([[3.0]]).tolist()


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
