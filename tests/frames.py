"""Tables of masked arrays, one a column, in every library."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import strategies as arrays
from hypothesis import strategies as st

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
