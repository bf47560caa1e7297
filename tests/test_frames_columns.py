"""Laws of the columns of tables: their names, which are checked, and which are numbers."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from fastnorm import Moments, Normalization

# Names


NAMED = pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])


@NAMED
def test_names_are_kept_shown_and_saved(make, tmp_path):
    """A layer that learned from a table knows its names: in reports, copies and files."""
    layer = Normalization().adapt(make({"height": [1.0, 2.0], "mass": [3.0, 5.0]}))
    assert ("height", "mass") == layer.feature_names
    assert ["height", "mass"] == list(layer.statistics()["feature"])
    assert "height" in layer._repr_html_()
    layer.save(tmp_path / "state")
    for twin in (Normalization.load(tmp_path / "state"), pickle.loads(pickle.dumps(layer)), layer.copy()):
        assert ("height", "mass") == twin.feature_names


@NAMED
@pytest.mark.parametrize("verb", ["transform", "inverse_transform", "update", "forget"])
@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["b", "a", "c"], "reordered 'b', 'a';"),
        (["a", "b"], "missing 'c';"),
        (["a", "b", "c", "d", "e"], "extra 'd', 'e';"),
        (["a", "B", "c"], "missing 'b'; extra 'B';"),
    ],
)
def test_other_names_are_an_error_that_lists_them(make, verb, names, words):
    """Missing, extra and reordered columns are named, and the layer stays as it was."""
    layer = Normalization().adapt(make({name: [1.0, 2.0] for name in "abc"}))
    before = layer.moments
    with pytest.raises(ValueError, match=words):
        getattr(layer, verb)(make({name: [1.0, 2.0] for name in names}))
    assert (before, ("a", "b", "c")) == (layer.moments, layer.feature_names)


def test_batches_and_layers_with_other_names_do_not_mix():
    """Batches of one adapt, and layers that are merged, have one list of names."""
    ours, theirs = pd.DataFrame({"a": [1.0, 2.0]}), pd.DataFrame({"b": [1.0, 2.0]})
    with pytest.raises(ValueError, match="missing 'a'; extra 'b'"):
        Normalization().adapt([ours, theirs])
    with pytest.raises(ValueError, match=r"the other layer .* missing 'a'; extra 'b'"):
        Normalization().adapt(ours).merge(Normalization().adapt(theirs))
    assert ("b",) == (Normalization() + Normalization().adapt(theirs)).feature_names


def test_what_has_no_names_goes_by_position():
    """Arrays, tables without names and layers that learned from them go with any names."""
    array = np.array([[1.0, 5.0], [2.0, 9.0]])
    named, nameless = pd.DataFrame(array, columns=["a", "b"]), pd.DataFrame(array)
    want = Normalization().adapt(array).transform(array)
    assert Normalization().adapt(nameless).feature_names is None
    for data in (array, named, nameless):
        layer = Normalization().adapt(data)
        for x in (array, named, nameless):
            assert np.array_equal(want, np.asarray(layer.transform(x)))
            assert Normalization().adapt(array).update(x).moments == layer.copy().update(x).moments
    assert ("a", "b") == Normalization().update(nameless).update(named).feature_names


def test_adapt_takes_the_names_of_new_data():
    """adapt forgets everything, names as well; one that fails forgets nothing."""
    layer = Normalization().adapt(pd.DataFrame({"a": [1.0]}))
    with pytest.raises(ValueError, match="no rows"):
        layer.adapt(pd.DataFrame({"b": np.empty(0)}))
    assert ("a",) == layer.feature_names
    assert ("b",) == layer.adapt(pl.DataFrame({"b": [1.0]})).feature_names


def test_names_that_occur_twice_are_an_error():
    """Nobody could tell such columns apart; those that are not chosen may have any names."""
    table = pd.DataFrame([[1.0, 2.0, 3.0]], columns=["a", "b", "b"])
    for twice in (table, pa.table([[1.0], [2.0], [3.0]], names=["a", "b", "b"])):
        with pytest.raises(ValueError, match="several columns named 'b'"):
            Normalization().adapt(twice)
        with pytest.raises(ValueError, match="several columns named 'b'"):
            Normalization(columns=["b"]).adapt(twice)
    assert ["a", "b", "b"] == list(Normalization(columns=["a"]).fit_transform(table).columns)


# Columns that are chosen


@NAMED
def test_columns_are_chosen_by_name_and_others_pass_through(make):
    """Only the columns named are learned and changed; all columns keep their places, in the input and the result."""
    table = make({"id": ["x", "y"], "b": [1.0, 3.0], "n": [7, 8], "a": [10.0, 30.0]})
    layer = Normalization(columns=["a", "b"]).adapt(table)
    assert (("a", "b"), [20.0, 2.0]) == (layer.feature_names, layer.mean.tolist())
    result = layer.transform(table)
    want = make({"id": ["x", "y"], "b": [-1.0, 1.0], "n": [7, 8], "a": [-1.0, 1.0]})
    assert want.equals(result)
    assert table.equals(layer.inverse_transform(result))
    assert layer.moments == Normalization(columns=["a", "b"]).adapt(make({"a": [10.0, 30.0], "b": [1.0, 3.0]})).moments


def test_a_layer_without_names_to_learn_chooses_columns_too(tmp_path):
    """columns= is a setting: of fixed statistics, and of what a file or a pickle brings back."""
    table = pl.DataFrame({"s": ["x"], "b": [3.0], "a": [2.0]})
    layer = Normalization(mean=[2.0, 1.0], variance=[1.0, 4.0], columns=["a", "b"])
    layer.save(tmp_path / "state")
    for twin in (layer, Normalization.load(tmp_path / "state"), pickle.loads(pickle.dumps(layer)), layer.copy()):
        assert {"s": ["x"], "b": [1.0], "a": [0.0]} == twin.transform(table).to_dict(as_series=False)
    with pytest.raises(AttributeError, match="cannot be changed"):
        layer.columns = None


@NAMED
def test_a_column_that_is_chosen_and_not_there_is_named(make):
    """With the columns that there are."""
    with pytest.raises(ValueError, match="no column 'z', 'y'; it has 'a', 'b'"):
        Normalization(columns=["z", "a", "y"]).adapt(make({"a": [1.0], "b": [2.0]}))


@pytest.mark.parametrize(
    ("columns", "error"), [("ab", TypeError), ([1], TypeError), ([], ValueError), (["a", "a"], ValueError)]
)
def test_columns_are_a_list_of_different_names(columns, error):
    """Anything else is refused when the layer is made."""
    with pytest.raises(error, match="columns must"):
        Normalization(columns=columns)


# What is no number


def odd_columns():
    day = [np.datetime64("2020-01-01", "D")]
    yield (
        pd.DataFrame({"n": [1], "s": ["x"], "d": np.array(day, "M8[s]"), "o": [None], "z": pd.Categorical([1])}),
        "sdoz",
    )
    yield pd.DataFrame({"n": [1], "t": pd.to_timedelta([1]), "c": [1j], "p": pd.arrays.SparseArray([1.0])}), "tcp"
    yield pl.DataFrame({"n": [1], "s": ["x"], "e": pl.Series([None]), "l": [[1.0]]}), "sel"
    yield (
        pl.DataFrame({"n": [1], "m": pl.Series([1]).cast(pl.Decimal(9, 2)), "w": pl.Series([1]).cast(pl.Int128)}),
        "mw",
    )
    decimal = pa.array([1]).cast(pa.decimal128(21, 2))
    yield pa.table({"n": [1], "s": ["x"], "m": decimal, "e": pa.nulls(1), "d": pa.array([1], pa.date32())}), "smed"
    yield pd.DataFrame({"n": [1], "m": pd.array(decimal, pd.ArrowDtype(decimal.type))}), "m"


@pytest.mark.parametrize(("table", "odd"), list(odd_columns()))
def test_columns_that_are_not_numeric_are_named(table, odd):
    """All of them at once; those that are chosen without them are read."""
    names = ", ".join(map(repr, odd))
    for act in (Moments.of, Normalization().adapt, Normalization(columns=["n", *odd]).adapt):
        with pytest.raises(TypeError, match=f"not numeric: {names} .*columns="):
            act(table)
    assert [1.0] == Normalization(columns=["n"]).adapt(table).mean.tolist()


@NAMED
def test_tables_without_columns_or_rows(make):
    """A table of no columns is an error, one of no rows is transformed to one of no rows."""
    with pytest.raises(ValueError, match="zero features"):
        Normalization().adapt(make({}))
    empty = make({"a": np.empty(0), "b": np.empty(0, np.float32)})
    assert (0, (2,)) == (Moments.of(empty).rows, Moments.of(empty).shape)
    with pytest.raises(ValueError, match="no rows"):
        Normalization().adapt(empty)
    result = Normalization().adapt(make({"a": [1.0], "b": [2.0]})).transform(empty)
    assert empty.equals(result)


def test_a_column_without_chunks_is_empty():
    """Arrow columns may have no chunks at all."""
    column = pa.chunked_array([], pa.int64())
    assert Moments.of(np.empty((0, 1))) == Moments.of(pa.table({"a": column}))
