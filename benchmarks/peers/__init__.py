"""The libraries that are timed side by side: a module each, which says how that library does what.

A module names its library in ``PEER`` and imports it inside its functions alone, so that it can be imported where the
library is missing. A way prepares what the library wants to be given (which is not timed: a tensor, a DataFrame, a
fitted scaler) and returns the call that is timed. The call returns a mean and a variance, or scores.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]

FLOATS = ("float32", "float64")


@dataclass
class Given:
    """What a way has to work on."""

    x: Any  # the array, features last, or a DataFrame
    scratch: Array | None = None  # of the same layout: for work in place, it holds the same values at first
    weights: Array | None = None  # of each row
    batch: int | None = None  # rows at a time
    threads: int | None = None
    missing: bool = False  # x holds NaN
    stack: ExitStack = field(default_factory=ExitStack)  # closed when the timing is done

    @property
    def table(self) -> Array:
        """The array in two dimensions, without a copy."""
        return self.x.reshape(-1, self.x.shape[-1])  # type: ignore[no-any-return]

    @property
    def target(self) -> Array:
        """The scratch array, which operations on it have."""
        assert self.scratch is not None
        return self.scratch

    def batches(self, x: Array) -> list[Array]:
        """The rows of an array, ``batch`` at a time."""
        step = self.batch or len(x)
        return [x[start : start + step] for start in range(0, len(x), step)]


Call = Callable[[], Any]
Way = Callable[[Given], Call]


@dataclass(frozen=True)
class Peer:
    """One library: what it is called, what it can do and what it cannot."""

    name: str
    distributions: tuple[str, ...]  # which pip may have installed it from
    ways: Mapping[str, Way]
    dtypes: tuple[str, ...] = FLOATS  # that it takes as they are
    missing: bool = False  # leaves NaN out of its statistics
    tables: tuple[str, ...] = ()  # libraries of DataFrames that it takes
    arrays: bool = True
    columns: int = 10**9  # at most, in reasonable time
    note: str = ""

    @property
    def version(self) -> str | None:
        """Of what is installed, or None."""
        for name in self.distributions:
            with suppress(PackageNotFoundError):
                return version(name)
        return None

    def cannot(self, operation: str, dtype: str, columns: int, missing: bool, table: str | None) -> str | None:
        """Why it cannot do a case, or None."""
        if operation not in self.ways:
            return f"has no way to {operation}"
        if table is None and not self.arrays:
            return "takes no array"
        if table is not None and table not in self.tables:
            return f"takes no DataFrame of {table}"
        if dtype not in self.dtypes:
            return f"takes no {dtype}"
        if missing and not self.missing:
            return "gives NaN where NaN is among the values, or refuses them"
        if columns > self.columns:
            return f"takes too long with more than {self.columns} columns"
        return None


def load(name: str) -> Peer:
    """The peer of a module of this package."""
    peer: Peer = importlib.import_module(f"benchmarks.peers.{name}").PEER
    return peer


def every() -> dict[str, Peer]:
    """All peers but fastnorm, by the names of their modules."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return {name: load(name) for name in names if name != "fastnorm"}


def installed() -> dict[str, Peer]:
    """Those whose library is there."""
    return {name: peer for name, peer in every().items() if peer.version is not None}
