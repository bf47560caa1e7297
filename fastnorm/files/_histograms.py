"""How the values of each feature lie around its mean: counted in one pass over the data."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastnorm import _frames, _layout, _threads, _tiles
from fastnorm._arguments import mismatch
from fastnorm._frames import Frame
from fastnorm.files._errors import named_error
from fastnorm.files._open import Reading
from fastnorm.files._progress import Progress
from fastnorm.files._shards import shards
from fastnorm.files._steps import steps
from fastnorm.normalization import Normalization
from fastnorm.page import BINS, BINS_A_STD, Histogram

BLOCK = 1 << 18  # elements that are standardized and counted at once: they stay in the second-level cache
# Where a value is counted: below all bins, in one of them, above them, or in none.
BELOW, ABOVE, MISSING, NEGINF, POSINF, SLOTS = 0, BINS + 1, BINS + 2, BINS + 3, BINS + 4, BINS + 5


def histograms(
    layer: Normalization,
    data: Any,
    *,
    columns: Sequence[str] | None = None,
    key: str | None = None,
    raw: tuple[DTypeLike, tuple[int, ...]] | None = None,
    progress: bool = False,
) -> list[Histogram]:
    """Count the values of each feature by their z-scores, which `Normalization.transform` computes as float64.

    Parameters
    ----------
    layer : fastnorm.Normalization
        What the data are measured with. A feature that it has seen no values of has no bins.
    data : array_like, or path, URL or iterable of them
        Data with the features of the layer, in memory or in files.
    columns, key, raw, progress
        As for `fastnorm.adapt_files`; by default the columns of tables are those that the layer has names of.

    Raises
    ------
    OSError, ValueError, TypeError, ImportError
        As from `fastnorm.adapt_files`.

    Examples
    --------
    >>> layer = Normalization().adapt([[1.0], [3.0], [np.nan]])
    >>> [found] = histograms(layer, [[1.0], [3.0], [np.nan]])
    >>> sum(found.bins), found.missing
    (2, 1)
    """
    counting = _Counting(layer)
    if not _is_source(data):
        counting.add(data)
        return counting.result()
    found = shards(data)
    Reading(key, columns, raw).check(shard.place for shard in found)
    reading = Reading(key, columns or layer.feature_names, raw)
    with Progress(progress, sum(shard.place.size() for shard in found), "count") as bar:
        for shard in found:
            try:
                with steps(shard.place, layer.axis, reading) as parts:
                    for part in parts:
                        counting.add(part.data)
                        bar.add(part.size)
            except (OSError, ValueError, TypeError) as error:
                raise named_error(shard.place, error) from error
    return counting.result()


def _is_source(data: Any) -> bool:
    items = data if isinstance(data, (list, tuple)) else [data]
    return bool(items) and all(isinstance(item, (str, os.PathLike)) for item in items)


class _Counting:
    """Counts of all features, growing."""

    def __init__(self, layer: Normalization) -> None:
        moments = layer.moments
        kept = tuple(range(-len(moments.shape), 0))
        self._z = Normalization.from_moments(moments, axis=kept, inf="omit", dtype="float64", threads=1)
        self._axis, self._shape, self._threads = layer.axis, moments.shape, _threads.count(layer.threads)
        self._names = layer.feature_names
        self._known = moments.count.reshape(-1) > 0
        # What differs at all from the one value of a constant feature lies outside its bins.
        self._bins_a_std = np.where(moments.constant.reshape(-1), 1e308, BINS_A_STD)
        self._counts = np.zeros(len(self._known) * SLOTS, np.int64)
        self._places = np.arange(len(self._known), dtype=np.float64) * SLOTS
        self._lock = threading.Lock()

    def add(self, data: Any) -> None:
        """Count an array or a table."""
        table = _frames.taken(data, self._names)
        array = table.gathered() if isinstance(table, Frame) else _layout.as_array(table)
        kept = _layout.kept_axes(self._axis, array.ndim)
        reduced = tuple(axis for axis in range(array.ndim) if axis not in kept)
        rows_first = array.transpose(reduced + kept)
        if (shape := rows_first.shape[len(reduced) :]) != self._shape:
            raise ValueError(mismatch(shape, self._shape, self._axis))

        def work(blocks: Iterator[tuple[slice, ...]]) -> None:
            for block in blocks:
                self._count(rows_first[block])

        most = max(1, BLOCK // len(self._known))
        _threads.share(work, list(_tiles.ranges(rows_first.shape[: len(reduced)], most)), self._threads)

    def _count(self, x: NDArray[Any]) -> None:
        values = np.ma.getdata(x)
        slots = self._z.transform(values).reshape(-1, len(self._known))
        with np.errstate(over="ignore"):
            slots *= self._bins_a_std
        np.floor(slots, out=slots)
        slots += BINS // 2 + 1
        np.fmax(slots, BELOW, out=slots)
        np.fmin(slots, ABOVE, out=slots)
        values = values.reshape(slots.shape)
        if values.dtype.kind not in "biu" and (odd := ~np.isfinite(values)).any():
            found = values[odd]
            slots[odd] = np.where(np.isnan(found), MISSING, np.where(found > 0, POSINF, NEGINF))
        if (mask := _layout.mask_of(x)) is not None:
            slots[mask.reshape(slots.shape)] = MISSING
        slots += self._places
        index = slots.astype(np.intp).reshape(-1)
        with self._lock:
            np.add.at(self._counts, index, 1)

    def result(self) -> list[Histogram]:
        counts = self._counts.reshape(-1, SLOTS).copy()
        counts[~self._known, :MISSING] = 0
        return [
            Histogram(row[1:ABOVE], row[BELOW], row[ABOVE], row[MISSING], row[NEGINF] + row[POSINF])
            for row in counts.tolist()
        ]
