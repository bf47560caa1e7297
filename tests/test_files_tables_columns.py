"""The laws of columns in tables: which are features, and what files must have in common."""

import datetime
import decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from tables import arrow, csv_plain, parquet, written

from fastnorm import Moments, adapt_files, normalize_files
from fastnorm.files import _arrays
from fastnorm.files import csv as csv_module

each_format = pytest.mark.parametrize("writer", [parquet, arrow, csv_plain], ids=lambda writer: writer.__name__)


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
    """Steps so small that every file has several."""
    monkeypatch.setattr(_arrays, "REGION", 8 * 4 * 4)
    monkeypatch.setattr(csv_module, "BLOCK", 1 << 8)


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


# What files must have in common


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


def test_files_without_columns_or_with_names_twice_are_errors(tmp_path):
    """Nothing is guessed where names say nothing."""
    for writer in (parquet, arrow):
        for table, words in (
            (pa.table({}), "has no numeric columns"),
            (pa.table([[1], [2]], names=["a", "a"]), "has several columns named 'a'; rename them"),
        ):
            with pytest.raises(ValueError, match=words):
                adapt_files(written(tmp_path, writer, table))
