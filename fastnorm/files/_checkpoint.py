"""What a scan of many files has done so far, in a file: a scan that was killed goes on from there."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from fastnorm import state
from fastnorm.files._part import Part
from fastnorm.files._place import Place, Source

EVERY = 5.0  # seconds between two savings


def identity(place: Place) -> list[Any]:
    """Name, size and time of change of a file: what tells that it is still the same."""
    if place.path is None:
        return [place.name, place.size(), None]
    return [str(place.path.resolve()), place.size(), place.path.stat().st_mtime_ns]


class Checkpoint:
    """Finished files, and how far the one in work is; without a path nothing is kept."""

    def __init__(self, path: Source | None, question: dict[str, Any]) -> None:
        self.path = None if path is None else Path(path)
        self.question = question  # what is asked of the files: another question cannot go on here
        self.finished: list[list[Any]] = []
        self.total: Part | None = None  # of the finished files
        self.working: list[Any] | None = None  # identity of the file in work
        self.steps = 0  # of that file, which are in ``part``
        self.part: Part | None = None
        self._saved = time.monotonic()
        if self.path is not None and self.path.exists():
            self._load(self.path)

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

    def begin(self, place: Place) -> int | None:
        """Steps of this file that are done already; None if all are.

        Raises
        ------
        ValueError
            If the file has changed since it was read.
        """
        if self.path is None:
            self.steps, self.part = 0, None
            return 0
        now = identity(place)
        known = {name: rest for name, *rest in (*self.finished, *([self.working] if self.working else []))}
        if now[0] in known and known[now[0]] != now[1:]:
            raise ValueError(f"{place.name} has changed since {self.path} was written; remove that to begin anew")
        if now in self.finished:
            return None
        if now != self.working:
            self.working, self.steps, self.part = now, 0, None
        return self.steps

    def add(self, part: Part) -> None:
        """Take in one step more of the file in work; save now and then."""
        self.part = part if self.part is None else self.part + part
        self.steps += 1
        if time.monotonic() - self._saved > EVERY:
            self.save()

    def end(self) -> None:
        """The file in work is finished."""
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
