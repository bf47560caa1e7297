"""The version of fastnorm."""

from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of


@cache
def version() -> str:
    """That of the installed distribution, read once; unknown in a source tree that is not installed."""
    try:
        return version_of("fastnorm-numba")
    except PackageNotFoundError:
        return "0+unknown"
