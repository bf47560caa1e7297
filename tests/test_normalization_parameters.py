"""Laws of parameters, reports, weights as in Keras, and copies."""

import copy
import html
import math
import pickle

import ml_dtypes
import numpy as np
import pytest
import strategies as arrays
from hypothesis import given
from hypothesis import strategies as st
from layers import HOLES, WHOLE, assert_unchanged, state, table

from fastnorm import Normalization

# Parameters


@pytest.mark.parametrize(
    ("n", "affine", "count", "expected"),
    [
        (1, False, True, 3),
        (9, False, True, 19),
        (1, False, False, 2),
        (9, False, False, 18),
        (1, True, True, 5),
        (9, True, True, 37),
        (9, True, False, 36),
    ],
)
def test_a_layer_has_two_parameters_a_feature_and_the_row_count(n, affine, count, expected, capsys):
    """2n + 1, so 3 for (None, 1) and 19 for (None, 9); 2n without the count, 2n more if affine."""
    layer = Normalization(affine=affine).adapt(table(4, n))
    trainable = 2 * n if affine else 0
    layer.summary(count=count)
    printed = capsys.readouterr().out
    assert f"Total params: {expected} ({8 * expected}.00 B)" in printed
    assert f"\n Trainable params: {trainable} ({8 * trainable}.00 B)" in printed
    frozen = expected - trainable
    assert f"Non-trainable params: {frozen} ({8 * frozen}.00 B)" in printed
    assert f"(None, {n})" in printed
    assert ("count" in printed) == count
    if count:
        assert expected == layer.count_params() == sum(p.size for p in layer.parameters())
        assert expected == sum(array.size for array in layer.get_weights())


def test_every_parameter_is_described():
    """Name, shape, dtype, trainable, size and bytes, those that are trained first."""
    layer = Normalization(axis=(1, 2), affine=True).adapt(np.ones((2, 3, 4)))
    described = [(p.name, p.shape, p.dtype, p.trainable, p.size, p.bytes) for p in layer.parameters()]
    assert described == [
        ("gamma", (3, 4), "float64", True, 12, 96),
        ("beta", (3, 4), "float64", True, 12, 96),
        ("mean", (3, 4), "float64", False, 12, 96),
        ("variance", (3, 4), "float64", False, 12, 96),
        ("count", (), "int64", False, 1, 8),
    ]
    for parameter, array in zip(layer.parameters(), layer.get_weights(), strict=True):
        assert (parameter.shape, parameter.dtype) == (array.shape, array.dtype.name)
    assert Normalization(axis=None).adapt(WHOLE).count_params() == 3


def test_summary_prints_where_it_is_told_to(capsys):
    """print_fn gets the text; the layer names no count where it is left out."""
    lines = []
    layer = Normalization().adapt(table(4, 9))
    assert layer.summary(print_fn=lines.append) is None
    assert capsys.readouterr().out == ""
    assert "Total params: 19" in "\n".join(lines)


def test_a_notebook_shows_parameters_and_statistics():
    """_repr_html_ has the counts and one line a feature, with names escaped."""
    layer = Normalization().adapt(WHOLE)
    layer.feature_names = ("depth <m>", "b&c", "time")
    page = layer._repr_html_()
    assert "Total params: 7" in page
    for name in layer.feature_names:
        assert html.escape(name) in page
    assert "<m>" not in page
    assert f"{layer.mean[0]:.6g}" in page
    assert "Total params: 0" in Normalization(mean=0, variance=1)._repr_html_()


def test_statistics_are_listed_by_feature():
    """Columns of a table: names or places, values, missing values, mean and std."""
    layer = Normalization().adapt(HOLES)
    columns = layer.statistics()
    assert [3, 2, 3] == list(columns["count"])
    assert [0, 1, 0] == list(columns["missing"])
    np.testing.assert_array_equal(layer.mean, columns["mean"])
    np.testing.assert_array_equal(layer.std, columns["std"])
    assert ["0", "1", "2"] == list(columns["feature"])
    layer.feature_names = ("a", "b", "c")
    assert ["a", "b", "c"] == list(layer.statistics()["feature"])
    grid = Normalization(axis=(0, 1)).adapt(np.ones((2, 2, 5))).statistics()
    assert ["0, 0", "0, 1", "1, 0", "1, 1"] == list(grid["feature"])


def test_what_a_layer_shows_cannot_be_written_to():
    """mean, variance, std, gamma and beta are read-only; weights are copies."""
    layer = Normalization(affine=True).adapt(WHOLE)
    before, z = state(layer), layer.transform(WHOLE)
    for name in ("mean", "variance", "std", "gamma", "beta"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(layer, name)[0] = 9
    for array in layer.get_weights():
        array[...] = 9
    with pytest.raises(AttributeError):
        layer.mean = np.zeros(3)
    assert_unchanged(layer, before)
    np.testing.assert_array_equal(z, layer.transform(WHOLE))


# Weights as in Keras


@pytest.mark.parametrize("affine", [False, True])
def test_weights_come_in_the_order_of_keras(affine):
    """The trainable pair, then mean, variance and the count."""
    layer = Normalization(affine=affine).adapt(WHOLE)
    weights = layer.get_weights()
    expected = ["gamma", "beta"] * affine + ["mean", "variance"]
    for name, array in zip(expected, weights, strict=False):
        np.testing.assert_array_equal(getattr(layer, name), array)
    assert (weights[-1].shape, weights[-1].dtype, int(weights[-1])) == ((), np.int64, 12)


@given(
    arrays.hnp.arrays("f8", 3, elements=st.floats(allow_nan=False, allow_infinity=False)),
    arrays.hnp.arrays("f8", 3, elements=st.floats(0, 1e300)),
    st.integers(2, 2**53),
)
def test_weights_round_trip_exactly(mean, variance, count):
    """Any finite mean and variance are taken over bit for bit, and survive pickle."""
    layer = Normalization()
    layer.set_weights([mean, variance, count])
    for twin in (layer, pickle.loads(pickle.dumps(layer)), Normalization().merge(layer)):
        np.testing.assert_array_equal(mean, twin.mean)
        np.testing.assert_array_equal(variance, twin.variance)
        assert count == twin.count


def test_weights_move_to_another_layer():
    """A new layer takes them, transforms like the old one, and goes on learning from there."""
    old = Normalization(affine=True).adapt(WHOLE)
    old.gamma, old.beta = [1, 2, 3], [4, 5, 6]
    new = Normalization(affine=True)
    new.set_weights(old.get_weights())
    for a, b in zip(old.get_weights(), new.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_allclose(old.transform(WHOLE), new.transform(WHOLE), rtol=1e-13, atol=1e-15)
    new.update(table(30))
    assert new.count == 42
    both = np.concatenate([WHOLE, table(30)])
    np.testing.assert_allclose(both.mean(0), new.mean, rtol=1e-14)
    np.testing.assert_allclose(both.var(0), new.variance, rtol=1e-13)


@pytest.mark.parametrize("wrong", [np.ones(3, complex), ["1", "2", "3"], None, np.ones(3, "g")], ids=str)
@pytest.mark.parametrize("name", ["gamma", "beta", "mean", "variance", "count"])
def test_what_are_no_real_numbers_is_refused_by_name(name, wrong):
    """Nothing imaginary is dropped and no text is read; the layer stays as it was."""
    layer = Normalization(affine=True).adapt(WHOLE)
    before, names = state(layer), ["gamma", "beta", "mean", "variance", "count"]
    weights = [wrong if item == name else value for item, value in zip(names, layer.get_weights(), strict=True)]
    with pytest.raises(TypeError, match=rf"^{name} .*; pass (finite real numbers|a whole number)|{name} is None"):
        layer.set_weights(weights)
    if name in ("gamma", "beta"):
        with pytest.raises(TypeError, match=rf"^{name} "):
            setattr(layer, name, wrong)
    if name in ("mean", "variance") and wrong is not None:
        with pytest.raises(TypeError, match=rf"^{name} "):
            Normalization(**{"mean": WHOLE[0], "variance": WHOLE[0]} | {name: wrong})
    assert_unchanged(layer, before)


@pytest.mark.parametrize("mean", [0, 1 / 3, 1e300])
def test_the_weights_of_one_row_survive(mean):
    """One row has a mean and no variance: that is taken over, anything else is refused."""
    layer = Normalization()
    with pytest.raises(ValueError, match="variance"):
        layer.set_weights([[mean], [2.0], 1])
    layer.set_weights([[mean], [0.0], 1])
    twin = pickle.loads(pickle.dumps(layer))
    assert (mean, 0, 1) == (twin.mean[0], twin.variance[0], twin.count)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([], "3 arrays"),
        ([np.zeros(3), np.ones(3)], "3 arrays"),
        ([np.zeros(3), np.ones(3), 4, 5], "3 arrays"),
        ([np.zeros(3), np.ones(2), 4], "(?i)shape"),
        ([np.zeros(3), -np.ones(3), 4], "variance"),
        ([np.zeros(3), np.full(3, np.nan), 4], "variance"),
        ([np.full(3, np.inf), np.ones(3), 4], "mean"),
        ([np.zeros(3), np.ones(3), -4], "count"),
        ([np.zeros(3), np.ones(3), 1.5], "count"),
        ([np.zeros(3), np.ones(3), math.nan], "count"),
        ([np.zeros(3), np.ones(3), [4, 4, 4]], "count"),
        ([np.zeros(3), np.ones(3), 1 << 63], "count"),
        ([np.zeros((1, 3)), np.ones((1, 3)), 4], "features of shape"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights, words):
    """Number, shapes and values are checked, and the layer stays as it was."""
    layer = Normalization().adapt(WHOLE)
    before = state(layer)
    with pytest.raises(ValueError, match=words):
        layer.set_weights(weights)
    assert_unchanged(layer, before)


# Copies

OPTIONS = [
    {},
    {"affine": True},
    {"axis": 0, "invert": True},
    {"axis": (0, 1), "nan": "propagate"},
    {"axis": None, "constant": "epsilon", "epsilon": 0.25},
    {"dtype": "float16", "inf": "omit", "threads": 2},
    {"dtype": ml_dtypes.bfloat16, "nan": "raise"},
    {"mean": [1.0, 2, 3], "variance": [4.0, 5, 6]},
    {"mean": 1.0, "variance": 4.0, "affine": True},
]
COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda layer: pickle.loads(pickle.dumps(layer)),
    "oldest pickle": lambda layer: pickle.loads(pickle.dumps(layer, protocol=2)),
}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_copy_is_the_same_layer_apart(way, options):
    """A copy has all options and bits, and neither notices what the other learns."""
    layer = Normalization(**options)
    if "mean" not in options:
        layer.adapt(WHOLE).update(WHOLE[:1] if "axis" not in options else WHOLE)
    if options.get("affine"):
        layer.gamma = 2 + np.arange(layer.gamma.size).reshape(layer.gamma.shape)
    features = 3 if "mean" in options else layer.mean.size
    layer.feature_names = [f"feature {i}" for i in range(features)]
    twin = COPIES[way](layer)
    assert type(twin) is Normalization
    assert twin is not layer
    for name in (
        "axis",
        "invert",
        "nan",
        "inf",
        "constant",
        "epsilon",
        "affine",
        "dtype",
        "threads",
        "feature_names",
    ):
        assert getattr(layer, name) == getattr(twin, name), name
    z = layer.transform(WHOLE)
    assert z.tobytes() == twin.transform(WHOLE).tobytes()
    if "mean" not in options:
        assert state(layer) == state(twin)
        before = state(layer)
        twin.update(3 * WHOLE)
        assert_unchanged(layer, before)
        assert before != state(twin)
        before = state(twin)
        layer.adapt(WHOLE[::-1] * 2)
        assert_unchanged(twin, before)
    elif options.get("affine"):
        twin.gamma = 7
        assert z.tobytes() == layer.transform(WHOLE).tobytes()
