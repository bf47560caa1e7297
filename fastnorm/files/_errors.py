"""Errors that name the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastnorm.files._place import Place


def named_error(place: Place, error: Exception) -> Exception:
    """The error with the name of the file in front, if it does not say it."""
    if place.name in str(error) or isinstance(error, OSError):
        return error
    return type(error)(f"{place.name}: {error}")


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
