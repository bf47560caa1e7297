"""Arrays in one piece behind a file object: read by their runs of neighbouring bytes."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from itertools import product
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fastnorm.files._arrays import ArrayFile, Region
from fastnorm.files._errors import border


class Streamed(ArrayFile):
    """An array from byte ``offset`` of a file that can be read and sought, of which it takes care."""

    def __init__(
        self,
        file: Any,
        name: str,
        offset: int,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        order: str = "C",
        key: str | None = None,
    ) -> None:
        super().__init__(name, shape, dtype, order, key)
        self._file, self._offset = file, offset

    def read(self, region: Region) -> NDArray[Any]:
        """A copy of the values."""
        with border(self.name, "file of this format"):
            if self.order == "F":
                return self._read(self.shape[::-1], region[::-1]).T
            return self._read(self.shape, region)

    def _read(self, shape: tuple[int, ...], region: Region) -> NDArray[Any]:
        result = np.empty([part.stop - part.start for part in region], self.dtype)
        if not result.size:
            return result
        inner = len(shape)  # axes from here on lie together
        while inner and (inner == len(shape) or result.shape[inner] == shape[inner]):
            inner -= 1
        flat = result.reshape(-1).view(np.uint8)
        size = math.prod(result.shape[inner:]) * self.dtype.itemsize
        outer = product(*(range(part.start, part.stop) for part in region[:inner]))
        for number, index in enumerate(outer):
            first = int(np.ravel_multi_index((*index, *(part.start for part in region[inner:])), shape))
            self._fill(flat[number * size : (number + 1) * size], self._offset + first * self.dtype.itemsize)
        return result

    def _fill(self, target: NDArray[np.uint8], start: int) -> None:
        self._file.seek(start)
        view = target.data
        while view:
            got = self._file.readinto(view)
            if not got:
                raise ValueError(
                    f"{self.name} is damaged or incomplete: it ends before the last value of its array of shape "
                    f"{self.shape} and dtype {self.dtype}; bring it back from a copy"
                )
            view = view[got:]

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


class Forward:
    """A file that can only be read forward well, as one that can be sought.

    Going back unpacks all of it into a temporary file and goes on there, so memory stays small and nothing is unpacked
    more than twice.
    """

    def __init__(self, opened: Callable[[], IO[bytes]], below: IO[bytes]) -> None:
        self._opened, self._below = opened, below
        self._file, self._unpacked = opened(), False

    def tell(self) -> int:
        """Where the next byte comes from."""
        return self._file.tell()

    def seek(self, start: int) -> None:
        """Go to a byte."""
        if start < self._file.tell() and not self._unpacked:
            self._file.close()
            unpacked = tempfile.TemporaryFile()  # noqa: SIM115
            with self._opened() as packed:
                while data := packed.read(1 << 20):
                    unpacked.write(data)
            self._file, self._unpacked = unpacked, True
        if self._unpacked:
            self._file.seek(start)
        while (left := start - self._file.tell()) > 0 and self.read(min(left, 1 << 20)):
            pass  # read rather than skipped, so that its checksum is

    def read(self, size: int) -> bytes:
        """The next bytes."""
        return self._file.read(size)

    def readinto(self, view: memoryview) -> int:
        """Fill the beginning of a buffer; 0 at the end."""
        data = self._file.read(min(len(view), 1 << 20))
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Let go of the file and of the one below, from which it is unpacked."""
        self._file.close()
        self._below.close()
