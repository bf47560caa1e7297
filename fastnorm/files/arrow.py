"""Arrow's own files (IPC, Feather): batches of the file, large ones in parts; local files lie in memory maps."""

from __future__ import annotations

import mmap
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from fastnorm.files._place import Place
from fastnorm.files._tables import TableFile, TableWriter

_MAGIC = b"ARROW1"


class ArrowTable(TableFile):
    """A table in an Arrow file or stream."""

    what = "Arrow file"

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._open = ExitStack()
        self._map: Any = None
        self._lies_in_map = False
        try:
            raw = self._open.enter_context(place.open())
            self.is_stream = raw.read(len(_MAGIC)) != _MAGIC
            raw.seek(0)
            if place.path is None:
                self._source = pa.PythonFile(raw, "r")
            else:
                self._map = mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ)
                self._source = pa.BufferReader(pa.py_buffer(self._map))
                self._lies_in_map = True
                self._lies_in_map = self._is_plain()
            self.schema = self._reader().schema
        except BaseException:
            self._open.close()
            raise

    def _reader(self, names: Sequence[str] = ()) -> Any:
        self._source.seek(0)
        fields = None if self._lies_in_map else sorted(self.schema.get_field_index(name) for name in names)
        options = pa.ipc.IpcReadOptions(included_fields=fields)
        return (pa.ipc.open_stream if self.is_stream else pa.ipc.open_file)(self._source, options=options)

    def _is_plain(self) -> bool:
        """Whether columns need not be unpacked, but are views of the map: then nothing is read but what is used."""
        batches = self._batches(self._reader())
        arrays = (array for batch in islice(batches, 1) for array in batch.columns)
        found = next(
            (buffer for array in arrays for buffer in array.buffers() if buffer is not None and buffer.size), None
        )
        whole = pa.py_buffer(self._map)
        return found is not None and 0 <= found.address - whole.address < whole.size

    def _batches(self, reader: Any) -> Iterator[Any]:
        return iter(reader) if self.is_stream else map(reader.get_batch, range(reader.num_record_batches))

    def read(self, names: Sequence[str], done: int, size: int) -> Generator[Any, None, None]:
        """Tables of one batch each, or of a part of it."""
        columns = list(names)
        rows = max(1, size // (8 * len(columns)))
        total = 0
        for batch in self._batches(self._reader(columns)):
            total += batch.num_rows
            for start in range(0, batch.num_rows, rows):
                if done:
                    done -= 1
                    continue
                part = pa.Table.from_batches([batch.slice(start, rows)]).select(columns)
                part.validate(full=True)  # damaged offsets would lead out of the memory
                yield part
                if self._lies_in_map and hasattr(mmap, "MADV_DONTNEED"):
                    self._map.madvise(mmap.MADV_DONTNEED)  # what was read need not stay in memory
        if not total:
            yield self.schema.empty_table().select(columns)

    def close(self) -> None:
        """Let go of the file; tables that were given out keep the map."""
        self._source.close()
        self._open.close()


class ArrowWriter(TableWriter):
    """A new Arrow file; .feather is compressed, as usual there."""

    def __init__(self, new: Path, target: Path, schema: Any, like: TableFile) -> None:
        self._plain = not isinstance(like, ArrowTable) or like.is_stream  # a file has one dictionary for a column
        options = pa.ipc.IpcWriteOptions(compression="lz4" if target.suffix.lower() == ".feather" else None)
        self._file = new.open("xb")
        self._writer = pa.ipc.new_file(self._file, self._decoded(schema.empty_table()).schema, options=options)

    def write(self, table: Any) -> None:
        """Append a batch."""
        self._writer.write_table(self._decoded(table).combine_chunks())

    def _decoded(self, table: Any) -> Any:
        if self._plain:
            for place, field in enumerate(table.schema):
                if pa.types.is_dictionary(field.type):
                    column = table.column(place).cast(field.type.value_type)
                    table = table.set_column(place, field.with_type(column.type), column)
        return table

    def close(self) -> None:
        """Write the footer."""
        try:
            self._writer.close()
        finally:
            self._file.close()
