"""A data set in one file, in each format that can be normalized in place, and what it shall hold afterwards."""

import shutil

import h5py
import numpy as np
import zarr
from crashes import error_of, tree

from fastnorm import Normalization, normalize_files

SHAPE = (40, 3)
VALUES = np.random.default_rng(7).normal(3.0, 2.0, SHAPE)
LAYER = Normalization(threads=1).adapt(VALUES)
STORES = ("zarr", "zarr 2")
NAMES = {"C": "x.npy", "F": "x.npy", "raw": "x.bin", "hdf5": "x.h5", "zarr": "x.zarr", "zarr 2": "x.zarr"}


def write(path, kind, values):
    """Write an array; of a store two chunks are one region."""
    match kind:
        case "raw":
            path.write_bytes(values.tobytes())
        case "hdf5":
            with h5py.File(path, "w") as file:
                file["x"] = values
        case "zarr":
            zarr.create_array(path, data=values, chunks=(len(values) // 8, values.shape[1]), overwrite=True)
        case "zarr 2":
            options = {"zarr_format": 2, "compressors": None, "overwrite": True}
            zarr.create_array(path, data=values, chunks=(len(values) // 8, values.shape[1]), **options)
        case _:
            np.save(path, np.asarray(values, order=kind))


def read(path, kind):
    """The array that `write` wrote, in rows of four if nothing says its shape."""
    match kind:
        case "raw":
            return np.fromfile(path, np.float32).reshape(-1, 4)
        case "hdf5":
            with h5py.File(path) as file:
                return file["x"][:]
        case "zarr" | "zarr 2":
            return zarr.open(path, mode="r")[:]
        case _:
            return np.load(path)


def content(path):
    """The bytes of a file, or of all files of a store."""
    return tree(path) if path.is_dir() else path.read_bytes()


class Case:
    """The call that normalizes a file in place, and the bytes before and after."""

    def __init__(self, folder, kind="C"):
        self.folder, self.kind = folder, kind
        folder.mkdir()
        self.path = folder / NAMES[kind]
        self.raw = ("float64", (-1, 3)) if kind == "raw" else None
        write(self.path, kind, LAYER.transform(VALUES))
        self.want = content(self.path)
        write(self.path, kind, VALUES)
        self.original = content(self.path)

    def reset(self):
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        write(self.path, self.kind, VALUES)

    def run(self):
        normalize_files(self.path, None, LAYER, raw=self.raw)

    def resume(self):
        """Repeat the call until nothing is left to do; where it had come to its end, that is said."""
        error = error_of(self.run)
        assert error is None or "is normalized already" in str(error), error

    def is_finished(self):
        assert self.want == content(self.path)
        assert {self.path.name, f".{self.path.name}.fastnorm-done"} == {item.name for item in self.folder.iterdir()}
