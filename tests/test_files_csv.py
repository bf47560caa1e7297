"""The laws of CSV: each bit of a number, each letter of a text, nothing by halves."""

import csv
import gzip
import os
import stat
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastnorm import Moments, Normalization, adapt_files, normalize_files
from fastnorm.files import csv as csv_module
from fastnorm.files._destination import check_destination, stem
from fastnorm.files._place import Place
from fastnorm.files._tables import open_table

# A mark at the start of a file is no letter of the first name.
LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\ufeff")
NAMES = st.text(LETTERS, min_size=1, max_size=8)
TEXTS = st.text(LETTERS, max_size=8).map("t{}".format)  # never a number, nor "true"
CELLS = st.sampled_from(["", "1", "-2.5", "1e300", "5e-324", "0.1"])

#: z = x, in every bit.
SAME = Normalization(mean=0.0, variance=1.0, epsilon=0.0)


def number(text):
    """Whether a name reads like a number: a first line of numbers alone is refused."""
    try:
        float(text)
    except ValueError:
        return False
    return True


@st.composite
def tables(draw):
    """Names, which of them are features, and rows of cells: text, or numbers of which the first is there."""
    names = draw(st.lists(NAMES, min_size=1, max_size=5, unique=True).filter(lambda names: not all(map(number, names))))
    features = [name for name in names if draw(st.booleans())] or names[:1]
    rows = [[draw(CELLS if name in features else TEXTS) for name in names] for _ in range(draw(st.integers(1, 4)))]
    rows[0] = ["1.5" if name in features else cell for name, cell in zip(names, rows[0], strict=True)]
    return names, features, rows


def written(path, text):
    path.write_bytes(text.encode())
    return path


def rows_of(path, delimiter=","):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file, delimiter=delimiter, strict=True))


def numbers(path, columns=None):
    """The features of a file as a dict of lists, None for missing."""
    names = adapt_files(path, columns=columns, inf="omit").feature_names
    with open_table(Place.of(path), names) as table:
        found = pa.concat_tables(table.whole())
    return {name: found.column(name).to_pylist() for name in names}


def as_bits(values):
    return np.array([np.nan if value is None else value for value in values], float).tobytes()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "table.csv"


# Numbers and text


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".csv.gz", ".tsv.gz"])
@given(table=tables())
def test_what_is_written_is_read_again(suffix, table, tmp_path_factory):
    """Every letter of a text, every number and the order of columns go through; Python's csv module finds them."""
    names, features, rows = table
    delimiter = "\t" if suffix.startswith(".tsv") else ","
    folder = tmp_path_factory.mktemp("round")
    old, new = folder / f"old{suffix}", folder / f"new{suffix}"
    opened = gzip.open if suffix.endswith(".gz") else open
    with opened(old, "wt", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([names, *rows])
    layer = adapt_files(old)
    assert features == list(layer.feature_names)
    normalize_files(old, new, SAME, columns=features)
    with opened(new, "rt", encoding="utf-8", newline="") as file:
        head, *again = csv.reader(file, delimiter=delimiter, strict=True)
    assert names == head
    for name, before, after in zip(names, zip(*rows, strict=True), zip(*again, strict=True), strict=True):
        if name in features:
            before, after = ([float(cell or "nan") for cell in cells] for cells in (before, after))
            assert as_bits(before) == as_bits(after)
        else:
            assert before == after


@given(values=st.lists(st.floats(allow_nan=False), min_size=1), style=st.sampled_from("reg"))
def test_a_number_in_text_is_what_float_makes_of_it(values, style, tmp_path_factory):
    """Any decimal text becomes the nearest double, in plain and in scientific notation."""
    texts = [repr(v) if style == "r" else format(v, f".25{style}") for v in values]
    path = written(tmp_path_factory.mktemp("float") / "x.csv", "\n".join(["x", *texts, ""]))
    assert as_bits([float(text) for text in texts]) == as_bits(numbers(path)["x"])


@given(values=st.lists(st.integers(2**52, 2**63 - 1) | st.integers(-(2**63), -(2**52)), min_size=1))
def test_whole_numbers_are_exact(values, tmp_path_factory):
    """64-bit integers that float64 would round are not rounded: in CSV and in Parquet the mean is the exact one."""
    folder = tmp_path_factory.mktemp("int")
    written(folder / "x.csv", "\n".join(["id", "1", *map(str, values), ""]))
    pq.write_table(pa.table({"id": [1, *values]}), folder / "x.parquet")
    mean = Fraction(1 + sum(values), 1 + len(values))
    for name in ("x.csv", "x.parquet"):
        layer = adapt_files(folder / name)
        assert float(mean) == layer.mean[0]
        assert Moments.of(np.array([[1], *([value] for value in values)])) == layer.moments


@pytest.mark.parametrize("value", [2**64 - 1, 2**64 - 2**11, 2**63 + 1])
def test_unsigned_numbers_are_exact(value, path):
    """So are those beyond the signed ones."""
    assert Moments.of(np.array([[1], [value]], np.uint64)) == adapt_files(written(path, f"id\n1\n{value}\n")).moments


@pytest.mark.parametrize("text", ["1.5\n9007199254740993", "18446744073709551617", "-9223372036854775809"])
def test_a_whole_number_is_never_rounded_in_silence(text, path):
    """Beyond 64 bits, or among fractions, it is an error that names it."""
    with pytest.raises(ValueError, match=r"table.csv: column 'x' holds -?\d+, which float64 would round"):
        adapt_files(written(path, f"x\n{text}\n"))


@pytest.mark.parametrize("text", ["1.5\n9007199254740992", "36893488147419103232", "1e300\n4503599627370496"])
def test_large_numbers_that_float64_holds_are_fine(text, path):
    """What is exact needs no error."""
    assert (
        Moments.of(np.array([[float(x)] for x in text.split()])) == adapt_files(written(path, f"x\n{text}\n")).moments
    )


@pytest.mark.parametrize("word", ["", " ", "NA", "NaN", "nan", "null", "NULL", "N/A", "#N/A", '""'])
def test_an_empty_field_and_the_usual_words_are_missing(word, path):
    """Missing numbers are null, however the file spells them."""
    written(path, f"a,b\n1,2\n{word},3\n")
    assert {"a": [1.0, None], "b": [2.0, 3.0]} == numbers(path)


def test_spaces_around_a_number_do_not_matter(path):
    """A table that is padded for the eye is read like any other."""
    assert {"a": [1.0, -2.5]} == numbers(written(path, "a,b\n 1 ,x\n -2.5,y\n"))


def test_one_column_keeps_its_missing_rows(path, tmp_path):
    """A lone missing value is written as a quoted empty field, for a blank line is no row."""
    normalize_files(written(path, 'a\n1\n""\n3\n'), tmp_path / "new.csv", SAME, columns=["a"])
    assert 'a\n1\n""\n3\n' == (tmp_path / "new.csv").read_text()
    assert {"a": [1.0, None, 3.0]} == numbers(tmp_path / "new.csv")


def test_text_that_is_no_feature_is_not_parsed(path, tmp_path):
    """Dates, leading zeros, trailing zeros and words for missing go back letter by letter."""
    rest = 'when,zip,price,note\n2013-1-1 5:00,00501,1.50,NA\n,1e3,-0,"a ""b"", c"\n'
    lines = [f"{line},{x}\n" for line, x in zip(rest.splitlines(), ["x", "1", "2"], strict=True)]
    normalize_files(written(path, "".join(lines)), tmp_path / "new.csv", SAME, columns=["x"])
    assert "".join(lines) == (tmp_path / "new.csv").read_text()


def test_a_table_with_a_mark_and_windows_lines_is_read(path):
    """Excel's UTF-8 mark is not part of the first name, nor the return of the last cell."""
    path.write_bytes(b"\xef\xbb\xbfa,b\r\n1,2\r\n")
    assert {"a": [1.0], "b": [2.0]} == numbers(path)


def test_a_wide_table_is_read_and_written(path, tmp_path, monkeypatch):
    """Thousands of columns and rows longer than a block are nothing special."""
    monkeypatch.setattr(csv_module, "BLOCK", 1 << 10)
    x = np.random.default_rng(0).normal(size=(3, 5000))
    written(
        path,
        "\n".join(
            [",".join(f"feature number {i}" for i in range(5000)), *(",".join(map(repr, r)) for r in x.tolist())]
        ),
    )
    layer = adapt_files(path)
    assert Moments.of(x) == layer.moments
    normalize_files(path, tmp_path / "new.csv", layer)
    assert layer.transform(x).tolist() == [[float(cell) for cell in row] for row in rows_of(tmp_path / "new.csv")[1:]]


def test_the_same_table_gives_the_same_bytes(path, tmp_path):
    """A packed file holds neither its name nor the time, and unpacks to the plain one."""
    written(path, "a,b\n1,x\n")
    for name in ("one.csv.gz", "two.csv.gz", "plain.csv"):
        normalize_files(path, tmp_path / name, SAME, columns=["a"])
    assert (tmp_path / "one.csv.gz").read_bytes() == (tmp_path / "two.csv.gz").read_bytes()
    assert (
        b"a,b\n1,x\n"
        == gzip.decompress((tmp_path / "one.csv.gz").read_bytes())
        == (tmp_path / "plain.csv").read_bytes()
    )


# Which columns are features


def test_columns_are_taken_in_the_order_they_are_asked_for(path):
    """Features follow the request."""
    layer = adapt_files(written(path, "a,b,c\n1,2,3\n"), columns=["c", "a"])
    assert (("c", "a"), [3.0, 1.0]) == (layer.feature_names, layer.mean.tolist())


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


# Errors


@pytest.mark.parametrize(
    ("text", "columns", "words"),
    [
        ("", None, "table.csv is damaged, or no CSV file .*empty"),
        ("a,b\n", None, "there are no rows to learn from"),
        ("a,b\nx,y\n", None, "table.csv has no numeric columns; its columns are 'a', 'b'"),
        ("a,b\n1\n", None, "table.csv is damaged, or no CSV file .*Expected 2 columns, got 1: 1"),
        ("a,a\n1,2\n", None, "table.csv has several columns named 'a'; rename them"),
        ("a,b\n1,2\n", ["c", "b", "d"], "has no column 'c', 'd'; it has 'a', 'b'"),
        ("a,b\n1,2\n", ["a", "a"], "columns must name at least one column and each of them once"),
        ("a,b\n1,2\n", [], "columns must name at least one column"),
        ("a,b\n1,2\n3,x7\n", ["b"], "table.csv: column 'b' is not numeric: it holds 'x7' in row 2; name others"),
        ("a,b\n1,2\n3,x7\n", None, r"table.csv: column 'b' holds 'x7' in row 2, and numbers; .*columns= \(--columns"),
        ('a,b\n1,"2,5"\n', None, "table.csv: column 'b' holds '2,5' in row 1, and numbers"),
        ("a;b\n1,5;2\n", None, "table.csv has a single column, 'a;b'; are its columns separated by ';'"),
        ("1.5,2\n3,4\n", None, "table.csv: its first line, '1.5', '2', seems to be data; write the names"),
        ("5,0,0\n3,4,1\n", None, "table.csv: its first line, '5', '0', '0', seems to be data"),
    ],
)
def test_a_table_that_does_not_fit_is_named_with_its_fault(text, columns, words, path):
    """The error says which file and column it is, and what is there instead."""
    with pytest.raises(ValueError, match=words):
        adapt_files(written(path, text), columns=columns)


def test_a_single_name_is_not_a_list_of_letters(path):
    """columns="ab" is refused, not read as the columns a and b."""
    with pytest.raises(TypeError, match="columns must be a list of names, each a string, not 'ab'"):
        adapt_files(written(path, "a,b\n1,2\n"), columns="ab")


def test_a_missing_file_is_an_error_of_the_system(path):
    """What is not there is not called damaged."""
    with pytest.raises(FileNotFoundError):
        adapt_files(path)


def test_text_that_is_not_utf_8_is_an_error(path):
    """Letters in another encoding are neither guessed nor dropped, in names and in cells."""
    for text in (b"a,\xe9\n1,2\n", b"a,b\n1,\xe9\n"):
        path.write_bytes(text)
        with pytest.raises(ValueError, match=r"table.csv is damaged, or its text is not UTF-8; convert it \(iconv -f"):
            adapt_files(path)


# Where a table is written


def test_a_suffix_says_the_format():
    """Capitals count as small letters, and an unknown suffix is answered with the known ones."""
    assert "Weather.v2" == stem(Path("out") / "Weather.v2.CSV.GZ")
    with pytest.raises(ValueError, match=r"x.xls has no suffix .* knows .*.parquet.* .csv, .tsv"):
        stem(Path("x.xls"))
    with pytest.raises(ValueError, match=r"x.npy is no name of a table; choose one that ends with .csv, .parquet"):
        stem(Path("x.npy"))


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


def test_a_file_that_exists_is_replaced_only_when_asked(path, tmp_path):
    """An existing file stays as it is without `overwrite`, and whenever the table turns out to be damaged."""
    new = written(tmp_path / "new.csv", "old")
    with pytest.raises(FileExistsError, match=r"new.csv exists already; choose another name"):
        normalize_files(written(path, "a\n1\n"), new, SAME, columns=["a"])
    with pytest.raises(ValueError, match="Expected 2 columns, got 1"):
        normalize_files(written(path, "a,b\n" + "1,2\n" * 99 + "1\n"), new, SAME, columns=["a"], overwrite=True)
    assert ("old", {"new.csv", "table.csv"}) == (new.read_text(), {file.name for file in tmp_path.iterdir()})
    normalize_files(written(path, "a\n1\n"), new, SAME, columns=["a"], overwrite=True)
    assert "a\n1\n" == new.read_text()


def test_a_replaced_file_keeps_its_permissions(path, tmp_path):
    """A private file stays private, a new one gets the usual bits, and a link stays a link."""
    old = written(tmp_path / "old.csv", "old")
    old.chmod(0o600)
    (tmp_path / "link.csv").symlink_to(old)
    normalize_files(written(path, "a\n1\n"), tmp_path / "link.csv", SAME, columns=["a"], overwrite=True)
    assert (tmp_path / "link.csv").is_symlink()
    assert (0o600, "a\n1\n") == (stat.S_IMODE(old.stat().st_mode), old.read_text())
    normalize_files(path, tmp_path / "new.csv", SAME, columns=["a"])
    (tmp_path / "plain").touch()
    assert (tmp_path / "plain").stat().st_mode == (tmp_path / "new.csv").stat().st_mode
