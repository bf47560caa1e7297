"""The laws of adapt_files and normalize_files for .npy and raw files: the same bits as in one array."""

import contextlib
import os
import pty
import subprocess
import sys
import termios
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from processes import run_python

from fastnorm import Moments, Normalization, NotAdaptedError, adapt_files, normalize_files
from fastnorm.files import _arrays

RNG = np.random.default_rng(11)
CUBE = RNG.normal(5.0, 3.0, (12, 7, 4))
AXES = (-1, 0, 1, (0, 2), (1, 2), None)


@pytest.fixture(autouse=True, params=[100, 1 << 25], ids=["parts", "whole"])
def region(request, monkeypatch):
    """Regions of a few rows, and files in one piece."""
    monkeypatch.setattr(_arrays, "REGION", request.param)


def stored(path, values, order="C"):
    """A .npy or raw file of an array, and how to read it."""
    if path.suffix == ".npy":
        np.save(path, np.asarray(values, order=order))
        return {}
    values.tofile(path)
    return {"raw": (values.dtype, values.shape)}


def loaded(path, like):
    return np.load(path) if path.suffix == ".npy" else np.fromfile(path, like.dtype).reshape(like.shape)


@pytest.mark.parametrize(("axis", "order"), list(product(AXES, "CF")))
def test_files_give_the_moments_of_one_array(axis, order, tmp_path):
    """Any axes, either order, one file or several: not a bit differs from one array of all rows."""
    stored(tmp_path / "a.npy", CUBE, order)
    assert Moments.of(CUBE, axis) == adapt_files(tmp_path / "a.npy", axis=axis).moments
    stored(tmp_path / "b.npy", CUBE + 1, order)
    want = Moments.of(CUBE, axis) + Moments.of(CUBE + 1, axis)
    for source in (tmp_path, tmp_path / "*.npy", [tmp_path / "b.npy", str(tmp_path / "a.npy")]):
        assert want == adapt_files(source, axis=axis).moments


@pytest.mark.parametrize(("axis", "order", "suffix"), [*product(AXES, "CF", [".npy"]), *product(AXES, "C", [".bin"])])
def test_a_file_is_normalized_like_an_array(axis, order, suffix, tmp_path):
    """Into a new file, back, and in place: the bits of `transform` and `inverse_transform`."""
    path, new, back = (tmp_path / (name + suffix) for name in ("x", "z", "y"))
    how = stored(path, CUBE, order)
    layer = adapt_files(path, axis=axis, **how)
    want = layer.transform(CUBE)
    normalize_files(path, new, layer, **how)
    assert np.array_equal(want, loaded(new, want))
    normalize_files(new, back, layer, inverse=True, **how)
    assert np.array_equal(layer.inverse_transform(want), loaded(back, want))
    normalize_files(path, None, layer, **how)
    assert new.read_bytes() == path.read_bytes()
    normalize_files(path, None, layer, inverse=True, **how)
    assert back.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("name", ["<f8", ">f8", "<f4", ">f4", "<f2", "i1", "u1", "<i4", ">i8", "?"])
def test_every_dtype_is_read_and_written(name, tmp_path):
    """Either byte order; integers become the floats that `transform` gives, and only floats are changed in place."""
    values = RNG.integers(0, 2 if name == "?" else 100, (30, 3)).astype(name)
    path = tmp_path / "x.npy"
    stored(path, values)
    layer = adapt_files(path)
    assert Moments.of(values) == layer.moments
    normalize_files(path, tmp_path / "z.npy", layer)
    want, new = layer.transform(values), np.load(tmp_path / "z.npy")
    assert want.dtype == new.dtype
    assert np.array_equal(want, new)
    if values.dtype.kind == "f":
        normalize_files(path, None, layer)
        assert values.dtype == np.load(path).dtype
        assert np.array_equal(want, np.load(path))
        return
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"x.npy holds .*, which cannot hold z-scores; name another file"):
        normalize_files(path, None, layer)
    assert before == path.read_bytes()
    assert {path, tmp_path / "z.npy"} == set(tmp_path.iterdir())


def test_a_folder_becomes_a_folder(tmp_path):
    """Files keep their names below the new folder; what was there stays unless it may be replaced."""
    for name in ("a.npy", "deep/b.npy", "deep/er/c.npy"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(tmp_path / "in" / name, CUBE)
    layer = adapt_files(tmp_path / "in")
    normalize_files(tmp_path / "in", tmp_path / "out", layer)
    for name in ("a.npy", "deep/b.npy", "deep/er/c.npy"):
        assert np.array_equal(layer.transform(CUBE), np.load(tmp_path / "out" / name))
    assert 3 == sum(item.is_file() for item in (tmp_path / "out").rglob("*"))
    np.save(tmp_path / "out" / "a.npy", CUBE)
    with pytest.raises(FileExistsError, match=r"a.npy exists already; .*overwrite=True"):
        normalize_files(tmp_path / "in", tmp_path / "out", layer)
    assert np.array_equal(CUBE, np.load(tmp_path / "out" / "a.npy"))
    normalize_files(tmp_path / "in", tmp_path / "out", layer, overwrite=True)
    assert np.array_equal(layer.transform(CUBE), np.load(tmp_path / "out" / "a.npy"))


def test_two_files_do_not_become_one(tmp_path):
    """Files of one name in two folders would overwrite each other."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "x.npy", CUBE)
    paths = [tmp_path / "a" / "x.npy", tmp_path / "b" / "x.npy"]
    layer = adapt_files(paths)
    with pytest.raises(ValueError, match=r"a/x.npy and .*b/x.npy would both become .*x.npy; write them apart"):
        normalize_files(paths, tmp_path / "out", layer)
    with pytest.raises(ValueError, match=r"is the file that is read; pass out=None \(--in-place\)"):
        normalize_files(tmp_path / "a", tmp_path / "a", layer, overwrite=True)
    assert np.array_equal(CUBE, np.load(paths[0]))


@pytest.mark.parametrize("out", [None, "out"])
def test_bad_files_are_left_out_and_listed(out, tmp_path):
    """Of a damaged file, one of other features and one that fits, the last is done and the others are said."""
    folder = tmp_path / "in"
    folder.mkdir()
    np.save(folder / "a.npy", CUBE)
    np.save(folder / "b.npy", CUBE[:, :, :2])
    (folder / "c.npy").write_bytes((folder / "a.npy").read_bytes()[:500])
    before = {name: (folder / name).read_bytes() for name in ("b.npy", "c.npy")}
    with pytest.raises(ValueError, match=r"b.npy: has features of shape \(2,\), but the files before it have \(4,\)"):
        adapt_files(folder)
    skipped = []
    layer = adapt_files(folder, skipped=skipped)
    assert Moments.of(CUBE) == layer.moments
    assert [str(folder / "b.npy"), str(folder / "c.npy")] == [name for name, _ in skipped]
    skipped.clear()
    normalize_files(folder, out and tmp_path / out, layer, skipped=skipped)
    assert [str(folder / "b.npy"), str(folder / "c.npy")] == [name for name, _ in skipped]
    assert all(name in str(error) for name, error in skipped)
    assert np.array_equal(layer.transform(CUBE), np.load((tmp_path / out if out else folder) / "a.npy"))
    assert before == {name: (folder / name).read_bytes() for name in before}
    names = {"a.npy"} if out else {"a.npy", "b.npy", "c.npy", ".a.npy.fastnorm-done"}
    assert names == {item.name for item in (tmp_path / out if out else folder).iterdir()}


@pytest.mark.parametrize("rows", [0, 1])
def test_files_with_hardly_any_rows(rows, tmp_path):
    """No rows are an error where they are all there is, and otherwise nothing; one row is its own mean."""
    np.save(tmp_path / "a.npy", CUBE[:rows])
    np.save(tmp_path / "b.npy", CUBE)
    assert Moments.of(CUBE) + Moments.of(CUBE[:rows]) == adapt_files(tmp_path).moments
    layer = adapt_files(tmp_path / "b.npy")
    normalize_files(tmp_path / "a.npy", tmp_path / "z.npy", layer)
    normalize_files(tmp_path / "a.npy", None, layer)
    for name in ("a.npy", "z.npy"):
        assert np.array_equal(layer.transform(CUBE[:rows]), np.load(tmp_path / name))


def test_errors_say_what_to_do(tmp_path):
    """What is not there, cannot be known or does not fit."""
    path, raw = tmp_path / "x.npy", tmp_path / "x.bin"
    np.save(path, CUBE)
    raw.write_bytes(b"1234567")
    other = Normalization().adapt(CUBE[:, :, :3])
    for error, words, call in (
        (FileNotFoundError, "gone.npy: there is no such file", lambda: adapt_files(tmp_path / "gone.npy")),
        (ValueError, "there are no files to read; name at least one", lambda: adapt_files([])),
        (ValueError, "x.bin says nothing of what it holds; say it with raw=", lambda: adapt_files(raw)),
        (
            ValueError,
            "x.bin has 7 bytes, which shape .* does not divide",
            lambda: adapt_files(raw, raw=("f4", (-1, 2))),
        ),
        (ValueError, "x.npy: x has 4 features .* adapted to 3", lambda: normalize_files(path, None, other)),
        (NotAdaptedError, "x.npy: .* not seen any data", lambda: normalize_files(path, None, Normalization())),
        (TypeError, "a source is a path or a URL, not ndarray; for data in memory, use", lambda: adapt_files(CUBE)),
        (TypeError, "a source is a path or a URL, not int", lambda: normalize_files([path, 3], None, other)),
        (TypeError, "normalize_files takes a Normalization, not NoneType", lambda: normalize_files(path, None, None)),
        (ValueError, "x.npy: the data hold infinities", lambda: adapt_files(infinite(path))),
    ):
        with pytest.raises(error, match=words):
            call()
    assert {path, raw} == set(tmp_path.iterdir())


def infinite(path):
    values = CUBE.copy()
    values[-1, 3, 2] = np.inf
    np.save(path, values)
    return path


PROGRESS = """
import sys
import numpy as np
from fastnorm import adapt_files, normalize_files

np.save("x.npy", np.ones((1000, 3)))
layer = adapt_files("x.npy", progress=True)
normalize_files("x.npy", "z.npy", layer, progress=True)
normalize_files("x.npy", None, layer, progress=True)
"""


def test_progress_is_shown_on_a_terminal_alone(tmp_path):
    """With a terminal a bar for each pass, that ends at all bytes; nothing into a file or pipe."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    assert [] == run_python(PROGRESS, cwd=tmp_path, environment=environment)
    (tmp_path / "z.npy").unlink()
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 80))
    with subprocess.Popen([sys.executable, "-c", PROGRESS], cwd=tmp_path, env=environment, stderr=follower) as child:
        os.close(follower)
        shown = b""
        with contextlib.suppress(OSError):  # what a terminal gives when nobody writes to it any more
            while part := os.read(leader, 4096):
                shown += part
    os.close(leader)
    assert 0 == child.returncode
    for label in (b"adapt: 100%", b"normalize: 100%"):
        assert label in shown
