"""Arrow: the mean and the variance of the columns of a table, by its query engine on all cores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import files
from benchmarks.peers import Call, Given, Peer


def table_of(given: Given) -> Any:
    """The columns of an array, each contiguous, in chunks; NaN are nulls."""
    import pyarrow as pa

    columns = [pa.array(column, from_pandas=given.missing) for column in given.table.T]
    whole = pa.table(columns, names=[f"c{i}" for i in range(len(columns))])
    return pa.Table.from_batches(whole.to_batches(max_chunksize=files.ROWS))


def fit(given: Given) -> Call:
    table = table_of(given)
    wanted = [(name, verb) for verb in ("mean", "variance") for name in table.column_names]

    def run() -> Any:
        row = table.group_by([]).aggregate(wanted)
        return [[row[f"{name}_{verb}"][0].as_py() for name in table.column_names] for verb in ("mean", "variance")]

    return run


def read(path: Path) -> Any:
    """Unpack a file, and do nothing with what is in it."""
    return sum(len(batch) for batch in files.batches(path))


PEER = Peer(
    "Arrow",
    ("pyarrow",),
    {"fit": fit, **files.ways(read, "read", (".parquet", ".csv"))},
    dtypes=("float32", "float64", "int32", "uint8"),
    missing=True,
    columns=1024,
    note="Its table is made before the time starts",
)
