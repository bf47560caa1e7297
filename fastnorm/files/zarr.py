"""Zarr stores of versions 2 and 3: read and written chunk by chunk, or shard by shard."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnorm.files._arrays import REGION, ArrayFile, Region, chosen
from fastnorm.files._errors import border
from fastnorm.files._place import Place, install

WHAT = "Zarr store"


def _zarr() -> Any:
    try:
        import zarr
    except ImportError as error:
        raise install("zarr", error) from error
    return zarr


class ZarrArray(ArrayFile):
    """One array of a store."""

    replaces = True

    def __init__(self, name: str, array: Any, key: str | None = None, folder: Path | None = None) -> None:
        super().__init__(name, array.shape, array.dtype, key=key)
        self.array, self._folder = array, folder
        self.chunks = array.shards or array.chunks
        size = math.prod(self.chunks) * self.dtype.itemsize
        self._at_once = max(1, min(10, REGION // max(1, size)))  # chunks in memory
        self._written: list[Region] = []

    def read(self, region: Region) -> NDArray[Any]:
        """A copy of the values; what was never written has the fill value."""
        with border(self.name, WHAT), _zarr().config.set({"async.concurrency": self._at_once}):
            found: NDArray[Any] = np.asarray(self.array[region])
            return found

    def write(self, region: Region, values: NDArray[Any]) -> None:
        """Replace the chunks of a region, each file at once.

        Zarr alone would go on writing chunks after an error, and after this returned.
        """
        first = [part.start for part in region]

        def one(chunk: Region) -> None:
            here = zip(chunk, first, strict=True)
            self.array[chunk] = values[tuple(slice(part.start - low, part.stop - low) for part, low in here)]

        with border(self.name, WHAT), ThreadPoolExecutor(self._at_once) as pool:
            try:
                for _ in pool.map(one, self._chunks_of(region)):
                    pass
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        self._written.append(region)

    def _chunks_of(self, region: Region) -> Iterator[Region]:
        """A region cut at the borders of chunks."""
        assert self.chunks is not None
        return product(
            *(
                [
                    slice(max(start, part.start), min(start + length, part.stop))
                    for start in range(part.start // length * length, part.stop, length)
                ]
                for part, length in zip(region, self.chunks, strict=True)
            )
        )

    def sync(self) -> None:
        """Return when the chunks that were written are on the disk, and their names in their folders."""
        if self._folder is None:
            return
        assert self.chunks is not None
        folders = set()
        for chunk in chain.from_iterable(map(self._chunks_of, self._written)):
            index = tuple(part.start // length for part, length in zip(chunk, self.chunks, strict=True))
            file = self._folder / self.array.metadata.encode_chunk_key(index)
            if file.exists():  # a chunk of nothing but the fill value has no file
                _sync(file)
            folders.add(file.parent)
        for folder in folders:
            if folder.exists() and os.name == "posix":
                _sync(folder)
        self._written.clear()

    def tidy(self) -> None:
        """Remove chunks under the names that they have until they are whole."""
        for path in () if self._folder is None else self._folder.rglob("*.partial"):
            path.unlink()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def open_zarr(place: Place, key: str | None, *, writable: bool = False) -> ArrayFile:
    """One array of a store."""
    zarr = _zarr()
    with border(place.name, WHAT):
        found = zarr.open(_store(place), mode="r+" if writable else "r")
        if isinstance(found, zarr.Group):
            arrays = {name: item for name, item in found.members(max_depth=None) if isinstance(item, zarr.Array)}
            key = chosen(place.name, key and key.strip("/"), arrays)
            found = arrays[key]
        elif key is not None:
            raise ValueError(f"{place.name} is a single array, not a group with {key!r}; leave key= (--key) away")
        if writable and (lossy := _lossy(found)):
            raise ValueError(
                f"{place.name} stores its values through {lossy}, which may not keep z-scores as they are; name "
                "another file for the result"
            )
        folder = None if place.path is None else place.path / found.path
        return ZarrArray(place.name, found, key, folder)


def _store(place: Place) -> str:
    return place.name if place.path is None else str(place.path)


def _lossy(array: Any) -> str:
    """The codecs that make other values of values, by name."""
    codecs = [*array.filters, *([array.serializer] if array.serializer is not None else [])]
    names = [type(codec).__name__ for codec in codecs]
    return ", ".join(name for name in names if name not in ("BytesCodec", "TransposeCodec"))


def create_zarr(path: Path, like: ArrayFile, dtype: np.dtype[Any], key: str | None, source: Place | None) -> ArrayFile:
    """A new store with one array like another; the rest is as in ``source``, a store.

    Chunks, shards, compressors, attributes and version are those of ``like`` if it is a Zarr array. Filters are left
    away, since they are made for other values.
    """
    zarr = _zarr()
    options: dict[str, Any] = {"shape": like.shape, "dtype": dtype}
    version = 3
    if isinstance(like, ZarrArray):
        options |= _options(like.array, dtype)
        version = like.array.metadata.zarr_format
    with border(str(path), WHAT):
        if key is None:
            return ZarrArray(str(path), zarr.create_array(path, **options, zarr_format=version), None, path)
        if source is not None and source.path is not None:
            _copy(source.path, path, source.path / key)
        group = zarr.open_group(path, mode="a", zarr_format=version)
        *way, name = key.split("/")
        if way:
            group = group.require_group("/".join(way))
        return ZarrArray(str(path), group.create_array(name, **options), key, path / key)


def _options(array: Any, dtype: np.dtype[Any]) -> dict[str, Any]:
    metadata = array.metadata
    options = {
        "chunks": array.chunks,
        "shards": array.shards,
        "compressors": array.compressors or None,
        "attributes": array.attrs.asdict(),
        "fill_value": None if array.fill_value is None else dtype.type(array.fill_value),
    }
    if metadata.zarr_format == 2:
        return options | {
            "order": array.order,
            "chunk_key_encoding": {"name": "v2", "separator": metadata.dimension_separator},
        }
    return options | {"chunk_key_encoding": metadata.chunk_key_encoding, "dimension_names": metadata.dimension_names}


def _copy(source: Path, new: Path, array: Path) -> None:
    """All other files of a store; without consolidated metadata, which would describe the old array."""

    def unwanted(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if Path(folder, name) == array or name == ".zmetadata"]

    shutil.copytree(source, new, ignore=unwanted, dirs_exist_ok=True)
    if (file := new / "zarr.json").exists():
        document = json.loads(file.read_text("utf-8"))
        document.pop("consolidated_metadata", None)
        file.write_text(json.dumps(document), "utf-8")
