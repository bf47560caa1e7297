"""In-place work that survives a crash: what a region held is on the disk before the region changes.

A journal is a folder beside the file. ``plan`` says what is done to which regions, with a digest of what each held and
the whole layer. ``work`` has a digest of what each region shall hold, and the bytes that the region in work held. Four
rules make every moment safe, whatever part of the data that were not synced a power cut leaves:

1. ``work`` and its name are on the disk before ``plan`` appears, by a rename: a journal with a plan is whole, one
   without is nothing, and as long as there is no plan the file is untouched.
2. A region changes only after ``work``, with its old bytes and its new digest, is synced.
3. ``work`` takes the next region only after the file, with this one, is synced.
4. The record that the file is finished is synced before the plan goes, and the plan's going before ``work`` goes.

So at most one region is neither what it was nor what it shall be, and ``work`` has what it held. Which are done is not
noted anywhere: it is seen from the bytes, by their digests. What a digest does not explain, somebody else wrote.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnorm import state
from fastnorm._disk import sync_folder
from fastnorm.files._beside import beside, remove
from fastnorm.files._place import Place, install

HEX = 32  # characters of a digest
_HEAD = 20  # digits of the number of the region whose bytes are kept


def digest(values: NDArray[Any]) -> str:
    """A checksum of values, in C order."""
    try:
        from xxhash import xxh3_128_hexdigest
    except ImportError as error:
        raise install("xxhash", error) from error
    return str(xxh3_128_hexdigest(bytes_of(values).data))


def bytes_of(values: NDArray[Any]) -> NDArray[np.uint8]:
    """The bytes of values, in C order; a view where they lie so."""
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8)


def check_whole(place: Place) -> None:
    """Raise ValueError for a file in the middle of a run: part of it is normalized, and part is not."""
    if place.path is not None and (beside(place.path.resolve(), "journal") / "plan").exists():
        raise ValueError(
            f"{place.name} is in the middle of being normalized in place; finish that with the call that began it, or "
            f"with `fastnorm recover {place.name}`"
        )


def plan_of(target: Path) -> dict[str, Any] | None:
    """The plan of a run in place that is at work or was stopped; what else lies there is left alone."""
    try:
        return state.read(beside(target, "journal") / "plan")
    except FileNotFoundError:
        return None


class Journal:
    """The journal of one file; made by `begin` or found by `resume`."""

    def __init__(self, target: Path) -> None:
        self.folder = beside(target, "journal")
        self.plan: dict[str, Any] = {}
        self.touched = True  # whether a region may have changed

    @classmethod
    def begin(cls, target: Path, plan: dict[str, Any], largest: int) -> Journal:
        """Make a journal, with room for regions of so many bytes."""
        journal = cls(target)
        journal.touched = False
        journal.plan = plan
        try:
            journal._clear()
            journal.folder.mkdir()
            sync_folder(journal.folder.parent)
            with journal._work.open("xb") as file:
                _allocate(file.fileno(), journal._slot + largest)
                os.fsync(file.fileno())
            sync_folder(journal.folder)
            state.write(journal._plan, {"class": "Journal", **plan})
        except BaseException:
            journal.remove()
            raise
        return journal

    @classmethod
    def resume(cls, target: Path) -> Journal | None:
        """The journal that an earlier run left, if any; the caller holds the lock of ``target``."""
        journal = cls(target)
        if not journal._plan.exists():
            journal._clear()
            return None
        sync_folder(journal.folder)  # a run may have been killed before the plan's name was on the disk
        journal.plan = state.read(journal._plan)
        return journal

    @property
    def _plan(self) -> Path:
        return self.folder / "plan"

    @property
    def _work(self) -> Path:
        return self.folder / "work"

    @property
    def _slot(self) -> int:
        """Where the old bytes lie in ``work``, after the digests."""
        return _HEAD + HEX * len(self.plan["old"])

    def keep(self, index: int, old: NDArray[Any] | None, new: str) -> None:
        """Note what a region holds (None if that is here already) and shall hold; on the disk when this returns."""
        with self._work.open("r+b") as file:
            file.write(_number(index))
            file.seek(_HEAD + HEX * index)
            file.write(new.encode("ascii"))
            if old is not None:
                file.seek(self._slot)
                file.write(bytes_of(old).data)
            file.flush()
            os.fsync(file.fileno())

    def new(self, index: int) -> str:
        """The digest of what a region shall hold, if it came to be known."""
        return self._read(_HEAD + HEX * index, HEX).decode("latin-1")

    def all_new(self) -> list[str]:
        """The digests of all regions, when all are done."""
        text = self._read(_HEAD, self._slot - _HEAD).decode("ascii")
        return [text[first : first + HEX] for first in range(0, len(text), HEX)]

    def kept(self, index: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any] | None:
        """What a region held, if it is the one whose bytes are kept."""
        if self._read(0, _HEAD) != _number(index):
            return None
        values = np.empty(shape, dtype)
        bytes_of(values)[:] = np.frombuffer(self._read(self._slot, values.nbytes), np.uint8)
        return values if digest(values) == self.plan["old"][index] else None

    def _read(self, offset: int, size: int) -> bytes:
        with self._work.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def remove(self) -> None:
        """The work is done or taken back."""
        self._plan.unlink(missing_ok=True)
        self._clear()

    def _clear(self) -> None:
        """Remove what is no journal, for want of a plan."""
        if self.folder.exists():
            sync_folder(self.folder)
            remove(self.folder)


def _number(index: int) -> bytes:
    return str(index).zfill(_HEAD).encode("ascii")


def _allocate(handle: int, size: int) -> None:
    """Take the space now, so that a disk that is full is an error before anything has changed."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, size)
    else:
        os.truncate(handle, size)
