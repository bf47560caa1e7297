""".npy files and raw memory maps: read and written where they lie."""

from __future__ import annotations

import math
import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastnorm.files._arrays import ArrayFile, Region
from fastnorm.files._place import Place

_PAGE = mmap.ALLOCATIONGRANULARITY


class Mapped(ArrayFile):
    """An array of one dtype in a part of a local file."""

    def __init__(
        self, path: Path, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any], order: str, writable: bool
    ) -> None:
        self.name, self.shape, self.dtype, self.order = str(path), shape, dtype, order
        size = math.prod(shape) * dtype.itemsize
        if (have := path.stat().st_size) < offset + size:
            raise ValueError(
                f"{path} is damaged or incomplete: an array of shape {shape} and dtype {dtype} takes {offset + size} "
                f"bytes, but the file has {have}"
            )
        if not size:
            self._map, self.array = None, np.empty(shape, dtype)
            return
        start = offset // _PAGE * _PAGE
        access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
        with path.open("r+b" if writable else "rb") as file:
            self._map = mmap.mmap(file.fileno(), offset + size - start, access=access, offset=start)
        flat = np.frombuffer(self._map, np.uint8)[offset - start :].view(dtype)
        self.array = flat.reshape(shape, order="F" if order == "F" else "C")
        self._start = flat.__array_interface__["data"][0] - (offset - start)

    def read(self, region: Region) -> NDArray[Any]:
        """A view of the file."""
        part: NDArray[Any] = self.array[region]
        self._advise(part, "MADV_WILLNEED")
        return part

    def write(self, region: Region, values: NDArray[Any]) -> None:
        """Copy the values into the file, unless they are a view of it."""
        self.array[region] = values

    def done(self, region: Region) -> None:
        """Give the pages of a region back, so that a file of any size takes little memory."""
        self._advise(self.array[region], "MADV_DONTNEED")

    def _advise(self, part: NDArray[Any], advice: str) -> None:
        if self._map is None or not part.size or not hasattr(mmap, "MADV_DONTNEED"):
            return
        if not (part.flags.c_contiguous or part.flags.f_contiguous):
            return
        first = part.__array_interface__["data"][0] - self._start
        start = first // _PAGE * _PAGE
        self._map.madvise(getattr(mmap, advice), start, first + part.nbytes - start)

    def sync(self) -> None:
        """Write all pages back."""
        if self._map is not None:
            self._map.flush()

    def close(self) -> None:
        """Let go of the map; views that were given out keep it."""
        self.array = np.empty(self.shape[:0])


def _header(file: Any, name: str) -> tuple[tuple[int, ...], str, np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran, dtype = read[min(version, (2, 0))](file)
    except (ValueError, KeyError, SyntaxError, TypeError, UnicodeError, MemoryError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{name} is damaged, or no .npy file: {reason}") from None
    if dtype.hasobject or dtype.names is not None or dtype.subdtype is not None:
        raise ValueError(f"{name} holds {dtype}, not plain numbers; save an array of one numeric dtype")
    return shape, "F" if fortran else "C", dtype


def open_npy(place: Place, *, writable: bool = False) -> ArrayFile:
    """The array of a .npy file."""
    if place.path is None:
        from fastnorm.files._stream import Streamed

        with place.open() as file:
            shape, order, dtype = _header(file, place.name)
            return Streamed(place, file.tell(), shape, dtype, order)
    with place.path.open("rb") as file:
        shape, order, dtype = _header(file, place.name)
        return Mapped(place.path, file.tell(), shape, dtype, order, writable)


def open_raw(place: Place, dtype: DTypeLike, shape: tuple[int, ...], *, writable: bool = False) -> ArrayFile:
    """The array of a file that holds nothing else, C-ordered; one length may be -1."""
    if place.path is None:
        raise ValueError(f"{place.name}: raw arrays are read from local files only; use .npy or Zarr behind a URL")
    kind = np.dtype(dtype)
    known = math.prod(n for n in shape if n != -1) * kind.itemsize
    size = place.path.stat().st_size
    if -1 in shape:
        if not known or size % known:
            raise ValueError(f"{place.name} has {size} bytes, which shape {shape} of {kind} does not divide")
        shape = tuple(size // known if n == -1 else n for n in shape)
    elif size != known:
        raise ValueError(f"{place.name} has {size} bytes, but shape {shape} of {kind} takes {known}")
    return Mapped(place.path, 0, shape, kind, "C", writable)


def create_npy(path: Path, like: ArrayFile, dtype: np.dtype[Any]) -> ArrayFile:
    """A new .npy file for an array like another, in ``dtype``."""
    with path.open("xb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": like.order == "F", "shape": like.shape}
        np.lib.format.write_array_header_1_0(file, header)
        offset = file.tell()
        size = math.prod(like.shape) * dtype.itemsize
        if size:
            _allocate(file.fileno(), offset, size)
    return Mapped(path, offset, like.shape, dtype, like.order, writable=True)


def create_raw(path: Path, like: ArrayFile, dtype: np.dtype[Any]) -> ArrayFile:
    """A new raw file for an array like another, in ``dtype``, C-ordered."""
    with path.open("xb") as file:
        if size := math.prod(like.shape) * dtype.itemsize:
            _allocate(file.fileno(), 0, size)
    return Mapped(path, 0, like.shape, dtype, "C", writable=True)


def _allocate(handle: int, offset: int, size: int) -> None:
    """Take the space now: a full disk is an error here, and not a crash when a page is written."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, offset, size)
    else:
        os.truncate(handle, offset + size)
