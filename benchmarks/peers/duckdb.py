"""DuckDB: `avg` and `var_pop` of the columns of an Arrow table, in one query on all cores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import files
from benchmarks.peers import Call, Given, Peer
from benchmarks.peers.pyarrow import table_of


def fit(given: Given) -> Call:
    import duckdb

    base = given.stack.enter_context(duckdb.connect())
    base.register("numbers", table_of(given))
    columns = given.x.shape[-1]
    return lambda: _statistics(base, columns, "numbers")


def _statistics(base: Any, columns: int, source: str) -> Any:
    wanted = ", ".join(f"{verb}(c{i})" for verb in ("avg", "var_pop") for i in range(columns))
    row = base.execute(f"SELECT {wanted} FROM {source}").fetchone()
    return row[:columns], row[columns:]


def scan(path: Path) -> Any:
    """A query over a file."""
    import duckdb

    with duckdb.connect() as base:
        columns = base.execute(f"SELECT * FROM '{path}' LIMIT 0").description
        return _statistics(base, len(columns), f"'{path}'")


PEER = Peer(
    "DuckDB",
    ("duckdb",),
    {"fit": fit, **files.ways(scan, suffixes=(".parquet", ".csv"))},
    dtypes=("float32", "float64", "int32", "uint8"),
    missing=True,
    columns=1024,
    note="Its table is made before the time starts",
)
