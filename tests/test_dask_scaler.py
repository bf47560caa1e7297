"""Laws of the scaler for Dask collections: the attributes and z-scores of the whole array, bit for bit."""

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import sklearn

import fastnorm.sklearn
from fastnorm.dask import StandardScaler

RNG = np.random.default_rng(7)
X = RNG.normal(1e6, 1.0, (300, 4))
X[RNG.random(X.shape) < 0.02] = np.nan
TABLE = pd.DataFrame(X, columns=list("abcd"), index=np.arange(300) * 3)


@pytest.mark.parametrize("chunks", [(300, 4), (70, 4), (100, 3), (1, 1)])
def test_any_chunks_fit_and_transform_as_the_array(chunks):
    """Attributes and z-scores have the bits of `fastnorm.sklearn.StandardScaler` on the array."""
    x = da.from_array(X, chunks=chunks)
    plain = fastnorm.sklearn.StandardScaler().fit(X)
    scaler = StandardScaler().fit(x)
    for name in ("mean_", "var_", "scale_", "n_samples_seen_"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(scaler, name))
    z = scaler.transform(x)
    assert x.chunks[0] == z.chunks[0]
    assert plain.transform(X).tobytes() == z.compute().tobytes()
    assert plain.inverse_transform(plain.transform(X)).tobytes() == scaler.inverse_transform(z).compute().tobytes()


def test_partial_fit_takes_one_collection_after_the_other():
    """Batches of collections and of arrays give the attributes of one fit."""
    scaler = StandardScaler().partial_fit(da.from_array(X[:100], chunks=30)).partial_fit(X[100:200])
    scaler.partial_fit(da.from_array(X[200:], chunks=(50, 2)))
    plain = fastnorm.sklearn.StandardScaler().fit(X)
    assert plain.mean_.tobytes() == scaler.mean_.tobytes()
    assert plain.var_.tobytes() == scaler.var_.tobytes()


def test_weights_count_rows():
    """Weights of rows are those of scikit-learn's fit."""
    weights = RNG.integers(0, 3, 300)
    scaler = StandardScaler().fit(da.from_array(X, chunks=(64, 4)), sample_weight=da.from_array(weights, chunks=100))
    plain = fastnorm.sklearn.StandardScaler().fit(X, sample_weight=weights)
    assert plain.var_.tobytes() == scaler.var_.tobytes()


def test_a_dataframe_stays_one():
    """Names, index and divisions are kept; other names are scikit-learn's error."""
    frame = dd.from_pandas(TABLE, npartitions=4)
    scaler = StandardScaler().fit(frame)
    assert ["a", "b", "c", "d"] == scaler.feature_names_in_.tolist()
    z = scaler.transform(frame)
    assert frame.divisions == z.divisions
    expected = pd.DataFrame(fastnorm.sklearn.StandardScaler().fit_transform(TABLE), TABLE.index, TABLE.columns)
    pd.testing.assert_frame_equal(expected, z.compute(), check_exact=True)
    with pytest.raises(ValueError, match="feature names should match"):
        scaler.transform(frame.rename(columns={"a": "z"}))


def test_bad_data_leave_the_scaler_as_it_was():
    """Infinities and other features are scikit-learn's errors, and attributes stay."""
    scaler = StandardScaler().fit(da.from_array(X, chunks=50))
    before = scaler.mean_.tobytes()
    with pytest.raises(ValueError, match="infinity"):
        scaler.partial_fit(da.full((4, 4), np.inf))
    with pytest.raises(ValueError, match="expecting 4 features"):
        scaler.partial_fit(da.ones((4, 3)))
    assert before == scaler.mean_.tobytes()


def test_empty_chunks_are_fine():
    """Rows that a filter leaves none of are transformed to none."""
    x = da.from_array(X, chunks=(50, 4))
    scaler = StandardScaler().fit(x)
    assert (0, 4) == scaler.transform(x[x[:, 0] < 0]).compute().shape


@pytest.mark.parametrize(
    ("x", "words"),
    [
        pytest.param(da.ones(5), "Expected 2D array, got 1D array", id="one dimension"),
        pytest.param(da.ones((5, 2, 2)), "Found array with dim 3", id="three dimensions"),
        pytest.param(da.ones((5, 4))[da.zeros(5) > 0], r"Found array with 0 sample\(s\)", id="no rows"),
        pytest.param(da.ones((5, 4))[:, da.zeros(4) < 1], "compute_chunk_sizes", id="unknown features"),
    ],
)
def test_what_scikit_learn_does_not_take_is_refused(x, words):
    """The words are those of scikit-learn, where it has any."""
    with pytest.raises(ValueError, match=words):
        StandardScaler().fit(x)


def test_containers_of_scikit_learn_load_nothing():
    """`set_output` and its global form would turn lazy results into tables in memory: an error says so."""
    x = da.from_array(X, chunks=50)
    with pytest.raises(TypeError, match="transform_output='pandas' would load"):
        StandardScaler().set_output(transform="pandas").fit(x).transform(x)
    with sklearn.config_context(transform_output="polars"), pytest.raises(TypeError, match="would load"):
        StandardScaler().fit_transform(x)


def test_z_scores_need_no_names():
    """As in scikit-learn, the inverse takes columns of any name."""
    frame = dd.from_pandas(TABLE, npartitions=4)
    scaler = StandardScaler().fit(frame)
    z = scaler.transform(frame)
    renamed = scaler.inverse_transform(z.rename(columns={"a": "z"}))
    pd.testing.assert_frame_equal(
        scaler.inverse_transform(z).compute().rename(columns={"a": "z"}), renamed.compute(), check_exact=True
    )
