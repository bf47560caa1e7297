""".npy files, raw memory maps, and any array that lies in one piece in a file: read and written where they lie."""

from __future__ import annotations

import io
import math
import mmap
import os
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.typing import DTypeLike, NDArray

from fastnorm.files._arrays import ArrayFile, Region
from fastnorm.files._errors import border
from fastnorm.files._place import Place

_PAGE = mmap.ALLOCATIONGRANULARITY
_NEAR = 1 << 24  # bytes from end to end


class Mapped(ArrayFile):
    """An array of one dtype in a part of a local file."""

    def __init__(
        self,
        place: Place,
        offset: int,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        order: str = "C",
        *,
        writable: bool = False,
        key: str | None = None,
    ) -> None:
        super().__init__(place.name, shape, dtype, order, key)
        assert place.path is not None
        check_size(self, place.path.stat().st_size, offset)
        self._map: mmap.mmap | None = None
        self.array: NDArray[Any] = np.empty(shape, dtype)
        if not self.nbytes:
            return
        start = offset // _PAGE * _PAGE
        access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
        with place.path.open("r+b" if writable else "rb") as file:
            self._map = mmap.mmap(file.fileno(), offset + self.nbytes - start, access=access, offset=start)
        flat = np.frombuffer(self._map, np.uint8)
        self._start = byte_bounds(flat)[0]
        self.array = flat[offset - start :].view(dtype).reshape(shape, order="F" if order == "F" else "C")

    def is_view(self, region: Region) -> bool:
        """Whether a region lies together."""
        return _lies_together(self.array[region])

    def read(self, region: Region) -> NDArray[Any]:
        """A view of the file, or a copy where the region does not lie together."""
        part: NDArray[Any] = self.array[region]
        if _lies_together(part):
            self._advise(part, "MADV_WILLNEED")
            return part
        result = np.empty_like(part)
        for index in _pieces(part):
            result[index] = part[index]
            self._advise(part[index], "MADV_DONTNEED")
        return result

    def write(self, region: Region, values: NDArray[Any]) -> None:
        """Copy the values into the file."""
        part = self.array[region]
        for index in _pieces(part):
            part[index] = values[index]
            self._advise(part[index], "MADV_DONTNEED")

    def done(self, region: Region) -> None:
        """Give the pages of a region back, so that a file of any size takes little memory."""
        self._advise(self.array[region], "MADV_DONTNEED")

    def _advise(self, part: NDArray[Any], advice: str) -> None:
        """Advise on all pages from the first to the last byte of a part."""
        if self._map is None or not part.size or not hasattr(mmap, advice):
            return
        low, high = byte_bounds(part)
        start = (low - self._start) // _PAGE * _PAGE
        self._map.madvise(getattr(mmap, advice), start, high - self._start - start)

    def sync(self) -> None:
        """Write all pages back."""
        if self._map is not None:
            self._map.flush()

    def close(self) -> None:
        """Let go of the map; views that were given out keep it."""
        self._map, self.array = None, np.empty((0,) * len(self.shape), self.dtype)


def _lies_together(part: NDArray[Any]) -> bool:
    return part.flags.c_contiguous or part.flags.f_contiguous


def _pieces(part: NDArray[Any], before: tuple[slice, ...] | None = None) -> Iterator[tuple[slice, ...]]:
    """Indexes of what lies together or near, so that pages can be given back before the next piece brings others.

    A run of some kilobytes may bring 2 MB of the file into memory.
    """
    whole = before or (slice(None),) * part.ndim
    found = part[whole]
    low, high = byte_bounds(found)
    if high - low <= _NEAR or _lies_together(found):
        yield whole
        return
    outer = int(np.argmax([stride * (n > 1) for stride, n in zip(found.strides, found.shape, strict=True)]))
    first, length = whole[outer].start or 0, found.shape[outer]
    step = max(1, length * _NEAR // (high - low))
    for start in range(first, first + length, step):
        stop = min(start + step, first + length)
        yield from _pieces(part, (*whole[:outer], slice(start, stop), *whole[outer + 1 :]))


def check_size(file: ArrayFile, have: int, offset: int = 0) -> None:
    """Refuse a file that is shorter than its array."""
    if have < offset + file.nbytes:
        raise ValueError(
            f"{file.name} is damaged or incomplete: an array of shape {file.shape} and dtype {file.dtype} ends at byte "
            f"{offset + file.nbytes}, but the file has {have}; bring it back from a copy"
        )


_VERSIONS: dict[tuple[int, int], tuple[str, Any]] = {  # format of the header's length, and its reader
    (1, 0): ("<H", np.lib.format.read_array_header_1_0),
    (2, 0): ("<I", np.lib.format.read_array_header_2_0),
    (3, 0): ("<I", np.lib.format.read_array_header_2_0),  # differs in the names of fields, of which none are taken
}
_LONGEST = 1 << 16  # bytes of a header


def npy_header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype[Any], str]:
    """Shape, dtype and order of the array that begins here; ``file`` is then at its first value."""
    with border(name, ".npy file"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the syntax of a damaged header
        version = np.lib.format.read_magic(file)
        if version not in _VERSIONS:
            raise ValueError(f"version {version} of the format is not known")
        code, reader = _VERSIONS[version]
        length = file.read(struct.calcsize(code))
        (size,) = struct.unpack(code, length)
        if size > _LONGEST:
            raise ValueError(f"its header would have {size} bytes")
        shape, fortran, dtype = reader(io.BytesIO(length + file.read(size)))
        return tuple(map(int, shape)), dtype, "F" if fortran else "C"


def open_npy(place: Place, *, writable: bool = False) -> ArrayFile:
    """The array of a .npy file."""
    if place.path is None:
        from fastnorm.files._stream import Streamed

        file = place.open()
        try:
            shape, dtype, order = npy_header(file, place.name)
            return Streamed(file, place.name, file.tell(), shape, dtype, order)
        except BaseException:
            file.close()
            raise
    with place.open() as file:
        shape, dtype, order = npy_header(file, place.name)
        return Mapped(place, file.tell(), shape, dtype, order, writable=writable)


def open_raw(place: Place, dtype: DTypeLike, shape: tuple[int, ...], *, writable: bool = False) -> ArrayFile:
    """The array of a file that holds nothing else, C-ordered; one length may be -1."""
    if place.path is None:
        raise ValueError(f"{place.name}: raw arrays are read from local files only; use .npy or Zarr behind a URL")
    kind = np.dtype(dtype)
    known = math.prod(n for n in shape if n != -1) * kind.itemsize
    size = place.path.stat().st_size
    if -1 in shape:
        if known <= 0 or size % known or shape.count(-1) > 1:
            raise ValueError(f"{place.name} has {size} bytes, which shape {shape} of {kind} does not divide")
        shape = tuple(size // known if n == -1 else n for n in shape)
    elif size != known:
        raise ValueError(f"{place.name} has {size} bytes, but shape {shape} of {kind} takes {known}")
    return Mapped(place, 0, shape, kind, writable=writable)


def create_npy(path: Path, like: ArrayFile, dtype: np.dtype[Any]) -> ArrayFile:
    """A new .npy file for an array like another, in ``dtype``."""
    with path.open("xb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": like.order == "F", "shape": like.shape}
        np.lib.format.write_array_header_1_0(file, header)
        return mapped_after(file, path, like, dtype, like.order)


def create_raw(path: Path, like: ArrayFile, dtype: np.dtype[Any]) -> ArrayFile:
    """A new raw file for an array like another, in ``dtype``, C-ordered."""
    with path.open("xb") as file:
        return mapped_after(file, path, like, dtype)


def mapped_after(file: IO[bytes], path: Path, like: ArrayFile, dtype: np.dtype[Any], order: str = "C") -> Mapped:
    """A new array at the end of what was written to a file."""
    file.flush()
    offset, size = file.tell(), math.prod(like.shape) * dtype.itemsize
    if size and hasattr(os, "posix_fallocate"):  # so that a full disk is an error here, and no crash at a page
        os.posix_fallocate(file.fileno(), offset, size)
    elif size:
        os.truncate(file.fileno(), offset + size)
    return Mapped(Place.of(path), offset, like.shape, dtype, order, writable=True)
