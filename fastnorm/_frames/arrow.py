"""Arrow: what pyarrow has, and anything with a stream."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from fastnorm._frames.frame import Frame
from fastnorm._layout import Array


class Arrow(Frame):
    """A Table, RecordBatch, ChunkedArray or Array of pyarrow; anything else with a stream becomes a Table."""

    def __init__(self, x: Any, columns: Sequence[str] | None) -> None:
        is_column = isinstance(x, pa.Array | pa.ChunkedArray)
        if is_column:
            self._arrays, labels, types = [x], [""], [str(x.type)]
        else:
            if not isinstance(x, pa.Table | pa.RecordBatch):
                x = pa.table(x)  # a RecordBatchReader
            self._arrays, labels = x.columns, x.column_names
            types = [str(field.type) for field in x.schema]
        super().__init__(x, is_column, len(x), labels, types, columns)

    def _chunks(self, place: int) -> Iterator[Array]:
        return chunks(self._arrays[place])

    def _column(self, place: int, values: Array) -> Any:
        array = self._arrays[place]
        return pa.array(values, mask=array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None)

    def _table(self, columns: dict[int, Any]) -> Any:
        x = self.native
        if self.is_column:
            return pa.chunked_array([columns[0]]) if isinstance(x, pa.ChunkedArray) else columns[0]
        arrays = [columns.get(place, array) for place, array in enumerate(x.columns)]
        fields = [field.with_type(array.type) for field, array in zip(x.schema, arrays, strict=True)]
        schema = pa.schema(
            fields, with_dtypes(x.schema.metadata, {fields[place].name: columns[place] for place in columns})
        )
        return type(x).from_arrays(arrays, schema=schema)


def chunks(column: Any) -> Iterator[Array]:
    """Values of an Array or ChunkedArray, chunk by chunk (see ``Frame._chunks``)."""
    for chunk in getattr(column, "chunks", [column]):
        if not chunk.null_count or pa.types.is_floating(chunk.type):
            yield chunk.to_numpy(zero_copy_only=False)
        else:
            zero = pa.scalar(0).cast(chunk.type)
            gone = chunk.is_null().to_numpy(zero_copy_only=False)
            yield np.ma.array(chunk.fill_null(zero).to_numpy(zero_copy_only=False), mask=gone)


def with_dtypes(metadata: Any, columns: dict[str, Any]) -> Any:
    """Metadata of a schema with the dtypes of new columns: pandas would turn them back to those that it finds there."""
    if b"pandas" not in (metadata or {}):
        return metadata
    notes = json.loads(metadata[b"pandas"])
    for note in notes["columns"]:
        if note["field_name"] in columns:
            dtype = np.dtype(columns[note["field_name"]].type.to_pandas_dtype())
            note.update(pandas_type=dtype.name, numpy_type=dtype.name)
    return metadata | {b"pandas": json.dumps(notes).encode()}
