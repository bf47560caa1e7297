"""DuckDB: `avg` and `var_pop` of the columns of an Arrow table, in one query on all cores."""

from __future__ import annotations

from typing import Any

from benchmarks.peers import Call, Given, Peer
from benchmarks.peers.pyarrow import table_of


def fit(given: Given) -> Call:
    import duckdb

    base = given.stack.enter_context(duckdb.connect())
    base.register("numbers", table_of(given))
    columns = range(given.x.shape[-1])
    wanted = ", ".join(f"{verb}(c{i})" for verb in ("avg", "var_pop") for i in columns)

    def run() -> Any:
        row = base.execute(f"SELECT {wanted} FROM numbers").fetchone()
        return row[: len(columns)], row[len(columns) :]

    return run


PEER = Peer(
    "DuckDB",
    ("duckdb",),
    {"fit": fit},
    dtypes=("float32", "float64", "int32", "uint8"),
    missing=True,
    columns=1024,
    note="Its table is made before the time starts",
)
