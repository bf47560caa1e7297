"""What a scan of many files has done so far, in a file: a scan that was killed goes on from there."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from fastnorm import state
from fastnorm._version import version
from fastnorm.files import _arrays
from fastnorm.files._part import Part
from fastnorm.files._place import Place, Source
from fastnorm.files._shards import Shard

EVERY = 5.0  # seconds between two savings


def identity(place: Place) -> list[Any]:
    """Name, size and time of change of a file: what tells that it is still the same."""
    if place.path is None:
        return [place.name, place.size(), None]
    path = place.path.resolve()
    files = [path, *path.rglob("*")] if path.is_dir() else [path]
    return [str(path), place.size(), max(file.stat().st_mtime_ns for file in files)]


class Checkpoint:
    """Finished files, and how far the one in work is; without a path nothing is kept."""

    def __init__(self, path: Source | None, question: dict[str, Any]) -> None:
        self.path = None if path is None else Path(path)
        # What steps depend on; "cut" is another whenever a format is cut into other steps.
        steps = {"region": [_arrays.REGION, _arrays.VIEWED], "version": version(), "cut": 2}
        self.question = json.loads(json.dumps(question | steps))  # asked otherwise, a scan cannot go on here
        self.finished: list[list[Any]] = []
        self.total: Part | None = None  # of the finished files
        self.working: list[Any] | None = None  # identity of the file in work
        self.steps = 0  # of that file, which are in ``part``
        self.part: Part | None = None
        self._known: set[tuple[Any, ...]] = set()  # finished files of an earlier run
        self._saved = time.monotonic()
        if self.path is not None:
            if self.path.exists():
                self._load(self.path)
            self.save()  # now, and not after hours, it shows whether it can be written

    def _load(self, path: Path) -> None:
        document = state.read(path)
        if document.get("class") != "Checkpoint":
            raise ValueError(f"{path} is no checkpoint of a scan; name another file, or remove it")
        if document["question"] != self.question:
            raise ValueError(
                f"{path} is the checkpoint of another scan ({document['question']}, now {self.question}); "
                "remove it to begin anew"
            )
        self.finished, self.working, self.steps = document["finished"], document["working"], document["steps"]
        self.total, self.part = (packed and Part.unpack(packed) for packed in (document["total"], document["part"]))
        self._known = set(map(tuple, self.finished))

    def sort(self, found: list[Shard]) -> list[Shard]:
        """The files with the one that was in work first, so that what was read of it is not lost.

        Raises
        ------
        ValueError
            If a file has changed since it was read, or is not among these.
        """
        if self.path is None or not (self.finished or self.working):
            return found
        now = [identity(shard.place) for shard in found]
        sizes, here = {name: rest for name, *rest in now}, set(map(tuple, now))
        for name, *rest in [*self.finished, *([self.working] if self.working else [])]:
            if name in sizes and sizes[name] != rest:
                raise ValueError(f"{name} has changed since {self.path} was written; remove that to begin anew")
        for entry in self.finished:
            if tuple(entry) not in here:
                raise ValueError(
                    f"{entry[0]} was read by the scan of {self.path}, but is not named now; name the same files (and "
                    "more, if you like), or remove that to begin anew"
                )
        order = sorted(range(len(found)), key=lambda index: now[index] != self.working)
        return [found[index] for index in order]

    def begin(self, place: Place) -> int | None:
        """Steps of this file that are done already; None if all are."""
        now = None if self.path is None else identity(place)
        if now is not None and tuple(now) in self._known:
            return None
        if now is None or now != self.working:
            self.working, self.steps, self.part = now, 0, None
        return self.steps

    def add(self, part: Part) -> None:
        """Take in one step more of the file in work; save now and then."""
        self.part = part if self.part is None else self.part + part
        self.steps += 1
        if time.monotonic() - self._saved > EVERY:
            self.save()

    def end(self, place: Place) -> None:
        """The file in work is finished."""
        if self.working is not None and self.working != identity(place):
            raise ValueError(f"{place.name} was changed while it was read; read it again when nobody writes it")
        if self.part is not None:
            self.total = self.part if self.total is None else self.total + self.part
        if self.working is not None:
            self.finished.append(self.working)
        self.drop()

    def drop(self) -> None:
        """Forget the file in work."""
        self.working, self.steps, self.part = None, 0, None

    def save(self) -> None:
        """Write what is done."""
        if self.path is None:
            return
        document = {name: getattr(self, name) for name in ("question", "finished", "working", "steps")}
        parts = {name: part and part.pack() for name, part in (("total", self.total), ("part", self.part))}
        state.write(self.path, {"class": "Checkpoint", **document, **parts})
        self._saved = time.monotonic()

    def remove(self) -> None:
        """The scan is over."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)
