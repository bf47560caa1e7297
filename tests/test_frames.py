"""Laws of tables: the same bits as arrays, names that are checked, results of the input's type with its index."""

import pickle
import subprocess
import sys
import textwrap
import tracemalloc

import naive
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import strategies as arrays
from hypothesis import given
from hypothesis import strategies as st

from fastnorm import Moments, Normalization, _frames

POLARS = {np.dtype(kind): pl.Series(np.zeros(1, kind)).dtype for kind in arrays.DTYPES if kind != arrays.BFLOAT16}
DTYPES = tuple(POLARS)
NULLABLE = [dtype for dtype in DTYPES if dtype != np.float16]  # pandas has no nullable float16
BIG = 2**53 + 1


class Stream:
    """A table of a library that nobody knows."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


# Tables of masked arrays, one a column, in every library


def names_of(columns):
    return [f"c{index}" for index in range(len(columns))]


def arrow(columns, chunks=1):
    def column(values):
        gone = np.ma.getmaskarray(values)
        cuts = np.array_split(np.arange(len(values)), chunks)
        return pa.chunked_array([pa.array(values.data[cut], mask=gone[cut]) for cut in cuts])

    return pa.table(dict(zip(names_of(columns), map(column, columns), strict=True)))


def polars(columns):
    def column(name, values):
        kept = pl.Series(~np.ma.getmaskarray(values))
        return pl.Series(name, values.data).zip_with(kept, pl.Series([None], dtype=POLARS[values.dtype]))

    return pl.DataFrame(list(map(column, names_of(columns), columns)))


def polars_in_chunks(columns):
    table, half = polars(columns), len(columns[0]) // 2
    return pl.concat([table[:half], table[half:]], rechunk=False)


def nullable(values):
    gone = np.ma.getmaskarray(values).copy()
    kinds = {"b": pd.arrays.BooleanArray, "f": pd.arrays.FloatingArray}
    return kinds.get(values.dtype.kind, pd.arrays.IntegerArray)(values.data.copy(), gone)


def pandas(column):
    return lambda columns: pd.DataFrame(dict(zip(names_of(columns), map(column, columns), strict=True)), copy=False)


NULLS = {  # libraries that tell a null from NaN
    "nullable pandas": pandas(nullable),
    "pandas with Arrow": lambda columns: arrow(columns, 2).to_pandas(types_mapper=pd.ArrowDtype),
    "polars": polars,
    "polars in chunks": polars_in_chunks,
    "Arrow": arrow,
    "Arrow in chunks": lambda columns: arrow(columns, 3),
    "record batch": lambda columns: arrow(columns).combine_chunks().to_batches()[0],
    "stream": lambda columns: Stream(arrow(columns, 2)),
}
PLAIN = {
    "pandas": pandas(np.ma.getdata),
    "pandas in one block": lambda columns: pandas(np.ma.getdata)(columns).copy(),
}
KINDS = NULLS | PLAIN
RESULTS = {"stream": pa.Table}  # where it is not the type of the input


def kinds(tables=KINDS):
    return pytest.mark.parametrize("kind", tables)


@st.composite
def columns(draw, dtypes=DTYPES, gaps=True):
    """Draw up to five columns of as many rows, each a masked array of its own dtype."""
    rows = draw(st.integers(1, 70))

    def column():
        values = draw(arrays.filled((rows, 1), draw(st.sampled_from(dtypes))))[:, 0]
        gone = np.random.default_rng(draw(arrays.seeds)).random(rows) < (
            draw(st.sampled_from([0, 0.3, 1])) if gaps else 0
        )
        return np.ma.array(values, mask=gone)

    return [column() for _ in range(draw(st.integers(1, 5)))]


def column_of(table, name):
    """A column as NumPy values with NaN for null, and which are null."""
    if isinstance(table, pd.DataFrame):
        series = table[name]
        if isinstance(series.dtype, np.dtype):
            return series.to_numpy(), np.zeros(len(series), bool)
        gone = np.asarray(series.isna() if isinstance(series.dtype, pd.ArrowDtype) else series.array.isna())
        kind = np.dtype(series.dtype.numpy_dtype)
        return series.to_numpy(kind, na_value=np.nan), gone
    if isinstance(table, pl.DataFrame):
        return table[name].to_numpy(), table[name].is_null().to_numpy()
    chunks = pa.chunked_array(table[name].chunks if isinstance(table, pa.Table) else [table[name]])
    return chunks.to_numpy(), np.asarray(chunks.is_null())


# Statistics


@kinds()
@given(data=st.data())
def test_tables_have_the_moments_of_their_columns(kind, data):
    """Whatever the library, dtypes, chunks and nulls, every count and sum is that of exact arithmetic."""
    dtypes = NULLABLE if kind == "nullable pandas" else DTYPES
    given = data.draw(columns(dtypes, gaps=kind in NULLS))
    found = Moments.of(KINDS[kind](given))
    for index, column in enumerate(given):
        want = naive.moments(column[:, np.newaxis])
        for name in ("count", "missing", "posinf", "neginf"):
            assert want.counts(name)[0] == getattr(found, name)[index]
        for name in ("mean", "variance"):
            np.testing.assert_array_equal(want.array(name)[0], getattr(found, name)[index])
    assert (len(given[0]), (len(given),)) == (found.rows, found.shape)


@kinds()
@given(data=st.data())
def test_a_table_of_one_dtype_has_the_moments_of_its_array(kind, data):
    """Features joined column by column are equal, in their exact sums, to those of one array; with weights as well."""
    dtype = data.draw(st.sampled_from(NULLABLE if kind == "nullable pandas" else DTYPES))
    given = data.draw(columns([dtype], gaps=kind in NULLS))
    array = np.ma.stack(given, axis=1)
    weights = data.draw(st.none() | arrays.weights((len(array),)))
    assert Moments.of(array, weights=weights) == Moments.of(KINDS[kind](given), weights=weights)
    assert Moments.of(array, None) == Moments.of(KINDS[kind](given), None)


@kinds()
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_long_columns_are_read_piece_by_piece_to_the_same_bits(kind, dtype):
    """Columns too long to be copied together give the same sums and z-scores."""
    rng = np.random.default_rng(5)
    values = (1e4 * rng.standard_normal((_frames.frame.GATHERED + 1, 3))).astype(dtype)
    gone = rng.random(values.shape) < (0.1 if kind in NULLS else 0)
    array = np.ma.array(values, mask=gone)
    table = KINDS[kind](list(array.T))
    weights = rng.random(len(array))
    assert Moments.of(array, weights=weights) == Moments.of(table, weights=weights)
    assert Moments.of(array, None) == Moments.of(table, None)
    layer = Normalization().adapt(array)
    result, want = layer.transform(table), layer.transform(array)
    for index, name in enumerate(names_of(array.T)):
        found, null = column_of(result, name)
        np.testing.assert_array_equal(null, gone[:, index])
        np.testing.assert_array_equal(found[~null], want[:, index].compressed())
        assert want.dtype == found.dtype


@kinds(NULLS)
def test_integers_beyond_float64_stay_exact_beside_nulls(kind):
    """No value goes through float64: 2**53 + 1 keeps its last bit, and so do the ends of 64 bits."""
    gone = [False, True, False]
    given = [
        np.ma.array(np.array([BIG, 0, -(2**63)]), mask=gone),
        np.ma.array(np.array([2**64 - 1, 5, 3], "u8"), mask=gone),
    ]
    moments = Moments.of(KINDS[kind](given))
    assert [naive.moments(column[:, np.newaxis]).array("mean")[0] for column in given] == moments.mean.tolist()
    for column in given:
        assert Moments.of(column[:, np.newaxis]) == Moments.of(KINDS[kind]([column]))


# Results


@kinds()
@given(data=st.data())
def test_each_column_is_transformed_as_its_array(kind, data):
    """Values, dtype and nulls of each column are those of the column as an array; the type is that of the input."""
    dtypes = NULLABLE if kind == "nullable pandas" else DTYPES
    given = data.draw(columns(dtypes, gaps=kind in NULLS))
    table = KINDS[kind](given)
    layer = Normalization(inf="omit").adapt(table)
    there = layer.transform(table)
    assert type(there) is RESULTS.get(kind, type(table))
    back = layer.inverse_transform(there)
    for column, name in zip(given, names_of(given), strict=True):
        alone = Normalization(inf="omit").adapt(column[:, np.newaxis])
        want = alone.transform(column[:, np.newaxis])
        for result, array in ((there, want), (back, alone.inverse_transform(want))):
            values, null = column_of(result, name)
            np.testing.assert_array_equal(np.ma.getmaskarray(column), null)
            np.testing.assert_array_equal(np.ma.getdata(array)[~null, 0], values[~null])
            assert array.dtype == values.dtype


@kinds(NULLS)
def test_nan_stays_nan_and_null_stays_null(kind):
    """Both are missing in the statistics, and neither becomes the other."""
    column = np.ma.array([np.nan, 1.0, 7.0, 3.0], mask=[False, False, True, False])
    layer = Normalization().adapt(KINDS[kind]([column]))
    assert ([2], [2]) == (layer.moments.count.tolist(), layer.moments.missing.tolist())
    values, null = column_of(layer.transform(KINDS[kind]([column])), "c0")
    assert [False, False, True, False] == null.tolist()
    assert [True, False, True, False] == np.isnan(values).tolist()


@kinds()
def test_the_dtype_of_a_layer_is_that_of_all_columns(kind):
    """dtype= overrides the rule for each column."""
    table = KINDS[kind]([np.ma.array([1.0, 3.0]), np.ma.array([1, 3]), np.ma.array([True, False])])
    for dtype in ("float16", "float32", "float64"):
        result = Normalization(dtype=dtype).fit_transform(table)
        assert [dtype] * 3 == [column_of(result, name)[0].dtype for name in ("c0", "c1", "c2")]
    with pytest.raises(TypeError, match="bfloat16"):
        Normalization(dtype=arrays.BFLOAT16).fit_transform(table)


@kinds()
def test_nothing_of_the_input_changes(kind):
    """Neither its values nor its nulls, names or types."""
    given = [np.ma.array([1.0, 2.0, 5.0], mask=[False, kind in NULLS, False]), np.ma.array([3, 1, 2])]
    table, twin = KINDS[kind](given), KINDS[kind](given)
    Normalization().fit_transform(table)
    Normalization(columns=["c1"]).fit_transform(table)
    if kind == "stream":
        table, twin = table.table, twin.table
    assert twin.equals(table)
    if kind in PLAIN or "pandas" in kind:
        assert twin.dtypes.equals(table.dtypes)


def test_a_result_of_polars_is_free_of_its_input():
    """The result shares no column list with the input: changing one leaves the other."""
    table = pl.DataFrame({"a": [1.0, 3.0], "b": ["x", "y"]})
    result = Normalization(columns=["a"]).fit_transform(table)
    result.replace_column(1, pl.Series("b", ["z", "z"]))
    assert (["x", "y"], [1.0, 3.0]) == (table["b"].to_list(), table["a"].to_list())


@pytest.mark.parametrize("dtype", ["float64", "Float64", "int8", "double[pyarrow]"])
def test_pandas_keeps_index_and_columns(dtype):
    """The index, of any kind, and the names of columns, of several levels, come back."""
    index = pd.MultiIndex.from_tuples([("x", 1), ("x", 2), ("y", 1)], names=["k", "n"])
    labels = pd.MultiIndex.from_tuples([("a", "mean"), ("a", "max")])
    table = pd.DataFrame([[1, 2], [3, 4], [5, 9]], index, labels).astype(dtype)
    layer = Normalization().adapt(table)
    result = layer.transform(table)
    assert index.equals(result.index)
    assert index.names == result.index.names
    assert labels.equals(result.columns)
    assert ("('a', 'mean')", "('a', 'max')") == layer.feature_names


def test_arrow_keeps_metadata_and_pandas_reads_the_result():
    """Metadata of schema and fields stay, but for the dtypes that pandas would turn the columns back to."""
    frame = pd.DataFrame({"a": pd.array([1, None, 4], "Int64"), "b": ["x", "y", "z"]}, index=["r", "s", "t"])
    table = pa.Table.from_pandas(frame)
    field = table.schema.field("a").with_metadata({"unit": "m"})
    table = table.cast(pa.schema([field, *list(table.schema)[1:]], {**table.schema.metadata, b"mine": b"1"}))
    result = Normalization(columns=["a"]).fit_transform(table)
    assert (b"1", {b"unit": b"m"}) == (result.schema.metadata[b"mine"], result.schema.field("a").metadata)
    want = frame.assign(a=[-1.0, np.nan, 1.0])
    pd.testing.assert_frame_equal(want, result.to_pandas())


def test_several_columns_of_one_block_are_read_where_they_lie():
    """A run of columns that pandas keeps together is one array, and no copy; so is a long column of its own."""
    x = np.random.default_rng(0).standard_normal((1000, 4))
    table = pd.DataFrame(x).set_axis(list("abcd"), axis=1).assign(text="t")
    ((features, (block,)),) = _frames.taken(table, ["b", "c", "d"])._pieces()
    assert (slice(0, 3), (1000, 3)) == (features, block.shape)
    assert np.shares_memory(block, table["c"].to_numpy())
    long = np.zeros(_frames.frame.GATHERED + 1)
    for kind in ("Arrow", "pandas", "pandas in one block", "polars"):
        column = KINDS[kind]([np.ma.array(long)])
        ((_, pieces),) = _frames.taken(column)._pieces()
        address = column_of(column, "c0")[0].__array_interface__["data"][0]
        assert address <= next(iter(pieces)).__array_interface__["data"][0] < address + long.nbytes, kind


@pytest.mark.parametrize("kind", ["pandas", "nullable pandas", "pandas in one block"])
def test_no_more_than_a_column_is_copied(kind):
    """Statistics of a long table take memory for about one column, not for the table."""
    rows, width = 200_000, 20
    table = KINDS[kind]([np.ma.array(np.ones(rows), mask=np.arange(rows) % 2 == 0) for _ in range(width)])
    Moments.of(table)
    tracemalloc.start()
    Moments.of(table)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 8 * rows


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


# Axes, columns on their own, destinations


@kinds()
def test_a_table_keeps_its_columns_or_nothing(kind):
    """axis=-1 and axis=1 are a feature for each column, None one of all values; rows are no features."""
    given = [np.ma.array([1.0, 2.0]), np.ma.array([4.0, 9.0])]
    array = np.stack(given, axis=1)
    assert Moments.of(array) == Moments.of(KINDS[kind](given), 1) == Moments.of(KINDS[kind](given), (-1,))
    layer = Normalization(axis=None)
    result = layer.fit_transform(KINDS[kind](given))
    assert ((), None) == (layer.mean.shape, layer.feature_names)
    want = Normalization(axis=None).fit_transform(array)
    assert want.T.tolist() == [column_of(result, name)[0].tolist() for name in ("c0", "c1")]
    weights = np.array([[1.0, 2.0], [0.0, 0.5]])
    assert Moments.of(array, None, weights) == Moments.of(KINDS[kind](given), None, weights)
    for axis in (0, (0, 1)):
        with pytest.raises(ValueError, match="one feature for each column"):
            Moments.of(KINDS[kind](given), axis)


COLUMNS = {
    "pandas": lambda values, gone: pd.Series(values, name="a", index=range(3, 3 + len(values))),
    "nullable pandas": lambda values, gone: pd.Series(nullable(np.ma.array(values, mask=gone)), name="a"),
    "polars": lambda values, gone: polars([np.ma.array(values, mask=gone)])["c0"].alias("a"),
    "chunked Arrow": lambda values, gone: arrow([np.ma.array(values, mask=gone)], 2)["c0"],
    "Arrow": lambda values, gone: pa.array(values, mask=gone),
}


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.parametrize("dtype", ["int64", "float32"])
def test_a_column_on_its_own_is_one_feature(kind, dtype):
    """A Series or an Arrow array is a table of one column; its nulls, name, index and type come back."""
    values, gone = np.array([BIG, 1, 2, 5], dtype), np.array([False, True, False, False]) & (kind != "pandas")
    column = COLUMNS[kind](values, gone)
    layer = Normalization().adapt(column)
    assert Moments.of(np.ma.array(values, mask=gone)[:, np.newaxis]) == layer.moments
    assert layer.feature_names == (None if "Arrow" in kind else ("a",))
    result = layer.transform(column)
    assert isinstance(result, pa.Array if kind == "Arrow" else type(column))
    want = layer.transform(np.ma.array(values, mask=gone)[:, np.newaxis])[:, 0]
    table = pa.table({"a": result}) if "Arrow" in kind else result.to_frame()
    found, null = column_of(table, "a")
    assert (gone.tolist(), want.compressed().tolist()) == (null.tolist(), found[~null].tolist())
    if "pandas" in kind:
        assert (column.name, column.index.tolist()) == (result.name, result.index.tolist())


@kinds()
def test_out_takes_no_table(kind):
    """A destination is refused before anything changes."""
    table, out = KINDS[kind]([np.ma.array([1.0, 2.0])]), np.empty((2, 1))
    layer = Normalization().adapt(np.array([[5.0], [6.0]]))
    for act in (layer.transform, layer.inverse_transform, layer.fit_transform):
        with pytest.raises(TypeError, match="out cannot take"):
            act(table, out=out)
    assert [5.5] == layer.mean.tolist()


# Batches


def test_batches_of_tables_are_tables():
    """Lists, generators, pairs and readers of record batches give what the whole table gives."""
    table = pa.table({"a": np.arange(50.0), "b": np.arange(50) % 7})
    whole = Normalization().adapt(table)
    parts = table.to_batches(max_chunksize=8)
    frames = [pl.from_arrow(part) for part in parts]
    reader = pa.RecordBatchReader.from_batches(table.schema, parts)
    for data in (
        frames,
        iter(frames),
        reader,
        [(part.to_pandas(), 0) for part in parts],
        Stream(table),
        map(Stream, parts),
    ):
        layer = Normalization().adapt(data)
        assert (whole.moments, ("a", "b")) == (layer.moments, layer.feature_names)
    assert table.num_rows == whole.transform(pa.RecordBatchReader.from_batches(table.schema, parts)).num_rows


def test_forget_takes_away_the_rows_of_a_table():
    """update, then forget, of a table with nulls leaves every bit as it was."""
    first, more = pl.DataFrame({"a": [1, None, BIG]}), pl.DataFrame({"a": [None, 7]})
    layer = Normalization().adapt(first)
    before = layer.moments
    assert before == layer.update(more).forget(more).moments


def test_a_stream_of_arrays_is_no_table():
    """A stream that gives no table is an error that says so."""
    with pytest.raises(TypeError, match="no table"):
        Moments.of(Stream(pa.chunked_array([[1, 2]])))


# Libraries


def python(code):
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(("mine", "others"), [("pandas", ["polars"]), ("polars", ["pandas", "pyarrow"])])
def test_a_table_needs_no_library_but_its_own(mine, others):
    """With the others away, tables of pandas and polars work, with nulls and without."""
    python(
        f"""
        import sys
        import {mine} as library
        sys.modules |= dict.fromkeys({others})
        from fastnorm import Normalization
        table = library.DataFrame({{"a": [1.0, None, 3.0], "b": [True, False, False]}})
        assert Normalization().fit_transform(table).shape == (3, 2)
        """
    )


def test_a_stream_without_pyarrow_says_what_to_install():
    """Streams of unknown libraries are read with pyarrow."""
    python(
        """
        import sys
        sys.modules["pyarrow"] = None
        from fastnorm import Normalization
        class Stream:
            def __arrow_c_stream__(self, requested_schema=None):
                raise AssertionError
        try:
            Normalization().adapt(Stream())
        except ImportError as error:
            assert "pip install pyarrow" in str(error)
        else:
            raise AssertionError
        """
    )


def test_columns_choose_by_name_and_in_order():
    """An array has no names to choose by, and a set has no order: both are errors before anything is learned."""
    layer = Normalization(columns=["b"])
    for verb in (layer.adapt, layer.update):
        with pytest.raises(TypeError, match="columns of a table by name, but x is an array"):
            verb(np.ones((3, 2)))
    with pytest.raises(TypeError, match="must be a list of names"):
        Normalization(columns={"a", "b"})
