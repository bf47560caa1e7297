""".npz files: zip archives of .npy members. Stored members are mapped where they lie, compressed ones streamed."""

from __future__ import annotations

import struct
import zipfile
import zlib
from typing import IO, Any

import numpy as np
from numpy.lib.array_utils import byte_bounds
from numpy.typing import NDArray

from fastnorm.files._arrays import ArrayFile, Region, chosen
from fastnorm.files._errors import border
from fastnorm.files._place import Place
from fastnorm.files._stream import Forward, Streamed
from fastnorm.files.npy import Mapped, npy_header

_LOCAL = struct.Struct("<26xHH")  # of the header before a member: the lengths of its name and of what follows that
_CHECKED = 1 << 24  # bytes for one call of the checksum


class _Stored(Mapped):
    """A stored member in its place; the checksum of the archive is compared along the way."""

    def __init__(self, place: Place, member: zipfile.ZipInfo, start: int, header: bytes, *found: Any, key: str) -> None:
        super().__init__(place, start + len(header), *found, key=key)
        self._want, self._crc, self._checked = member.CRC, zlib.crc32(header), 0
        self._size = self.nbytes

    def read(self, region: Region) -> NDArray[Any]:
        """A view of the file, checked: up to its end if it comes next, all the rest if it does not."""
        low, high = (bound - byte_bounds(self.array)[0] for bound in byte_bounds(self.array[region]))
        self._check(high if low <= self._checked else self._size)
        return super().read(region)

    def _check(self, end: int) -> None:
        flat = self.array.reshape(-1, order="A").view(np.uint8)
        for start in range(self._checked, end, _CHECKED):
            part = flat[start : min(start + _CHECKED, end)]
            self._crc = zlib.crc32(part.data, self._crc)
            self._advise(part, "MADV_DONTNEED")
        if self._checked < end == self._size and self._crc != self._want:
            raise ValueError(f"{self.name} is damaged: {self.key} does not fit its checksum; bring it back from a copy")
        self._checked = max(self._checked, end)


def open_npz(place: Place, key: str | None, *, writable: bool = False) -> ArrayFile:
    """One array of a .npz file."""
    if writable:
        raise ValueError(
            f"{place.name}: .npz files cannot be changed in place, since they hold checksums of their members; name "
            "another file for the result"
        )
    file = place.open()
    try:
        with border(place.name, ".npz file"):
            return _opened(place, file, key)
    except BaseException:
        file.close()
        raise


def _opened(place: Place, file: IO[bytes], key: str | None) -> ArrayFile:
    archive = zipfile.ZipFile(file)
    names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    key = chosen(place.name, key, names)
    member = archive.getinfo(f"{key}.npy")
    stream = Forward(lambda: archive.open(member), file)
    shape, dtype, order = npy_header(stream, place.name)  # type: ignore[arg-type]
    offset = stream.tell()
    array = Streamed(stream, place.name, offset, shape, dtype, order, key)
    if member.file_size != offset + array.nbytes:
        raise ValueError(
            f"{place.name} is damaged: its member {key} has {member.file_size} bytes, but an array of shape {shape} "
            f"and dtype {dtype} takes {offset + array.nbytes}; bring it back from a copy"
        )
    if member.compress_type != zipfile.ZIP_STORED or place.path is None:
        return array
    file.seek(member.header_offset)
    start = member.header_offset + _LOCAL.size + sum(_LOCAL.unpack(file.read(_LOCAL.size)))
    file.seek(start)
    header = file.read(offset)
    array.close()
    return _Stored(place, member, start, header, shape, dtype, order, key=key)
