"""What writing meets: errors with their cures, locks that die with their process, files that are whole or not there."""

from __future__ import annotations

import errno
import glob
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows: a second process is not noticed
    fcntl = None  # type: ignore[assignment]

#: Errors that only writing meets, with what to do.
_WRITING = {
    errno.ENOSPC: "make room, then repeat the call",
    errno.EDQUOT: "make room, then repeat the call",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f), then repeat the call",
    errno.EROFS: "name another place for the result",
}
#: Errors of the disk, that every further file would meet as well.
DISK = _WRITING | {errno.EIO: "check the disk, then repeat the call"}
_CURES = DISK | {
    errno.EACCES: "get the permission for it, or name another place",
    errno.EPERM: "get the permission for it, or name another place",
    errno.ENOENT: "bring it back, then repeat the call",
}


def cured(error: OSError, name: object) -> OSError:
    """The error about the file ``name``, with the cure where one is known."""
    cure = _CURES.get(error.errno or 0)
    if cure is None or cure in str(error):
        return error
    return OSError(error.errno, f"{error.strerror}; {cure}", str(name))


@contextmanager
def writing(target: object) -> Iterator[None]:
    """What finds no room in the block is an error about ``target``, and not about what is read for it."""
    try:
        yield
    except OSError as error:
        if error.errno not in _WRITING:
            raise
        raise cured(error, target) from error


def sync_folder(folder: Path) -> None:
    """Return when the names in a folder are on the disk."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def lock(file: IO[Any]) -> bool:
    """Lock a file until it is closed, or its process dies; False if another has locked it."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def lies_at(file: IO[Any], path: Path) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def replace(target: Path, data: bytes) -> None:
    """Write a file: a crash leaves the earlier one whole. What a killed process left half written goes.

    Raises
    ------
    OSError
        If it cannot be written, with its name; an earlier one is then as it was.
    """
    try:
        sync_folder(target.parent)  # if that cannot be done, it shows before anything has changed
        new, file = _begun(target)
        try:
            with file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                new.chmod(target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask())
                if fcntl is None:  # Windows renames no open file
                    file.close()
                new.replace(target)  # while it is locked
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        sync_folder(target.parent)  # the new name too must survive a power cut
    except OSError as error:  # about a name that nobody knows
        raise OSError(error.errno, cured(error, target).strerror, str(target)) from error


def _begun(target: Path) -> tuple[Path, IO[bytes]]:
    """A new file beside ``target``, locked; those that no living process has locked are removed."""
    start = f".{target.name[:50]}.fastnorm-new-"  # as short as a long name needs it
    for path in target.parent.glob(f"{glob.escape(start)}*"):
        with suppress(OSError), path.open("rb") as left:
            if lock(left):
                path.unlink()  # Windows refuses it for every open file
    while True:
        handle, name = tempfile.mkstemp(prefix=start, dir=target.parent)
        new, file = Path(name), os.fdopen(handle, "wb")
        try:
            if lock(file) and lies_at(file, new):
                return new, file
        except OSError:  # no locks on this disk, so that nobody removes it
            return new, file
        file.close()  # another process took it for one that was left


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
