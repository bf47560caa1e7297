"""Normalize an array where it lies, with a journal (`_journal` says why nothing is lost)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastnorm import _layout
from fastnorm._arguments import result_dtype
from fastnorm.files import _record
from fastnorm.files._arrays import ArrayFile, Region, regions
from fastnorm.files._journal import Journal, bytes_of, digest
from fastnorm.files._open import Reading
from fastnorm.files._progress import Progress
from fastnorm.normalization import Normalization

Direction = Literal["forward", "inverse"]


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
        If another layer has finished the file, it has changed since a run was stopped, or it cannot hold the result.
    """
    check_fits(file, target, layer)
    asked = _record.about(file) | {"direction": direction, "layer": _document(layer)}
    if (journal := Journal.resume(target)) is not None:
        if any(journal.plan[name] != value for name, value in asked.items()):
            raise ValueError(
                f"{target} is in the middle of another run; finish that with the call that began it, or with "
                f"`fastnorm recover {target}`"
            )
    else:
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


def progress_of(file: ArrayFile, target: Path, layer: Normalization) -> Literal["none", "begun", "done"]:
    """How far this very layer has normalized a file in place."""
    document = _document(layer)
    if (journal := Journal.resume(target)) is not None:
        return "begun" if journal.plan["layer"] == document else "none"
    record = _record.record_of(target, file)
    done = record is not None and (record["layer"], record["direction"]) == (document, "forward")
    return "done" if done else "none"


def check_fits(file: ArrayFile, target: Path, layer: Normalization) -> None:
    """Raise ValueError if a layer cannot be applied to a file, or the file cannot hold the result."""
    kept = _layout.kept_axes(layer.axis, len(file.shape))
    layer.transform(np.zeros([n if index in kept else 1 for index, n in enumerate(file.shape)]))
    if file.dtype.newbyteorder("=") != result_dtype(layer.dtype, file.dtype.newbyteorder("=")):
        raise ValueError(f"{target} holds {file.dtype}, which cannot hold z-scores; name another file for the result")


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
