"""The laws of tables in files: the same bits in every format, columns by name, everything else as it was."""

import csv
import datetime
import decimal
import gzip
import json
import sys

import fsspec
import numpy as np
import pandas as pd
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


# Which columns are features


def test_types_say_what_is_numeric(tmp_path):
    """Integers, floats and decimals are features; text of digits, times, lists and truth are not."""
    columns = {
        "int8": pa.array([1, None], pa.int8()),
        "uint64": pa.array([2**64 - 1, None], pa.uint64()),
        "float16": pa.array(np.array([0.5, 1], np.float16)),
        "float32": pa.array([0.1, None], pa.float32()),
        "decimal": pa.array([decimal.Decimal("0.10"), None]),
        "text": pa.array(["1", None]),
        "kind": pa.array(["1", None]).dictionary_encode(),
        "time": pa.array([datetime.datetime(2013, 1, 1), None]),
        "day": pa.array([datetime.date(2013, 1, 1), None]),
        "list": pa.array([[1], None]),
        "struct": pa.array([{"int8": 1}, None]),
        "nothing": pa.nulls(2),
        "truth": pa.array([True, None]),
    }
    values = {"int8": 1, "uint64": 2**64 - 1, "float32": float(np.float32(0.1)), "decimal": 0.1}
    for writer in (parquet, arrow):
        path = written(tmp_path, writer, pa.table(columns))
        layer = adapt_files(path)
        assert ("int8", "uint64", "float16", "float32", "decimal") == layer.feature_names
        assert [1, 1, 2, 1, 1] == layer.moments.count.tolist()
        for name, value in values.items():
            assert Moments.of(np.array([[value]])).to_dict()["sum"] == part_of(path, name).to_dict()["sum"]
        assert [1.0] == adapt_files(path, columns=["truth"]).mean.tolist()
        assert [0] == adapt_files(path, columns=["nothing"]).moments.count.tolist()
        assert {"struct", "list", "day", "kind"} < set(check_rest(path, layer, tmp_path / f"o{path.suffix}"))


def part_of(path, name):
    return adapt_files(path, columns=[name]).moments


def check_rest(path, layer, out):
    """Columns that are no features have the same values and type in the new file."""
    normalize_files(path, out, layer)
    read = pq.read_table if out.suffix == ".parquet" else pa.feather.read_table
    old, new = read(path), read(out)
    rest = [name for name in old.column_names if name not in layer.feature_names]
    assert old.select(rest) == new.select(rest)
    assert old.column_names == new.column_names
    return rest


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


def test_the_index_of_pandas_is_no_feature(tmp_path):
    """The column in which pandas keeps row labels is left out unless it is asked for, and pandas finds it again."""
    frame = pd.DataFrame({"x": [1, 3]}, index=[7, 9])
    frame.to_parquet(tmp_path / "t.parquet")
    layer = adapt_files(tmp_path / "t.parquet")
    assert ("x",) == layer.feature_names
    normalize_files(tmp_path / "t.parquet", tmp_path / "z.parquet", layer)
    pd.testing.assert_frame_equal(
        pd.DataFrame({"x": [-1.0, 1.0]}, index=[7, 9]), pd.read_parquet(tmp_path / "z.parquet")
    )
    assert [8.0] == adapt_files(tmp_path / "t.parquet", columns=["__index_level_0__"]).mean.tolist()


@pytest.mark.parametrize("rows", [1, 99])
def test_a_word_among_numbers_is_found(tmp_path, rows):
    """One word in one of many CSV files: an error with file, column and row, and no column that is quietly gone."""
    numbers = "".join(f"{i},{i},\n" for i in range(rows))
    for name in "ab":
        (tmp_path / f"{name}.csv").write_text("x,y,z\n" + numbers)
    (tmp_path / "c.csv").write_text("x,y,z\n" + numbers + "1,word,\n2,3,\n")
    words = (
        rf"c.csv: column 'y' holds 'word' in row {rows + 1}, and numbers; mend it, or name .* columns= \(--columns\)"
    )
    for order in ("abc", "cba"):
        with pytest.raises(ValueError, match=words):
            adapt_files([tmp_path / f"{name}.csv" for name in order])
    assert ("x",) == adapt_files(tmp_path, columns=["x"]).feature_names


def test_numbers_in_one_text_file_and_words_in_another_are_found(tmp_path):
    """The second file is named; words in all files, with or without missing ones, are no feature."""
    for name, cell in (("a", "1"), ("b", "word"), ("c", "")):
        (tmp_path / f"{name}.csv").write_text(f"x,y\n1,{cell}\n")
    for order in ("ab", "ba"):
        paths = [tmp_path / f"{name}.csv" for name in order]
        with pytest.raises(ValueError, match=rf"{order[1]}.csv: does not have .*: numeric in one only 'y'"):
            adapt_files(paths)
        assert 2 == adapt_files(paths, columns=["x"]).count
    for order in ("bc", "cb"):
        assert ("x",) == adapt_files([tmp_path / f"{name}.csv" for name in order]).feature_names


def test_a_file_of_nulls_fits_to_numbers_and_to_text(tmp_path):
    """A column of nothing but nulls in one Parquet file is what the others say."""
    parquet(tmp_path / "a.parquet", pa.table({"x": pa.nulls(2), "s": pa.nulls(2), "n": pa.nulls(2)}))
    parquet(tmp_path / "b.parquet", pa.table({"x": [1, 3], "s": ["a", "b"], "n": pa.nulls(2)}))
    for order in ("ab", "ba"):
        layer = adapt_files([tmp_path / f"{name}.parquet" for name in order])
        assert (("x",), 4, [2]) == (layer.feature_names, layer.count, layer.moments.missing.tolist())


# Errors


@each_format
@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"a": [1]}, r"b-700\.\w+: does not have the columns of the files before it: missing 'b'"),
        ({"a": [1], "b": [1], "c": [1]}, r"b-700\.\w+: does not .* extra 'c'.*columns="),
    ],
)
def test_a_shard_with_other_columns_is_named(tmp_path, writer, columns, words):
    """What is missing or extra in one of many files is one error that names the file and the columns."""
    paths = [written(tmp_path, writer, pa.table({"a": [1, 2], "b": [3, 4]}), f"a-{index}") for index in range(3)]
    paths.append(written(tmp_path, writer, pa.table(columns), "b-700"))
    with pytest.raises(ValueError, match=words):
        adapt_files(paths)
    skipped = []
    assert 6 == adapt_files(paths, skipped=skipped).count
    assert [str(paths[-1])] == [name for name, _ in skipped]
    if "b" in columns:
        assert 7 == adapt_files(paths, columns=["b"]).count
    else:
        with pytest.raises(ValueError, match=r"b-700\.\w+ has no column 'b'; it has 'a'"):
            adapt_files(paths, columns=["b"])


def test_numbers_here_and_text_there_are_an_error(tmp_path):
    """Where types tell, a column is the same in all files."""
    parquet(tmp_path / "a.parquet", pa.table({"x": [1], "y": [1]}))
    parquet(tmp_path / "b.parquet", pa.table({"x": [1], "y": ["1"]}))
    for order in ("ab", "ba"):
        with pytest.raises(ValueError, match=r"does not have the columns .*: numeric in one only 'y'"):
            adapt_files([tmp_path / f"{name}.parquet" for name in order])


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


def test_files_without_columns_or_with_names_twice_are_errors(tmp_path):
    """Nothing is guessed where names say nothing."""
    for writer in (parquet, arrow):
        for table, words in (
            (pa.table({}), "has no numeric columns"),
            (pa.table([[1], [2]], names=["a", "a"]), "has several columns named 'a'; rename them"),
        ):
            with pytest.raises(ValueError, match=words):
                adapt_files(written(tmp_path, writer, table))


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
