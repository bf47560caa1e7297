"""The laws of fastnorm.tables: each bit of a number, each letter of a text, nothing by halves."""

import csv
import datetime
import decimal
import gzip
import io
import os
import stat
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastnorm.tables import (
    Table,
    check_destination,
    read_table,
    split_suffix,
    staged,
    write_table,
)
from hypothesis import given
from hypothesis import strategies as st

SUFFIXES = [".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet", ".pq"]
# A mark at the start of a file is no letter of the first name.
LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\ufeff")
NAMES = st.text(LETTERS, min_size=1, max_size=8)
TEXTS = st.text(LETTERS, max_size=8).map("t{}".format)  # never a number, nor "true"
FLOATS = st.floats(allow_infinity=False)


@st.composite
def tables(draw):
    """Tables with at least one feature, any text, and columns in any order."""
    columns = tuple(draw(st.lists(NAMES, min_size=1, max_size=5, unique=True)))
    features = tuple(name for name in columns if draw(st.booleans())) or columns[:1]
    rows = draw(st.integers(1, 4))
    numbers = st.lists(FLOATS, min_size=rows, max_size=rows)
    values = np.array([draw(numbers) for _ in features]).T.copy()
    values[0] = 1.5  # a CSV column without any value is no feature
    texts = st.lists(TEXTS, min_size=rows, max_size=rows)
    rest = {name: draw(texts) for name in columns if name not in features}
    schema = pa.schema([(name, pa.string()) for name in rest])
    return Table(columns, features, values, pa.table(rest, schema=schema))


def content(table):
    return table.columns, table.features, as_bits(table.values), table.rest.to_pydict()


def as_bits(values):
    """Every bit of the numbers, and one kind of NaN."""
    return np.where(np.isnan(values), np.nan, values).tobytes()


def written(path, text):
    path.write_bytes(text.encode())
    return path


def numbers(path, **options):
    """The features of a file as a dict of lists, None for missing."""
    table = read_table(path, **options)
    columns = ([None if v != v else v for v in column] for column in table.values.T.tolist())
    return dict(zip(table.features, columns, strict=True))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "table.csv"


# Numbers and text


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(table=tables())
def test_what_is_written_is_read_again(suffix, table, tmp_path_factory):
    """Every format keeps each bit of a number, each letter of a text, and the order of columns."""
    path = tmp_path_factory.mktemp("round") / f"table{suffix}"
    write_table(path, table)
    assert content(table) == content(read_table(path))


@given(table=tables())
def test_other_programs_read_the_same_csv(table, tmp_path_factory):
    """Python's csv module finds the cells that were written, and float() the numbers."""
    path = tmp_path_factory.mktemp("csv") / "table.csv"
    write_table(path, table)
    with path.open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file, strict=True)
    columns = dict(zip(head, zip(*rows, strict=True), strict=True))
    assert list(table.columns) == head
    for name, values in zip(table.features, table.values.T, strict=True):
        assert as_bits(values) == as_bits(np.array([float(cell or "nan") for cell in columns[name]]))
    for name in table.left_out:
        assert table.rest.column(name).to_pylist() == list(columns[name])


@given(values=st.lists(st.floats(allow_nan=False), min_size=1), style=st.sampled_from("reg"))
def test_a_number_in_text_is_what_float_makes_of_it(values, style, tmp_path_factory):
    """Any decimal text becomes the nearest double, in plain and in scientific notation."""
    texts = [repr(v) if style == "r" else format(v, f".25{style}") for v in values]
    path = written(tmp_path_factory.mktemp("float") / "x.csv", "\n".join(["x", *texts, ""]))
    assert as_bits(np.array([[float(text)] for text in texts])) == as_bits(read_table(path).values)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@given(value=st.integers(2**52, 2**64 - 1) | st.integers(-(2**63), -(2**52)))
def test_a_whole_number_is_exact_or_an_error(suffix, value, tmp_path_factory):
    """An integer that float64 would round is named, never rounded in silence."""
    path = tmp_path_factory.mktemp("int") / f"x{suffix}"
    if suffix == ".csv":
        written(path, f"id\n1\n{value}\n")
    else:
        kind = pa.int64() if value < 2**63 else pa.uint64()
        pq.write_table(pa.table({"id": pa.array([1, value], kind)}), path)
    if int(float(value)) == value:
        assert {"id": [1.0, float(value)]} == numbers(path)
    else:
        with pytest.raises(ValueError, match=f"column 'id' of .* holds {value}, which float64"):
            read_table(path)


@pytest.mark.parametrize("word", ["", " ", "NA", "NaN", "nan", "null", "NULL", "N/A", "#N/A", '""'])
def test_an_empty_field_and_the_usual_words_are_missing(word, path):
    """Missing numbers are NaN, however the file spells them."""
    written(path, f"a,b\n1,2\n{word},3\n")
    assert {"a": [1.0, None], "b": [2.0, 3.0]} == numbers(path)


def test_spaces_around_a_number_do_not_matter(path):
    """A table that is padded for the eye is read like any other."""
    assert {"a": [1.0, -2.5]} == numbers(written(path, "a,b\n 1 ,x\n -2.5,y\n"))


def test_one_column_keeps_its_missing_rows(path):
    """A lone missing value is written as a quoted empty field, for a blank line is no row."""
    values = np.array([[1.0], [np.nan], [3.0]])
    write_table(path, Table(("a",), ("a",), values, pa.table({})))
    assert 'a\n1\n""\n3\n' == path.read_text()
    assert {"a": [1.0, None, 3.0]} == numbers(path)


def test_text_that_is_no_feature_is_not_parsed(path):
    """Dates, leading zeros, trailing zeros and words for missing go back letter by letter."""
    rest = 'when,zip,price,note\n2013-1-1 5:00,00501,1.50,NA\n,1e3,-0,"a ""b"", c"\n'
    lines = [f"{line},{x}" for line, x in zip(rest.splitlines(), ["x", "1", "2"], strict=True)]
    table = read_table(written(path, "\n".join([*lines, ""])), columns=["x"])
    assert ("when", "zip", "price", "note") == table.left_out
    write_table(path, table, overwrite=True)
    assert "\n".join([*lines, ""]) == path.read_text()


def test_a_table_with_a_mark_and_windows_lines_is_read(path):
    """Excel's UTF-8 mark is not part of the first name, nor the return of the last cell."""
    path.write_bytes(b"\xef\xbb\xbfa,b\r\n1,2\r\n")
    assert {"a": [1.0], "b": [2.0]} == numbers(path)


def test_a_wide_table_is_read_and_written(path):
    """Thousands of columns and rows longer than pyarrow's usual block are nothing special."""
    names = tuple(f"feature number {i}" for i in range(5000))
    values = np.random.default_rng(0).normal(size=(3, 5000))
    write_table(path, Table(names, names, values, pa.table({})))
    assert as_bits(values) == as_bits(read_table(path).values)


def test_the_same_table_gives_the_same_bytes(tmp_path):
    """A packed file holds neither its name nor the time."""
    table = read_table(written(tmp_path / "table.csv", "a\n1\n"))
    for name in ("one.csv.gz", "two.csv.gz"):
        write_table(tmp_path / name, table)
    assert (tmp_path / "one.csv.gz").read_bytes() == (tmp_path / "two.csv.gz").read_bytes()


# Which columns are features


def test_columns_are_taken_in_the_order_they_are_asked_for(path):
    """Features follow the request; columns keep the order of the file."""
    table = read_table(written(path, "a,b,c\n1,2,3\n"), columns=["c", "a"])
    assert ("c", "a") == table.features
    assert [[3.0, 1.0]] == table.values.tolist()
    assert ("a", "b", "c") == table.columns


@pytest.mark.parametrize(
    ("text", "name", "values"),
    [
        ("a,b\n1,true\n2,False\n3,\n", "b", [1.0, 0.0, None]),
        ("a,b\n1,\n2,NA\n", "b", [None, None]),
        (",a\n0,1\n1,2\n", "", [0.0, 1.0]),
    ],
    ids=["true and false", "no values", "no name"],
)
def test_some_columns_are_features_only_when_asked_for(text, name, values, path):
    """True and false, a column without values and a nameless one are taken by name alone."""
    written(path, text)
    assert ["a"] == list(numbers(path))
    assert {name: values} == numbers(path, columns=[name])


def test_parquet_types_say_what_is_numeric(tmp_path):
    """Integers, floats and decimals are features; text of digits, times and truth are not."""
    columns = {
        "int8": pa.array([1, None], pa.int8()),
        "uint64": pa.array([2**60, None], pa.uint64()),
        "float16": pa.array(np.array([0.5, 1], np.float16)),
        "float32": pa.array([0.1, None], pa.float32()),
        "decimal": pa.array([decimal.Decimal("0.10"), None]),
        "text": pa.array(["1", None]),
        "time": pa.array([datetime.datetime(2013, 1, 1), None]),
        "truth": pa.array([True, None]),
    }
    path = tmp_path / "table.parquet"
    pq.write_table(pa.table(columns), path)
    assert {
        "int8": [1.0, None],
        "uint64": [2.0**60, None],
        "float16": [0.5, 1.0],
        "float32": [float(np.float32(0.1)), None],
        "decimal": [0.1, None],
    } == numbers(path)
    assert {"truth": [1.0, None]} == numbers(path, columns=["truth"])


def test_parquet_keeps_the_other_columns_and_says_null(tmp_path):
    """Types, names and notes of what is no feature stay; a missing number is null."""
    old = pa.table({"when": pa.array([datetime.date(2013, 1, 1), None]), "x": [1, None]})
    old = old.replace_schema_metadata({"note": "kept"})
    pq.write_table(old, tmp_path / "old.parquet")
    write_table(tmp_path / "new.parquet", read_table(tmp_path / "old.parquet"))
    new = pq.read_table(tmp_path / "new.parquet")
    assert old.column("when") == new.column("when")
    assert [1.0, None] == new.column("x").to_pylist()
    assert b"kept" == new.schema.metadata[b"note"]


def test_the_index_of_pandas_is_no_feature(tmp_path):
    """The column in which pandas keeps row labels is left out unless it is asked for."""
    note = {"pandas": '{"index_columns": ["__index_level_0__"]}'}
    table = pa.table({"x": [1.5], "__index_level_0__": [7]}).replace_schema_metadata(note)
    pq.write_table(table, tmp_path / "table.parquet")
    assert {"x": [1.5]} == numbers(tmp_path / "table.parquet")


# Errors


@pytest.mark.parametrize(
    ("text", "columns", "words"),
    [
        ("", None, "table.csv is damaged, or is no CSV file: Empty CSV file"),
        ("a,b\n", None, "table.csv has no rows"),
        ("a,b\nx,y\n", None, "table.csv has no numeric columns; its columns are 'a', 'b'"),
        ("a,b\n1\n", None, "no CSV file: CSV parse error: Expected 2 columns, got 1: 1"),
        ("a,a\n1,2\n", None, "table.csv has several columns named 'a'; rename them"),
        ("a,b\n1,2\n", ["c", "b", "d"], "has no column 'c', 'd'; it has 'a', 'b'"),
        ("a,b\n1,2\n", ["a", "a"], "columns names one twice: 'a', 'a'; name each once"),
        ("a,b\n1,2\n", [], "columns is empty; name at least one, or pass None"),
        ("a,b\n1,x7\n", ["b"], "column 'b' of .* is not numeric: Failed to parse string: 'x7'"),
    ],
)
def test_a_table_that_does_not_fit_is_named_with_its_fault(text, columns, words, path):
    """The error says which file and column it is, and what is there instead."""
    with pytest.raises(ValueError, match=words):
        read_table(written(path, text), columns)


def test_a_single_name_is_not_a_list_of_letters(path):
    """columns="ab" is refused, not read as the columns a and b."""
    with pytest.raises(TypeError, match="columns is the text 'ab'; pass a list of names"):
        read_table(written(path, "a,b\n1,2\n"), "ab")


def test_a_column_of_another_type_is_named_with_it(tmp_path):
    """A Parquet column that is asked for and not numeric is an error that says its type."""
    pq.write_table(pa.table({"a": ["1"]}), tmp_path / "table.parquet")
    with pytest.raises(ValueError, match=r"column 'a' of .* is not numeric: its type is string"):
        read_table(tmp_path / "table.parquet", ["a"])


def test_a_suffix_says_the_format():
    """Capitals count as small letters, and an unknown suffix is answered with the known ones."""
    assert ("Weather.v2", ".CSV.GZ") == split_suffix(Path("out") / "Weather.v2.CSV.GZ")
    with pytest.raises(ValueError, match=r"x.xls has no suffix .* knows .csv, .tsv, .* .parquet"):
        read_table("x.xls")


def test_a_missing_file_and_a_folder_are_errors_of_the_system(tmp_path):
    """What is not there is not called damaged."""
    with pytest.raises(FileNotFoundError):
        read_table(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises((IsADirectoryError, PermissionError)):
        read_table(tmp_path / "folder.csv")


def test_text_that_is_not_utf_8_is_an_error(path):
    """Letters in another encoding are neither guessed nor dropped, in names and in cells."""
    for text in (b"a,\xe9\n1,2\n", b"a,b\n1,\xe9\n"):
        path.write_bytes(text)
        with pytest.raises(ValueError, match=r"table.csv is damaged, or is no CSV file: .*(?i:utf)"):
            read_table(path)


@pytest.mark.parametrize("suffix", [".csv.gz", ".parquet"])
def test_a_file_that_was_cut_off_is_damaged(suffix, tmp_path):
    """No part of a packed file passes for the whole."""
    path = tmp_path / f"table{suffix}"
    names = ("a", "b")
    write_table(path, Table(names, names, np.arange(400.0).reshape(200, 2), pa.table({})))
    whole = path.read_bytes()
    for end in {0, 1, *range(7, len(whole), 97), len(whole) - 1}:
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match=rf"table{suffix} is damaged, or is no "):
            read_table(path)


def test_another_file_under_a_known_suffix_is_damaged(tmp_path):
    """Bytes of something else are an error and no table."""
    for suffix in (".csv.gz", ".parquet", ".pq"):
        with pytest.raises(ValueError, match="is damaged, or is no "):
            read_table(written(tmp_path / f"table{suffix}", "something else\n" * 100))


def test_csv_refuses_what_it_cannot_hold(tmp_path):
    """A list in a cell is an error that names column, type and cure, and nothing is written."""
    pq.write_table(pa.table({"a": [1], "tags": [["x"]]}), tmp_path / "table.parquet")
    table = read_table(tmp_path / "table.parquet")
    with pytest.raises(ValueError, match=r"CSV cannot hold column 'tags' of type list.*Parquet"):
        write_table(tmp_path / "table.csv", table)
    assert ["table.parquet"] == [file.name for file in tmp_path.iterdir()]


def test_without_pyarrow_the_error_says_what_to_install(path, monkeypatch):
    """A missing library is one clear line."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pyarrow; .* pip install 'fastnorm-numba\[cli\]'"):
        read_table(written(path, "a\n1\n"))


# Where a table is written


def test_a_file_that_exists_is_replaced_only_when_asked(path):
    """An existing file stays as it is without `overwrite`."""
    table = read_table(written(path, "a\n1\n"))
    with pytest.raises(FileExistsError, match=r"table.csv exists already; choose another name"):
        write_table(path, table)
    write_table(path, table, overwrite=True)
    assert "a\n1\n" == path.read_text()


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_file_is_never_its_own_destination(link, path, tmp_path):
    """Under any name, a link's too, and even with `overwrite`, the input is not an output."""
    written(path, "a\n1\n")
    link(path, tmp_path / "other.csv")
    (tmp_path / "folder").mkdir()
    for same in (path, tmp_path / "other.csv", tmp_path / "folder" / ".." / "table.csv"):
        with pytest.raises(ValueError, match="are one file; give each a name of its own"):
            check_destination(same, path, overwrite=True)


def test_a_destination_needs_a_folder_and_is_none(tmp_path):
    """A missing folder is not made, and a folder is not replaced."""
    with pytest.raises(FileNotFoundError, match=r"no such folder: .*none; create it first"):
        check_destination(tmp_path / "none" / "table.csv")
    with pytest.raises(IsADirectoryError, match="is a folder; name a file in it"):
        check_destination(tmp_path, overwrite=True)


def test_a_failure_leaves_what_was_there(path, tmp_path):
    """An interrupt in the middle of writing changes no file and leaves none behind."""
    written(path, "old")

    def interrupted():
        with staged(path) as new:
            new.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert ["table.csv"] == [file.name for file in tmp_path.iterdir()]
    assert "old" == path.read_text()


@pytest.mark.skipif(os.name != "posix", reason="permission bits are POSIX")
def test_a_replaced_file_keeps_its_permissions(path, tmp_path):
    """A private file stays private, a new one gets the usual bits, and a link stays a link."""
    table = read_table(written(path, "a\n1\n"))
    path.chmod(0o600)
    (tmp_path / "link.csv").symlink_to(path)
    write_table(tmp_path / "link.csv", table, overwrite=True)
    assert (tmp_path / "link.csv").is_symlink()
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    write_table(tmp_path / "new.csv", table)
    (tmp_path / "plain").touch()
    assert (tmp_path / "plain").stat().st_mode == (tmp_path / "new.csv").stat().st_mode


def test_packed_csv_is_csv(tmp_path):
    """gzip alone unpacks a .csv.gz to the bytes of the .csv."""
    table = read_table(written(tmp_path / "table.csv", "a,b\n1,x\n"))
    write_table(tmp_path / "new.csv.gz", table)
    packed = io.BytesIO((tmp_path / "new.csv.gz").read_bytes())
    assert b"a,b\n1,x\n" == gzip.GzipFile(fileobj=packed).read()
