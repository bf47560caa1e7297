"""Batches of Arrow to states and z-scores: what the workers of an engine import and run, each in one thread.

Engines run as many tasks as there are processors. The engines themselves are not imported here, which takes seconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from fastnorm import _apply, _frames
from fastnorm._apply import Affine
from fastnorm._arguments import mismatch, result_dtype
from fastnorm.moments import Moments


def total(parts: Iterable[Moments]) -> pa.Table:
    """The sum of all parts as a row with its state; no row for the sum of nothing."""
    found = sum(parts)
    rows = [found.to_bytes()] if isinstance(found, Moments) else []
    return pa.table({"state": pa.array(rows, pa.binary())})


def added(*tables: pa.Table) -> pa.Table:
    """The sum of all rows of all tables that `total` made."""
    return total(Moments.from_bytes(state) for table in tables if len(table) for state in table["state"].to_pylist())


def typed(columns: Sequence[str], table: pa.Table) -> pa.Table:
    """The table with float64 where a column has nothing but nulls, and so no type."""
    for place, field in enumerate(table.schema):
        if field.name in columns and pa.types.is_null(field.type):
            table = table.set_column(place, field.name, table.column(place).cast(pa.float64()))
    return table


def states(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The state of all batches together; nothing of no rows."""
    yield from total(Moments.of(_values(batch), threads=1) for batch in batches if batch.num_rows).to_batches()


def scaled(
    inputs: list[str], results: list[str], affine: Affine, batches: Iterable[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """Batches with the transformed columns beside or in place of their own."""
    for batch in batches:
        x = _values(batch.select(inputs))
        if isinstance(x, _frames.Frame):
            made = x.apply((1,), affine, "forward", partial(result_dtype, None), 1).columns
        else:
            if x.shape[1:] != affine.mean.shape:
                raise ValueError(mismatch(x.shape[1:], affine.mean.shape, -1))
            z = np.empty_like(x)
            _apply.run(x, z, (1,), affine, "forward", 1)
            vectors = pa.FixedSizeListArray.from_arrays(z.reshape(-1), z.shape[1])
            made = [vectors.cast(batch.schema.field(inputs[0]).type)]
        columns = dict(zip(batch.schema.names, batch.columns, strict=True)) | dict(zip(results, made, strict=True))
        yield pa.RecordBatch.from_arrays([*columns.values()], [*columns])


def _values(batch: pa.RecordBatch) -> Any:
    """What to count and to transform: a table, or of a column of vectors an array of two dimensions."""
    if not pa.types.is_list(batch.schema.types[0]):
        return _frames.taken(batch)
    column = batch.column(0)
    lengths = np.unique(column.value_lengths().to_numpy())
    if len(lengths) > 1:
        raise ValueError(f"vectors of {lengths[0]} and of {lengths[-1]} entries stand in one column; give all the same")
    return column.flatten().to_numpy().reshape(len(column), lengths[0])
