"""Normalize files of any size, into new ones or in place."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from fastnorm._arguments import result_dtype
from fastnorm.files._ahead import ahead
from fastnorm.files._arrays import regions
from fastnorm.files._beside import locked
from fastnorm.files._destination import check_becomes
from fastnorm.files._errors import leave_out
from fastnorm.files._formats import TABLES, format_of, is_store
from fastnorm.files._inplace import Direction, check_free, finished, in_place, opened, transformed
from fastnorm.files._journal import check_whole
from fastnorm.files._open import Reading, create_array, open_array
from fastnorm.files._place import Place, Source
from fastnorm.files._progress import Progress
from fastnorm.files._shards import Shard, listed_sources, shards
from fastnorm.files._staged import staged
from fastnorm.normalization import Normalization


def normalize_files(
    source: Source | Iterable[Source],
    out: Source | None,
    layer: Normalization,
    *,
    inverse: bool = False,
    columns: Sequence[str] | None = None,
    key: str | None = None,
    raw: tuple[DTypeLike, tuple[int, ...]] | None = None,
    overwrite: bool = False,
    again: bool = False,
    skipped: list[tuple[str, Exception]] | None = None,
    progress: bool = False,
) -> None:
    """Standardize files with an adapted layer, in parts: the same bits as in one array.

    Parameters
    ----------
    source : path, URL or iterable of them
        Files, folders (all data files below them) or patterns with ``*``.
    out : path or None
        The new file; of several files a folder, in which they keep their names. None works in place, for formats that
        allow it: a run that was stopped goes on with the same call, whatever stopped it. Of several files, those that
        this very layer has finished count as done, unless that is all of them.
    layer : fastnorm.Normalization
        What to apply.
    inverse : bool
        Turn z-scores back.
    columns, key, raw, progress, skipped
        As for `adapt_files`.
    overwrite : bool
        Replace files that exist.
    again : bool
        Normalize a file in place that was normalized already.

    Raises
    ------
    OSError
        If a file is not there, cannot be read or written, or exists already.
    ValueError
        If a file is damaged, does not fit the layer, cannot be changed in place, was normalized already or was changed
        since a run was stopped.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> from fastnorm import adapt_files, normalize_files
    >>> path = pathlib.Path(tempfile.mkdtemp(), "x.npy")
    >>> np.save(path, [[1.0], [3.0]])
    >>> normalize_files(path, path.with_name("z.npy"), adapt_files(path))
    >>> np.load(path.with_name("z.npy"))
    array([[-1.],
           [ 1.]])
    """
    if not isinstance(layer, Normalization):
        raise TypeError(f"normalize_files takes a Normalization, not {type(layer).__name__}; adapt_files makes one")
    sources = listed_sources(source)
    reading = Reading(key, columns, raw)
    todo = planned(sources, out, reading, overwrite=overwrite)
    found = [shard for shard, _ in todo]
    direction: Direction = "inverse" if inverse else "forward"
    if out is None and again and len(found) > 1:
        raise ValueError(
            "again=True (--again) takes one file at a time: of several, a stop would leave open which have had it"
        )
    if out is None:  # all are looked at before the first is changed
        todo = [item for item in todo if _can_change(item[0].place, layer, direction, reading, again, skipped)]
    before = []  # files that this very layer has finished before, perhaps in this run, before it was stopped
    with Progress(progress, sum(shard.place.size() for shard in found), "inverse" if inverse else "normalize") as bar:
        for shard, target in todo:
            try:
                if target is not None:
                    _write(shard.place, target, layer, direction, reading, bar)
                elif not _change(shard.place, layer, direction, reading, again, bar):
                    before.append(shard.place.name)
            except (OSError, ValueError, TypeError) as error:
                leave_out(shard.place, error, skipped)
    if before and len(before) == len(found) - len(skipped or ()):
        raise finished(
            " and ".join(before[:3]) + (f" and {len(before) - 3} more" if len(before) > 3 else ""), direction
        )


def planned(
    sources: list[Source], out: Source | None, reading: Reading, *, overwrite: bool
) -> list[tuple[Shard, Path | None]]:
    """The files that are read, and what each becomes: None in place. Nothing is read yet.

    Raises
    ------
    OSError
        If a file is not there, or what it becomes exists already.
    ValueError
        If the options do not fit the files, or a file cannot become what its new name says.
    """
    found = shards(sources)
    reading.check(shard.place for shard in found)
    targets = _targets(found, out)
    _check_apart(sources, out)
    for shard, target in zip(found, targets, strict=True):
        if target is not None:
            check_becomes(shard.place, target, raw=reading.raw is not None)
        if target is not None and target.exists() and not overwrite:
            raise FileExistsError(f"{target} exists already; choose another name, or pass overwrite=True (--force)")
    return list(zip(found, targets, strict=True))


def _check_apart(sources: list[Source], out: Source | None) -> None:
    """Raise ValueError if results would lie in a folder of sources, where the next run would read them too."""
    if out is None:
        return
    here = Path(os.fspath(out)).resolve()
    for source in sources:
        place = Place.of(source)
        if place.path is not None and place.path.is_dir() and not is_store(place):
            folder = place.path.resolve()
            if folder in (here, *here.parents):
                raise ValueError(f"{out} lies in {source}, which is read; choose a place outside of it")


def _targets(found: list[Shard], out: Source | None) -> list[Path | None]:
    if out is None:
        return [None] * len(found)
    place = Place.of(out)
    if place.path is None:
        raise ValueError(f"results are written to local paths, not to {place.name}; copy them there afterwards")
    many = len(found) > 1 or bool(found[0].relative)
    targets: dict[Path, str] = {}
    for shard in found:
        target = place.path / (shard.relative or Path(shard.place.name).name) if many else place.path
        if shard.place.path is not None and target.resolve() == shard.place.path.resolve():
            raise ValueError(
                f"{target} is the file that is read; pass out=None (--in-place) to work in place, or another name"
            )
        if target in targets:
            raise ValueError(f"{targets[target]} and {shard.place.name} would both become {target}; write them apart")
        targets[target] = shard.place.name
    return list(targets)


def _can_change(
    place: Place,
    layer: Normalization,
    direction: Direction,
    reading: Reading,
    again: bool,
    skipped: list[tuple[str, Exception]] | None,
) -> bool:
    try:
        with opened(place, reading, layer.dtype) as (file, target), locked(target):
            check_free(file, target, layer, direction, again)
        return True
    except (OSError, ValueError, TypeError) as error:
        leave_out(place, error, skipped)
        return False


def _change(
    place: Place, layer: Normalization, direction: Direction, reading: Reading, again: bool, bar: Progress
) -> bool:
    with opened(place, reading, layer.dtype) as (file, target), locked(target):
        return in_place(file, target, layer, direction, reading, again, bar)


def _write(
    place: Place, target: Path, layer: Normalization, direction: Direction, reading: Reading, bar: Progress
) -> None:
    check_whole(place)
    with staged(target) as new:
        if reading.raw is None and format_of(place) in TABLES:
            from fastnorm.files._tables import transform_table

            transform_table(place, new, target, layer, direction, reading.columns, bar)
            return
        with open_array(place, reading) as file:
            dtype: np.dtype[np.generic] = result_dtype(layer.dtype, file.dtype)
            todo = list(regions(file, layer.axis))
            with (
                create_array(new, target, file, dtype, reading) as result,
                closing(ahead((region, file.read(region)) for region in todo)) as parts,
            ):
                for region, data in parts:
                    result.write(region, transformed(layer, data, direction, dtype))
                    result.done(region)
                    file.done(region)
                    bar.add(data.nbytes)
                result.sync()
