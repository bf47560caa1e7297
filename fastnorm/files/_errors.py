"""Errors that name the file."""

from __future__ import annotations

from fastnorm.files._place import Place


def named_error(place: Place, error: Exception) -> Exception:
    """The error with the name of the file in front, if it does not say it."""
    if place.name in str(error) or isinstance(error, OSError):
        return error
    return type(error)(f"{place.name}: {error}")
