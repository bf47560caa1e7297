"""A file as steps: parts that are read one after the other, each fitting into memory."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any, NamedTuple

from fastnorm.files import _arrays
from fastnorm.files._ahead import ahead
from fastnorm.files._arrays import ArrayFile, regions
from fastnorm.files._formats import TABLES, format_of
from fastnorm.files._open import Reading, open_array
from fastnorm.files._part import Columns
from fastnorm.files._place import Place

Axis = int | tuple[int, ...] | None


class Step(NamedTuple):
    """Data of one step: an array, or a table of features and what is known of all columns; its bytes."""

    data: Any
    size: int
    columns: Columns | None = None


@contextmanager
def steps(place: Place, axis: Axis, reading: Reading, done: int = 0) -> Iterator[Iterator[Step]]:
    """The steps of a file after the first ``done``, read ahead."""
    if reading.raw is None and format_of(place) in TABLES:
        from fastnorm.files._tables import open_table

        with open_table(place, reading.columns) as table, closing(ahead(table.batches(done))) as found:
            yield (Step(batch, batch.nbytes, columns) for batch, columns in found)
        return
    with open_array(place, reading) as file, closing(_array_steps(file, axis, done)) as found:
        yield found


def _array_steps(file: ArrayFile, axis: Axis, done: int) -> Generator[Step, None, None]:
    views = all(map(file.is_view, islice(regions(file, axis, _arrays.VIEWED), 1)))
    times = _arrays.VIEWED if views else 1
    todo = islice(regions(file, axis, times), done, None)
    for region, data in ahead((region, file.read(region)) for region in todo):
        yield Step(data, data.nbytes)
        file.done(region)
