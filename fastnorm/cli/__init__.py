"""The command line: it translates words, and decides nothing."""

from fastnorm.cli import _files, _states, _system  # noqa: F401  # they add their commands, in this order
from fastnorm.cli._app import app

__all__ = ["app"]
