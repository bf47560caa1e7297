"""Ray Data: statistics as one small row a block, and its StandardScaler on exact moments."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import ray
from ray.data import Dataset
from ray.data.preprocessor import Preprocessor

from fastnorm import _batches, _frames
from fastnorm.moments import Moments
from fastnorm.normalization import Normalization

__all__ = ["StandardScaler", "moments"]

FAN_IN = 8  # states that one task adds up


def moments(ds: Dataset, columns: Sequence[str]) -> Moments:
    """Return the moments of some columns of a dataset: one small value a block, added up in a tree of tasks.

    Since sums are exact, neither blocks nor the order of tasks nor a retry can change a bit.

    Parameters
    ----------
    ds : ray.data.Dataset
        Blocks of any length.
    columns : sequence of str
        The features, by name; nulls are missing.

    Raises
    ------
    ValueError
        If the dataset has no rows.
    ray.exceptions.RayTaskError
        If a block lacks a column, or has one that is not numeric.

    Examples
    --------
    >>> import ray
    >>> ds = ray.data.from_items([{"km": 1.0}, {"km": 2.0}, {"km": 6.0}])
    >>> moments(ds, ["km"]).mean
    array([3.])
    """
    names = _frames.checked_columns(columns)
    states = ds.select_columns([*names]).map_batches(
        partial(_state, names), batch_format="pyarrow", batch_size=None, zero_copy_batch=True
    )
    parts, add = states.to_arrow_refs(), ray.remote(_batches.added)
    while len(parts) > FAN_IN:
        parts = [add.remote(*parts[first : first + FAN_IN]) for first in range(0, len(parts), FAN_IN)]
    rows = _batches.added(*ray.get(parts))["state"].to_pylist()
    if not rows:
        raise ValueError("the dataset has no rows; pass at least one")
    return Moments.from_bytes(rows[0])


def _state(columns: tuple[str, ...], block: Any) -> Any:
    """The state of a block, which has no columns where it has no rows."""
    found = [Moments.of(_frames.taken(_batches.typed(columns, block), columns), threads=1)] if block.num_rows else []
    return _batches.total(found)


class StandardScaler(Preprocessor):  # type: ignore[misc]
    """Standardize columns to mean 0 and variance 1, as Ray's class of this name, with exact statistics.

    Parameters
    ----------
    columns : sequence of str
        The features, by name.
    output_columns : sequence of str, optional
        The names of the results, one for each feature; by default they take the place of the features.
    **settings
        Of `fastnorm.Normalization`: ``nan``, ``inf``, ``constant``, ``epsilon``, ``dtype``.

    ``fit``, ``transform``, ``fit_transform`` and ``transform_batch`` are Ray's.

    Examples
    --------
    >>> import ray
    >>> ds = ray.data.from_items([{"km": 1.0}, {"km": 3.0}])
    >>> scaler = StandardScaler(["km"]).fit(ds)
    >>> scaler.stats_
    {'mean(km)': 2.0, 'std(km)': 1.0}
    >>> import pyarrow as pa
    >>> scaler.transform_batch(pa.table({"km": [5.0]}))["km"].to_pylist()
    [3.0]
    """

    def __init__(self, columns: Sequence[str], output_columns: Sequence[str] | None = None, **settings: Any) -> None:
        self._settings = {"columns": _frames.checked_columns(columns), **settings}
        self._layer = Normalization(threads=1, **self._settings)  # see _state
        self.columns = list(columns)
        self.output_columns = list(self._derive_and_validate_output_columns(self.columns, output_columns))
        super().__init__()

    def __repr__(self) -> str:
        return f"StandardScaler(columns={self.columns!r}, output_columns={self.output_columns!r})"

    @property
    def normalization(self) -> Normalization | None:
        """What was learned, exactly, as a layer of its own: to save, merge or apply anywhere; None before ``fit``."""
        seen = self._layer._seen()
        return None if seen is None else Normalization.from_moments(seen, **self._settings)

    @property
    def stats_(self) -> dict[str, float]:
        """Correctly rounded ``"mean(column)"`` and biased ``"std(column)"`` of each column, as in Ray."""
        if self._layer._seen() is None:
            return {}
        values = {"mean": self._layer.mean.tolist(), "std": self._layer.std.tolist()}
        return {
            f"{word}({name})": value
            for word, found in values.items()
            for name, value in zip(self.columns, found, strict=True)
        }

    @stats_.setter
    def stats_(self, stats: Any) -> None:
        """Ray empties them before it fits; they are what the layer knows, so that an error there loses nothing."""

    def _fit(self, ds: Dataset) -> StandardScaler:
        self._layer = Normalization.from_moments(moments(ds, self.columns), threads=1, **self._settings)
        return self

    def _transform_arrow(self, table: Any) -> Any:
        scaled = self._layer.transform(_batches.typed(self.columns, table).select(self.columns))
        for name, column in zip(self.output_columns, scaled.columns, strict=True):
            place = table.schema.get_field_index(name)
            table = table.append_column(name, column) if place < 0 else table.set_column(place, name, column)
        return table
