"""From a place to an opened file, whatever its format."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastnorm.files._arrays import ArrayFile
from fastnorm.files._formats import KEYED, SUFFIXES, TABLES, format_of, format_to
from fastnorm.files._place import Place

_PLAUSIBLE = 1 << 30  # bytes that a small file may well claim: most of them never written
_MOST_PACKED = 100_000  # bytes for each byte of a file; no compression gains as much
DEFAULT_KEY = "data"  # of an array that had none, in a file that wants one


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read files: what a name does not say."""

    key: str | None = None  # the array in a file that holds several
    columns: Sequence[str] | None = None  # of tables
    raw: tuple[DTypeLike, tuple[int, ...]] | None = None  # dtype and shape of a file without a header

    def check(self, places: Iterable[Place]) -> None:
        """Raise ValueError for what no file has a use for, and where ``raw`` denies what a name says."""
        if self == Reading():
            return
        kinds = {}
        for place in places:
            kinds[place.name] = kind = format_of(place) if self.raw is None else SUFFIXES.get(place.suffix, "raw")
            if self.raw is not None and kind != "raw":
                raise ValueError(f"{place.name} is a {kind} file, which says what it holds; leave raw= (--raw) away")
        name, kind = next(iter(kinds.items()))
        if self.columns is not None and not TABLES & {*kinds.values()}:
            raise ValueError(f"{name} is a {kind} file, which has no columns; leave columns= (--columns) away")
        if self.key is not None and not KEYED & {*kinds.values()}:
            raise ValueError(f"{name} is a {kind} file, whose array has no name; leave key= (--key) away")


def open_array(place: Place, reading: Reading, *, writable: bool = False) -> ArrayFile:
    """Open a file of a format that holds arrays.

    Raises
    ------
    OSError
        If the file is not there or cannot be read.
    ValueError
        If it is damaged, holds no array of real numbers, several without a key, or cannot be changed in place.
    """
    file = _opened(place, reading, writable)
    claims = max(file.nbytes, math.prod(file.chunks or ()) * file.dtype.itemsize)
    if claims > _PLAUSIBLE and claims > _MOST_PACKED * (size := place.size()) > 0:
        file.close()
        raise ValueError(
            f"{place.name} has {size} bytes, but claims an array of shape {file.shape} and dtype {file.dtype}, "
            f"chunks {file.chunks}; it is damaged, or empty: bring it back from a copy"
        )
    return file


def _opened(place: Place, reading: Reading, writable: bool) -> ArrayFile:
    kind = "raw" if reading.raw is not None else format_of(place)
    options: dict[str, Any] = {"writable": writable}
    match kind:
        case "raw":
            from fastnorm.files.npy import open_raw

            if reading.raw is None:
                raise ValueError(
                    f"{place.name} says nothing of what it holds; say it with raw= (--raw), e.g. "
                    "raw=('float32', (-1, 9)) or --raw float32:-1,9"
                )
            return open_raw(place, *reading.raw, **options)
        case "npy":
            from fastnorm.files.npy import open_npy

            return open_npy(place, **options)
        case "npz":
            from fastnorm.files.npz import open_npz

            return open_npz(place, reading.key, **options)
        case "safetensors":
            from fastnorm.files.safetensors import open_safetensors

            return open_safetensors(place, reading.key, **options)
        case "zarr":
            from fastnorm.files.zarr import open_zarr

            return open_zarr(place, reading.key, **options)
        case _:
            from fastnorm.files.hdf5 import open_hdf5

            return open_hdf5(place, reading.key, **options)


def create_array(new: Path, target: Path, like: ArrayFile, dtype: np.dtype[Any], reading: Reading) -> ArrayFile:
    """Make the file ``new``, in the format that the name of ``target`` says, for an array like another.

    What else the file of ``like`` holds is copied, if it has the same format.
    """
    place, source = Place.of(target), Place.of(like.name)
    kind = format_to(place, raw=reading.raw is not None)
    same = source if reading.raw is None and format_of(source) == kind else None
    key = like.key or reading.key
    match kind:
        case "npy":
            from fastnorm.files.npy import create_npy

            return create_npy(new, like, dtype)
        case "raw":
            from fastnorm.files.npy import create_raw

            return create_raw(new, like, dtype)
        case "safetensors":
            from fastnorm.files.safetensors import create_safetensors

            return create_safetensors(new, like, dtype, key or DEFAULT_KEY, same)
        case "zarr":
            from fastnorm.files.zarr import create_zarr

            return create_zarr(new, like, dtype, key, same)
        case _:
            from fastnorm.files.hdf5 import create_hdf5

            return create_hdf5(new, like, dtype, key or DEFAULT_KEY, same)
