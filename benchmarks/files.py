"""Arrays as files, which lie in the page cache."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import Call, Given, Way

SUFFIXES = (".npy", ".parquet", ".csv")
ROWS = 1 << 17  # read at a time


def folder(given: Given) -> Path:
    """A folder that goes when the timing is done."""
    return Path(given.stack.enter_context(tempfile.TemporaryDirectory(prefix="fastnorm-")))


def written(given: Given, suffix: str) -> Path:
    """The array as a file; the columns of a table are named c0, c1, ..."""
    path = folder(given) / f"x{suffix}"
    if suffix == ".npy":
        np.save(path, given.x)
        return path
    import pyarrow as pa
    from pyarrow import csv, parquet

    table = pa.table({f"c{index}": column for index, column in enumerate(given.x.T)})
    if suffix == ".csv":
        csv.write_csv(table, path)
    else:
        parquet.write_table(table, path, row_group_size=ROWS, use_dictionary=False)
    return path


def ways(work: Callable[[Path], Any], verb: str = "fit", suffixes: tuple[str, ...] = SUFFIXES) -> dict[str, Way]:
    """What a library does with a file of each format."""

    def way(suffix: str) -> Way:
        def prepared(given: Given) -> Call:
            path = written(given, suffix)
            return lambda: work(path)

        return prepared

    return {f"{verb} {suffix}": way(suffix) for suffix in suffixes}


def batches(path: Path) -> Iterator[Any]:
    """Some rows of a table after the other, as pyarrow unpacks them."""
    from pyarrow import csv, parquet

    if path.suffix == ".csv":
        with csv.open_csv(path) as found:
            yield from found
    else:
        with parquet.ParquetFile(path) as file:
            yield from file.iter_batches(ROWS)
