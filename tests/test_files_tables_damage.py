"""Laws on damaged tables: an error that names the file, or what pyarrow reads as a whole; never anything else."""

import csv
import gzip
import re

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from tables import SUFFIXES, WRITERS, arrow, parquet, written

from fastnorm import Moments, Normalization, adapt_files, normalize_files
from fastnorm.files import _arrays
from fastnorm.files import csv as csv_module

NUMBER = re.compile(r"|-?\d{1,17}|-?\d+\.\d+(e[+-]?\d+)?")
TIMES = 70  # damaged files of each of eight formats


@pytest.fixture
def tmp_path(in_memory):
    return in_memory


@pytest.fixture(autouse=True)
def small_steps(monkeypatch):
    monkeypatch.setattr(_arrays, "REGION", 8 * 2 * 16)
    monkeypatch.setattr(csv_module, "BLOCK", 1 << 8)


def table():
    rng = np.random.default_rng(3)
    words = pa.array([f"word {index}" for index in range(40)])
    return pa.table({"a": rng.normal(size=40), "s": words, "b": pa.array([*range(39), None])})


def damaged(data, rng):
    """A file with some bytes flipped, cut off, doubled, zeroed or put in between."""
    place, size = int(rng.integers(len(data))), int(rng.integers(1, 20))
    match rng.integers(6):
        case 0:
            return data[:place]
        case 1:
            return data[:place] + data[place + size :]
        case 2:
            return data[:place] + data[place : place + size] + data[place:]
        case 3:
            return data[:place] + bytes(size) + data[place + size :]
        case 4:
            return data[:place] + rng.bytes(size) + data[place:]
    flipped = bytearray(data)
    for where in rng.integers(len(data), size=int(rng.integers(1, 4))):
        flipped[where] ^= 1 << int(rng.integers(8))
    return bytes(flipped)


def read_whole(path):
    """Columns a and b as they stand, all at once, by pyarrow or Python's csv; None for text that is not so simple."""
    if path.suffix in (".csv", ".tsv", ".gz"):
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8-sig", newline="") as file:
            head, *rows = [row for row in csv.reader(file, delimiter="\t" if ".tsv" in path.name else ",") if row]
        cells = [[row[head.index(name)] for row in rows] for name in ("a", "b")]
        if not all(NUMBER.fullmatch(cell) for column in cells for cell in column):
            return None
        return [np.array([float(cell or "nan") for cell in column]) for column in cells]
    if path.suffix in (".parquet", ".pq"):
        found = pq.ParquetFile(path, page_checksum_verification=True).read(["a", "b"])
    else:
        data = path.read_bytes()
        opened = pa.ipc.open_file if data[:6] == b"ARROW1" else pa.ipc.open_stream
        schema = opened(data).schema
        options = pa.ipc.IpcReadOptions(included_fields=sorted(map(schema.get_field_index, "ab")))
        found = opened(data, options=options).read_all()
    found.validate(full=True)
    columns = [found.column(name).combine_chunks() for name in ("a", "b")]
    if not all(pa.types.is_integer(column.type) or pa.types.is_floating(column.type) for column in columns):
        return None
    return columns


def answer(work):
    """What a call returns, or the text of its error, which is a plain one."""
    try:
        return work()
    except (OSError, ValueError) as error:
        return str(error) if type(error).__module__ == "builtins" else repr(type(error))


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.__name__)
def test_a_damaged_table_is_named_or_read_as_it_is(tmp_path, writer):
    """Whatever is broken: a named error and no output, or the bits of what is there."""
    rng = np.random.default_rng(list(writer.__name__.encode()))
    whole = written(tmp_path, writer, table(), "whole")
    layer = adapt_files(whole, columns=["a", "b"])
    data, refused = whole.read_bytes(), 0
    for index in range(TIMES):
        path, out = (tmp_path / f"{name}-{index}{SUFFIXES[writer]}" for name in ("broken", "out"))
        path.write_bytes(damaged(data, rng))
        found = answer(lambda: adapt_files(path, columns=["a", "b"], inf="omit").moments)  # noqa: B023
        if isinstance(found, str):
            assert path.name in found
            refused += 1
        elif (columns := read_whole(path)) is not None:
            assert found == Moments.of(pa.table(dict(zip("ab", columns, strict=True))))
        found = answer(lambda: normalize_files(path, out, layer))  # noqa: B023
        assert out.exists() != isinstance(found, str)
        assert found is None or path.name in found
    assert refused > TIMES // 4


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.__name__)
def test_a_file_that_was_cut_off_is_no_table(tmp_path, writer):
    """No part of a file with an end passes for the whole."""
    path = written(tmp_path, writer, table())
    data = path.read_bytes()
    ends = {0, 1, *range(7, len(data), 97)}
    if "csv" not in writer.__name__ and writer.__name__ not in ("tsv", "arrow_stream"):
        ends |= {len(data) - 1}
    for end in ends:
        path.write_bytes(data[:end])
        if writer.__name__ in ("csv_plain", "tsv", "arrow_stream"):
            continue
        with pytest.raises(ValueError, match=rf"{path.name} is damaged, or no "):
            adapt_files(path)


def test_another_file_under_a_known_suffix_is_damaged(tmp_path):
    """Bytes of something else are an error and no table."""
    for suffix in sorted({*SUFFIXES.values()} - {".csv", ".tsv"}):
        path = tmp_path / f"table{suffix}"
        path.write_text("something else\n" * 100)
        with pytest.raises(ValueError, match="is damaged, or no "):
            adapt_files(path)


def test_a_page_checksum_finds_a_single_bit(tmp_path):
    """Where Parquet has checksums, no flipped bit in a page passes."""
    x = np.random.default_rng(0).normal(size=5000)
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"x": x}), path, write_page_checksum=True, compression="NONE", use_dictionary=False)
    data = bytearray(path.read_bytes())
    start = data.index(x[0].tobytes())
    for place in range(start, start + 8 * 5000, 997):
        data[place] ^= 16
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"t\.parquet is damaged, or no Parquet file"):
            adapt_files(path)
        data[place] ^= 16


@pytest.mark.parametrize("writer", [parquet, arrow], ids=lambda writer: writer.__name__)
def test_the_damaged_one_of_many_is_named_or_skipped(tmp_path, writer):
    """The error names the file; with `skipped` the others count, and nothing of the damaged one."""
    paths = [written(tmp_path, writer, table(), f"shard-{index}") for index in range(5)]
    paths[3].write_bytes(paths[3].read_bytes()[:-40])
    with pytest.raises(ValueError, match=rf"{paths[3].name} is damaged"):
        adapt_files(tmp_path)
    skipped = []
    layer = adapt_files(tmp_path, skipped=skipped)
    assert [str(paths[3])] == [name for name, _ in skipped]
    assert adapt_files([path for path in paths if path != paths[3]]).moments == layer.moments
    assert 160 == layer.count


def test_damage_in_the_middle_of_a_csv_leaves_nothing_of_it(tmp_path):
    """Rows before a ragged one do not count when the file is skipped."""
    (tmp_path / "a.csv").write_text("x,y\n" + "1,2\n" * 500 + "1\n")
    (tmp_path / "b.csv").write_text("x,y\n" + "3,4\n" * 5)
    layer = adapt_files(tmp_path, skipped=[])
    assert ([3.0, 4.0], 5) == (layer.mean.tolist(), layer.count)
    assert isinstance(layer, Normalization)
