"""In-place work that survives a crash: what a region held is on the disk before the region changes.

A journal is a folder beside the file: ``plan`` (what is done to which bytes), ``log`` (a line for each finished region)
and ``undo`` (the original bytes of the region in work). Whatever the moment of a crash, every region but one is as it
was or as it shall be, and of that one ``undo`` has the original.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnorm import state
from fastnorm.files._arrays import ArrayFile, Region
from fastnorm.files._place import install


def digest(values: NDArray[Any]) -> str:
    """A checksum of the values of a region, in C order."""
    try:
        from xxhash import xxh3_128_hexdigest
    except ImportError as error:
        raise install("xxhash", error) from error
    return str(xxh3_128_hexdigest(_bytes(values)))


def _bytes(values: NDArray[Any]) -> Any:
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data


def journal_of(target: Path) -> Path:
    """Where the journal of a file lies."""
    return target.with_name(f".{target.name}.fastnorm-journal")


def marker_of(target: Path) -> Path:
    """Where it is noted that a file was normalized in place."""
    return target.with_name(f".{target.name}.fastnorm-done")


class Journal:
    """The journal of one file; made by `begin` or found by `resume`."""

    def __init__(self, folder: Path, plan: dict[str, Any]) -> None:
        self.folder, self.plan = folder, plan
        self.finished = self._read_log()

    @classmethod
    def begin(cls, folder: Path, plan: dict[str, Any]) -> Journal:
        """Make a journal; the folder appears complete or not at all."""
        new = folder.with_name(f"{folder.name}-new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir()
        state.write(new / "plan", {"class": "Journal", **plan})
        new.replace(folder)
        _sync_folder(folder.parent)
        return cls(folder, plan)

    @classmethod
    def resume(cls, folder: Path) -> Journal | None:
        """The journal that an earlier run left, if any."""
        shutil.rmtree(folder.with_name(f"{folder.name}-gone"), ignore_errors=True)
        if not folder.is_dir():
            return None
        document = state.read(folder / "plan")
        return cls(folder, {name: value for name, value in document.items() if name not in _ENVELOPE})

    def _read_log(self) -> list[str]:
        """Digests of the finished regions; a line that was cut short does not count."""
        path = self.folder / "log"
        lines = path.read_text("ascii").split("\n")[:-1] if path.exists() else []
        return [line for line in lines if len(line) == 32]

    def save_original(self, index: int, values: NDArray[Any]) -> None:
        """Keep what a region holds; on the disk when this returns."""
        head = json.dumps({"region": index, "digest": self.plan["original"][index]}).encode() + b"\n"
        with (self.folder / "undo").open("wb") as file:
            file.write(head)
            file.write(_bytes(values))
            _sync(file)

    def original(self, index: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any] | None:
        """What `save_original` kept of a region; None if it did not get to its end."""
        path = self.folder / "undo"
        if not path.exists():
            return None
        head, _, data = path.read_bytes().partition(b"\n")
        try:
            found = json.loads(head)
            values = np.frombuffer(data, dtype).reshape(shape)
        except ValueError:
            return None
        whole = found == {"region": index, "digest": digest(values)} and found["digest"] == self.plan["original"][index]
        return values if whole else None

    def finish(self, new: str) -> None:
        """Note that the next region is finished, with the digest of what it holds now."""
        with (self.folder / "log").open("ab") as file:
            file.write(f"{new}\n".encode("ascii"))
            _sync(file)
        self.finished.append(new)

    def remove(self) -> None:
        """The work is done or taken back: the folder goes, at once for whoever looks for it."""
        gone = self.folder.with_name(f"{self.folder.name}-gone")
        self.folder.replace(gone)
        shutil.rmtree(gone)


_ENVELOPE = ("format", "version", "class")


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def originals(file: ArrayFile, regions: list[Region]) -> Iterator[str]:
    """The digest of each region, as it is now."""
    for region in regions:
        yield digest(file.read(region))
        file.done(region)
