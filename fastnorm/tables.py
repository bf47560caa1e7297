"""Tables of named columns in files: the numbers out as one array, everything else carried along.

CSV and Parquet, through pyarrow. A missing number is NaN in the array, an empty field in CSV and
null in Parquet. Columns that are no features go back as they came: text in CSV is never parsed.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import secrets
import shutil
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastnorm._frames import listed

__all__ = ["Table", "check_destination", "read_table", "split_suffix", "staged", "write_table"]

# What stands for a missing number in CSV: pyarrow's list, and R's and Excel's are in it.
_MISSING = (
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "1.#IND", "1.#QNAN", "<NA>"),
    *("-NaN", "-nan", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
)
_CELLS_AT_A_TIME = 1 << 20  # some 20 MB as CSV text


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """The named columns of a file, its features as one array."""

    #: Every column, in the order of the file.
    columns: tuple[str, ...]
    #: The names of the columns of `values`.
    features: tuple[str, ...]
    #: Shape (rows, features), float64, C-ordered; NaN is missing.
    values: NDArray[np.float64]
    #: The other columns, untouched: a pyarrow.Table.
    rest: Any

    @property
    def left_out(self) -> tuple[str, ...]:
        """The columns that are no features, in the order of the file."""
        return tuple(self.rest.column_names)


def read_table(path: str | os.PathLike[str], columns: Sequence[str] | None = None) -> Table:
    r"""Read a CSV or Parquet file, by its suffix, and take the numeric `columns` as features.

    None takes every numeric column in the order of the file: whole numbers, floats and decimals.
    Only when asked for by name: a column of true and false, a CSV column without any value, and the
    index that pandas stores (in CSV a column without a name).

    Raises OSError where the file cannot be read, and ValueError where it is damaged, lacks a column
    that is asked for, has no numeric one or none in a column asked for, or holds a whole number
    that float64 would round.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "delays.csv")
    ...     _ = path.write_text("carrier,delay\nUA,2\nAA,\n")
    ...     table = read_table(path)
    >>> table.features, table.left_out
    (('delay',), ('carrier',))
    >>> table.values.tolist()
    [[2.0], [nan]]
    """
    path = Path(path)
    kind = _kind(path)
    pa = _pyarrow()
    with path.open("rb"):  # what is not there, or may not be read, is not called damaged below
        pass
    damage = (pa.ArrowException, OSError, EOFError, zlib.error, UnicodeError, csv.Error)
    try:
        source = kind.read(path)
    except damage as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} is damaged, or is no {kind.name} file: {reason}") from error
    return _table(path, source, columns, kind.number)


def write_table(path: str | os.PathLike[str], table: Table, *, overwrite: bool = False) -> None:
    """Write `table` as CSV or Parquet, by the suffix of `path`, in one step: whole or not at all.

    Features are float64, in as many digits as it takes to read the same number back. The errors are
    those of `check_destination`; a ValueError also names a column of a type that CSV cannot hold.
    """
    path = Path(path)
    kind = _kind(path)
    check_destination(path, overwrite=overwrite)
    with staged(path) as new, new.open("xb") as file:
        kind.write(file, table)


def split_suffix(path: str | os.PathLike[str]) -> tuple[str, str]:
    """The name of a table's file without the suffix that says its format, and that suffix.

    >>> split_suffix("out/weather.csv.gz")
    ('weather', '.csv.gz')
    """
    name = Path(path).name
    for suffix in _KINDS:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)], name[-len(suffix) :]
    known = ", ".join(_KINDS)
    raise ValueError(f"{path} has no suffix that says its format; fastnorm knows {known}")


def check_destination(path: str | os.PathLike[str], *taken: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Raise OSError unless a file may be written at `path`, ValueError if it is one of `taken`.

    Without `overwrite` there must be no such file yet. A link to one of `taken` is that file.
    """
    path = Path(path)
    for other in map(Path, taken):
        if path.resolve() == other.resolve() or (path.exists() and other.exists() and path.samefile(other)):
            raise ValueError(f"{path} and {other} are one file; give each a name of its own")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no such folder: {path.parent}; create it first")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already; choose another name, or --force to replace it")


@contextmanager
def staged(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the path of a new file beside `path`, which replaces `path` when the block ends well.

    The block creates it. When the block raises, `path` stays as it was and nothing lies beside it.
    """
    path = Path(path).resolve()  # a link stays a link
    new = path.with_name(f".{secrets.token_hex(4)}.{path.name}")
    try:
        yield new
        if path.exists():
            shutil.copymode(path, new)
        with new.open("rb+") as file:
            os.fsync(file.fileno())
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
    if os.name == "posix":  # the new name reaches the disk with the folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


# Columns as numbers.


class _NotNumeric(ValueError):
    """The column holds something else; the text says what."""


def _table(path: Path, source: Any, columns: Sequence[str] | None, number: Callable[[Any, bool], Any]) -> Table:
    names = tuple(source.column_names)
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise ValueError(f"{path} has several columns named {listed(twice)}; rename them")
    if not source.num_rows:
        raise ValueError(f"{path} has no rows")
    wanted = _without_index(source) if columns is None else _checked(path, names, columns)
    features = {}
    for name in wanted:
        try:
            features[name] = number(source.column(name), columns is not None)
        except _NotNumeric as error:
            if columns is not None:
                raise ValueError(f"column {name!r} of {path} is not numeric: {error}") from error
        except ValueError as error:
            raise ValueError(f"column {name!r} of {path} {error}") from error
    if not features:
        raise ValueError(f"{path} has no numeric columns; its columns are {listed(names)}")
    values = np.empty((source.num_rows, len(features)))
    for index, column in enumerate(features.values()):
        values[:, index] = column.fill_null(np.nan).to_numpy()
    rest = source.drop_columns(list(features))
    return Table(names, tuple(features), values, rest)


def _without_index(source: Any) -> list[str]:
    stored = json.loads((source.schema.metadata or {}).get(b"pandas", "{}"))
    index = ["", *stored.get("index_columns", [])]
    return [name for name in source.column_names if name not in index]


def _checked(path: Path, names: tuple[str, ...], columns: Sequence[str]) -> Sequence[str]:
    if isinstance(columns, str):
        raise TypeError(f"columns is the text {columns!r}; pass a list of names")
    if not columns:
        raise ValueError("columns is empty; name at least one, or pass None for every numeric one")
    known = set(names)
    if missing := [name for name in columns if name not in known]:
        raise ValueError(f"{path} has no column {listed(missing)}; it has {listed(names)}")
    if len(set(columns)) < len(columns):
        raise ValueError(f"columns names one twice: {listed(columns)}; name each once")
    return columns


def _number_of_text(column: Any, asked: bool) -> Any:
    """A column of text as float64, with null for missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    trimmed = pc.utf8_trim_whitespace(column)
    missing = pc.is_in(trimmed, value_set=pa.array(_MISSING))
    given = pc.if_else(missing, pa.scalar(None, pa.string()), trimmed)
    if given.null_count == len(given) and not asked:
        raise _NotNumeric("it holds no values")
    try:
        numbers = given.cast(pa.float64())
    except pa.ArrowInvalid as error:
        if not asked:
            raise _NotNumeric(error) from error
        try:
            return given.cast(pa.bool_()).cast(pa.float64())
        except pa.ArrowInvalid:
            raise _NotNumeric(error) from error
    # float64 holds every whole number below 9e15; the few others are looked at one by one.
    for text in given.filter(pc.match_substring_regex(given, r"^[+-]?(9\d{15}|\d{17,})$")):
        if Decimal(text.as_py()) != Decimal(float(text.as_py())):
            raise ValueError(f"holds {text}, which float64 would round; choose columns without it")
    return numbers


def _number_of_typed(column: Any, asked: bool) -> Any:
    """A column of a Parquet file as float64, with null for missing."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_floating(kind) or (pa.types.is_boolean(kind) and asked):
        return column.cast(pa.float64())
    if pa.types.is_integer(kind):
        try:
            return column.cast(pa.float64())
        except pa.ArrowInvalid:  # beyond 2**53, where some are still exact
            return _number_of_text(column.cast(pa.string()), asked=True)
    if pa.types.is_decimal(kind):  # rounded once, as the same digits in a CSV file are
        return _number_of_text(column.cast(pa.string()), asked=True)
    raise _NotNumeric(f"its type is {kind}")


# CSV: every column is read as text, so that what is no feature goes back letter by letter.


def _read_csv(path: Path, delimiter: str) -> Any:
    import pyarrow as pa
    from pyarrow.csv import ConvertOptions, ParseOptions, ReadOptions, read_csv

    unpack = gzip.open if path.suffix.lower() == ".gz" else open
    with unpack(path, "rt", encoding="utf-8-sig", newline="") as file:
        names = next((row for row in csv.reader(file, delimiter=delimiter) if row), [])
    return read_csv(
        str(path),
        # A row must fit into a block.
        read_options=ReadOptions(block_size=max(1 << 24, 64 * len(names))),
        parse_options=ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
    )


def _write_csv(file: BinaryIO, table: Table, delimiter: str) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    special = f'["\r\n{delimiter}]'
    position = {name: index for index, name in enumerate(table.features)}
    step = max(1, _CELLS_AT_A_TIME // len(table.columns))

    def cells(name: str, start: int) -> Any:
        if name in position:
            column = table.values[start : start + step, position[name]]
            return pa.array(column, from_pandas=True).cast(pa.string())
        text = table.rest.column(name).slice(start, step)
        try:
            return quoted(text.cast(pa.string()))
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
            kind = table.rest.schema.field(name).type
            cure = "write Parquet, or drop the column"
            raise ValueError(f"CSV cannot hold column {name!r} of type {kind}; {cure}") from error

    def quoted(text: Any) -> Any:
        odd = pc.match_substring_regex(text, special)
        if not pc.any(odd).as_py():
            return text
        inner = pc.replace_substring(text, '"', '""')
        return pc.if_else(odd, pc.binary_join_element_wise('"', inner, '"', ""), text)

    def write(*columns: Any) -> None:
        rows = pc.binary_join_element_wise(*columns, delimiter, null_handling="replace", null_replacement="")
        # Of one column an empty line would be no row at all.
        lines = [row or '""' for row in rows.to_pylist()]
        file.write("\n".join([*lines, ""]).encode())

    write(*(quoted(pa.array([name])) for name in table.columns))
    for start in range(0, len(table.values), step):
        write(*(cells(name, start) for name in table.columns))


def _write_packed_csv(file: BinaryIO, table: Table, delimiter: str) -> None:
    # Neither a name nor a time, so that the same table gives the same bytes.
    with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as packed:
        _write_csv(packed, table, delimiter)  # type: ignore[arg-type]


# Parquet.


def _read_parquet(path: Path) -> Any:
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path, page_checksum_verification=True) as file:
        return file.read()


def _write_parquet(file: BinaryIO, table: Table) -> None:
    import pyarrow as pa
    from pyarrow.parquet import write_table

    from fastnorm._frames.arrow import with_dtypes

    columns, fields = [], []
    position = {name: index for index, name in enumerate(table.features)}
    for name in table.columns:
        if name in position:
            columns.append(pa.array(table.values[:, position[name]], from_pandas=True))
            fields.append(pa.field(name, pa.float64()))
        else:
            columns.append(table.rest.column(name))
            fields.append(table.rest.schema.field(name))
    schema = pa.schema(
        fields, metadata=with_dtypes(table.rest.schema.metadata, dict(zip(table.columns, columns, strict=True)))
    )
    write_table(pa.table(columns, schema=schema), file, write_page_checksum=True)


# The formats.


class _Kind(NamedTuple):
    name: str
    read: Callable[[Path], Any]
    number: Callable[[Any, bool], Any]
    write: Callable[[BinaryIO, Table], None]


def _csv_kind(delimiter: str, write: Callable[..., None]) -> _Kind:
    read = partial(_read_csv, delimiter=delimiter)
    return _Kind("CSV", read, _number_of_text, partial(write, delimiter=delimiter))


_PARQUET = _Kind("Parquet", _read_parquet, _number_of_typed, _write_parquet)
_KINDS = {
    ".csv": _csv_kind(",", _write_csv),
    ".tsv": _csv_kind("\t", _write_csv),
    ".csv.gz": _csv_kind(",", _write_packed_csv),
    ".tsv.gz": _csv_kind("\t", _write_packed_csv),
    ".parquet": _PARQUET,
    ".pq": _PARQUET,
}


def _kind(path: Path) -> _Kind:
    return _KINDS[split_suffix(path)[1].lower()]


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        if error.name != "pyarrow":
            raise
        cure = "python -m pip install 'fastnorm-numba[cli]'"
        raise ImportError(f"tables are read with pyarrow; install it with: {cure}") from error
    return pyarrow
