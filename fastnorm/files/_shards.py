"""Which files a user means: one, several, a folder of them, a pattern."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fastnorm.files._formats import SUFFIXES, format_of, is_store
from fastnorm.files._place import Place, Source


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of a data set, and its name below the folder that was asked for ("" for a single file)."""

    place: Place
    relative: str = ""


def shards(source: Source | Iterable[Source]) -> list[Shard]:
    """The files of a data set, in the order of their names, or as they were listed.

    A folder stands for all data files below it, a pattern with ``*`` for what it matches.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or no data file in a folder.
    ValueError
        If a folder holds files of several formats.
    """
    if not isinstance(source, (str, os.PathLike)):
        found = [shard for item in source for shard in shards(item)]
        if not found:
            raise ValueError("there are no files to read; name at least one")
        return found
    place = Place.of(source)
    if place.path is None:
        return _behind_url(place)
    if place.path.is_dir() and not is_store(place):
        return _below(place.path, place.name)
    if not place.path.exists() and glob.has_magic(place.name):
        matches = sorted(glob.glob(place.name, recursive=True))  # noqa: PTH207 - patterns may begin anywhere
        if not matches:
            raise FileNotFoundError(f"no file matches {place.name}")
        return [Shard(Place.of(match), Path(match).name) for match in matches]
    if not place.path.exists():
        raise FileNotFoundError(f"{place.name}: there is no such file or folder")
    return [Shard(place)]


def _behind_url(place: Place) -> list[Shard]:
    system = place.filesystem()
    if glob.has_magic(place.name) or (not is_store(place) and system.isdir(place.name)):
        pattern = place.name if glob.has_magic(place.name) else place.name.rstrip("/") + "/**"
        names = sorted(map(system.unstrip_protocol, system.glob(pattern)))
        places = [found for found in map(Place.of, names) if found.suffix in SUFFIXES]
        if not places:
            raise FileNotFoundError(f"no data file matches {place.name}")
        return [Shard(found, PurePosixPath(found.name).name) for found in places]
    return [Shard(place)]


def _below(folder: Path, name: str) -> list[Shard]:
    found: list[Path] = []
    for root, folders, files in os.walk(folder):
        here = Path(root)
        folders[:] = sorted(item for item in folders if item[0] not in "._")
        stores = [item for item in folders if is_store(Place.of(here / item))]
        folders[:] = [item for item in folders if item not in stores]
        known = [item for item in files if Place.of(item).suffix in SUFFIXES and item[0] not in "._"]
        found += [here / item for item in (*stores, *known)]
    if not found:
        raise FileNotFoundError(f"{name} holds no data files; fastnorm knows {', '.join(SUFFIXES)}")
    formats = sorted({format_of(Place.of(path)) for path in found})
    if len(formats) > 1:
        raise ValueError(f"{name} holds files of several formats ({', '.join(formats)}); name those that are meant")
    return [Shard(Place.of(path), path.relative_to(folder).as_posix()) for path in sorted(found)]
