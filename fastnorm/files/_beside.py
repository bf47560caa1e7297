"""What lies beside a file while it is worked on, and the lock that keeps a second process away."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows: a second process is not noticed
    fcntl = None  # type: ignore[assignment]


def beside(target: Path, word: str) -> Path:
    """The hidden name beside ``target`` for its lock, journal, record or next version."""
    return target.with_name(f".{target.name}.fastnorm-{word}")


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Be the only one who writes ``target``; the system gives the lock back when a process dies.

    Raises
    ------
    BlockingIOError
        If another process writes it.
    """
    path = beside(target, "lock")
    with _lock(path, target):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)  # before the lock goes: who has just opened this file sees that it is gone


def _lock(path: Path, target: Path) -> IO[bytes]:
    while True:
        lock = path.open("ab")
        try:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                return lock
        except BlockingIOError:
            lock.close()
            text = "is being written by another process; wait until that has ended"
            raise BlockingIOError(errno.EWOULDBLOCK, text, str(target)) from None
        except BaseException:
            lock.close()
            raise
        lock.close()


def sync_folder(folder: Path) -> None:
    """Return when the names in a folder are on the disk."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
