"""Laws of fastnorm.sklearn.StandardScaler on dense arrays, beside scikit-learn's own and exact fractions."""

import pickle
import tracemalloc

import joblib
import naive
import numpy as np
import pandas as pd
import pytest
import sklearn.preprocessing
import strategies as arrays
from hypothesis import assume, given
from hypothesis import strategies as st
from scalers import STATISTICS, assert_alike, bits, normal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import check_estimator

from fastnorm.sklearn import StandardScaler

Theirs = sklearn.preprocessing.StandardScaler
FLOATS = ("float16", "float32", "float64")
EPS = np.finfo(float).eps


# scikit-learn's own checks


@pytest.mark.parametrize("options", [{}, {"with_mean": False}, {"with_std": False}, {"threads": 2}], ids=str)
@pytest.mark.filterwarnings("ignore")  # some checks warn, whatever the estimator
def test_every_check_of_scikit_learn_passes(options):
    """check_estimator finds nothing, and leaves out only what it leaves out for scikit-learn's own scaler."""
    theirs = {name: value for name, value in options.items() if name != "threads"}
    found, wanted = (
        {(check["check_name"], check["status"]) for check in check_estimator(scaler, on_skip=None, on_fail=None)}
        for scaler in (StandardScaler(**options), Theirs(**theirs))
    )
    assert wanted == found
    assert {"passed", "skipped"} >= {status for _, status in found}


def test_nothing_is_missing_that_scikit_learn_has():
    """Every public name of scikit-learn's scaler is there, with the same arguments first."""
    names = {name for name in dir(Theirs().fit([[1.0]])) if not name.startswith("_")}
    assert set() == names - set(dir(StandardScaler().fit([[1.0]])))
    assert Theirs().get_params().items() <= StandardScaler().get_params().items()


# What is learned


@given(arrays.tables(arrays.float_dtypes.filter(lambda dtype: dtype != arrays.BFLOAT16)))
def test_statistics_are_those_of_fractions(x):
    """mean_ and var_ are the exact mean and variance, rounded once; infinities are refused by name."""
    assume(len(x))
    if np.isinf(x).any():
        with pytest.raises(ValueError, match="Input X contains infinity or a value too large for dtype"):
            StandardScaler().fit(x)
        return
    scaler, exact = StandardScaler().fit(x), naive.moments(x)
    assert exact.array("mean").tobytes() == scaler.mean_.tobytes()
    assert exact.array("variance").tobytes() == scaler.var_.tobytes()
    assert (exact.counts("count") == scaler.n_samples_seen_).all()


@given(st.data(), st.booleans())
def test_any_chunks_give_the_bits_of_one_fit(data, weighted):
    """However rows are handed to partial_fit, all attributes and the transformed values have the bits of one fit."""
    x = normal((60, 3), data.draw(st.sampled_from(FLOATS)), missing=0.1)
    w = np.random.default_rng(1).random(60) if weighted else None
    places = sorted(set(data.draw(arrays.cuts(60))) - {0, 60})
    whole, parts = StandardScaler().fit(x, sample_weight=w), StandardScaler()
    for index in np.split(np.arange(60), places):
        parts.partial_fit(x[index], sample_weight=None if w is None else w[index])
    assert bits(whole, x) == bits(parts, x)


@pytest.mark.parametrize("chunk", [1, 2, 50, 100, 142])
def test_chunks_of_any_size_agree_with_scikit_learn(chunk):
    """The counts and statistics after partial_fit are scikit-learn's."""
    x = normal((100, 2))
    ours, theirs = StandardScaler(), Theirs()
    for start in range(0, 100, chunk):
        for scaler in (ours, theirs):
            scaler.partial_fit(x[start : start + chunk])
        assert min(start + chunk, 100) == ours.n_samples_seen_
    assert_alike(ours, theirs, x)


@pytest.mark.parametrize("dtype", [*FLOATS, "int8", "int32", "uint64", "bool", ">f4", "longdouble", "object"])
@pytest.mark.parametrize("shape", [(1, 4), (50, 1), (50, 4)])
@pytest.mark.parametrize("options", [{}, {"with_mean": False}, {"with_std": False}], ids=str)
def test_any_dtype_and_shape_agrees_with_scikit_learn(dtype, shape, options):
    """The same dtypes come out, and the same numbers up to rounding; attributes are float64."""
    x = normal(shape).astype(dtype)
    ours, theirs = StandardScaler(**options).fit(x), Theirs(**options).fit(x)
    assert_alike(ours, theirs, x, rtol=3e-2 if dtype == "float16" else 1e-5 if dtype == "float32" else 1e-9)
    assert np.float64 == ours.mean_.dtype


def test_lists_are_arrays():
    """A list of rows is taken as an array of float64."""
    x = [[1, 2.5], [3, 4]]
    assert_alike(StandardScaler().fit(x), Theirs().fit(x), x)


@pytest.mark.parametrize("flags", [(True, True), (True, False), (False, True), (False, False)])
def test_counts_leave_nan_out(flags):
    """n_samples_seen_ has one number for each feature where NaN make them differ, and a single one where not."""
    options = dict(zip(("with_mean", "with_std"), flags, strict=True))
    x = np.array([[0, np.nan, 3], [3, 6, 1], [np.nan, 6, 4], [np.nan, 9, 5], [5.0, 2, np.nan]])[:4]
    scaler = StandardScaler(**options).fit(x)
    assert [2, 3, 4] == scaler.n_samples_seen_.tolist()
    assert np.int64 == scaler.n_samples_seen_.dtype
    assert_alike(scaler, Theirs(**options).fit(x), x)
    assert 8 == scaler.partial_fit(np.ones((2, 3))).fit(np.ones((8, 3))).n_samples_seen_


def test_neither_mean_nor_std_is_the_identity():
    """With both switched off all statistics are None, and data come out as they were."""
    x = normal()
    scaler = StandardScaler(with_mean=False, with_std=False).fit(x)
    assert [None, None, None, 50] == [getattr(scaler, name) for name in STATISTICS]
    assert x.tobytes() == scaler.transform(x).tobytes() == scaler.inverse_transform(x).tobytes()


def test_nan_stay_and_nothing_warns():
    """NaN pass through all verbs, and leave the other features as they are alone."""
    x = normal((150, 4), missing=0.2)
    x[:, 0] = np.nan
    scaler = StandardScaler().fit(x)
    z = scaler.transform(x)
    assert np.isnan(x).tolist() == np.isnan(z).tolist() == np.isnan(scaler.inverse_transform(z)).tolist()
    for column in range(4):
        one = x[:, [column]]
        assert z[:, [column]].tobytes() == StandardScaler().fit_transform(one).tobytes()
    np.testing.assert_allclose(z[:, 1:], sklearn.preprocessing.scale(x[:, 1:]), atol=1e-12)


@given(st.integers(0, 2**32 - 1))
def test_whole_weights_are_repeated_rows(seed):
    """A row of weight n counts n times, to the last bit."""
    rng = np.random.default_rng(seed)
    x, n = normal((20, 3), seed=seed, missing=0.1), rng.integers(0, 4, 20)
    n[0] = 1
    repeated = StandardScaler().fit(np.repeat(x, n, axis=0))
    assert bits(repeated, x) == bits(StandardScaler().fit(x, sample_weight=n), x)


def test_a_weight_may_be_one_number():
    """A scalar is the weight of every row."""
    x = normal()
    scaler = StandardScaler().fit(x, sample_weight=0.5)
    assert 25 == scaler.n_samples_seen_
    assert StandardScaler().fit(x).var_.tolist() == scaler.var_.tolist()


@pytest.mark.parametrize(
    ("weight", "said"),
    [
        (np.ones((4, 1)), "Sample weights must be 1D array or scalar"),
        (np.ones(3), r"sample_weight.shape == \(3,\), expected \(4,\)"),
        (np.zeros(4), "at least one non-zero number"),
        ([1, -1, 1, 1], "Negative values in data passed to `sample_weight`"),
        ([1, np.nan, 1, 1], "contains NaN"),
    ],
)
def test_wrong_weights_are_refused(weight, said):
    """A weight that means nothing is an error."""
    with pytest.raises(ValueError, match=said):
        StandardScaler().fit(np.eye(4), sample_weight=weight)


# Constant features


@pytest.mark.parametrize("value", [0, 1.0, 100.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_constant_is_not_scaled(value, weighted, dtype):
    """scale_ is 1 and var_ exactly 0, so that a constant is only centred, and what comes out is a copy."""
    x = np.full((100, 1), value, dtype)
    w = np.random.default_rng(0).random(100) if weighted else None
    scaler = StandardScaler(with_mean=False).fit(x, sample_weight=w)
    assert ([0.0], [1.0]) == (scaler.var_.tolist(), scaler.scale_.tolist())
    z = scaler.transform(x)
    assert x.tobytes() == z.tobytes()
    assert z is not x
    assert not StandardScaler().fit_transform(x).any()


@pytest.mark.parametrize("rows", [10, 100, 10_000])
@pytest.mark.parametrize("average", [1e-10, 1, 1e10])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_near_constants_follow_the_rule_of_scikit_learn(rows, average, dtype):
    """A feature counts as constant if and only if its variance is within the error bound of two passes."""
    spread = 3 * np.logspace(-30, 19, 50)
    x = np.empty((rows, 50), dtype)
    x[: rows // 2], x[rows // 2 :] = average + spread, average - spread
    scaler, exact = StandardScaler().fit(x), naive.moments(x)
    mean, var = exact.array("mean"), exact.array("variance")
    flagged = var <= rows * EPS * var + (rows * mean * EPS) ** 2
    assert flagged.any()
    assert np.where(flagged, 1.0, exact.array("variance", naive.nearest_sqrt)).tolist() == scaler.scale_.tolist()
    certain = np.abs(np.log10(spread / (rows * EPS * average))) > 0.1 if dtype == "float64" else flagged
    assert (Theirs().fit(x).scale_[certain] == 1).tolist() == flagged[certain].tolist()


def test_constant_may_mean_exactly_constant():
    """constant="center" scales whatever varies at all, constant="raise" refuses, and the scaler stays as it was."""
    x = np.array([[1e10], [1e10 + 2e-6]])
    assert ([1.0], [float(x[1, 0] - x[0, 0]) / 2]) == (
        StandardScaler().fit(x).scale_.tolist(),
        StandardScaler(constant="center").fit(x).scale_.tolist(),
    )
    scaler = StandardScaler(constant="raise").fit(x)
    before = pickle.dumps(scaler)
    with pytest.raises(ValueError, match=r"1 feature.* constant"):
        scaler.fit(np.ones((3, 1)))
    assert before == pickle.dumps(scaler)
    for word in ("epsilon", "none"):
        with pytest.raises(ValueError, match="constant="):
            StandardScaler(constant=word).fit(x)


# In place


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layout", ["C", "F", "every second", "reversed"])
@pytest.mark.parametrize("verb", ["transform", "inverse_transform"])
def test_copy_false_works_in_place(dtype, layout, verb):
    """The very array comes back, with the bits of a copy; with copy=True it stays as it was."""
    x = arrays.LAYOUTS[layout](normal(dtype=dtype))
    scaler, before = StandardScaler(copy=False).fit(x), x.copy()
    copied = getattr(scaler, verb)(x, copy=True)
    assert before.tobytes() == x.tobytes()
    assert x is getattr(scaler, verb)(x)
    assert copied.tobytes() == x.tobytes()


@pytest.mark.parametrize("layout", ["read-only", "big-endian"])
def test_what_cannot_be_written_is_copied(layout):
    """copy=False copies a read-only or foreign array, as scikit-learn does."""
    x = arrays.LAYOUTS[layout](normal())
    before = x.tobytes()
    z = StandardScaler(copy=False).fit_transform(x)
    assert before == x.tobytes()
    assert StandardScaler().fit_transform(normal()).tobytes() == z.tobytes()


def test_a_memory_map_is_scaled_in_place(tmp_path):
    """copy=False writes through a writeable map, and copies one that joblib made read-only."""
    x = normal()
    scaler = StandardScaler(copy=False).fit(x)
    mapped = np.memmap(tmp_path / "x", "f8", "w+", shape=x.shape)
    mapped[:] = x
    assert np.shares_memory(mapped, scaler.transform(mapped))
    z = scaler.transform(x.copy())
    assert z.tobytes() == mapped.tobytes()
    joblib.dump(x, tmp_path / "y")
    assert z.tobytes() == scaler.transform(joblib.load(tmp_path / "y", mmap_mode="r")).tobytes()


def test_fit_leaves_the_data_alone():
    """copy=False says nothing about fit."""
    x = normal()
    before = x.tobytes()
    StandardScaler(copy=False).fit(x).partial_fit(x)
    assert before == x.tobytes()


@pytest.mark.parametrize("dtype", FLOATS)
def test_fit_and_transform_take_no_memory(dtype):
    """Neither fit nor transform in place takes memory in proportion to the data: not 16 MB for 64."""
    x = normal((1 << 20, 64_000_000 // (np.dtype(dtype).itemsize << 20)), dtype)
    scaler = StandardScaler(copy=False).fit(x[:10])
    scaler.transform(x[:10])
    tracemalloc.start()
    try:
        scaler.fit(x).transform(x)
        assert tracemalloc.get_traced_memory()[1] < 16e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("options", [{}, {"with_mean": False}, {"with_std": False}], ids=str)
@pytest.mark.parametrize("dtype", FLOATS)
def test_fit_transform_is_fit_then_transform(options, dtype):
    """The two ways give the same bits, for any number of threads, and of one row at a time."""
    x = normal((300, 5), dtype)
    z = StandardScaler(**options).fit_transform(x)
    scaler = StandardScaler(threads=1, **options).fit(x)
    assert z.tobytes() == scaler.transform(x).tobytes()
    assert z.tobytes() == np.concatenate([scaler.transform(row) for row in x[:, np.newaxis]]).tobytes()


# Infinities, and other errors


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layout", ["C", "F", "every second", "unaligned"])
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_an_infinity_is_refused_by_every_verb(dtype, layout, value):
    """It is named as scikit-learn names it, and neither the scaler nor the data change."""
    good, x = normal(dtype=dtype), normal(dtype=dtype)
    x[-1, 2] = value
    x[0, 0] = np.nan
    x = arrays.LAYOUTS[layout](x)
    scaler = StandardScaler(copy=False).fit(good)
    before, held = pickle.dumps(scaler), x.tobytes()
    for verb in ("fit", "partial_fit", "transform", "inverse_transform"):
        with pytest.raises(ValueError, match=f"Input X contains infinity or a value too large for dtype.'{dtype}'"):
            getattr(scaler, verb)(x)
        assert (before, held) == (pickle.dumps(scaler), x.tobytes())


def test_assume_finite_spares_the_look():
    """With scikit-learn's assume_finite transform lets infinities pass; fit counts them anyway."""
    scaler = StandardScaler().fit([[1.0], [3.0]])
    with sklearn.config_context(assume_finite=True):
        assert [[np.inf]] == scaler.transform([[np.inf]]).tolist()
        with pytest.raises(ValueError, match="infinity"):
            scaler.fit([[np.inf]])


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (np.ones(3), "Expected 2D array, got 1D array"),
        (np.empty((0, 2)), "Found array with 0 sample"),
        (np.ones((3, 5)), "X has 5 features, but StandardScaler is expecting 2 features"),
        (np.ones((3, 2)) * 1j, "Complex data not supported"),
        ([["a", "b"]], "could not convert"),
    ],
)
def test_what_cannot_be_transformed_is_refused(bad, said):
    """Verbs refuse in scikit-learn's words what they cannot take, and the scaler stays as it was."""
    scaler = StandardScaler().fit(np.eye(2))
    before = pickle.dumps(scaler)
    for verb in ("transform", "partial_fit"):
        with pytest.raises(ValueError, match=said):
            getattr(scaler, verb)(bad)
    with pytest.raises(ValueError, match=r"features|array|Complex|convert"):
        scaler.inverse_transform(bad)
    assert before == pickle.dumps(scaler)


def test_a_fit_that_fails_leaves_the_scaler_as_it_was():
    """Names and numbers of features too."""
    scaler = StandardScaler().fit(pd.DataFrame({"a": [1.0, 2.0]}))
    before = pickle.dumps(scaler)
    with pytest.raises(ValueError, match="could not convert"):
        scaler.fit(pd.DataFrame({"b": ["x"], "c": ["y"]}))
    assert before == pickle.dumps(scaler)
    assert 2 == scaler.fit(np.eye(2)).n_features_in_
    assert not hasattr(scaler, "feature_names_in_")


def test_an_unfitted_scaler_says_so():
    """NotFittedError, as everywhere in scikit-learn."""
    for verb in ("transform", "inverse_transform"):
        with pytest.raises(NotFittedError):
            getattr(StandardScaler(), verb)(np.eye(2))


@pytest.mark.parametrize("parameter", [{"copy": "yes"}, {"with_mean": 2}, {"threads": 1.5}, {"threads": 0}], ids=str)
def test_parameters_are_checked_in_fit(parameter):
    """The constructor takes anything, as clone needs it; fit refuses what it cannot use."""
    scaler = clone(StandardScaler(**parameter))
    with pytest.raises(ValueError, match=next(iter(parameter))):
        scaler.fit(np.eye(3))
