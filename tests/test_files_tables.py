"""The laws of tables in files: the same bits in every format, columns by name, everything else as it was."""

import csv
import datetime
import gzip
import json
import sys

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from processes import run_python
from tables import SUFFIXES, WRITERS, arrow, csv_plain, parquet, table_of, written

from fastnorm import Moments, Normalization, adapt_files, normalize_files
from fastnorm.files import _arrays, _checkpoint
from fastnorm.files import csv as csv_module
from fastnorm.files._place import Place
from fastnorm.files._tables import open_table

every_format = pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.__name__)
each_format = pytest.mark.parametrize("writer", [parquet, arrow, csv_plain], ids=lambda writer: writer.__name__)


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
    """Steps so small that every file has several."""
    monkeypatch.setattr(_arrays, "REGION", 8 * 4 * 4)
    monkeypatch.setattr(csv_module, "BLOCK", 1 << 8)


@pytest.fixture
def x():
    rng = np.random.default_rng(11)
    x = rng.normal(3, 10.0 ** rng.integers(-9, 9, (60, 4)))
    x[rng.random(x.shape) < 0.1] = np.nan
    return x


@pytest.fixture
def words():
    """A column of text that every format can hold."""
    return pa.array([f'row {index}, "quoted"\n' * (index % 3) + "x" for index in range(60)])


def as_array(path, names="abcd"):
    """Columns of a file, read by pyarrow or by Python's csv and float."""
    if path.suffix in (".csv", ".tsv", ".gz"):
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8", newline="") as file:
            head, *rows = csv.reader(file, delimiter="\t" if ".tsv" in path.name else ",", strict=True)
        return np.array([[float(row[head.index(name)] or "nan") for name in names] for row in rows]).reshape(
            -1, len(names)
        )
    table = pq.read_table(path) if path.suffix in (".parquet", ".pq") else pa.feather.read_table(path)
    return np.stack([table.column(name).to_numpy() for name in names], 1)


# The same bits


@every_format
def test_a_file_has_the_moments_of_its_array(tmp_path, x, words, writer):
    """Whatever the format, all bits are those of the array, and the columns of numbers are the features."""
    layer = adapt_files(written(tmp_path, writer, table_of(x, note=words)))
    assert Moments.of(x) == layer.moments
    assert ("a", "b", "c", "d") == layer.feature_names


@every_format
@pytest.mark.parametrize("target", sorted({*SUFFIXES.values(), ".tsv.gz"}))
def test_a_normalized_file_holds_the_bits_of_the_array(tmp_path, x, words, writer, target):
    """From any format to any other: each number is that of `transform`, text and missing numbers stay."""
    layer = Normalization().adapt(x)
    layer.feature_names = list("abcd")
    out = tmp_path / f"out{target}"
    normalize_files(written(tmp_path, writer, table_of(x, note=words)), out, layer)
    assert layer.transform(x).tobytes() == as_array(out).tobytes()
    assert words.to_pylist() == column(out, "note")
    normalize_files(out, tmp_path / "back.parquet", layer, inverse=True)
    assert layer.inverse_transform(layer.transform(x)).tobytes() == as_array(tmp_path / "back.parquet").tobytes()


def column(path, name):
    with open_table(Place.of(path), list("abcd")) as table:
        return [value for batch in table.whole() for value in batch.column(name).to_pylist()]


@each_format
def test_fifty_shards_in_any_order_are_one_file(tmp_path, x, words, writer):
    """However the rows are split over files and folders, and in whatever order their columns, the bits are the same."""
    rng, table = np.random.default_rng(1), table_of(x, note=words)
    cuts = np.sort(rng.integers(0, 61, 49))
    paths = []
    for start, stop in zip([0, *cuts], [*cuts, 60], strict=True):
        part = table.slice(start, stop - start)
        if paths:
            part = part.select(list(rng.permutation(part.column_names)))
        paths.append(written(tmp_path / "data" / f"key={start % 3}", writer, part, f"{len(paths)}-{start}"))
    want = Moments.of(x)
    for order in (paths, rng.permutation(paths).tolist()):
        layer = adapt_files(order, columns=list("abcd"))
        assert want == layer.moments
    assert want == adapt_files(paths).moments
    normalize_files(tmp_path / "data", tmp_path / "new", layer)
    for path in paths:
        new = tmp_path / "new" / path.relative_to(tmp_path / "data")
        assert layer.transform(as_array(path)).tobytes() == as_array(new).tobytes()


@each_format
def test_a_url_is_like_a_path(tmp_path, x, writer):
    """Files behind a URL of fsspec give the same bits."""
    path = written(tmp_path, writer, table_of(x))
    url = f"memory://tables/{path.name}"
    with fsspec.open(url, "wb") as file:
        file.write(path.read_bytes())
    layer = adapt_files(url)
    assert Moments.of(x) == layer.moments
    normalize_files(url, tmp_path / "out.parquet", layer)
    assert layer.transform(x).tobytes() == as_array(tmp_path / "out.parquet").tobytes()
    fsspec.filesystem("memory").rm("/tables", recursive=True)


@each_format
def test_a_scan_that_was_stopped_goes_on_within_a_file(tmp_path, x, writer, monkeypatch):
    """A checkpoint in the middle of a file: the second run reads the rest, and the bits are the same."""
    path, kept = written(tmp_path, writer, table_of(x, note=["t"] * 60)), tmp_path / "scan"
    add, count = _checkpoint.Checkpoint.add, []

    def stopped(self, part):
        add(self, part)
        count.append(1)
        if len(count) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(_checkpoint.Checkpoint, "add", stopped)
    with pytest.raises(KeyboardInterrupt):
        adapt_files(path, checkpoint=kept)
    monkeypatch.setattr(_checkpoint.Checkpoint, "add", add)
    assert 4 == json.loads(kept.read_text("utf-8"))["steps"]
    rows = []
    of = Moments.of
    monkeypatch.setattr(Moments, "of", lambda data, *args, **more: rows.append(len(data)) or of(data, *args, **more))
    layer = adapt_files(path, checkpoint=kept)
    assert of(x) == layer.moments
    assert 0 < sum(rows) < 60
    assert ("a", "b", "c", "d") == layer.feature_names


def test_one_feature_for_all_columns(tmp_path, x):
    """axis=None makes a single feature of columns that are named, or typed."""
    for writer, columns in ((parquet, None), (csv_plain, list("abcd"))):
        path = written(tmp_path, writer, table_of(x))
        layer = adapt_files(path, columns=columns, axis=None)
        assert Moments.of(x, None) == layer.moments
        normalize_files(path, tmp_path / "out.parquet", layer, columns=list("abcd"), overwrite=True)
        assert layer.transform(x).tobytes() == as_array(tmp_path / "out.parquet").tobytes()
    with pytest.raises(ValueError, match=r"table.csv: with axis=None .* columns="):
        adapt_files(path, axis=None)


def test_notes_compression_and_row_groups_stay(tmp_path, x):
    """Notes of a schema are kept, and of Parquet the compression and the rows of a group."""
    table = table_of(x, when=pa.array([datetime.date(2013, 1, 1)] * 60)).replace_schema_metadata({"note": "kept"})
    pq.write_table(table, tmp_path / "old.parquet", compression="zstd", row_group_size=25)
    normalize_files(tmp_path / "old.parquet", tmp_path / "new.parquet", adapt_files(tmp_path / "old.parquet"))
    new = pq.ParquetFile(tmp_path / "new.parquet")
    assert b"kept" == new.schema_arrow.metadata[b"note"]
    assert [25, 25, 10] == [new.metadata.row_group(index).num_rows for index in range(new.num_row_groups)]
    assert "ZSTD" == new.metadata.row_group(0).column(2).compression
    assert table.column("when") == new.read().column("when")


# Errors


@each_format
def test_a_table_must_have_what_the_layer_knows(tmp_path, x, writer):
    """Normalizing names the columns that are not there, and a layer without names says how to give them."""
    path = written(tmp_path, writer, table_of(x))
    layer = Normalization().adapt(x)
    with pytest.raises(ValueError, match="the layer has no feature_names; set them, or pass columns="):
        normalize_files(path, tmp_path / "o.csv", layer)
    normalize_files(path, tmp_path / "o.csv", layer, columns=list("abcd"))
    layer.feature_names = ["a", "b", "c", "e"]
    with pytest.raises(ValueError, match="has no column 'e'; it has 'a', 'b', 'c', 'd'"):
        normalize_files(path, tmp_path / "p.csv", layer)
    assert not (tmp_path / "p.csv").exists()


@each_format
def test_tables_of_nothing_are_errors(tmp_path, writer):
    """No rows, no numbers, nothing but missing values: each is said; an empty file among others is fine."""
    empty = written(tmp_path, writer, pa.table({"a": pa.array([], pa.float64())}), "empty")
    full = written(tmp_path, writer, pa.table({"a": [1.5]}), "full")
    with pytest.raises(ValueError, match="there are no rows to learn from"):
        adapt_files(empty)
    layer = adapt_files([empty, full])
    assert [1.5] == layer.mean.tolist()
    normalize_files(empty, tmp_path / "new.parquet", layer)
    assert (["a"], 0) == (
        pq.read_table(tmp_path / "new.parquet").column_names,
        len(pq.read_table(tmp_path / "new.parquet")),
    )
    words = written(tmp_path, writer, pa.table({"s": ["x"], "t": ["y"]}), "words")
    with pytest.raises(ValueError, match=r"words\.\w+ has no numeric columns; its columns are 's', 't'"):
        adapt_files(words)
    nulls = written(tmp_path, writer, pa.table({"s": pa.nulls(1), "t": pa.nulls(1)}), "nulls")
    with pytest.raises(ValueError, match="no numeric columns among 's', 't'"):
        adapt_files(nulls)


def test_csv_refuses_what_it_cannot_hold(tmp_path):
    """A list in a cell is an error that names column, type and cure, and nothing is written."""
    pq.write_table(pa.table({"a": [1], "tags": [["x"]]}), tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=r"CSV cannot hold column 'tags' of type list.*Parquet"):
        normalize_files(tmp_path / "t.parquet", tmp_path / "t.csv", adapt_files(tmp_path / "t.parquet"))
    assert ["t.parquet"] == [file.name for file in tmp_path.iterdir()]
    with pytest.raises(ValueError, match=r"t.npy: tables are written as Parquet, Arrow or CSV"):
        normalize_files(tmp_path / "t.parquet", tmp_path / "t.npy", adapt_files(tmp_path / "t.parquet"))


def test_without_pyarrow_the_error_says_what_to_install(tmp_path, monkeypatch):
    """A missing library is one clear line."""
    (tmp_path / "t.csv").write_text("a\n1\n")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pyarrow; .* pip install 'fastnorm-numba\[files\]' \(or \[cli\]\)"):
        adapt_files(tmp_path / "t.csv")


MEMORY = """
import resource, sys
from pathlib import Path
from fastnorm import adapt_files, normalize_files
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
small, large = map(Path, sys.argv[1:])
normalize_files(small, small.with_name("o" + small.name), adapt_files(small))
before = peak()
normalize_files(large, large.with_name("o" + large.name), adapt_files(large))
print(peak() - before)
"""


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".csv"])
def test_memory_does_not_grow_with_the_file(tmp_path, suffix):
    """Of one row group or one batch of 320 MB, only parts are in memory at a time."""
    rows = 400_000 if suffix == ".csv" else 10_000_000
    table = pa.table(dict.fromkeys("abcd", np.random.default_rng(0).normal(size=rows)))
    for name, part in (("small", table.slice(0, 1000)), ("large", table)):
        path = tmp_path / f"{name}{suffix}"
        if suffix == ".parquet":
            pq.write_table(part, path, row_group_size=rows, use_dictionary=False)
        elif suffix == ".arrow":
            arrow_in_one(path, part)
        else:
            pa.csv.write_csv(part, path)
    paths = [str(tmp_path / f"{name}{suffix}") for name in ("small", "large")]
    assert int(run_python(MEMORY, *paths, timeout=300)[0]) < 320


def arrow_in_one(path, table):
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table)
