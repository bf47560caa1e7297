"""polars."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
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

    @cached_property
    def _valid(self) -> list[Any]:
        """The validity bitmaps of all columns: one query, which costs as much as one for a single column."""
        table = self.native.to_frame() if self.is_column else self.native
        found: list[Any] = table.select(pl.all().is_not_null()).get_columns()
        return found

    def _chunks(self, place: int) -> Iterator[Array]:
        for chunk in self._series[place].get_chunks():
            if not chunk.null_count() or chunk.dtype.is_float():
                yield chunk.to_numpy()
            else:
                if chunk.dtype == pl.Boolean:
                    chunk = chunk.cast(pl.UInt8)
                gone = np.isnan(chunk.to_numpy())  # rounded to float64, but for the mask alone
                zero = pl.Series([0], dtype=chunk.dtype)
                yield np.ma.array(chunk.zip_with(pl.Series(~gone), zero).to_numpy(), mask=gone)

    def _column(self, place: int, values: Array) -> Any:
        series = self._series[place]
        column = pl.Series(series.name, values)
        if not series.null_count():
            return column
        return column.zip_with(self._valid[place], pl.Series([None], dtype=column.dtype))

    def _table(self, columns: dict[int, Any]) -> Any:
        if self.is_column:
            return columns[0]
        table = self.native.clone()  # which shares its columns
        for place, column in columns.items():
            table.replace_column(place, column)
        return table
