"""Laws of the statistics of batches and of their moving averages."""

from fractions import Fraction

import numpy as np
import pytest
import strategies
from batches import BOTH, X, root, state_of, trained
from hypothesis import assume, given
from hypothesis import strategies as st
from naive import moments, nearest

from fastnorm import BatchNormalization

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
