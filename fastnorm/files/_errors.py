"""Errors that name the file and say what to do."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from fastnorm.files._place import Place

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


def named_error(place: Place, error: Exception) -> Exception:
    """The error with the name of the file, and the cure, if it does not say them."""
    if isinstance(error, OSError):
        return cured(error, error.filename or place.name)
    if place.name in str(error):
        return error
    kind = ValueError if isinstance(error, UnicodeError) else type(error)
    return kind(f"{place.name}: {error}")


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


def is_of_disk(error: Exception) -> bool:
    """Whether the trouble is the disk's, and not that of one file."""
    return isinstance(error, OSError) and error.errno in DISK


def leave_out(place: Place, error: Exception, skipped: list[tuple[str, Exception]] | None) -> None:
    """Note a file that is left out; raise if none may be, or the trouble is the disk's."""
    named = named_error(place, error)
    if skipped is None or is_of_disk(error):
        raise named from error
    skipped.append((place.name, named))


@contextmanager
def border(name: str, what: str) -> Iterator[None]:
    """Whatever a library raises about a file becomes an OSError or a ValueError that names the file.

    ``what`` is the format, e.g. "Zarr store". A ValueError that names the file already stays as it is.
    """
    try:
        yield
    except ImportError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK:  # libraries add lines of their own
            raise OSError(error.errno, os.strerror(error.errno), name) from error
        if isinstance(error, OSError) and error.errno is not None:
            if name in str(error):
                raise
            kind = type(error) if type(error).__module__ == "builtins" else OSError
            raise kind(f"{name}: {error}") from error
        if type(error) is ValueError and str(error).startswith(name):
            raise
        if isinstance(error, FileNotFoundError):
            raise FileNotFoundError(f"{name}: there is no such file or store ({error})") from error
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ValueError(f"{name} is damaged, or no {what} ({reason}); bring it back from a copy") from error
