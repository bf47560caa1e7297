"""Normalize an array where it lies, with a journal (`_journal` says why nothing is lost)."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastnorm import _layout
from fastnorm._arguments import result_dtype
from fastnorm.files import _record
from fastnorm.files._arrays import ArrayFile, Region, regions
from fastnorm.files._beside import beside
from fastnorm.files._formats import TABLES, format_of
from fastnorm.files._journal import Journal, bytes_of, digest, plan_of
from fastnorm.files._open import Reading, open_array
from fastnorm.files._place import Place
from fastnorm.files._progress import Progress
from fastnorm.normalization import Normalization

Direction = Literal["forward", "inverse"]


@contextmanager
def opened(place: Place, reading: Reading, dtype: np.dtype[Any] | None = None) -> Iterator[tuple[ArrayFile, Path]]:
    """A file that can be changed in place by a layer of ``dtype``, and where its journal lies: nothing is written yet.

    Raises
    ------
    OSError
        If it is not there, or may not be written.
    ValueError
        If it is damaged, of a format that cannot be changed, has other names, or cannot hold the result.
    """
    if place.path is None or (reading.raw is None and format_of(place) in TABLES):
        what = "files behind a URL" if place.path is None else f"{format_of(place)} files"
        raise ValueError(f"{place.name}: {what} cannot be changed in place; name another file for the result")
    target = place.path.resolve()  # the journal of a file lies beside it, not beside a link to it
    if target.is_file() and target.stat().st_nlink > 1:
        raise ValueError(
            f"{place.name} has other names (hard links), under which it would be changed too, and not be known as "
            "normalized; copy it first, or name another file for the result"
        )
    with open_array(place, reading, writable=True) as file:
        if file.dtype.newbyteorder("=") != result_dtype(dtype, file.dtype.newbyteorder("=")):
            raise ValueError(
                f"{place.name} holds {file.dtype}, which cannot hold z-scores; name another file for the result"
            )
        for written, where in ((target, target), (beside(target, "journal"), target.parent)):
            if not os.access(where, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(written))
        yield file, target


def in_place(
    file: ArrayFile,
    target: Path,
    layer: Normalization,
    direction: Direction,
    reading: Reading,
    again: bool,
    bar: Progress,
) -> bool:
    """Transform ``file``, which lies at ``target``; go on where an earlier run was stopped.

    The caller holds the lock of ``target``. False if this very layer has finished the file before.

    Raises
    ------
    ValueError
        If another layer has begun or finished the file, or it has changed since a run was stopped.
    """
    asked = _asked(file, layer, direction)
    if (journal := _begun(target, asked)) is None:
        done = None if again else _record.record_of(target, file)
        if done is not None and done["direction"] == direction:
            if done["layer"] == asked["layer"]:
                return False
            raise finished(target, direction)
        parts = list(regions(file, layer.axis))
        opened = {"key": reading.key, "raw": reading.raw and [str(np.dtype(reading.raw[0])), list(reading.raw[1])]}
        old = {"regions": _record.spans(parts), "old": _record.digests(file, parts)}
        journal = Journal.begin(
            target, asked | old | {"opened": opened}, max((_size(file, part) for part in parts), default=0)
        )
    Run(file, target, layer, journal).complete(bar)
    return True


def check_free(file: ArrayFile, target: Path, layer: Normalization, direction: Direction, again: bool) -> None:
    """Raise ValueError if a layer does not fit a file, or another has begun or finished it; the caller has its lock."""
    kept = _layout.kept_axes(layer.axis, len(file.shape))
    layer.transform(np.zeros([n if index in kept else 1 for index, n in enumerate(file.shape)]))
    asked = _asked(file, layer, direction)
    if _begun(target, asked) is None and not again and _record.others(target, direction, asked["layer"]):
        done = _record.record_of(target, file)
        if done is not None and done["direction"] == direction and done["layer"] != asked["layer"]:
            raise finished(target, direction)


def _asked(file: ArrayFile, layer: Normalization, direction: Direction) -> dict[str, Any]:
    return _record.about(file) | {"direction": direction, "layer": _document(layer)}


def _begun(target: Path, asked: dict[str, Any]) -> Journal | None:
    """The journal of a run that was stopped, which is the one that is asked for."""
    journal = Journal.resume(target)
    if journal is not None and any(journal.plan[name] != value for name, value in asked.items()):
        raise ValueError(
            f"{target} is in the middle of another run; finish that with the call that began it, or with "
            f"`fastnorm recover {target}`"
        )
    return journal


def progress_of(file: ArrayFile, target: Path, layer: Normalization) -> Literal["none", "begun", "done"]:
    """How far this very layer has normalized a file in place, perhaps in another process that is at work."""
    document = _document(layer)
    if (plan := plan_of(target)) is not None:
        return "begun" if plan["layer"] == document else "none"
    record = _record.record_of(target, file)
    done = record is not None and (record["layer"], record["direction"]) == (document, "forward")
    return "done" if done else "none"


def is_normalized(place: Place, reading: Reading) -> bool:
    """Whether a file holds, by its bytes, what normalizing it in place made of it; one that cannot be read does not."""
    if place.path is None or not beside(target := place.path.resolve(), "done").exists():
        return False
    try:
        with open_array(place, reading) as file:
            record = _record.record_of(target, file)
    except (OSError, ValueError):
        return False
    return record is not None and record["direction"] == "forward"


def finished(name: object, direction: str) -> ValueError:
    """An error for a file that is done."""
    word = "normalized" if direction == "forward" else "turned back"
    return ValueError(f"{name} is {word} already; to do it once more all the same, pass again=True (--again)")


def transformed(
    layer: Normalization, values: NDArray[Any], direction: Direction, dtype: np.dtype[Any] | None = None
) -> NDArray[Any]:
    """The values as the layer makes them, in the dtype and byte order of a file (by default their own)."""
    call = layer.transform if direction == "forward" else layer.inverse_transform
    result: NDArray[Any] = call(values)
    return result.astype(values.dtype if dtype is None else dtype, copy=False)


class Run:
    """A file, and the journal of what is done to it."""

    def __init__(self, file: ArrayFile, target: Path, layer: Normalization, journal: Journal) -> None:
        self.file, self.target, self.layer, self.journal = file, target, layer, journal
        self.parts = _record.parts_of(journal.plan)

    def complete(self, bar: Progress) -> None:
        """Do what is left to do, note the result and remove the journal."""
        try:
            if resumed := self.journal.touched:
                self.file.tidy()
            todo = self._unfinished() if resumed else list(range(len(self.parts)))
            bar.add(sum(_size(self.file, self.parts[index]) for index in {*range(len(self.parts))} - {*todo}))
            for index in todo:
                self._one(index)
                bar.add(_size(self.file, self.parts[index]))
        except BaseException:
            if not self.journal.touched:
                self.journal.remove()
            raise
        _record.note(self.target, self.journal)
        self.journal.remove()

    def roll_back(self) -> None:
        """Bring back what the file held before, and remove the journal.

        Raises
        ------
        ValueError
            If more than one region has changed: then only completing helps.
        """
        self.file.tidy()
        todo = self._unfinished()
        if done := len(self.parts) - len(todo):
            raise ValueError(
                f"{self.target} cannot be brought back: {done} of its {len(self.parts)} regions are done, and what "
                "they held is gone; complete it, with `fastnorm recover {self.target}`"
            )
        for index in todo:
            if (old := self._kept(index)) is not None:
                self.file.write(self.parts[index], old)
                self.file.sync()
        self.journal.remove()

    def _one(self, index: int) -> None:
        part, kept = self.parts[index], self._kept(index)
        old = np.array(self.file.read(part)) if kept is None else kept
        if digest(old) != self.journal.plan["old"][index]:
            raise self._changed(index)
        new = self._transformed(old)
        self.journal.keep(index, old if kept is None else None, digest(new))
        self.journal.touched = True
        self.file.write(part, new)
        self.file.sync()
        self.file.done(part)

    def _unfinished(self) -> list[int]:
        """The regions that are to be done; looks at every byte of the file.

        The region whose old bytes are kept is done anew even if it looks finished: perhaps it never got to the disk.
        """
        todo = []
        for index, part in enumerate(self.parts):
            kept = self._kept(index)
            try:
                values = self.file.read(part)
            except ValueError:  # a compressed chunk that was cut short
                if kept is None:
                    raise
                todo.append(index)
                continue
            now = digest(values)
            if now == self.journal.plan["old"][index] or (kept is not None and self._is_between(values, kept)):
                todo.append(index)
            elif now != self.journal.new(index):
                raise self._changed(index)
            self.file.done(part)
        return todo

    def _is_between(self, values: NDArray[Any], old: NDArray[Any]) -> bool:
        """Whether values are, byte by byte, old or new ones (or lost): what a stop in the middle of writing leaves."""
        now, before, after = map(bytes_of, (values, old, self._transformed(old)))
        known = (now == before) | (now == after)
        return bool((known | (now == 0) if self.file.replaces else known).all())

    def _transformed(self, values: NDArray[Any]) -> NDArray[Any]:
        return transformed(self.layer, values, self.journal.plan["direction"])

    def _kept(self, index: int) -> NDArray[Any] | None:
        shape = tuple(span.stop - span.start for span in self.parts[index])
        return self.journal.kept(index, shape, self.file.dtype)

    def _changed(self, index: int) -> ValueError:
        return ValueError(
            f"{self.target} was changed by something else in the middle of a run (region {index + 1} of "
            f"{len(self.parts)}); nothing was written over it. Bring it back from a copy and repeat the call, or keep "
            f"it as it is and remove {self.journal.folder}"
        )


def _size(file: ArrayFile, part: Region) -> int:
    return file.dtype.itemsize * math.prod(int(span.stop - span.start) for span in part)


def _document(layer: Normalization) -> Any:
    """A layer as it will be read back from JSON: tuples are lists there."""
    return json.loads(json.dumps(layer._saved()))
