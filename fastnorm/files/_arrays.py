"""What the formats that hold arrays have in common: reading and writing by regions."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fastnorm import _layout, _tiles

Region = tuple[slice, ...]

REGION = 1 << 25  # bytes that are read, changed and written at once: far above the cost of a call; three are in memory
VIEWED = 4  # times as many, where they are a view of the file that is only read: workers wait for each other less often
WIDEST = 1 << 32  # bytes of one row


class ArrayFile(ABC):
    """An array in a file. Errors are OSError, and ValueError that begins with the file's name for what is damaged.

    Raises
    ------
    ValueError
        If the shape is impossible or the dtype is none of real numbers.
    """

    chunks: tuple[int, ...] | None = None  # what is stored together, where a format says so
    replaces = False  # whether writing makes new files, of which a power cut may leave zeros

    def __init__(
        self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any], order: str = "C", key: str | None = None
    ) -> None:
        self.name, self.shape, self.dtype, self.order, self.key = name, shape, dtype, order, key
        try:
            _layout.as_array(np.empty(0, dtype), name)
        except TypeError as error:
            raise ValueError(str(error)) from None
        if not shape:
            raise ValueError(f"{name} holds a single number, not an array of rows; name an array")
        if min(shape) < 0 or math.prod(shape) * dtype.itemsize >= 1 << 63:
            raise ValueError(f"{name} is damaged: no array has the shape {shape}; bring it back from a copy")

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return math.prod(self.shape) * self.dtype.itemsize

    def is_view(self, region: Region) -> bool:  # noqa: ARG002
        """Whether reading a region copies nothing."""
        return False

    @abstractmethod
    def read(self, region: Region) -> NDArray[Any]:
        """The values of a region; perhaps a view of the file."""

    def write(self, region: Region, values: NDArray[Any]) -> None:  # noqa: ARG002
        """Replace the values of a region."""
        raise ValueError(f"{self.name} cannot be changed in place; name another file for the result")

    def done(self, region: Region) -> None:  # noqa: B027
        """Say that a region will not be used again, so that its memory can go."""

    def sync(self) -> None:  # noqa: B027
        """Return when all that was written is on the disk."""

    def tidy(self) -> None:  # noqa: B027
        """Remove what a process that was killed left half written."""

    def close(self) -> None:  # noqa: B027
        """Let go of the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def chosen(name: str, key: str | None, found: Collection[str]) -> str:
    """The key of the array that is meant: the one that was asked for, or the only one."""
    if key is None and len(found) == 1:
        return next(iter(found))
    if key is not None and key in found:
        return key
    if not found:
        raise ValueError(f"{name} holds no array; name another file")
    listed = ", ".join(sorted(found)[:20]) + (", ..." if len(found) > 20 else "")
    if key is None:
        raise ValueError(f"{name} holds several arrays ({listed}); say which one with key= (--key)")
    raise ValueError(f"{name} holds no array {key!r}, but {listed}; name one of these with key= (--key)")


def regions(file: ArrayFile, axis: int | tuple[int, ...] | None, times: int = 1) -> Iterator[Region]:
    """Cut an array along the axes that are reduced, at the borders of chunks, into about ``times * REGION`` bytes each.

    Chunks of which a row takes more than that are cut as well, and read several times.

    Raises
    ------
    ValueError
        If there is no such axis, or the axes that are kept alone would fill the memory.
    """
    kept = _layout.kept_axes(axis, len(file.shape))
    grid = file.chunks or (1,) * len(file.shape)
    reduced = [index for index in range(len(file.shape)) if index not in kept]
    if file.order == "F":
        reduced.reverse()
    whole = max(1, math.prod(file.shape[index] for index in kept) * file.dtype.itemsize)
    if whole > WIDEST and reduced:
        raise ValueError(
            f"{file.name} has {whole // file.dtype.itemsize} features with axis={axis!r} (--axis; shape {file.shape}), "
            "too many for parts that fit into memory; is it damaged, or is another axis meant?"
        )
    steps = [max(1, min(grid[index], file.shape[index])) for index in reduced]
    for place, step in enumerate(steps):
        steps[place] = max(1, min(step, times * REGION * step // (whole * math.prod(steps))))
    units = [-(-file.shape[index] // step) for index, step in zip(reduced, steps, strict=True)]
    most = max(1, times * REGION // (whole * math.prod(steps)))
    for ranges in _tiles.ranges(tuple(units), most):
        found = [slice(0, n) for n in file.shape]
        for index, step, part in zip(reduced, steps, ranges, strict=True):
            found[index] = slice(part.start * step, min(part.stop * step, file.shape[index]))
        yield tuple(found)
