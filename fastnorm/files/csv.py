"""CSV and TSV, also packed: every column is read as text, so that what is no feature goes back letter by letter."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.csv import ConvertOptions, ParseOptions, ReadOptions, open_csv

from fastnorm.files._place import Place
from fastnorm.files._tables import TableFile, TableWriter

BLOCK = 1 << 21  # bytes of text that are parsed at once: larger ones take memory and no less time
_HEAD = 1 << 24  # most letters of the line of names
_OTHERS = ";|\t"  # what separates columns elsewhere
_CELLS = 1 << 20  # cells that are written at once


class CsvTable(TableFile):
    """A table in a CSV file with a line of names."""

    what = "CSV file"
    text = True

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._place = place
        self._delimiter = _delimiter(place.suffix)
        with ExitStack() as opened:
            raw: Any = opened.enter_context(place.open())
            if place.suffix.endswith(".gz"):
                raw = opened.enter_context(gzip.open(raw))
            text = opened.enter_context(io.TextIOWrapper(raw, "utf-8-sig", newline=""))
            lines = csv.reader(iter(partial(text.readline, _HEAD), ""), delimiter=self._delimiter)
            try:
                names = next((row for row in lines if row), None)
                first = next((row for row in lines if row), []) if names and len(names) == 1 else []
            except UnicodeDecodeError as error:
                raise self._not_utf_8() from error
        if names is None:
            raise ValueError("it is empty")
        if len(names) == 1 and (other := set(_OTHERS) & set(names[0]) & set("".join(first))):
            raise ValueError(
                f"{self.name} has a single column, {names[0]!r}; are its columns separated by {other.pop()!r}? Write "
                "it with commas (.csv) or tabs (.tsv), and with points in numbers"
            )
        self.schema = pa.schema([(name, pa.string()) for name in names])

    def read(self, names: Sequence[str], done: int, size: int) -> Generator[Any, None, None]:  # noqa: ARG002
        """Tables of one block of text each."""
        nothing = not done
        for batch in self._batches(list(names)):
            if done:
                done -= 1
            elif batch.num_rows:
                nothing = False
                yield pa.Table.from_batches([batch])
        if nothing:
            yield self.schema.empty_table().select(list(names))

    def _batches(self, names: list[str]) -> Iterator[Any]:
        known = self.schema.names
        with ExitStack() as opened:
            path = self._place.path  # without Python's bytes in between, which would stay in memory
            source: Any = opened.enter_context(self._place.open() if path is None else pa.OSFile(str(path)))
            if self._place.suffix.endswith(".gz"):
                source = opened.enter_context(pa.CompressedInputStream(source, "gzip"))
            reader = opened.enter_context(
                open_csv(
                    source,
                    # A row must fit into a block.
                    ReadOptions(block_size=max(BLOCK, 64 * len(known))),
                    ParseOptions(delimiter=self._delimiter, newlines_in_values=True),
                    ConvertOptions(column_types=dict.fromkeys(known, pa.string()), include_columns=names),
                )
            )
            try:
                yield from reader
            except pa.ArrowInvalid as error:
                if "UTF8" in str(error):
                    raise self._not_utf_8() from error
                raise

    def _not_utf_8(self) -> ValueError:
        return ValueError(
            f"{self.name} is damaged, or its text is not UTF-8; convert it (iconv -f latin1 -t utf-8), or bring it "
            "back from a copy"
        )


def _delimiter(suffix: str) -> str:
    return "\t" if suffix.startswith(".tsv") else ","


class CsvWriter(TableWriter):
    """A new CSV file; numbers in as many digits as it takes to read the same number back."""

    def __init__(self, new: Path, target: Path, schema: Any, like: TableFile) -> None:  # noqa: ARG002
        suffix = Place.of(target).suffix
        self._delimiter = _delimiter(suffix)
        self._opened = ExitStack()
        self._file: IO[bytes] = self._opened.enter_context(new.open("xb"))
        if suffix.endswith(".gz"):  # neither a name nor a time, so that the same table gives the same bytes
            packed = gzip.GzipFile("", "wb", compresslevel=6, fileobj=self._file, mtime=0)
            self._file = self._opened.enter_context(packed)  # type: ignore[arg-type]
        self._lines([self._quoted(pa.array([name])) for name in schema.names])

    def write(self, table: Any) -> None:
        """Append rows."""
        step = max(1, _CELLS // table.num_columns)
        for start in range(0, len(table), step):
            part = table.slice(start, step).combine_chunks()
            self._lines([self._cells(field, part.column(field.name)) for field in table.schema])

    def _cells(self, field: Any, column: Any) -> Any:
        if pa.types.is_floating(field.type):
            column = pc.if_else(pc.is_nan(column), None, column)
        try:
            return self._quoted(column.cast(pa.string()))
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
            cure = "write Parquet, or drop the column"
            raise ValueError(f"CSV cannot hold column {field.name!r} of type {field.type}; {cure}") from error

    def _quoted(self, text: Any) -> Any:
        odd = pc.match_substring_regex(text, f'["\r\n{self._delimiter}]')
        if not pc.any(odd).as_py():
            return text
        inner = pc.replace_substring(text, '"', '""')
        return pc.if_else(odd, pc.binary_join_element_wise('"', inner, '"', ""), text)

    def _lines(self, columns: list[Any]) -> None:
        rows = pc.binary_join_element_wise(*columns, self._delimiter, null_handling="replace", null_replacement="")
        # Of one column an empty line would be no row at all.
        lines = [row or '""' for row in rows.to_pylist()]
        self._file.write("\n".join([*lines, ""]).encode())

    def close(self) -> None:
        """Complete the file."""
        self._opened.close()
