"""Laws of tables: the same bits as arrays, results of the input's type with its index."""

import tracemalloc

import naive
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import strategies as arrays
from frames import BIG, DTYPES, KINDS, NULLABLE, NULLS, PLAIN, RESULTS, column_of, columns, kinds, names_of
from hypothesis import given
from hypothesis import strategies as st

from fastnorm import Moments, Normalization, _frames, _reduce

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
@pytest.mark.parametrize("rows", [_frames.frame.GATHERED + 1, _reduce.TALL + 1])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
def test_long_columns_are_read_piece_by_piece_to_the_same_bits(kind, dtype, rows, monkeypatch):
    """Columns too long to be copied together give the same sums and z-scores."""
    monkeypatch.setattr(_reduce, "SHARE", 1 << 15)
    rng = np.random.default_rng(5)
    values = (1e4 * rng.standard_normal((rows, 3))).astype(dtype)
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


@pytest.mark.parametrize("dtype", ["<f2", "<f4", ">f4", ">f8", ">i2"])
def test_columns_apart_in_memory_and_of_the_other_byte_order(dtype):
    """Some columns of an array whose rows lie together: each value is a row away from the next."""
    x = np.random.default_rng(5).integers(-999, 999, (_frames.frame.GATHERED + 1, 4)).astype(dtype)
    table = pd.DataFrame(x).set_axis(list("abcd"), axis=1)
    layer = Normalization(columns=["a", "d"]).adapt(table)
    assert Moments.of(x[:, [0, 3]]) == layer.moments


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


@kinds()
@pytest.mark.parametrize("rows", [5, 3000, _reduce.TALL])
def test_columns_in_another_order_keep_their_names(kind, rows):
    """What a layer takes is by name, forward and back; the table stays in its own order."""
    rng = np.random.default_rng(7)
    given = [rng.normal(9**index, 1 + index, rows) for index in range(3)]
    table, names = KINDS[kind]([np.ma.array(column) for column in given]), names_of(given)
    layer = Normalization(columns=names[::-1]).adapt(table)
    there = layer.transform(table)
    back = layer.inverse_transform(there)
    assert names == list(map(str, getattr(there, "column_names", getattr(there, "columns", None))))
    for name, column in zip(names, given, strict=True):
        alone = Normalization().adapt(column[:, np.newaxis])
        want = alone.transform(column[:, np.newaxis])
        np.testing.assert_array_equal(want[:, 0], column_of(there, name)[0])
        np.testing.assert_array_equal(alone.inverse_transform(want)[:, 0], column_of(back, name)[0])


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


@pytest.mark.parametrize("settings", [{}, {"columns": ["a"]}])
def test_a_kind_of_data_frame_gives_its_like(settings):
    """A class derived from DataFrame or Series, as those of geopandas, comes back as pandas says, with its attrs."""

    class Column(pd.Series):
        _constructor = property(lambda self: Column)

    class Table(pd.DataFrame):
        _constructor = property(lambda self: Table)
        _constructor_sliced = property(lambda self: Column)

    table = Table({"a": [1.0, 3.0], "b": [0, 2]})
    table.attrs["unit"] = "m"
    result = Normalization(**settings).fit_transform(table)
    assert (Table, {"unit": "m"}) == (type(result), result.attrs)
    assert [-1.0, 1.0] == result["a"].tolist()
    assert Column is type(Normalization().fit_transform(table["a"]))


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
    ((run, block),) = _frames.taken(table, ["b", "c", "d"])._runs()
    assert (range(3), (1000, 3)) == (run, block.shape)
    assert np.shares_memory(block, table["c"].to_numpy())
    long = np.zeros(_frames.frame.GATHERED + 1)
    for kind in ("Arrow", "pandas", "pandas in one block", "polars"):
        column = KINDS[kind]([np.ma.array(long)])
        frame = _frames.taken(column)
        ((_, pieces),) = frame._pieces(*next(frame._runs()))
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
