"""Laws of fastnorm.sklearn.StandardScaler among scikit-learn's other parts, and where scikit-learn is wrong."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import sklearn
from sklearn.callback.tests._utils import RecordingCallback
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler as Theirs
from sklearn.utils import get_tags

from fastnorm import Moments
from fastnorm.sklearn import StandardScaler


def table(rows=30, seed=0):
    return np.random.default_rng(seed).normal(5, 3, (rows, 3))


def frame(library, **columns):
    columns = columns or dict(zip("abc", table().T, strict=True))
    return library.DataFrame(columns)


# Data frames and names


@pytest.mark.parametrize("library", [pd, pl])
def test_names_are_those_of_the_frame(library):
    """Names are learned, given back, and must be the same in transform, in scikit-learn's words."""
    x = frame(library)
    scaler = StandardScaler().fit(x)
    assert ["a", "b", "c"] == scaler.feature_names_in_.tolist() == scaler.get_feature_names_out().tolist()
    assert StandardScaler().fit_transform(table()).tobytes() == np.ascontiguousarray(scaler.transform(x)).tobytes()
    other = frame(library, a=[1.0], c=[1.0], b=[1.0])
    with pytest.raises(ValueError, match="The feature names should match those that were passed during fit"):
        scaler.transform(other)
    assert (1, 3) == scaler.inverse_transform(other).shape
    assert ["x0", "x1", "x2"] == StandardScaler().fit(table()).get_feature_names_out().tolist()


@pytest.mark.parametrize("output", ["pandas", "polars"])
@pytest.mark.parametrize("library", [pd, pl])
def test_set_output_gives_frames(output, library):
    """transform and fit_transform give frames with the names; inverse_transform an array, as in scikit-learn."""
    x = frame(library)
    ours, theirs = (scaler.set_output(transform=output) for scaler in (StandardScaler(), Theirs()))
    for verb in ("fit_transform", "transform"):
        mine, other = getattr(ours, verb)(x), getattr(theirs, verb)(x)
        assert type(other) is type(mine)
        assert list(other.columns) == list(mine.columns)
        np.testing.assert_allclose(mine.to_numpy(), other.to_numpy(), atol=1e-14)
    assert isinstance(ours.inverse_transform(mine), np.ndarray)
    assert type(mine) is type(ours.to_sklearn().transform(x))


@pytest.mark.parametrize("dtype", ["Int16", "Float32", "Float64", "float32", "int8"])
def test_columns_of_pandas_with_missing_values(dtype):
    """NA are missing values, and nullable dtypes give what scikit-learn gives."""
    x = pd.DataFrame({"a": [1, 2, None, 5], "b": [1, 1, 4, 4]})
    x = (x.fillna(0) if dtype == "int8" else x).astype(dtype)
    ours, theirs = StandardScaler().fit(x), Theirs().fit(x)
    mine, other = ours.transform(x), theirs.transform(x)
    assert other.dtype == mine.dtype
    np.testing.assert_allclose(mine, other, rtol=1e-6)


# Pipelines


def test_it_works_inside_of_everything():
    """Pipelines, column transformers, unions, searches and targets give what they give with scikit-learn's scaler."""
    x = table()
    y = (x[:, 0] + x[:, 1] > 10).astype(int)
    results = []
    for scaler in (StandardScaler(), Theirs()):
        columns = ColumnTransformer([("scale", scaler, [0, 1])], remainder=scaler)
        union = FeatureUnion([("a", scaler), ("b", scaler)])
        pipeline = make_pipeline(columns, union, LogisticRegression())
        grid = {"columntransformer__scale__with_mean": [True, False], "logisticregression__C": [0.1, 1]}
        search = GridSearchCV(pipeline, grid, n_jobs=2, cv=3).fit(x, y)
        target = TransformedTargetRegressor(LinearRegression(), transformer=scaler).fit(x, x[:, 2] ** 2)
        results.append((search.predict_proba(x), search.cv_results_["mean_test_score"], target.predict(x)))
    for mine, other in zip(*results, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-6)


def test_weights_are_routed():
    """Metadata routing takes sample_weight to fit where it is asked for."""
    x, w = table(), np.random.default_rng(0).random(30)
    with sklearn.config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=True)
        pipeline = make_pipeline(scaler, LinearRegression().set_fit_request(sample_weight=False))
        pipeline.fit(x, x[:, 0], sample_weight=w)
    assert StandardScaler().fit(x, sample_weight=w).mean_.tolist() == pipeline[0].mean_.tolist()


@pytest.mark.parametrize("with_mean", [True, False])
def test_tags_are_those_of_scikit_learn(with_mean):
    """Meta-estimators see the same abilities."""
    assert get_tags(Theirs(with_mean=with_mean)) == get_tags(StandardScaler(with_mean=with_mean))


@pytest.mark.parametrize("verb", ["fit", "partial_fit"])
def test_callbacks_are_told(verb):
    """A callback sees one task begin and end, with a scaler that can transform, and is torn down after an error."""
    x, callback = table(), RecordingCallback()
    scaler = StandardScaler().set_callbacks(callback)
    z = getattr(scaler, verb)(x).transform(x)
    hooks = ("setup", "on_fit_task_begin", "on_fit_task_end", "teardown")
    assert [1, 1, 1, 1] == [callback.count_hooks(hook) for hook in hooks]
    (end,) = (record for record in callback.record if record["name"] == "on_fit_task_end")
    assert z.tobytes() == end["kwargs"]["fitted_estimator"].transform(x).tobytes()
    with pytest.raises(ValueError, match="infinity"):
        getattr(scaler, verb)(np.full((2, 3), np.inf))
    assert [2, 2, 1, 2] == [callback.count_hooks(hook) for hook in hooks]


# Where scikit-learn is wrong: each law first shows that it is


def test_a_batch_of_nan_poisons_nothing():
    """scikit-learn's mean or variance is NaN for ever after a batch without values; ours is of the values seen."""
    good, empty = np.array([[1.0], [3.0]]), np.array([[np.nan], [np.nan]])
    for batches in ((good, empty, good), (empty, good, good)):
        ours, theirs = StandardScaler(), Theirs()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            for batch in batches:
                theirs.partial_fit(batch)
        assert np.isnan([*theirs.mean_, *theirs.var_]).any()
        for batch in batches:
            ours.partial_fit(batch)
        assert ([2.0], [1.0], 4) == (ours.mean_.tolist(), ours.var_.tolist(), ours.n_samples_seen_)


def test_weights_of_earlier_batches_are_kept():
    """scikit-learn cuts a sum of weights to a whole number when a batch without weights follows."""
    x, w = np.array([[1.0], [5.0]]), [1.0, 0.5]
    ours, theirs = (scaler.partial_fit(x, sample_weight=w).partial_fit(x) for scaler in (StandardScaler(), Theirs()))
    assert 3.5 == ours.n_samples_seen_
    assert [9.5 / 3.5] == ours.mean_.tolist()
    assert 3 == theirs.n_samples_seen_


def test_counts_of_float32_matrices_go_on():
    """scikit-learn counts the rows of float32 CSR matrices in float32, which stops at 2**24."""
    rows = 2**24
    x = scipy.sparse.csr_array((rows, 1), dtype=np.float32)
    ours, theirs = (scaler(with_mean=False).fit(x).partial_fit(x[:1]) for scaler in (StandardScaler, Theirs))
    assert (rows + 1, rows) == (ours.n_samples_seen_, theirs.n_samples_seen_)


def test_float32_far_from_zero_is_centred_in_float64():
    """scikit-learn rounds the mean to float32 before it subtracts; our z-scores are exact to the last rounding."""
    x = (1e5 + np.random.default_rng(0).standard_normal((1000, 1))).astype(np.float32)
    ours, theirs = (scaler.fit_transform(x) for scaler in (StandardScaler(), Theirs()))
    moments = Moments.of(x)
    exact = (x.astype(np.float64) - moments.mean - moments.mean_low) / moments.std
    assert exact.astype(np.float32).tobytes() == ours.tobytes()
    assert np.abs(theirs - exact).max() > 1e-3


def test_negative_weights_are_refused():
    """scikit-learn accepts them, and may find a negative variance."""
    x, w = [[1.0], [5.0], [2.0]], [1.0, -0.8, 1.0]
    with np.errstate(invalid="ignore"):
        assert Theirs().fit(x, sample_weight=w).var_[0] < 0
    with pytest.raises(ValueError, match="Negative values in data passed to `sample_weight`"):
        StandardScaler().fit(x, sample_weight=w)


def test_huge_values_do_not_overflow():
    """The variance of values around 1e200 is beyond float64, but the standard deviation is not."""
    x = np.array([[1e200], [-1e200], [3e200], [-3e200]])
    with np.errstate(all="ignore"):
        assert not np.isclose(Theirs().fit_transform(x).std(), 1)
    z = StandardScaler().fit_transform(x)
    np.testing.assert_allclose(z, x / (np.sqrt(5) * 1e200))


def test_half_precision_does_not_overflow():
    """Many rows of float16 are summed without a warning, as scikit-learn does."""
    x = np.random.default_rng(0).normal(1000, 10, (200_000, 2)).astype(np.float16)
    with np.errstate(all="raise"):
        z = StandardScaler().fit_transform(x)
    assert np.float16 == z.dtype
    np.testing.assert_allclose(z.astype(float).std(axis=0), 1, atol=1e-3)


@pytest.mark.parametrize("offset", [1e6, 1e12, 1e15])
def test_row_by_row_far_from_zero(offset):
    """One row at a time at any offset gives the variance of one fit, where scikit-learn's drifts."""
    x = offset + np.round(np.random.default_rng(0).normal(0, 100, (500, 1)))
    scaler = StandardScaler()
    for row in x:
        scaler.partial_fit(row[np.newaxis])
    assert Moments.of(x - offset).variance.tolist() == scaler.var_.tolist()
