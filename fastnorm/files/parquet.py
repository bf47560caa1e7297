"""Parquet: read by row groups, or by parts of large ones; page checksums verified where there are any."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fastnorm.files._place import Place
from fastnorm.files._tables import TableFile, TableWriter

_BUFFER = 1 << 20  # bytes of a column that are read at once; of all together up to 32 times as many
_LARGEST = 1 << 25  # bytes of a row group that is written: it is held in memory


class ParquetTable(TableFile):
    """A table in a Parquet file."""

    what = "Parquet file"

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._raw = place.open()
        try:
            source = self._raw if place.path is None else pa.OSFile(str(place.path))
            found = pq.read_metadata(source)
            buffer = max(_BUFFER >> 5, min(_BUFFER, (_BUFFER << 5) // max(1, found.num_columns)))
            options = {"buffer_size": buffer, "pre_buffer": False, "page_checksum_verification": True}
            self._file = pq.ParquetFile(source, metadata=found, **options)
            self.schema = self._file.schema_arrow
        except BaseException:
            self._raw.close()
            raise
        if self._file.num_row_groups:
            first = self._file.metadata.row_group(0)
            self.group = first.num_rows
            self.codec = first.column(0).compression if first.num_columns else None

    def read(self, names: Sequence[str], done: int, size: int) -> Generator[Any, None, None]:
        """Tables of whole row groups; of a larger one in parts, though these take longer to unpack."""
        file, columns = self._file, list(names)
        rows = max(1, size // sum(_width(self.schema.field(name).type) for name in columns))
        if not file.metadata.num_rows and not done:
            yield self.schema.empty_table().select(columns)
        for groups in self._runs(rows):
            steps = -(-file.metadata.row_group(groups[0]).num_rows // rows) if len(groups) == 1 else 1
            if steps <= done:
                done -= steps
            elif steps == 1:
                yield file.read_row_groups(groups, columns).select(columns)
            else:
                for batch in file.iter_batches(rows, groups, columns):
                    if done:
                        done -= 1
                    else:
                        yield pa.Table.from_batches([batch]).select(columns)

    def _runs(self, rows: int) -> Iterator[list[int]]:
        """Row groups that are read together: several small ones, or a single one of any size."""
        run: list[int] = []
        total = 0
        for group in range(self._file.num_row_groups):
            more = self._file.metadata.row_group(group).num_rows
            if not more:
                continue
            if run and total + more > rows:
                yield run
                run, total = [], 0
            run.append(group)
            total += more
        if run:
            yield run

    def close(self) -> None:
        """Let go of the file."""
        self._file.close(force=True)
        self._raw.close()


def _width(kind: Any) -> int:
    """Bytes of a number or its z-score, whichever is longer."""
    return 4 if pa.types.is_primitive(kind) and kind.bit_width <= (32 if pa.types.is_floating(kind) else 16) else 8


class ParquetWriter(TableWriter):
    """A new Parquet file, with the compression and the size of row groups of the file that is read."""

    def __init__(self, new: Path, target: Path, schema: Any, like: TableFile) -> None:  # noqa: ARG002
        codec = "snappy" if like.codec is None else like.codec.replace("UNCOMPRESSED", "NONE")
        self._rows = like.group or 1 << 20
        self._waiting: list[Any] = []
        self._file = new.open("xb")
        self._writer = pq.ParquetWriter(self._file, schema, compression=codec, write_page_checksum=True)

    def write(self, table: Any) -> None:
        """Append rows; they are written when a row group is full."""
        self._waiting.append(table)
        while self._waiting and (
            sum(map(len, self._waiting)) >= self._rows or sum(part.nbytes for part in self._waiting) > _LARGEST
        ):
            whole = pa.concat_tables(self._waiting)
            self._writer.write_table(whole.slice(0, self._rows), self._rows)
            self._waiting = [whole.slice(self._rows)] if len(whole) > self._rows else []

    def close(self) -> None:
        """Write the last row group and the footer."""
        try:
            if self._waiting:
                self._writer.write_table(pa.concat_tables(self._waiting), self._rows)
            self._writer.close()
        finally:
            self._file.close()
