"""Results appear complete or not at all: written beside their place, synced, renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastnorm._disk import sync_folder, writing
from fastnorm.files._beside import beside, locked, remove


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """Yield the path of a new file or folder beside ``path``, which replaces ``path`` when the block ends well.

    The block creates it. When the block raises, ``path`` stays as it was and nothing lies beside it; what a killed
    process left there goes with the next one. Folders above ``path`` are made, and taken away again.
    """
    path = path.resolve()  # a link stays a link
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(f"{path} is neither a file nor a folder; name a file")
    made = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with writing(path), locked(path):
            new, old = beside(path, f"new{path.suffix}"), beside(path, "old")
            if old.exists() and not path.exists():  # a kill came between the two renames of a folder
                old.replace(path)
            remove(new)
            try:
                yield new
                if path.is_file():
                    shutil.copymode(path, new)
                _sync(new)
                if path.is_dir():
                    remove(old)
                    path.replace(old)
                new.replace(path)
            except BaseException:
                if old.exists() and not path.exists():
                    old.replace(path)
                raise
            finally:
                remove(new)
            for folder in [path.parent, *(folder.parent for folder in made)]:
                sync_folder(folder)
            remove(old)
    except BaseException:
        for folder in made:
            if folder.exists() and not any(folder.iterdir()):
                folder.rmdir()
        raise


def _sync(path: Path) -> None:
    """Return when a file, or all that is in a folder, is on the disk."""
    if path.is_dir():
        for item in path.iterdir():
            _sync(item)
        sync_folder(path)
        return
    with path.open("rb+") as handle:
        os.fsync(handle.fileno())
