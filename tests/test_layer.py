"""Laws of what layers have in common, and of what a newcomer does wrong."""

import copy
import html

import numpy as np
import pytest
from scipy.sparse import csr_array

from fastnorm import Moments, Normalization, NotAdaptedError

X = np.arange(12.0).reshape(4, 3) ** 2
SETTINGS = {
    "axis": 0,
    "invert": True,
    "nan": "raise",
    "inf": "omit",
    "constant": "epsilon",
    "epsilon": 0.5,
    "affine": True,
    "dtype": np.dtype("float16"),
    "threads": 1,
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_stays_as_it_was_made(name):
    """Assigning a setting is an error that says what to do; the layer does not change."""
    layer = Normalization().adapt(X)
    before = layer.transform(X).tobytes()
    with pytest.raises(AttributeError, match=rf"{name} of a Normalization cannot be changed; make a new one"):
        setattr(layer, name, SETTINGS[name])
    assert before == layer.transform(X).tobytes()
    assert getattr(Normalization(), name) == getattr(layer, name)


def test_feature_names_are_kept_by_all_copies(tmp_path):
    """Names given once are in a copy, a loaded file and the statistics; None takes them away."""
    layer = Normalization().adapt(X)
    layer.feature_names = ["a", "b", "c"]
    layer.save(tmp_path / "state.json")
    for twin in (layer, copy.deepcopy(layer), Normalization.load(tmp_path / "state.json")):
        assert ("a", "b", "c") == twin.feature_names
        assert ("a", "b", "c") == twin.statistics()["feature"]
    layer.feature_names = None
    assert layer.feature_names is None


@pytest.mark.parametrize(
    ("names", "error", "words"),
    [
        ("abc", TypeError, "single string"),
        (["a", "b"], ValueError, "2 feature_names for 3 features"),
        (["a", "b", 3], TypeError, "must be strings, not int"),
    ],
)
def test_bad_feature_names_are_refused(names, error, words):
    """Names that are no text or not one for each feature are an error, and the earlier ones stay."""
    layer = Normalization().adapt(X)
    layer.feature_names = ["x", "y", "z"]
    with pytest.raises(error, match=words):
        layer.feature_names = names
    assert ("x", "y", "z") == layer.feature_names


def test_names_go_when_other_features_come():
    """Adapting to another number of features drops names that fit no longer; the same number keeps them."""
    layer = Normalization().adapt(X)
    layer.feature_names = ["x", "y", "z"]
    assert ("x", "y", "z") == layer.adapt(X + 1).feature_names
    assert layer.adapt(X[:, :2]).feature_names is None


def test_a_sum_of_parts_is_the_whole():
    """sum() adds moments and layers, in spite of the 0 that it begins with."""
    parts = [X[:1], X[1:3], X[3:]]
    assert Moments.of(X) == sum(Moments.of(part) for part in parts)
    assert Moments.of(X) == sum(Normalization().adapt(part) for part in parts).moments
    with pytest.raises(TypeError):
        1 + Moments.of(X)
    with pytest.raises(TypeError):
        1 + Normalization().adapt(X)


@pytest.mark.parametrize("axis", [-1, 0, None, (0, 1)])
def test_a_layer_made_of_moments_is_the_adapted_one(axis):
    """from_moments gives the layer that adapt gives, with its settings."""
    adapted = Normalization(axis, constant="epsilon").adapt(X)
    made = Normalization.from_moments(Moments.of(X, axis), axis=axis, constant="epsilon")
    assert adapted.moments == made.moments
    assert adapted.transform(X).tobytes() == made.transform(X).tobytes()
    assert "epsilon" == made.constant


def test_a_layer_is_not_made_of_what_its_settings_forbid():
    """from_moments and merge check NaN and infinities as adapt does, and take nothing but moments."""
    gaps = Moments.of([[np.nan, 1.0]])
    with pytest.raises(ValueError, match="hold NaN"):
        Normalization.from_moments(gaps, nan="raise")
    with pytest.raises(ValueError, match="hold infinities"):
        Normalization.from_moments(Moments.of([[np.inf]]))
    with pytest.raises(TypeError, match="takes Moments, not list"):
        Normalization.from_moments([1.0])
    with pytest.raises(ValueError, match="fixed mean"):
        Normalization.from_moments(gaps, mean=0.0, variance=1.0)
    with pytest.raises(ValueError, match=r"shape \(1, 2\), but axis=-1 keeps 1 axes; make the layer with the axis"):
        Normalization.from_moments(Moments.of([[1.0, 2.0]], (0, 1)))
    strict = Normalization(nan="raise").adapt([[1.0, 2.0]])
    with pytest.raises(ValueError, match="hold NaN"):
        strict.merge(Normalization.from_moments(gaps))
    assert 1 == strict.count


def test_weights_of_other_features_are_refused():
    """set_weights of another number of features is an error, and the layer stays as it was."""
    layer = Normalization().adapt(X)
    with pytest.raises(ValueError, match=r"shape \(2,\), but this Normalization has features of shape \(3,\)"):
        layer.set_weights([np.zeros(2), np.ones(2), 3])
    assert Moments.of(X) == layer.moments


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_few_rows_give_the_bits_of_many(dtype):
    """A row transformed alone, into a new array or in place, has the bits that it has among others."""
    x = X.astype(dtype)
    layer = Normalization().adapt(x)
    whole = layer.transform(np.tile(x, (2000, 1)))[:4]
    for row in range(4):
        alone = layer.transform(x[row : row + 1])
        assert whole[row].tobytes() == alone.tobytes()
        place = x[row : row + 1].copy()
        assert layer.transform(place, out=place) is place
        assert alone.tobytes() == place.tobytes()
    assert X.astype(dtype).tobytes() == x.tobytes()


def test_a_layer_that_saw_nothing_shows_what_it_is_in_a_notebook():
    """The page of an unadapted layer holds its repr, escaped."""
    layer = Normalization()
    assert f"<pre>{html.escape(repr(layer))}</pre>" == layer._repr_html_()
    with pytest.raises(NotAdaptedError):
        layer.parameters()


MISTAKES = {
    "nothing": (lambda: None, "x is None"),
    "a path": (lambda: "data.npy", r"x is a str, .*; load them"),
    "a dict": (lambda: {"a": X}, "x is a dict"),
    "an iterator": (lambda: iter([X]), "an iterator .*adapt"),
    "another layer": (Normalization, "x is a Normalization"),
    "ragged rows": (lambda: [[1.0, 2.0], [3.0]], "same number of values"),
}


@pytest.mark.parametrize(
    ("mistake", "method"),
    [
        (mistake, method)
        for mistake in MISTAKES
        for method in ("adapt", "update", "forget", "transform")
        if (mistake, method) != ("an iterator", "adapt")  # which takes one
    ],
)
def test_what_is_no_array_gets_a_clear_answer(mistake, method):
    """Whatever takes data says what it was given instead, and stays as it was."""
    make, words = MISTAKES[mistake]
    layer = Normalization().adapt(X)
    with pytest.raises((TypeError, ValueError), match=words):
        getattr(layer, method)(make())
    assert Moments.of(X) == layer.moments


def test_sparse_data_are_told_where_to_go():
    """A sparse matrix is not made dense behind the user's back: the error names the class that takes it."""
    sparse = csr_array(X)
    with pytest.raises(TypeError, match=r"is sparse .*fastnorm\.sklearn\.StandardScaler"):
        Normalization().adapt(sparse)


def test_a_destination_that_overlaps_itself_is_refused():
    """Windows of one memory cannot each hold a result; a strided or reversed array of its own can."""
    layer = Normalization().adapt(X)
    windows = np.lib.stride_tricks.as_strided(np.zeros(20), (4, 3), (16, 8))
    with pytest.raises(ValueError, match="repeats its memory"):
        layer.transform(X, out=windows)
    assert not windows.any()
    for out in (np.zeros((8, 3))[::2], np.zeros((4, 3))[::-1, ::-1], np.zeros((3, 4)).T):
        assert layer.transform(X).tolist() == layer.transform(X, out=out).tolist()


def test_a_state_cannot_be_saved_where_no_file_can_be(tmp_path):
    """A folder, or a file in a folder that is not there, is refused by name before anything is written."""
    layer = Normalization().adapt(X)
    with pytest.raises(IsADirectoryError, match="give the name of a file"):
        layer.save(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder; make it first"):
        layer.save(tmp_path / "missing" / "state.json")
    assert not list(tmp_path.iterdir())
