"""What the formats that hold arrays have in common: reading and writing by regions."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnorm import _layout

Region = tuple[slice, ...]

REGION = 1 << 25  # bytes that are read, changed and written at once: far above the cost of a call, far below memory


class ArrayFile(ABC):
    """An array in a file. Errors are OSError, and ValueError with the file's name for what is damaged."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...] | None = None  # what is stored together, where a format says so
    order = "C"

    @abstractmethod
    def read(self, region: Region) -> NDArray[Any]:
        """The values of a region; perhaps a view of the file."""

    def write(self, region: Region, values: NDArray[Any]) -> None:
        """Replace the values of a region."""
        raise ValueError(f"{self.name} cannot be changed in place; name another file for the result")

    def done(self, region: Region) -> None:  # noqa: B027
        """Say that a region will not be used again, so that its memory can go."""

    def sync(self) -> None:  # noqa: B027
        """Return when all that was written is on the disk."""

    def close(self) -> None:  # noqa: B027
        """Let go of the file."""

    def __enter__(self) -> ArrayFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def regions(file: ArrayFile, axis: int | tuple[int, ...] | None) -> Iterator[Region]:
    """Cut an array along the axes that are reduced, at the borders of chunks, into parts of about ``REGION`` bytes."""
    kept = _layout.kept_axes(axis, len(file.shape))
    grid = file.chunks or (1,) * len(file.shape)
    reduced = [index for index in range(len(file.shape)) if index not in kept]
    if file.order == "F":
        reduced.reverse()
    steps = [min(grid[index], max(1, file.shape[index])) for index in reduced]
    whole = math.prod(file.shape[index] for index in kept) * file.dtype.itemsize
    units = [-(-file.shape[index] // step) for index, step in zip(reduced, steps, strict=True)]
    most = max(1, REGION // max(1, whole * math.prod(steps)))
    for ranges in _layout.ranges(tuple(units), most):
        found = [slice(0, n) for n in file.shape]
        for index, step, part in zip(reduced, steps, ranges, strict=True):
            found[index] = slice(part.start * step, min(part.stop * step, file.shape[index]))
        yield tuple(found)
