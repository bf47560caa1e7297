"""Which files a user means: one, several, a folder of them, a pattern."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from fastnorm.files._formats import SUFFIXES, format_of, is_store
from fastnorm.files._place import Place, Source

_HIDDEN = "._"  # a name that begins so is no data


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
    OSError
        If there is no such file, no data file in a folder, or what is named is a pipe or a device.
    ValueError
        If a folder holds files of several formats, or a file is named twice, also as a link to itself.
    """
    sources = listed_sources(source)
    found = [shard for item in sources for shard in _meant(item)]
    if not found:
        raise ValueError("there are no files to read; name at least one")
    names: dict[object, str] = {}
    for place in (shard.place for shard in found):
        if place.path is not None and place.path.exists() and not (place.path.is_file() or place.path.is_dir()):
            raise OSError(f"{place.name} is neither a file nor a folder; write what comes from it to a file first")
        if (same := place.identity()) in names:
            other = "" if names[same] == place.name else f"the same file as {names[same]}, "
            raise ValueError(f"{place.name} is {other}named twice, and its rows would count twice; name each file once")
        names[same] = place.name
    return found


def listed_sources(source: Source | Iterable[Source]) -> list[Source]:
    """The names that a user gives, as a list; TypeError for what is no name."""
    given: Any = source
    several = isinstance(given, Iterable) and not isinstance(given, (str, bytes, os.PathLike))
    found = list(given) if several and not hasattr(given, "shape") else [given]
    for item in found:
        if not isinstance(item, (str, os.PathLike)):
            raise TypeError(
                f"a source is a path or a URL, not {type(item).__name__}; for data in memory, use a Normalization's "
                "adapt and transform"
            )
    return found


def _meant(source: Source) -> list[Shard]:
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
    if glob.has_magic(place.name) and not system.exists(place.name):
        folder, names = None, system.glob(place.name)
    elif system.isdir(place.name) and not is_store(place):
        folder = PurePosixPath(system._strip_protocol(place.name))
        names = system.glob(place.name.rstrip("/") + "/**")
    else:
        return [Shard(place)]
    paths: list[PurePosixPath] = []
    for path in sorted(map(PurePosixPath, names)):
        below = path if folder is None else path.relative_to(folder)
        if _is_meant(below.as_posix()) and not any(map(is_store, map(Place.of, path.parents))):
            paths.append(path)
    found = {path: Place.of(system.unstrip_protocol(str(path))) for path in paths}
    _check_format(place.name, found.values())
    return [
        Shard(place, path.name if folder is None else path.relative_to(folder).as_posix())
        for path, place in found.items()
    ]


def _below(folder: Path, name: str) -> list[Shard]:
    found: list[Path] = []
    for root, folders, files in os.walk(folder):
        here = Path(root)
        folders[:] = sorted(item for item in folders if item[0] not in _HIDDEN)
        stores = [item for item in folders if is_store(Place.of(here / item))]
        folders[:] = [item for item in folders if item not in stores]
        found += [here / item for item in (*stores, *filter(_is_meant, files))]
    _check_format(name, map(Place.of, found))
    return [Shard(Place.of(path), path.relative_to(folder).as_posix()) for path in sorted(found)]


def _is_meant(name: str) -> bool:
    """Whether a file of a folder is data, by its name."""
    return Place.of(name).suffix in SUFFIXES and not any(part[0] in _HIDDEN for part in name.split("/") if part)


def _check_format(name: str, found: Iterable[Place]) -> None:
    """Raise unless there are files, all of one format."""
    formats = sorted(set(map(format_of, found)))
    if not formats:
        raise FileNotFoundError(f"{name} holds no data files; fastnorm knows {', '.join(SUFFIXES)}")
    if len(formats) > 1:
        raise ValueError(f"{name} holds files of several formats ({', '.join(formats)}); name those that are meant")
