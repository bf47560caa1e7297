"""Moments that grow batch by batch."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnorm import _threads
from fastnorm._reduce import Running
from fastnorm.moments import Moments

FEW = 1 << 18  # elements that one thread adds before several have been woken and have put their sums together


class Accumulator:
    """Moments of all batches so far; small batches wait in running sums, which a value of its own would cost tenfold.

    ``nan`` and ``inf`` say whether such values may be among them.
    """

    def __init__(self, moments: Moments | None, nan: bool, inf: bool) -> None:
        self._moments = moments
        self._running: Running | None = None
        self._nan, self._inf = nan, inf

    @property
    def moments(self) -> Moments | None:
        """Moments of all that was added; None if nothing was."""
        if self._running is not None:
            assert self._moments is not None
            with _threads.uninterrupted():
                self._moments += Moments._make(self._moments.shape, self._running.counted())
                self._running = None
        return self._moments

    @property
    def has_begun(self) -> bool:
        """Whether anything was added: rows can only be added to what says how many features there are."""
        return self._moments is not None

    def add(self, more: Moments) -> None:
        """Add the moments of a batch."""
        seen = self.moments
        self._moments = more if seen is None else seen + more

    def add_rows(self, x: Any) -> bool:
        """Add a batch of few rows; False for one that needs `Moments.of` or has values that may not be in it."""
        if self._moments is None or not _is_plain(x) or x.size > FEW or self._moments.shape != x.shape[1:]:
            return False
        with _threads.uninterrupted():  # all of it is added, or nothing
            if self._running is None or self._running.dtype != x.dtype:
                self._moments, self._running = self.moments, Running(x.dtype, x.shape[1])
            if self._running.add(np.asarray(x)) and self._running.holds(nan=not self._nan, inf=not self._inf):
                with_x = self.moments
                assert with_x is not None
                self._moments = with_x - Moments.of(x)
                return False
        return True


def _is_plain(x: Any) -> bool:
    """Whether kernels can take ``x`` as it is: rows of float32 or float64, one after the other."""
    return (
        type(x) in (np.ndarray, np.memmap)
        and x.ndim == 2
        and x.size > 0
        and x.dtype.char in "fd"
        and x.dtype.isnative
        and x.flags.c_contiguous
        and x.flags.aligned
    )
