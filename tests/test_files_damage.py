"""Laws on damaged files: an error that names the file, or what the format cannot know to be damaged; never a crash."""

import io
import json
import random
import shutil
import struct
import zipfile

import h5py
import numpy as np
import pytest
import zarr
from formats import (
    WRITERS,
    hdf5_chunks,
    hdf5_packed,
    npz_packed,
    npz_stored,
    safe,
    written,
    zarr_3,
    zarr_3_checked,
    zarr_3_crc,
    zarr_shards,
)
from processes import run_python

from fastnorm import Moments, adapt_files, normalize_files

EACH = 60  # damaged files of each format
HEADS = ("zarr.json", ".zarray", ".zattrs")


@pytest.fixture
def tmp_path(in_memory):
    return in_memory


@pytest.fixture
def x():
    return np.random.default_rng(11).normal(size=(40, 3, 2))


def damage(data, rng):
    """The bytes with an end cut off, or with one to four bits turned, mostly in headers."""
    if rng.random() < 0.25:
        return data[: rng.randrange(len(data))]
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 4))):
        place = rng.choice(
            (rng.randrange(len(found)), rng.randrange(min(256, len(found))), -1 - rng.randrange(min(128, len(found))))
        )
        found[place] ^= 1 << rng.randrange(8)
    return bytes(found)


def outcome(path):
    """The moments of a file, or None after an error of the allowed kinds that names it."""
    try:
        return adapt_files(path, nan="omit", inf="omit").moments
    except (OSError, ValueError) as error:
        if str(path) not in str(error):
            raise
        return None


def damaged(path, seed):
    """Damage a file, or one of a store, in ways that are the same every time; yield which, and make it whole again."""
    rng = random.Random(seed)
    files = [path] if path.is_file() else sorted(item for item in path.rglob("*") if item.is_file())
    heads = [file for file in files if file.name in HEADS] or files
    for _ in range(EACH):
        file = rng.choice(files if rng.random() < 0.5 else heads)
        data = file.read_bytes()
        file.write_bytes(damage(data, rng))
        yield file
        file.write_bytes(data)


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.__name__)
def test_a_damaged_file_gives_an_error_that_names_it(tmp_path, x, writer):
    """Or a result, where nothing can tell; never another exception."""
    path = written(tmp_path, writer, x)
    for _ in damaged(path, writer.__name__):
        outcome(path)
    assert Moments.of(x) == outcome(path)


CHECKED = [npz_stored, npz_packed, zarr_3_checked, zarr_3_crc]


@pytest.mark.parametrize("writer", CHECKED, ids=lambda writer: writer.__name__)
def test_what_has_a_checksum_is_never_wrong(tmp_path, writer):
    """Damage in what the checksum covers is an error, or makes no difference."""
    rows = 20 if "zarr" in writer.__name__ else 200  # more than zipfile reads, and checks, along with a header
    x = np.random.default_rng(12).normal(size=(rows, 3, 2))
    path = written(tmp_path, writer, x)
    for file in damaged(path, f"checked {writer.__name__}"):
        found = outcome(path)
        assert file.name == "zarr.json" or found in (None, Moments.of(x))


def test_a_dataset_with_checksums_is_never_wrong(tmp_path, x):
    """Each bit that is turned in a chunk is found."""
    path = written(tmp_path, hdf5_packed, x)
    with h5py.File(path) as file:
        data = file["x"].id
        chunks = [data.get_chunk_info(index) for index in range(data.get_num_chunks())]
    whole = path.read_bytes()
    rng = random.Random(5)
    for _ in range(EACH):
        chunk = rng.choice(chunks)
        found = bytearray(whole)
        found[chunk.byte_offset + rng.randrange(chunk.size)] ^= 1 << rng.randrange(8)
        path.write_bytes(found)
        assert outcome(path) is None


def test_a_file_that_was_cut_is_never_read(tmp_path, x):
    """Each end that is cut off is missed, in every format that is one file."""
    for writer in WRITERS:
        path = written(tmp_path, writer, x)
        if path.is_file():
            whole = path.read_bytes()
            for size in {0, 1, 7, 8, 100, len(whole) // 2, len(whole) - 8, len(whole) - 1}:
                path.write_bytes(whole[:size])
                assert outcome(path) is None
            path.unlink()
        else:
            shutil.rmtree(path)


# ----------------------------------------------------------------------------------- what a header may claim


def npy_claiming(shape, dtype="<f8"):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": dtype, "fortran_order": False, "shape": shape})
    return head.getvalue() + bytes(4096)


ABSURD = [(10**12, 3), (3, 10**12), (10**30, 3), (-5, 3), (2**31, 2**31, 2**31)]


@pytest.mark.parametrize("shape", ABSURD)
@pytest.mark.parametrize("pack", ["npy", "stored", "packed"])
def test_an_absurd_shape_is_an_error_at_once(tmp_path, shape, pack):
    """Nothing of that size is asked for."""
    path = tmp_path / ("x.npy" if pack == "npy" else "x.npz")
    if pack == "npy":
        path.write_bytes(npy_claiming(shape))
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if pack == "packed" else zipfile.ZIP_STORED) as archive:
            archive.writestr("x.npy", npy_claiming(shape))
    for axis in (-1, 0, None):
        with pytest.raises(ValueError, match=rf"^{path}.* damaged"):
            adapt_files(path, axis=axis)


def test_a_header_longer_than_any_is_not_read(tmp_path):
    """A length in a header is no reason to take memory."""
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 31) + bytes(64))
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", 1 << 40) + b"{}")
    for path in tmp_path.iterdir():
        with pytest.raises(ValueError, match=rf"^{path} is damaged.*its header would have"):
            adapt_files(path)


@pytest.mark.parametrize("shape", [(10**15, 300), (3, 10**15)])
def test_stores_that_claim_much_and_hold_nothing_are_refused(tmp_path, shape):
    """A chunk that is missing stands for the fill value, but nobody means as many of them."""
    zarr.create_array(tmp_path / "x.zarr", shape=shape, chunks=(3, 100), dtype="f8")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", shape, "f8", chunks=(3, 100))
    for path in tmp_path.iterdir():
        with pytest.raises(ValueError, match=rf"^{path} has \d+ bytes, but claims an array of shape"):
            adapt_files(path)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F64", "shape": [4, 3], "data_offsets": [0, 96]},  # shorter than the file
        {"dtype": "F64", "shape": [5, 3], "data_offsets": [0, 104]},
        {"dtype": "F64", "shape": [4, 3], "data_offsets": [8, 104]},
        {"dtype": "F99", "shape": [13], "data_offsets": [0, 104]},
        {"dtype": "F64", "shape": [-13], "data_offsets": [0, 104]},
        {"dtype": "F64", "shape": [13]},
        [],
    ],
)
def test_a_safetensors_header_must_fit_its_bytes(tmp_path, entry):
    """Offsets, shape and dtype say the same, and cover the file."""
    head = json.dumps({"x": entry}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(head)) + head + bytes(104))
    with pytest.raises(ValueError, match=rf"^{path} is damaged, or no .safetensors file"):
        adapt_files(path)


def test_nothing_is_left_of_a_result_that_failed(tmp_path, x):
    """Damage at the end of a source leaves neither a new file nor half of one."""
    path = written(tmp_path, npz_packed, x)
    layer = adapt_files(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    for suffix in (".npy", ".zarr", ".h5", ".safetensors"):
        with pytest.raises(ValueError, match=str(path)):
            normalize_files(path, tmp_path / f"z{suffix}", layer)
    assert [path] == list(tmp_path.iterdir())


@pytest.mark.parametrize("writer", [safe, zarr_3, zarr_shards, hdf5_chunks], ids=lambda writer: writer.__name__)
def test_a_damaged_shard_can_be_left_out(tmp_path, x, writer):
    """The others are read, and the error is kept."""
    for name in "abc":
        written(tmp_path, writer, x, name)
    bad = next(path for path in sorted(tmp_path.iterdir()) if path.stem == "b")
    file = bad if bad.is_file() else bad / "zarr.json"
    file.write_bytes(file.read_bytes()[:-40])
    skipped = []
    layer = adapt_files(tmp_path, skipped=skipped)
    assert Moments.of(x) + Moments.of(x) == layer.moments
    assert [str(bad)] == [name for name, error in skipped]


def test_a_format_without_its_package_says_what_to_install(tmp_path, x):
    """The command is in the error."""
    for writer, package in ((zarr_3, "zarr"), (hdf5_chunks, "h5py")):
        path = written(tmp_path, writer, x)
        code = f"""
        import sys
        sys.modules[{package!r}] = None
        from fastnorm import adapt_files
        try:
            adapt_files({str(path)!r})
        except ImportError as error:
            print("fastnorm-numba[files]" in str(error) and {package!r} in str(error))
        """
        assert ["True"] == run_python(code)
