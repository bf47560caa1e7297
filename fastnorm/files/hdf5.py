"""Datasets of HDF5 files. One that lies in one piece is mapped where it lies, others are read through h5py."""

from __future__ import annotations

import io
from contextlib import closing
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fastnorm.files._arrays import ArrayFile, Region, chosen
from fastnorm.files._errors import border
from fastnorm.files._place import Place, install
from fastnorm.files.npy import Mapped

WHAT = "HDF5 file"
_REFERENCES = ("DIMENSION_LIST", "REFERENCE_LIST")  # to places in the file that they are in


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise install("h5py", error) from error
    return h5py


class _New(io.FileIO):
    """A new file that keeps its first error in ``error``, and takes the rest as if it were written.

    The library cannot close a file that it cannot write, and crashes later.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "x+")
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all the bytes."""
        view = memoryview(data).cast("B")
        size = view.nbytes
        try:
            while view and self.error is None:
                view = view[super().write(view) :]
        except OSError as error:
            self.error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        """Set the length."""
        try:
            return super().truncate(size) if self.error is None else size or 0
        except OSError as error:
            self.error = error
            return size or 0

    def check(self) -> None:
        """Raise the first error."""
        if self.error is not None:
            raise self.error


class Dataset(ArrayFile):
    """One dataset, read and written through h5py."""

    def __init__(self, name: str, file: Any, dataset: Any, key: str, below: IO[bytes] | _New) -> None:
        super().__init__(name, dataset.shape or (), dataset.dtype, key=key)
        self.dataset, self._file, self._below = dataset, file, below
        self.chunks = dataset.chunks

    def read(self, region: Region) -> NDArray[Any]:
        """A copy of the values; what was never written has the fill value."""
        with border(self.name, WHAT):
            found: NDArray[Any] = self.dataset[region]
            return found

    def write(self, region: Region, values: NDArray[Any]) -> None:
        """Replace the values of a region of a new file."""
        with border(self.name, WHAT):
            self.dataset[region] = values
            self._check()

    def sync(self) -> None:
        """Hand what was written to the system."""
        with border(self.name, WHAT):
            self._file.flush()
            self._check()

    def _check(self) -> None:
        if isinstance(self._below, _New):
            self._below.check()

    def close(self) -> None:
        """Let go of the file."""
        with closing(self._below), border(self.name, WHAT):
            self._file.close()
            self._check()


def open_hdf5(place: Place, key: str | None, *, writable: bool = False) -> ArrayFile:
    """One dataset of a file."""
    h5py = _h5py()
    below = place.open()  # errors of the file system as such, before the library
    try:
        with border(place.name, WHAT):
            file = h5py.File(below if place.path is None else place.path, "r")
            try:
                return _opened(h5py, place, file, below, key, writable)
            except BaseException:
                file.close()
                raise
    except BaseException:
        below.close()
        raise


def _opened(h5py: Any, place: Place, file: Any, below: IO[bytes], key: str | None, writable: bool) -> ArrayFile:
    found: list[str] = []
    file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    if key is None or not isinstance(file.get(key), h5py.Dataset):  # links have names beside those that are visited
        key = chosen(place.name, key, found)
    array = Dataset(place.name, file, file[key], key.strip("/"), below)
    if place.path is not None and _in_one_piece(h5py, array.dataset):
        offset = array.dataset.id.get_offset()
        array.close()
        return Mapped(place, offset, array.shape, array.dtype, writable=writable, key=key)
    if writable:
        raise ValueError(
            f"{place.name}: the dataset {key} is chunked or compressed, and cannot be changed in place without risk to "
            "the whole file; name another file for the result"
        )
    return array


def _in_one_piece(h5py: Any, dataset: Any) -> bool:
    """Whether the values lie in the file one after the other, as NumPy would have them."""
    return (
        dataset.chunks is None
        and dataset.external is None
        and not dataset.is_virtual
        and dataset.id.get_create_plist().get_nfilters() == 0
        and dataset.id.get_offset() is not None
        and dataset.id.get_storage_size() == dataset.size * dataset.dtype.itemsize
        and dataset.id.get_type() == h5py.h5t.py_create(dataset.dtype, logical=True)
    )


def create_hdf5(path: Path, like: ArrayFile, dtype: np.dtype[Any], key: str, source: Place | None) -> ArrayFile:
    """A new file with one dataset like another; the rest is as in ``source``, an HDF5 file.

    Chunks, gzip or lzf compression, shuffling, checksums and attributes are those of ``like`` if it is a dataset.
    """
    h5py = _h5py()
    with border(str(path), WHAT):
        out = _New(path)
        new = h5py.File(out, "w")
        try:
            options: dict[str, Any] = {}
            attributes: dict[str, Any] = {}
            if source is not None:
                with source.open() as below, h5py.File(below, "r") as old:
                    _copy(h5py, old, new, key.split("/"))
                    options, attributes = _options(old[key])
            dataset = new.create_dataset(key, like.shape, dtype, **options)
            dataset.attrs.update(attributes)
            return Dataset(str(path), new, dataset, key, out)
        except BaseException:
            new.close()
            out.close()
            raise


def _options(dataset: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    kept = {}
    if dataset.chunks is not None:
        kept = {name: getattr(dataset, name) for name in ("chunks", "maxshape", "shuffle", "fletcher32")}
    if dataset.compression in ("gzip", "lzf"):
        kept |= {"compression": dataset.compression, "compression_opts": dataset.compression_opts}
    return kept, {name: value for name, value in dataset.attrs.items() if name not in _REFERENCES}


def _copy(h5py: Any, old: Any, new: Any, way: list[str]) -> None:
    """All of a group but what lies at the end of the way."""
    new.attrs.update(old.attrs)
    for name in old:
        if name != way[0]:
            if isinstance(link := old.get(name, getlink=True), h5py.HardLink):
                old.copy(name, new)
            else:
                new[name] = link
        elif len(way) > 1:
            _copy(h5py, old[name], new.create_group(name), way[1:])
