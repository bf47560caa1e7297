"""polars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from fastnorm._frames.frame import Frame
from fastnorm._layout import Array


class Polars(Frame):
    """A DataFrame or Series."""

    def __init__(self, x: Any, columns: Sequence[str] | None) -> None:
        is_column = not hasattr(x, "get_columns")
        self._series = [x] if is_column else x.get_columns()
        labels, types = [series.name for series in self._series], [str(series.dtype) for series in self._series]
        super().__init__(x, is_column, len(x), labels, types, columns)

    def _chunks(self, place: int) -> Iterator[Array]:
        for chunk in self._series[place].get_chunks():
            if not chunk.null_count() or chunk.dtype.is_float():
                yield chunk.to_numpy()
            else:
                zero = False if str(chunk.dtype) == "Boolean" else 0
                yield np.ma.array(chunk.fill_null(zero).to_numpy(), mask=chunk.is_null().to_numpy())

    def _column(self, place: int, values: Array) -> Any:
        series = self._series[place]
        column = pl.Series(series.name, values)
        return column.set(series.is_null(), None) if series.null_count() else column

    def _table(self, columns: dict[int, Any]) -> Any:
        return columns[0] if self.is_column else self.native.with_columns(*columns.values())
