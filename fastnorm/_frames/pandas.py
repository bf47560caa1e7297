"""pandas: NumPy's dtypes, nullable ones and Arrow's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from fastnorm._frames.frame import GATHERED, Frame
from fastnorm._layout import Array


class Pandas(Frame):
    """A DataFrame or Series."""

    def __init__(self, x: Any, columns: Sequence[str] | None) -> None:
        is_column = x.ndim == 1
        self._kinds = [x.dtype] if is_column else list(x.dtypes)
        labels = [x.name] if is_column else list(x.columns)
        names = {kind: kind.name for kind in set(self._kinds)}
        super().__init__(x, is_column, len(x), labels, [names[kind] for kind in self._kinds], columns)

    @cached_property
    def _series(self) -> list[Any]:
        """All columns: going through them costs a fifth of asking for each."""
        return [self.native] if self.is_column else [series for _, series in self.native.items()]

    def _chunks(self, place: int) -> Iterator[Array]:
        kind, array = self._kinds[place], self._series[place].array
        if isinstance(kind, np.dtype):
            yield np.asarray(array)
        elif isinstance(kind, pd.ArrowDtype):
            from fastnorm._frames.arrow import chunks

            yield from chunks(array.__arrow_array__())
        else:
            dtype, gone = kind.numpy_dtype, array.isna()
            if not gone.any():
                yield array.to_numpy(dtype)
            elif dtype.kind == "f":
                yield array.to_numpy(dtype, na_value=np.nan)
            else:
                yield np.ma.array(array.to_numpy(dtype, na_value=dtype.type(0)), mask=gone)

    def _block(self, places: list[int]) -> Array | None:
        first, last = places[0], places[-1] + 1
        if self.is_column or places != list(range(first, last)):
            return None
        if not all(isinstance(kind, np.dtype) for kind in self._kinds[first:last]):
            return None
        try:
            return np.asarray(self.native.iloc[:, first:last], copy=False)
        except ValueError:  # they lie in several blocks
            return None

    def _column(self, place: int, values: Array) -> Any:
        kind = self._kinds[place]
        if isinstance(kind, np.dtype):
            return values
        gone = np.asarray(self._series[place].array.isna())
        if isinstance(kind, pd.ArrowDtype):
            import pyarrow as pa

            return pd.arrays.ArrowExtensionArray(pa.array(values, mask=gone))
        if values.dtype == np.float16:  # no nullable dtype
            return np.where(gone, np.float16(np.nan), values)
        return pd.arrays.FloatingArray(values, gone)

    def _table(self, columns: dict[int, Any]) -> Any:
        x = self.native
        if self.is_column:
            return self._like(pd.Series(columns[0], x.index, name=x.name, copy=False))
        bases = [values.base if isinstance(values, np.ndarray) else None for values in columns.values()]
        if list(columns) == list(range(x.shape[1])) and bases[0] is not None and all(b is bases[0] for b in bases):
            return self._like(pd.DataFrame(bases[0], x.index, x.columns, copy=False))
        all_columns = {place: columns.get(place, series) for place, series in enumerate(self._series)}
        table = pd.DataFrame(all_columns, x.index, copy=len(x) <= GATHERED)  # few rows: in as few blocks as can be
        return self._like(table.set_axis(x.columns, axis=1))

    def _like(self, table: Any) -> Any:
        """The table in the class that the input makes of results, with its ``attrs``."""
        x = self.native
        return (table if type(table) is type(x) else x._constructor(table)).__finalize__(x)
