"""Results appear complete or not at all: written beside their place, synced, renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """Yield the path of a new file or folder beside ``path``, which replaces ``path`` when the block ends well.

    The block creates it. When the block raises, ``path`` stays as it was and nothing lies beside it; what a killed
    process left there is overwritten by the next one.
    """
    path = path.resolve()  # a link stays a link
    new = path.with_name(f".{path.name}.fastnorm-new{path.suffix}")
    _remove(new)
    try:
        yield new
        if path.is_file():
            shutil.copymode(path, new)
        for file in [new] if new.is_file() else [item for item in new.rglob("*") if item.is_file()]:
            with file.open("rb+") as handle:
                os.fsync(handle.fileno())
        if path.is_dir():
            _remove(path)
        new.replace(path)
    finally:
        _remove(new)
    if os.name == "posix":  # the new name reaches the disk with the folder
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
