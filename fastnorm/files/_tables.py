"""Tables of named columns in files: the features as numbers, batch by batch, everything else carried along.

A missing number is null, an empty field in CSV. Columns that are no features go back as they came: text in CSV is never
parsed.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Self

from fastnorm._apply import Direction
from fastnorm._frames import checked_columns, listed
from fastnorm.files import _arrays
from fastnorm.files._ahead import ahead
from fastnorm.files._errors import border
from fastnorm.files._formats import format_of
from fastnorm.files._part import Columns
from fastnorm.files._place import Place
from fastnorm.files._progress import Progress
from fastnorm.normalization import Normalization


class TableFile(ABC):
    """A table in a file. Errors are OSError, and ValueError that begins with the file's name for what is damaged."""

    what: str  # the format, e.g. "CSV file"
    text = False  # whether every column is text, which may be read as numbers
    codec: str | None = None  # compression and rows of a group, where the format has them
    group: int | None = None

    schema: Any  # of pyarrow

    def __init__(self, place: Place) -> None:
        self.name = place.name

    @abstractmethod
    def read(self, names: Sequence[str], done: int, size: int) -> Generator[Any, None, None]:
        """Tables of these columns, one after the other without the first ``done``, at least one if that is 0.

        They have at most ``size`` bytes of numbers, or what the format keeps together.
        """

    def close(self) -> None:  # noqa: B027
        """Let go of the file."""


class TableWriter(ABC):
    """A new file that takes tables of one schema, one after the other; ``like`` is the table that is read."""

    @abstractmethod
    def __init__(self, new: Path, target: Path, schema: Any, like: TableFile) -> None: ...

    @abstractmethod
    def write(self, table: Any) -> None:
        """Append the rows of a table."""

    @abstractmethod
    def close(self) -> None:
        """Complete the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.close()
        except Exception:
            if error[0] is None:  # otherwise what went wrong first is the error
                raise


class Table:
    """A file with the columns that are features, or may be (see `Columns`)."""

    def __init__(self, file: TableFile, columns: Sequence[str] | None) -> None:
        self.file = file
        self.names: tuple[str, ...] = tuple(file.schema.names)
        self.asked = columns is not None
        if columns is not None:
            self.columns: Columns = dict.fromkeys(checked_columns(columns), True)
        self._check(columns or ())
        if columns is None:
            self.columns = self._numeric()

    def _check(self, wanted: Sequence[str]) -> None:
        from fastnorm.files._numbers import kind_of

        name, known = self.file.name, set(self.names)
        if self.file.text and not wanted and _are_data(self.names):
            raise ValueError(
                f"{name}: its first line, {listed(self.names)}, seems to be data; write the names of the columns above "
                "it, or pass columns= (--columns) if these are names"
            )
        if twice := [column for column, times in Counter(self.names).items() if times > 1]:
            raise ValueError(f"{name} has several columns named {listed(twice)}; rename them")
        if missing := [column for column in wanted if column not in known]:
            raise ValueError(f"{name} has no column {listed(missing)}; it has {listed(self.names)}")
        for column in () if self.file.text else wanted:
            kind = self.file.schema.field(column).type
            if kind_of(kind, asked=True) is False:
                raise ValueError(f"{name}: column {column!r} is not numeric: its type is {kind}; name others")

    def _numeric(self) -> Columns:
        from fastnorm.files._numbers import kind_of

        index = ["", *_pandas(self.file.schema).get("index_columns", [])]
        return {
            field.name: False if field.name in index else None if self.file.text else kind_of(field.type)
            for field in self.file.schema
        }

    def batches(self, done: int = 0) -> Generator[tuple[Any, Columns], None, None]:
        """The features as tables, and what is known of the columns by then; without the first ``done``."""
        import pyarrow as pa

        scan = _Scan(self, done)
        names = [name for name, kind in self.columns.items() if kind is not False]
        for batch in self._read(names, done, _arrays.REGION):
            yield pa.table(scan.numbers(batch)), dict(scan.columns)

    def whole(self) -> Iterator[Any]:
        """Tables of all columns, in which features are numbers."""
        scan, metadata = _Scan(self), self.file.schema.metadata or {}
        if not _pandas(self.file.schema):
            metadata = {key: value for key, value in metadata.items() if key != b"pandas"}
        for batch in self._read(self.names, 0, _arrays.REGION // 2):  # to write them takes as much again
            for name, column in scan.numbers(batch).items():
                place = self.names.index(name)
                batch = batch.set_column(place, self.file.schema.field(place).with_type(column.type), column)
            yield batch.replace_schema_metadata(metadata)

    def _read(self, names: Sequence[str], done: int, size: int) -> Iterator[Any]:
        if not names:
            raise ValueError(f"{self.file.name} has no numeric columns; its columns are {listed(self.names)}")
        with closing(self.file.read(names, done, size)) as batches:
            while True:
                with border(self.file.name, self.file.what):
                    if (batch := next(batches, None)) is None:
                        return
                yield batch


class _Scan:
    """The columns of a file that are features, or may be, as numbers, batch after batch."""

    def __init__(self, table: Table, done: int = 0) -> None:
        self.columns = dict(table.columns)
        self._table = table
        self._above: int | None = None if done else 0  # rows of the batches before, unless some were left out
        self._with_numbers: set[str] = set()

    def numbers(self, batch: Any) -> dict[str, Any]:
        """The features among the columns of a batch; what turns out to be none is noted in ``columns``."""
        names = [name for name, kind in self.columns.items() if kind is not False]
        found = {name: column for name in names if (column := self._number(batch, name)) is not None}
        if not found:
            raise ValueError(
                f"{self._table.file.name} has no numeric columns; its columns are {listed(self._table.names)}"
            )
        self._with_numbers |= {name for name, column in found.items() if column.null_count < len(column)}
        if self._above is not None:
            self._above += batch.num_rows
        return found

    def _number(self, batch: Any, name: str) -> Any:
        from fastnorm.files import _numbers

        column, file = batch.column(name), self._table.file
        try:
            return _numbers.of_text(column, self._table.asked) if file.text else _numbers.of_typed(column)
        except _numbers.NotNumeric as error:
            row = "" if self._above is None else f" in row {self._above + error.place + 1:,}"
            if self.columns[name]:
                raise ValueError(
                    f"{file.name}: column {name!r} is not numeric: it holds {error}{row}; name others"
                ) from error
            if error.among_numbers or name in self._with_numbers:
                raise ValueError(
                    f"{file.name}: column {name!r} holds {error}{row}, and numbers; mend it, or name the features with "
                    "columns= (--columns)"
                ) from error
            self.columns[name] = False
        except ValueError as error:
            raise ValueError(f"{file.name}: column {name!r} {error}") from error
        return None


def _are_data(names: Sequence[str]) -> bool:
    """Whether names are numbers, and others than pandas and years give to columns."""
    try:
        numbers = list(map(float, names))
    except ValueError:
        return False
    return len({*numbers}) < len(names) or not all(map(str.isdecimal, names))


def _pandas(schema: Any) -> dict[str, Any]:
    """What pandas noted in a schema."""
    try:
        notes = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
        whole = all(isinstance(note["field_name"], str | None) for note in notes["columns"])
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}
    return notes if whole else {}


@contextmanager
def open_table(place: Place, columns: Iterable[str] | None) -> Iterator[Table]:
    """Open a file of a format that holds tables; ``columns`` are its features, or None for every numeric one.

    None takes whole numbers, floats and decimals in the order of the file. Only when asked for by name: a column of
    true and false, and the index that pandas stores (in CSV a column without a name).
    """
    kind = format_of(place)
    _need_pyarrow()
    opened: type[TableFile]
    if kind == "parquet":
        from fastnorm.files.parquet import ParquetTable as opened
    elif kind == "arrow":
        from fastnorm.files.arrow import ArrowTable as opened
    else:
        from fastnorm.files.csv import CsvTable as opened
    with border(place.name, opened.what):
        file = opened(place)
    with closing(file):
        yield Table(file, None if columns is None else checked_columns(columns))


def create_table(new: Path, target: Path, schema: Any, like: TableFile) -> TableWriter:
    """Make the file ``new``, in the format that the name of ``target`` says."""
    kind = format_of(Place.of(target))
    created: type[TableWriter]
    if kind == "parquet":
        from fastnorm.files.parquet import ParquetWriter as created
    elif kind == "arrow":
        from fastnorm.files.arrow import ArrowWriter as created
    else:
        from fastnorm.files.csv import CsvWriter as created
    return created(new, target, schema, like)


def transform_table(
    place: Place,
    new: Path,
    target: Path,
    layer: Normalization,
    direction: Direction,
    columns: Sequence[str] | None,
    bar: Progress,
) -> None:
    """Write a table with transformed features to ``new``, in the format that the name of ``target`` says."""
    from fastnorm._frames.arrow import Arrow

    names = columns if columns is not None else layer.feature_names
    if names is None:
        raise ValueError(f"{place.name}: the layer has no feature_names; set them, or pass columns= (--columns)")
    run = layer.transform if direction == "forward" else layer.inverse_transform
    with (
        open_table(place, names) as table,
        closing(ahead(table.whole())) as batches,
        ExitStack() as created,
    ):
        writer = None
        for batch in batches:
            result = run(Arrow(batch, names))
            if writer is None:
                writer = created.enter_context(create_table(new, target, result.schema, table.file))
            writer.write(result)
            bar.add(batch.nbytes)


def _need_pyarrow() -> None:
    try:
        import pyarrow  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "pyarrow":
            raise
        cure = "python -m pip install 'fastnorm-numba[files]'"
        raise ImportError(f"tables are read with pyarrow; install it with: {cure} (or [cli])") from error
