"""What lies beside a file while it is worked on, and the lock that keeps a second process away."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
    handle = _lock(path, target)
    try:
        yield
    finally:
        path.unlink(
            missing_ok=True
        )  # before the lock goes: who waits for this file sees that it is not the one any more
        os.close(handle)


def _lock(path: Path, target: Path) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if fcntl is not None:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        except BlockingIOError:
            os.close(handle)
            text = "is being written by another process; wait until that has ended"
            raise BlockingIOError(errno.EWOULDBLOCK, text, str(target)) from None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


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
