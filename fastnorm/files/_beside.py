"""What lies beside a file while it is worked on, and the lock that keeps a second process away."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from fastnorm import _threads
from fastnorm._disk import cured, lies_at, lock


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
    path = beside(Path(os.path.realpath(target)), "lock")  # a link and what it leads to have one lock
    with ExitStack() as stack:
        with _threads.uninterrupted():  # a file that was made is known to the stack
            stack.enter_context(_lock(path, target))
            # before the lock goes: who has just opened this file sees that it is gone
            stack.callback(path.unlink, missing_ok=True)
        yield


def _lock(path: Path, target: Path) -> IO[bytes]:
    while True:
        try:
            file = path.open("ab")
        except OSError as error:
            raise cured(error, target) from error
        if not lock(file):
            file.close()
            text = "is being written by another process; wait until that has ended"
            raise BlockingIOError(errno.EWOULDBLOCK, text, str(target))
        if lies_at(file, path):
            return file
        file.close()


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
