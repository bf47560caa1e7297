"""One table written in every format that holds tables, by pyarrow and Python's csv module."""

import csv
import gzip

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq


def parquet(path, table):
    pq.write_table(table, path, row_group_size=7, write_page_checksum=True)


def parquet_packed(path, table):
    pq.write_table(table, path, compression="zstd", data_page_size=64, write_batch_size=8)


def arrow(path, table):
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table, max_chunksize=6)


def arrow_stream(path, table):
    with pa.ipc.new_stream(path, table.schema) as file:
        file.write_table(table, max_chunksize=6)


def feather(path, table):
    pyarrow.feather.write_feather(table, str(path), compression="zstd", chunksize=9)


def csv_plain(path, table, delimiter=",", opened=open):
    with opened(path, "wt", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(table.column_names)
        rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
        writer.writerows([["" if cell is None else cell for cell in row] for row in rows])


def tsv(path, table):
    csv_plain(path, table, "\t")


def csv_packed(path, table):
    csv_plain(path, table, opened=gzip.open)


SUFFIXES = {
    parquet: ".parquet",
    parquet_packed: ".pq",
    arrow: ".arrow",
    arrow_stream: ".arrow",
    feather: ".feather",
    csv_plain: ".csv",
    tsv: ".tsv",
    csv_packed: ".csv.gz",
}
WRITERS = list(SUFFIXES)


def written(folder, writer, table, name="table"):
    path = folder / f"{name}{SUFFIXES[writer]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    writer(path, table)
    return path


def table_of(x, **rest):
    """The columns of an array as a, b, c ... with NaN as null, and other columns."""
    columns = {chr(97 + index): pa.array(values, from_pandas=True) for index, values in enumerate(np.asarray(x).T)}
    return pa.table({**rest, **columns})
