"""Laws on files that hold arrays: the same bits as from the array in memory, whatever the format."""

import random

import fsspec
import h5py
import ml_dtypes
import numcodecs
import numpy as np
import pytest
import safetensors.numpy
import zarr
from formats import (
    SUFFIXES,
    WRITERS,
    hdf5,
    hdf5_packed,
    npy_c,
    npz_packed,
    npz_stored,
    read,
    safe,
    upload,
    written,
    zarr_3,
    zarr_shards,
)
from processes import run_python

from fastnorm import Moments, Normalization, adapt_files, normalize_files
from fastnorm.files import _arrays, npy

every_format = pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.__name__)
one_of_each = [npy_c, npz_stored, safe, zarr_3, zarr_shards, hdf5, hdf5_packed]
each_format = pytest.mark.parametrize("writer", one_of_each, ids=lambda writer: writer.__name__)


@pytest.fixture
def x():
    return np.random.default_rng(7).normal(3, 1e3, (17, 5, 4))


@pytest.fixture(autouse=True)
def small_regions(monkeypatch):
    """Regions so small that every file has several."""
    monkeypatch.setattr(_arrays, "REGION", 640)
    monkeypatch.setattr(npy, "_NEAR", 100)


@pytest.fixture(autouse=True)
def empty_memory():
    yield
    fsspec.filesystem("memory").rm("/", recursive=True)


@every_format
@pytest.mark.parametrize("axis", [-1, 0, 1, (0, 2), (1, 2), (0, 1, 2), None])
def test_a_file_has_the_moments_of_its_array(tmp_path, x, writer, axis):
    """Whatever the format, the layout and the axes, all bits are those of the array."""
    assert Moments.of(x, axis) == adapt_files(written(tmp_path, writer, x), axis=axis).moments


@every_format
@pytest.mark.parametrize("axis", [-1, (0, 2)])
def test_behind_a_url_the_moments_are_the_same(tmp_path, x, writer, axis):
    """What fsspec opens gives the same bits as a local file."""
    path = written(tmp_path, writer, x)
    url = upload(path, f"memory://there/{path.name}")
    assert Moments.of(x, axis) == adapt_files(url, axis=axis).moments
    assert Moments.of(x, axis) == adapt_files(f"file://{path}", axis=axis).moments


@pytest.mark.parametrize("name", ["float16", "float32", "int8", "uint8", "int16", "uint16", "int64", "uint64", "bool"])
@each_format
def test_every_dtype_is_read_as_it_is(tmp_path, writer, name):
    """No dtype is changed on the way."""
    x = np.random.default_rng(1).integers(0, 100, (23, 5)).astype(name)
    assert Moments.of(x) == adapt_files(written(tmp_path, writer, x)).moments


def test_bfloat16_is_read_from_safetensors(tmp_path):
    """The dtype that NumPy does not have."""
    x = np.random.default_rng(1).normal(size=(23, 5)).astype(ml_dtypes.bfloat16)
    path = tmp_path / "x.safetensors"
    safetensors.numpy.save_file({"x": x}, path)
    layer = adapt_files(path)
    assert Moments.of(x) == layer.moments
    normalize_files(path, tmp_path / "z.safetensors", layer)
    assert layer.transform(x).tobytes() == read(tmp_path / "z.safetensors").tobytes()


def test_a_raw_file_is_what_it_is_said_to_be(tmp_path, x):
    """A file without a header needs dtype and shape, of which one length may be left open."""
    (tmp_path / "x.bin").write_bytes(x.tobytes())
    assert Moments.of(x) == adapt_files(tmp_path / "x.bin", raw=("float64", (-1, 5, 4))).moments
    with pytest.raises(ValueError, match=r"x.bin has 2720 bytes, but shape \(17, 4\) of float64 takes 544"):
        adapt_files(tmp_path / "x.bin", raw=("float64", (17, 4)))
    with pytest.raises(ValueError, match=r"x.bin says nothing of what it holds; say it with raw="):
        adapt_files(tmp_path / "x.bin")


@each_format
def test_fifty_shards_in_any_order_are_one_array(tmp_path, writer):
    """A folder, a list in any order, a pattern: the same bits as one file."""
    x = np.random.default_rng(2).normal(size=(500, 3))
    paths = [written(tmp_path, writer, part, f"{i:02}") for i, part in enumerate(np.array_split(x, 50))]
    random.Random(3).shuffle(paths)
    want = Moments.of(x)
    assert want == adapt_files(paths).moments
    assert want == adapt_files(tmp_path).moments
    assert want == adapt_files(f"{tmp_path}/*").moments
    assert want == adapt_files(upload(tmp_path, "memory://shards")).moments


OUTPUTS = [".npy", ".safetensors", ".zarr", ".h5"]


@every_format
@pytest.mark.parametrize("suffix", OUTPUTS)
def test_a_normalized_file_holds_what_transform_gives(tmp_path, x, writer, suffix):
    """From each format into each, bit by bit."""
    path = written(tmp_path, writer, x)
    layer = Normalization((0, 2)).adapt(x)
    target = tmp_path / f"z{suffix}"
    normalize_files(path, target, layer)
    key = "x" if path.suffix in (".npz", ".safetensors", ".h5") else "data"
    assert layer.transform(x).tobytes() == np.ascontiguousarray(read(target, key)).tobytes()


@pytest.mark.parametrize("suffix", OUTPUTS)
@each_format
def test_integers_become_floats(tmp_path, writer, suffix):
    """The new file has the dtype that transform gives."""
    x = np.random.default_rng(5).integers(-50, 50, (40, 3)).astype(np.int8)
    layer = Normalization(threads=1).adapt(x)
    normalize_files(written(tmp_path, writer, x), tmp_path / f"z{suffix}", layer)
    found = read(tmp_path / f"z{suffix}", "x" if writer in (npz_stored, safe, hdf5, hdf5_packed) else "data")
    assert (np.dtype("float32"), layer.transform(x).tobytes()) == (found.dtype, found.tobytes())


@pytest.mark.parametrize("writer", [w for w in WRITERS if w.__name__.startswith("zarr")], ids=lambda w: w.__name__)
def test_a_new_store_is_set_up_like_the_old_one(tmp_path, x, writer):
    """Chunks, shards, compressors, separators, version, fill value and attributes stay."""
    path = written(tmp_path, writer, x)
    old = zarr.open(path, mode="r+")
    old.attrs["unit"] = "m"
    normalize_files(path, tmp_path / "z.zarr", adapt_files(path))
    new = zarr.open(tmp_path / "z.zarr", mode="r")
    for name in ("chunks", "shards", "compressors", "fill_value"):
        assert getattr(old, name) == getattr(new, name)
    assert {"unit": "m"} == new.attrs.asdict()
    assert old.metadata.zarr_format == new.metadata.zarr_format
    assert old.metadata.encode_chunk_key((1, 0, 1)) == new.metadata.encode_chunk_key((1, 0, 1))


@pytest.mark.parametrize("version", [2, 3])
def test_the_rest_of_a_store_comes_along(tmp_path, x, version):
    """Other arrays, groups and attributes are those of the source; the array lies under its key."""
    group = zarr.open_group(tmp_path / "x.zarr", mode="w", zarr_format=version, attributes={"about": "sky"})
    group.create_array("a/x", data=x.astype(np.float32), chunks=(3, 2, 2))
    group.create_array("a/y", data=np.arange(5))
    group.require_group("empty").attrs["q"] = 1
    layer = adapt_files(tmp_path / "x.zarr", key="a/x", dtype="float64")
    assert Moments.of(x.astype(np.float32)) == layer.moments
    normalize_files(tmp_path / "x.zarr", tmp_path / "z.zarr", layer, key="a/x")
    new = zarr.open_group(tmp_path / "z.zarr", mode="r")
    assert {"a", "a/x", "a/y", "empty"} == {name for name, _ in new.members(max_depth=None)}
    assert ({"about": "sky"}, {"q": 1}) == (new.attrs.asdict(), new["empty"].attrs.asdict())
    assert list(range(5)) == new["a/y"][:].tolist()
    assert layer.transform(x.astype(np.float32)).tobytes() == new["a/x"][:].tobytes()


def test_the_rest_of_an_hdf5_file_comes_along(tmp_path, x):
    """Other datasets, groups, links and attributes are those of the source; the dataset is set up as it was."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = file.create_dataset("a/x", data=x, chunks=(3, 2, 2), compression="gzip", shuffle=True, fletcher32=True)
        data.attrs["unit"], file.attrs["about"], file["a"].attrs["q"] = "m", "sky", 1
        file["a/y"], file["b/names"] = np.arange(5), ["one", "two"]
        file["same"] = h5py.SoftLink("/a/x")
    layer = adapt_files(tmp_path / "x.h5", key="/a/x")
    assert layer.moments == adapt_files(tmp_path / "x.h5", key="same").moments
    normalize_files(tmp_path / "x.h5", tmp_path / "z.h5", layer, key="a/x")
    with h5py.File(tmp_path / "z.h5") as new:
        assert ("m", "sky", 1) == (new["a/x"].attrs["unit"], new.attrs["about"], new["a"].attrs["q"])
        assert ([0, 1, 2, 3, 4], [b"one", b"two"]) == (new["a/y"][:].tolist(), new["b/names"][:].tolist())
        assert ((3, 2, 2), "gzip", True) == (new["a/x"].chunks, new["a/x"].compression, new["a/x"].fletcher32)
        assert layer.transform(x).tobytes() == new["same"][:].tobytes()


def test_the_rest_of_a_safetensors_file_comes_along(tmp_path, x):
    """Other tensors and the metadata are those of the source."""
    y = np.arange(7, dtype=np.uint8)
    safetensors.numpy.save_file({"a": y, "x": x, "z": y + 1}, tmp_path / "x.safetensors", metadata={"about": "sky"})
    layer = adapt_files(tmp_path / "x.safetensors", key="x", dtype="float32")
    normalize_files(tmp_path / "x.safetensors", tmp_path / "z.safetensors", layer, key="x")
    with safetensors.safe_open(tmp_path / "z.safetensors", "numpy") as new:
        assert ({"about": "sky"}, {"a", "x", "z"}) == (new.metadata(), set(new.keys()))
        assert (y.tolist(), (y + 1).tolist()) == (new.get_tensor("a").tolist(), new.get_tensor("z").tolist())
        assert layer.transform(x).tobytes() == new.get_tensor("x").tobytes()


# ------------------------------------------------------------------------------------------------- in place


@pytest.mark.parametrize(
    "writer",
    [
        w
        for w in WRITERS
        if w.__name__ not in ("hdf5_chunks", "hdf5_packed", "npy_big", "hdf5_big", "zarr_big")
        and not w.__name__.startswith("npz")
    ],
    ids=lambda w: w.__name__,
)
@pytest.mark.parametrize("axis", [-1, (0, 2)])
def test_in_place_gives_what_transform_gives(tmp_path, x, writer, axis):
    """Each format that can be changed in place holds the same bits afterwards as a new file would."""
    path = written(tmp_path, writer, x)
    layer = Normalization(axis).adapt(x)
    normalize_files(path, None, layer)
    assert layer.transform(x).tobytes() == np.ascontiguousarray(read(path)).tobytes()


@pytest.mark.parametrize("writer", [npz_stored, npz_packed, hdf5_packed], ids=lambda w: w.__name__)
def test_what_cannot_be_changed_in_place_safely_is_left_alone(tmp_path, x, writer):
    """The error says why, and what to do; no byte has changed and nothing lies beside the file."""
    path = written(tmp_path, writer, x)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=rf"{path.name}.*cannot be changed in place.*name another file for the result"):
        normalize_files(path, None, adapt_files(path))
    assert (before, [path]) == (path.read_bytes(), list(tmp_path.iterdir()))


def test_a_store_with_filters_is_not_changed_in_place(tmp_path, x):
    """Filters may round: what they are made for is not z-scores. A new store leaves them away."""
    path = tmp_path / "x.zarr"
    rounding = numcodecs.FixedScaleOffset(offset=0, scale=1, dtype="f8", astype="i4")
    zarr.create_array(path, data=np.round(x), chunks=(3, 2, 2), zarr_format=2, filters=[rounding])
    layer = adapt_files(path)
    with pytest.raises(ValueError, match=r"x.zarr stores its values through FixedScaleOffset.*name another file"):
        normalize_files(path, None, layer)
    normalize_files(path, tmp_path / "z.zarr", layer)
    assert layer.transform(np.round(x)).tobytes() == read(tmp_path / "z.zarr").tobytes()


# --------------------------------------------------------------------------------------- what a file may hold


def test_missing_chunks_have_the_fill_value(tmp_path):
    """What was never written is there all the same."""
    x = np.full((10, 3), 7.0)
    x[:4] = np.arange(12).reshape(4, 3)
    array = zarr.create_array(tmp_path / "x.zarr", shape=(10, 3), chunks=(4, 2), dtype="f8", fill_value=7)
    array[:4] = x[:4]
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", (10, 3), "f8", chunks=(4, 2), fillvalue=7)[:4] = x[:4]
        file.create_dataset("never", (10, 3), "f8", fillvalue=7)
    assert Moments.of(x) == adapt_files(tmp_path / "x.zarr").moments
    assert Moments.of(x) == adapt_files(tmp_path / "x.h5", key="x").moments
    assert Moments.of(np.full((10, 3), 7.0)) == adapt_files(tmp_path / "x.h5", key="never").moments


def several(folder, kind):
    data = {"one": np.eye(3), "two": np.eye(4)}
    path = folder / f"several{SUFFIXES[kind]}"
    match kind:
        case "npz":
            np.savez(path, **data)
        case "safe":
            safetensors.numpy.save_file(data, path)
        case "zarr":
            group = zarr.open_group(path, mode="w")
            for name, values in data.items():
                group.create_array(name, data=values)
        case "hdf5":
            with h5py.File(path, "w") as file:
                file.update(data)
    return path


@pytest.mark.parametrize("kind", ["npz", "safe", "zarr", "hdf5"])
def test_of_several_arrays_one_must_be_named(tmp_path, kind):
    """The error lists them."""
    path = several(tmp_path, kind)
    with pytest.raises(ValueError, match=rf"{path.name} holds several arrays \(one, two\); say which one with key="):
        adapt_files(path)
    with pytest.raises(ValueError, match=rf"{path.name} holds no array 'three', but one, two; name one of these"):
        adapt_files(path, key="three")
    assert Moments.of(np.eye(4)) == adapt_files(path, key="two").moments


def refused():
    yield npy_c, np.array([["a"]], object), "object"
    yield npy_c, np.array([["a"]]), "<U1"
    yield npy_c, np.zeros((2, 2), complex), "complex128"
    yield npy_c, np.zeros(2, [("a", float)]), "'a'"
    yield npz_stored, np.zeros((2, 2), complex), "complex128"
    yield npz_packed, np.array([["a"]]), "<U1"
    yield zarr_3, np.zeros((2, 2), complex), "complex128"
    yield hdf5, np.zeros((2, 2), complex), "complex128"
    yield hdf5, np.array([b"one"]), "S3"


@pytest.mark.parametrize(("writer", "x", "word"), list(refused()), ids=lambda value: getattr(value, "__name__", None))
def test_what_is_no_real_number_is_refused(tmp_path, writer, x, word):
    """The error has the file's name and the dtype."""
    path = written(tmp_path, writer, x)
    with pytest.raises(ValueError, match=rf"{path.name}.*{word}.*fastnorm takes real numbers"):
        adapt_files(path)


@each_format
def test_a_single_number_and_no_rows_are_refused(tmp_path, writer):
    """They are files as good as others, of which nothing can be learned."""
    for x, words in ((np.zeros(()), "holds a single number"), (np.zeros((0, 3)), "no rows")):
        path = written(tmp_path, npy_c if writer in (zarr_3, zarr_shards, hdf5_packed) else writer, x, f"x{x.ndim}")
        with pytest.raises(ValueError, match=words):
            adapt_files(path)


@each_format
def test_a_file_without_rows_adds_nothing(tmp_path, writer):
    """An empty shard is the neutral element."""
    x = np.random.default_rng(2).normal(size=(5, 3))
    empty = npy_c if writer in (zarr_3, zarr_shards, hdf5_packed) else writer
    paths = [written(tmp_path, empty, x[:0], "0"), written(tmp_path, writer, x, "1")]
    assert Moments.of(x) == adapt_files(paths).moments


# ---------------------------------------------------------------------------------------------------- memory

PEAK = """
import re, sys
from pathlib import Path
from fastnorm import Normalization, adapt_files, normalize_files
path, axis = sys.argv[1], eval(sys.argv[2])
layer = adapt_files(path, axis=axis)
if len(sys.argv) > 3:
    normalize_files(path, sys.argv[3], layer)
kilobytes = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]  # ru_maxrss counts the parent
print(int(kilobytes) >> 10, layer.count)
"""


@pytest.mark.parametrize("axis", ["-1", "0", "None"])
def test_a_file_of_a_gigabyte_takes_little_memory(tmp_path, axis):
    """Whichever axes are kept, at most 300 MB are in memory."""
    shape = {"-1": (1 << 23, 32), "0": (32, 1 << 23), "None": (1 << 28,)}[axis]
    path = tmp_path / "x.npy"
    np.lib.format.open_memmap(path, "w+", np.float32, shape)
    peak, count = run_python(PEAK, str(path), axis)
    assert int(count) == 1 << (28 if axis == "None" else 23)
    assert int(peak) < 300


def test_columns_far_apart_take_little_memory(tmp_path):
    """Rows of a column-major file touch all of it: pages come in by 2 MB, and go before the next ones come."""
    np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (1 << 20, 128), fortran_order=True).fill(1)
    peak, count = run_python(PEAK, str(tmp_path / "x.npy"), "-1", str(tmp_path / "z.npy"))
    assert int(count) == 1 << 20
    assert int(peak) < 400


def test_a_new_file_takes_little_memory(tmp_path):
    """Reading and writing a quarter of a gigabyte each."""
    np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (1 << 21, 32))
    peak, _ = run_python(PEAK, str(tmp_path / "x.npy"), "-1", str(tmp_path / "z.npy"))
    assert int(peak) < 400
