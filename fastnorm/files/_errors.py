"""Errors that name the file and say what to do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from fastnorm._disk import DISK, cured
from fastnorm.files._place import Place


def named_error(place: Place, error: Exception) -> Exception:
    """The error with the name of the file, and the cure, if it does not say them."""
    if isinstance(error, OSError):
        return cured(error, error.filename or place.name)
    if place.name in str(error):
        return error
    kind = ValueError if isinstance(error, UnicodeError) else type(error)
    return kind(f"{place.name}: {error}")


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
