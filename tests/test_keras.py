"""The numbers of fastnorm.keras.Normalization, side by side with the layer of Keras itself."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import kept_axes, seeds

import fastnorm
from fastnorm.keras import Normalization

EPS = float(np.finfo(np.float32).eps)
ROWS = np.array([[0.0, 7.0, 4.0], [2.0, 9.0, 6.0]] * 2)
ONE_TO_FIVE = np.arange(1.0, 6.0)
CUBE = np.array([[[1, 2, 3], [2, 3, 4]], [[3, 4, 5], [4, 5, 6]]])
PERMUTED = np.array([[[0.0, 1, 2], [0, 2, 6]], [[2, 3, 4], [3, 6, 10]]])
SIGNS = np.array([[[-1.0] * 3] * 2, [[1.0] * 3] * 2])

# What the tests and the documentation of Keras 2 and 3 say: arguments, data to adapt to, x, layer(x).
KNOWN = {
    "one feature of all values": ({"axis": None}, ONE_TO_FIVE, [1, 2, 3], [-1.4142135, -0.70710677, 0]),
    "each column": ({}, ROWS, [[0, 7, 4]], [[-1, -1, -1]]),
    "each column, inverted": ({"invert": True}, ROWS, [[1, 2, 3]], [[2, 10, 8]]),
    "one column": ({}, ONE_TO_FIVE[:, None], [[1], [2], [3]], [[-1.414214], [-0.707107], [0]]),
    "one column of integers": (
        {},
        ONE_TO_FIVE[:, None].astype(np.int32),
        np.array([[1], [2], [3]], np.int32),
        [[-1.414214], [-0.707107], [0]],
    ),
    "a column, no axis": ({"axis": None}, ONE_TO_FIVE[:, None], [[1], [2], [3]], [[-1.414214], [-0.707107], [0]]),
    "the middle axis": (
        {"axis": 1},
        CUBE,
        CUBE,
        [[[-1.549193, -0.774597, 0]] * 2, [[0, 0.774597, 1.549193]] * 2],
    ),
    "two axes": (
        {"axis": (1, 2)},
        [[[1, 0, 3], [2, 3, 4]], [[3, -1, 5], [4, 5, 8]]],
        [[[3, 1, -1], [2, 5, 4]], [[3, 0, 5], [2, 5, 8]]],
        [[[1, 3, -5], [-1, 1, -1]], [[1, 1, 1], [-1, 1, 1]]],
    ),
    "zeros": ({}, np.zeros((3, 4)), np.zeros((3, 4)), np.zeros((3, 4))),
    "other rows": (
        {},
        [[1, 2, 1], [2, 3, 4]] * 2,
        [[3, 1, 2], [6, 5, 4]],
        [[3, -3, -1 / 3], [9, 5, 1]],
    ),
    "fixed": ({"mean": [1.0], "variance": [1.0]}, None, [[1, 2]], [[0, 1]]),
    "fixed scalars": ({"mean": 3.0, "variance": 2.0}, None, [[1], [2], [3]], [[-1.4142135], [-0.70710677], [0]]),
    "fixed, one axis": ({"axis": None, "mean": 1.0, "variance": 1.0}, None, [0, 2, 0, 2], [-1, 1, -1, 1]),
    "fixed, no axis": ({"axis": None, "mean": 1.0, "variance": 1.0}, None, 0.0, -1),
    "fixed, inverted": ({"mean": 2.0, "variance": 4.0, "invert": True}, None, [[-1], [1]], [[0], [4]]),
    "inverted": ({"invert": True}, [[0], [4], [0], [4]], [[-1], [1]], [[0], [4]]),
    "saved by Keras": ({}, [[0], [2], [0], [2]], [[0], [2], [0], [2]], [[-1], [1], [-1], [1]]),
    "axes (1, 2)": ({"axis": (1, 2)}, PERMUTED, PERMUTED, SIGNS),
    "axes (2, 1)": ({"axis": (2, 1)}, PERMUTED, PERMUTED, SIGNS),
    "axes (-1, 1)": ({"axis": (-1, 1)}, PERMUTED, PERMUTED, SIGNS),
    "rows as features": ({}, ONE_TO_FIVE, [1, 2, 3, 4, 6], [0, 0, 0, 0, 1e7]),
    "a single number": ({"axis": None}, ONE_TO_FIVE, 2.0, -0.70710677),
}


def both(settings, data=None):
    """Our layer and Keras's, adapted to the same data."""
    ours, theirs = Normalization(**settings), keras.layers.Normalization(**settings)
    if data is not None:
        ours.adapt(data)
        theirs.adapt(np.asarray(data))
    return ours, theirs


def called(layer, x):
    return np.asarray(layer(x if np.ndim(x) else keras.ops.convert_to_tensor(x)))


@pytest.mark.parametrize("name", KNOWN)
def test_known_numbers(name):
    """What Keras publishes is what both layers give, in float32, to its rounding."""
    settings, data, x, want = KNOWN[name]
    x = np.asarray(x, None if isinstance(x, np.ndarray) else np.float32)
    ours, theirs = both(settings, None if data is None else np.asarray(data))
    plain = fastnorm.Normalization(**settings, constant="epsilon", nan="propagate")
    if data is not None:
        plain.adapt(data)
    z = ours(x)
    assert (np.float32, x.shape) == (z.dtype, z.shape)
    np.testing.assert_allclose(z, want, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(plain(x), want, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(z, called(theirs, x).reshape(x.shape), rtol=4 * EPS, atol=4 * EPS)
    assert (3 * (data is not None), 3 * (data is not None)) == (len(ours.weights), len(theirs.weights))


def eighths(shape, seed, missing):
    """Numbers of which a few sums are exact in float32, some features constant, some values NaN."""
    rng = np.random.default_rng(seed)
    x = rng.integers(-8000, 8000, shape) / 8
    x[..., rng.random(shape[-1]) < 0.2] = 1.125
    x[rng.random(shape) < missing] = np.nan
    return x


@st.composite
def settings_and_data(draw):
    """Draw arguments of both layers, data with the axes that they keep, and other rows."""
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=1, max_size=4)))
    axis = draw(kept_axes(len(shape)))
    missing = draw(st.sampled_from([0, 0, 0.05]))
    data, x = (eighths(shape, draw(seeds), missing) for _ in range(2))
    return {"axis": axis, "invert": draw(st.booleans())}, data, x


@given(settings_and_data())
def test_statistics_are_those_of_keras(case):
    """In float64 mean and variance agree to the rounding of Keras's, whatever is kept, with NaN and constants."""
    settings, data, _ = case
    ours, theirs = both(settings | {"dtype": "float64"}, data)
    for mine, yours in zip(ours.weights[:2], theirs.weights[:2], strict=True):
        np.testing.assert_allclose(mine, np.asarray(yours), rtol=1e-12, atol=1e-10)


@given(settings_and_data())
def test_results_are_those_of_keras(case):
    """By default both give float32 and differ by what its roundings cost Keras at most."""
    settings, data, x = case
    ours, theirs = both(settings, data)
    exact = Normalization(**settings, dtype="float64").adapt(data)
    places = [1] * x.ndim
    for index in range(x.ndim) if settings["axis"] is not None else ():
        axes = settings["axis"] if isinstance(settings["axis"], tuple) else (settings["axis"],)
        if index in [axis % x.ndim for axis in axes]:
            places[index] = x.shape[index]
    mean, std = exact.mean.reshape(places), np.maximum(exact.std, 1e-7).reshape(places)
    size = abs(mean) + abs(x) * std if settings["invert"] else (abs(mean) + abs(x)) / std
    z, want = ours(x), called(theirs, x)
    assert np.float32 == z.dtype == want.dtype
    assert np.array_equal(np.isnan(z), np.isnan(want))
    assert (abs(z.astype(float) - want) <= 8 * EPS * (size + abs(want)))[~np.isnan(want)].all()


@pytest.mark.parametrize(
    ("axis", "shape", "mean"),
    [
        (2, (2, 4, 5, 3), [1.0, 2, 3, 4, 5]),
        ((1, 2), (2, 10, 13, 3), np.arange(130.0).reshape(10, 13)),
        ((1, 2), (2, 7, 5, 3), [1.0, 2, 3, 4, 5]),
        ((1, 3), (2, 4, 5, 3), np.arange(4.0)[:, None]),
        ((0, -1), (4, 5, 3), [[7.0]]),
        (-1, (3, 7), 5.0),
        (-1, (3, 7), [5.0]),
        (None, (3, 7), 5.0),
    ],
)
def test_fixed_statistics_broadcast_as_in_keras(axis, shape, mean):
    """They are laid from right to left onto the axes that are kept, a scalar onto all."""
    ours, theirs = both({"axis": axis, "mean": mean, "variance": np.square(mean) + 1})
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    np.testing.assert_allclose(ours(x), called(theirs, x), rtol=4 * EPS, atol=8 * EPS)


# What is given in batches

BATCHES = np.random.default_rng(1).normal(50, 3, (20, 32, 4)).astype(np.float32)


class Pieces(keras.utils.PyDataset):
    """Batches as Keras has them, alone or with targets and weights."""

    def __init__(self, extra):
        super().__init__()
        self.extra = extra

    def __len__(self):
        return len(BATCHES)

    def __getitem__(self, index):
        return (BATCHES[index], *self.extra) if self.extra else BATCHES[index]


ITERABLES = {
    "a list": lambda: list(BATCHES),
    "a generator": lambda: iter(BATCHES),
    "a single batch": lambda: [BATCHES.reshape(-1, 4)],
    "pairs": lambda: [(batch, np.zeros(32)) for batch in BATCHES],
    "triples": lambda: [(batch, np.zeros(32), np.ones(32)) for batch in BATCHES],
    "unequal batches": lambda: [BATCHES[0, :5], BATCHES[0, 5:], *BATCHES[1:]],
    "a PyDataset": lambda: Pieces(()),
    "a PyDataset of pairs": lambda: Pieces((np.zeros(32),)),
    "a PyDataset of triples": lambda: Pieces((np.zeros(32), np.ones(32))),
    "tensors": lambda: [keras.ops.convert_to_tensor(batch) for batch in BATCHES],
}


@pytest.mark.parametrize("name", ITERABLES)
def test_batches_are_those_of_keras(name):
    """Every form of batches gives the bits of the whole array, and Keras the same to its rounding."""
    ours, theirs = both({})
    theirs.adapt(ITERABLES[name]())
    whole = fastnorm.Moments.of(BATCHES.reshape(-1, 4))
    assert whole == ours.adapt(ITERABLES[name]()).moments
    np.testing.assert_allclose(ours.mean, np.asarray(theirs.adapt_mean), rtol=1e-5)
    np.testing.assert_allclose(ours.variance, np.asarray(theirs.adapt_variance), rtol=1e-4)


@pytest.mark.parametrize(("axis", "shape"), [(None, (5, 20, 2, 3)), ((1, 2, 3), (4, 8, 4, 3, 5)), (1, (3, 6, 4))])
def test_batches_of_any_shape_are_those_of_keras(axis, shape):
    """Batches whose kept axes are any of theirs."""
    data = np.random.default_rng(2).normal(size=shape)
    ours, theirs = both({"axis": axis})
    theirs.adapt(list(data))
    ours.adapt(list(data))
    np.testing.assert_allclose(ours.mean, np.asarray(theirs.adapt_mean), atol=1e-5)
    np.testing.assert_allclose(ours.variance, np.asarray(theirs.adapt_variance), atol=1e-5)


def test_batches_of_one_axis_are_rows_as_in_keras():
    """With an axis that is kept, a batch of one axis is one row of as many features."""
    rows = [np.array([2.0, 0, 2, 0]), np.array([0.0, 2, 0, 2])]
    ours, theirs = both({})
    theirs.adapt(rows)
    assert np.array_equal(np.asarray(theirs.adapt_mean), ours.adapt(rows).mean)
    np.testing.assert_array_equal([1, -1, 1, -1], ours(rows[0]))
    np.testing.assert_allclose([[1, -1, 1, -1]], called(theirs, rows[0][None]))


def test_numbers_one_by_one_are_values_of_one_feature():
    """Without an axis, batches may be single numbers."""
    numbers = list(np.array([2.0, 0, 2, 0], np.float32))
    ours, theirs = both({"axis": None})
    theirs.adapt(numbers)
    np.testing.assert_array_equal([1, -1, 1, -1], ours.adapt(numbers)([2, 0, 2, 0]))
    np.testing.assert_allclose([1, -1, 1, -1], called(theirs, np.array([2.0, 0, 2, 0])))


def test_each_adapt_starts_from_scratch_as_in_keras():
    """What was learned before is forgotten, and a built layer stays built."""
    ours, theirs = both({})
    for data, want in (([[0], [2], [0], [2]], 1), ([[2], [4], [2], [4]], -1)):
        ours.adapt(data)
        theirs.adapt(np.array(data))
        assert want == ours([[2]]).item() == called(theirs, np.array([[2]])).item()
