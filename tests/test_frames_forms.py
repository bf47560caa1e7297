"""Laws of columns on their own, of batches of tables, and of their libraries."""

import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from frames import BIG, KINDS, Stream, arrow, column_of, kinds, nullable, polars

from fastnorm import Moments, Normalization

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
