"""Laws of the attributes of fastnorm.sklearn.StandardScaler: set by hand, converted, pickled."""

import io
import pickle
import warnings

import joblib
import numpy as np
import pytest
import sklearn.preprocessing
from scalers import assert_alike, bits, normal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from fastnorm import Moments
from fastnorm.sklearn import StandardScaler

Theirs = sklearn.preprocessing.StandardScaler


def test_what_is_set_by_hand_is_applied():
    """mean_ and scale_ may be replaced, or changed in place; the features that were not keep all their bits."""
    x = normal((20, 3))
    scaler = StandardScaler().fit(x)
    z = scaler.transform(x)
    scaler.mean_[0], scaler.scale_ = 7.0, scaler.scale_ * [1, 2, 1]
    changed = scaler.transform(x)
    assert ((x[:, 0] - 7) / scaler.scale_[0]).tolist() == changed[:, 0].tolist()
    np.testing.assert_allclose(changed[:, 1], z[:, 1] / 2, atol=1e-15)
    assert z[:, 2].tobytes() == changed[:, 2].tobytes()
    scaler.partial_fit(x)
    np.testing.assert_allclose(scaler.mean_[0], (7 + x[:, 0].mean()) / 2)


def test_a_scaler_may_be_made_by_hand():
    """Attributes alone are enough to transform and to go on learning."""
    scaler = StandardScaler()
    scaler.mean_, scaler.var_, scaler.scale_ = np.array([1.0]), np.array([4.0]), np.array([2.0])
    scaler.n_samples_seen_, scaler.n_features_in_ = 2, 1
    assert [[2.0]] == scaler.transform([[5.0]]).tolist()
    assert ([2.0], 3) == (scaler.partial_fit([[4.0]]).mean_.tolist(), scaler.n_samples_seen_)
    assert [14 / 3] == scaler.var_.tolist()


def test_attributes_without_meaning_cannot_be_gone_on_from():
    """NaN in var_ of scikit-learn's poisoned scaler can be applied, but no exact sums have it."""
    scaler = StandardScaler().fit([[1.0], [3.0]])
    scaler.var_ = np.array([np.nan])
    assert [[1.0]] == scaler.transform([[3.0]]).tolist()
    with pytest.raises(ValueError, match="cannot go on from mean_, var_ and n_samples_seen_"):
        scaler.partial_fit([[1.0]])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("missing", [0, 0.2])
@pytest.mark.parametrize("options", [{}, {"with_mean": False}, {"with_std": False}], ids=str)
def test_scalers_convert_both_ways(weighted, missing, options):
    """Converted scalers apply the same numbers, and partial_fit goes on from them as scikit-learn's does."""
    x = normal((40, 3), missing=missing)
    w = np.random.default_rng(1).random(40) + 0.1 if weighted else None
    theirs = pickle.loads(pickle.dumps(Theirs(**options).fit(x, sample_weight=w)))
    ours = StandardScaler.from_sklearn(theirs)
    assert theirs.get_params().items() <= ours.get_params().items()
    assert_alike(ours, theirs, x)
    ours.partial_fit(x, sample_weight=w)
    theirs.partial_fit(x, sample_weight=w)
    assert_alike(ours, theirs, x)
    assert_alike(pickle.loads(pickle.dumps(ours)), theirs, x)
    back = ours.to_sklearn()
    assert Theirs is type(back)
    assert_alike(ours.partial_fit(x, sample_weight=w), back.partial_fit(x, sample_weight=w), x)


def test_conversion_wants_a_fitted_scaler():
    """Something else is a TypeError, and an unfitted scaler what it always is."""
    with pytest.raises(TypeError, match="takes a StandardScaler of scikit-learn, not MinMaxScaler"):
        StandardScaler.from_sklearn(sklearn.preprocessing.MinMaxScaler().fit([[1.0]]))
    with pytest.raises(NotFittedError):
        StandardScaler.from_sklearn(Theirs())


def test_pickles_and_clones():
    """A pickle or a joblib dump goes on to the same bits; a clone has the parameters alone."""
    x = normal(missing=0.1)
    scaler = StandardScaler(threads=1).fit(x)
    file = io.BytesIO()
    joblib.dump(scaler, file)
    file.seek(0)
    for twin in (pickle.loads(pickle.dumps(scaler)), joblib.load(file)):
        assert bits(scaler, x) == bits(twin, x)
        assert bits(StandardScaler().fit(np.vstack([x, x])), x) == bits(twin.partial_fit(x), x)
    twin = clone(scaler)
    assert scaler.get_params() == twin.get_params()
    assert not hasattr(twin, "mean_")
    assert isinstance(scaler._moments, Moments)


def test_warnings_are_for_scikit_learn():
    """Data without a single value, which make scikit-learn warn, do not make ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scaler = StandardScaler().fit(np.full((3, 1), np.nan))
    assert np.isnan([scaler.mean_, scaler.var_, scaler.scale_]).all()
    assert 0 == scaler.n_samples_seen_


@pytest.mark.parametrize("name", ["mean_", "scale_"])
def test_an_attribute_that_does_not_fit_is_refused(name):
    """None, where it is needed, or another number of features is an error, not a guess."""
    x = normal((20, 3))
    for wrong in (None, np.ones(2), np.ones((3, 1))):
        scaler = StandardScaler().fit(x)
        setattr(scaler, name, wrong)
        with pytest.raises(ValueError, match=f"X has 3 features, but this StandardScaler has {name}="):
            scaler.transform(x)


@pytest.mark.parametrize("offset", [0, 1e300, -1e300, 2.0**-1000])
@pytest.mark.parametrize("options", [{}, {"with_mean": False}, {"with_std": False}], ids=str)
def test_the_ends_of_float64_are_no_limit(offset, options):
    """Near the largest and the smallest numbers values are scaled as anywhere, and restored."""
    x = np.array([[1.0], [2.0], [4.0], [-3.0]]) * (abs(offset) or 1.0) * np.sign(offset or 1)
    small = np.array([[1.0], [2.0], [4.0], [-3.0]]) * np.sign(offset or 1)
    scaler, plain = StandardScaler(**options).fit(x), StandardScaler(**options).fit(small)
    unit = 1.0 if options.get("with_std", True) else abs(offset) or 1.0
    np.testing.assert_allclose(scaler.transform(x) / unit, plain.transform(small), rtol=1e-14)
    np.testing.assert_allclose(scaler.inverse_transform(scaler.transform(x)), x, rtol=1e-14)


def test_attributes_set_by_hand_are_enough():
    """A scaler that was never fitted, given a mean and a scale: as in scikit-learn."""
    x = np.array([[1.0, 2.0, 3.0]])
    for method in ("transform", "inverse_transform"):
        results = []
        for scaler in (StandardScaler(), Theirs()):
            scaler.mean_, scaler.scale_ = np.array([1.0, 1.0, 2.0]), np.array([2.0, 4.0, 8.0])
            results.append(getattr(scaler, method)(x))
        np.testing.assert_array_equal(*results)
