"""The laws of what a user names: files, folders, URLs, and the options that say how to read them."""

import os
import re
from itertools import permutations

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from formats import npy_c, upload, written, zarr_3
from tables import csv_plain, parquet, table_of
from tables import written as table_written

from fastnorm import Moments, Normalization, adapt_files, normalize_files, write_report

X = np.random.default_rng(5).normal(3.0, 2.0, (12, 4))


@pytest.fixture(autouse=True)
def empty_memory():
    yield
    fsspec.filesystem("memory").rm("/", recursive=True)


# A file counts once


@pytest.mark.parametrize("link", [None, os.symlink, os.link])
def test_a_file_that_is_named_twice_is_refused(tmp_path, link):
    """By its own name, inside of a folder, or as a link: its rows would count twice."""
    (tmp_path / "in").mkdir()
    path, other = tmp_path / "in" / "x.npy", tmp_path / "y.npy"
    np.save(path, X)
    if link:
        link(path, other)
    for sources in permutations([path.parent if link is None else path, other if link else path]):
        with pytest.raises(ValueError, match=r"\.npy is .*named twice, and its rows would count twice; name each"):
            adapt_files(sources)
        with pytest.raises(ValueError, match="named twice"):
            normalize_files(sources, tmp_path / "out", Normalization().adapt(X))
    assert Moments.of(X) == adapt_files(path).moments


def test_a_url_that_is_named_twice_is_refused(tmp_path):
    """So is a file behind a URL, also beside its folder."""
    url = upload(written(tmp_path, npy_c, X), "memory://there/x.npy")
    other = url.replace("memory://", "memory:///")
    for sources in ([url, url], [url, other], ["memory://there", other]):
        with pytest.raises(ValueError, match=r"x.npy is .*named twice"):
            adapt_files(sources)


@pytest.mark.parametrize("source", ["in/pipe.npy", "in", "in/*.npy", "/dev/null"])
def test_what_is_neither_a_file_nor_a_folder_is_refused(tmp_path, monkeypatch, source):
    """A pipe would be waited for, and read once where data are read twice."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    os.mkfifo("in/pipe.npy")
    with pytest.raises(OSError, match=r"(in/pipe.npy|/dev/null) is neither a file nor a folder; write what comes"):
        adapt_files(source)


def test_a_url_without_its_package_says_what_to_install():
    """The message is the one of fsspec, after the name."""
    fsspec.register_implementation("nowhere", "no_such_package.System", clobber=True, errtxt="Install nowherefs")
    with pytest.raises(ImportError, match=r"^nowhere://b/x.npy cannot be opened: Install nowherefs; then repeat"):
        adapt_files("nowhere://b/x.npy")


def test_a_file_with_other_names_is_not_changed_in_place(tmp_path):
    """Under a hard link it would be changed as well, and not be known as normalized; a symbolic link is followed."""
    path = written(tmp_path, npy_c, X)
    layer = adapt_files(path)
    os.link(path, tmp_path / "other.npy")
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"x.npy has other names \(hard links\).*copy it first"):
        normalize_files(path, None, layer)
    assert (before, 2) == (path.read_bytes(), len(list(tmp_path.iterdir())))
    (tmp_path / "other.npy").unlink()
    (tmp_path / "link.npy").symlink_to(path)
    normalize_files(tmp_path / "link.npy", None, layer)
    assert layer.transform(X).tobytes() == np.load(path).tobytes()
    with pytest.raises(ValueError, match="normalized already"):
        normalize_files(path, None, layer)


# Folders behind a URL


@pytest.mark.parametrize("writer", [parquet, csv_plain], ids=lambda writer: writer.__name__)
def test_a_folder_behind_a_url_is_like_a_local_one(tmp_path, writer):
    """All data files below it, hidden ones left out; results keep their names below the folder."""
    folder = tmp_path / "in"
    for number, part in enumerate(np.array_split(X, 3)):
        table_written(folder / f"key={number}", writer, table_of(part), "part")
    (folder / "_SUCCESS").touch()
    (folder / "readme.txt").write_text("no data")
    (folder / ".hidden.csv").write_text("x\nno data\n")
    url = upload(folder, "memory://set")
    layer = adapt_files(url)
    assert Moments.of(X) == layer.moments == adapt_files(folder).moments
    assert layer.moments == adapt_files(f"{url}/*/*").moments
    normalize_files(url, tmp_path / "one", layer)
    normalize_files(folder, tmp_path / "two", layer)
    names = {path.relative_to(tmp_path / "two") for path in (tmp_path / "two").rglob("*") if path.is_file()}
    assert 3 == len(names)
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_stores_in_a_folder_behind_a_url_are_one_file_each(tmp_path):
    """What lies in a store is no file of its own, whatever its name."""
    for number, part in enumerate(np.array_split(X, 3)):
        path = written(tmp_path, zarr_3, part, f"{number}")
        (path / "extra.npy").write_bytes(b"")
    assert Moments.of(X) == adapt_files(upload(tmp_path, "memory://stores")).moments


def test_a_url_without_data_or_with_several_formats_is_an_error(tmp_path):
    """The same words as for a local folder."""
    np.save(tmp_path / "a.npy", X)
    table_written(tmp_path, csv_plain, table_of(X), "b")
    url = upload(tmp_path, "memory://mixed")
    for source in (url, tmp_path):
        with pytest.raises(ValueError, match=r"mixed|several formats \(csv, npy\); name those that are meant"):
            adapt_files(source)
    for source in ("memory://none/*.npy", "memory://mixed/*.zarr"):
        with pytest.raises(FileNotFoundError, match=re.escape(f"{source} holds no data files")):
            adapt_files(source)
    with pytest.raises(FileNotFoundError, match=r"memory://none/x.npy: there is no such file"):
        adapt_files("memory://none/x.npy")


def test_a_link_to_nothing_is_a_bad_file(tmp_path):
    """It is named, and may be left out."""
    np.save(tmp_path / "a.npy", X)
    (tmp_path / "b.npy").symlink_to(tmp_path / "gone.npy")
    with pytest.raises(FileNotFoundError, match=r"No such file or directory; bring it back.*b.npy"):
        adapt_files(tmp_path)
    skipped = []
    assert Moments.of(X) == adapt_files(tmp_path, skipped=skipped).moments
    assert [str(tmp_path / "b.npy")] == [name for name, _ in skipped]


# Options that have no meaning


@pytest.mark.parametrize(
    ("suffix", "options", "words"),
    [
        (".npy", {"columns": ["a"]}, r"x.npy is a npy file, which has no columns; leave columns= \(--columns\) away"),
        (".npy", {"key": "a"}, r"x.npy is a npy file, whose array has no name; leave key= \(--key\) away"),
        (".npy", {"raw": ("u1", (-1, 1))}, r"x.npy is a npy file, which says what it holds; leave raw= \(--raw\) away"),
        (".csv", {"key": "a"}, r"x.csv is a csv file, whose array has no name; leave key="),
        (".csv", {"raw": ("u1", (-1, 1))}, r"x.csv is a csv file, which says what it holds; leave raw="),
        (".h5", {"columns": ["a"]}, r"x.h5 is a hdf5 file, which has no columns; leave columns="),
        (".bin", {"columns": ["a"], "raw": ("f8", (-1, 4))}, r"x.bin is a raw file, which has no columns"),
    ],
)
def test_an_option_that_no_file_takes_is_refused(tmp_path, suffix, options, words):
    """Nothing that a user says is ignored; the name of the option stands in the error, in Python and in words."""
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"a,b\n1,2\n")
    layer = Normalization().adapt(X)
    for call in (
        lambda: adapt_files(path, **options),
        lambda: normalize_files(path, tmp_path / f"z{suffix}", layer, **options),
        lambda: write_report(layer, tmp_path / "page.html", path, **options),
    ):
        with pytest.raises(ValueError, match=words):
            call()
    assert [path] == list(tmp_path.iterdir())


# Arrays of one axis


def test_one_row_of_a_one_dimensional_array_is_not_learned_from(tmp_path):
    """As in Keras a 1-D array is one row, of which there is no variance; with axis=None it is one feature."""
    np.save(tmp_path / "x.npy", X[:, 0])
    with pytest.raises(
        ValueError, match=r"x.npy holds a 1-D array, which is one row of 12 features.*axis=None \(--axis"
    ):
        adapt_files(tmp_path / "x.npy")
    assert Moments.of(X[:, 0], None) == adapt_files(tmp_path / "x.npy", axis=None).moments
    np.save(tmp_path / "y.npy", X[:, 1])
    layer = adapt_files(tmp_path)
    assert Moments.of(X[:, :2].T) == layer.moments
    normalize_files(tmp_path / "x.npy", tmp_path / "z.npy", layer)
    assert layer.transform(X[:, 0]).tobytes() == np.load(tmp_path / "z.npy").tobytes()


# Names


@pytest.mark.parametrize("name", ["with space", "Größe ⌀", "a'b\"c", "-x", "[1]*?", "%20#", "new\nline"])
def test_any_name_is_a_name(tmp_path, name):
    """Letters, spaces, quotes and patterns in names of files, folders and columns mean nothing."""
    folder = tmp_path / name
    folder.mkdir()
    np.save(folder / f"{name}.npy", X)
    for source in (folder, folder / f"{name}.npy", f"{folder}/{name}.npy"):
        layer = adapt_files(source)
        assert Moments.of(X) == layer.moments
    normalize_files(folder, tmp_path / "out", layer)
    normalize_files(folder, None, layer)
    want = layer.transform(X).tobytes()
    assert want == np.load(folder / f"{name}.npy").tobytes() == np.load(tmp_path / "out" / f"{name}.npy").tobytes()
    table = pa.table({name: X[:, 0]})
    for writer in (parquet, csv_plain):
        layer = adapt_files(table_written(tmp_path, writer, table))
        assert ((name,), Moments.of(X[:, :1])) == (layer.feature_names, layer.moments)
