"""pandas: NumPy's dtypes, nullable ones and Arrow's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fastnorm._frames.frame import GATHERED, Frame
from fastnorm._layout import Array


class Pandas(Frame):
    """A DataFrame or Series."""

    def __init__(self, x: Any, columns: Sequence[str] | None) -> None:
        if is_column := x.ndim == 1:
            labels, types, self._series = [x.name], [x.dtype.name], [x]
        else:
            labels, types = list(x.columns), [dtype.name for dtype in x.dtypes]
            self._series = [series for _, series in x.items()]
        super().__init__(x, is_column, len(x), labels, types, columns)

    def _chunks(self, place: int) -> Iterator[Array]:
        series = self._series[place]
        if isinstance(series.dtype, np.dtype):
            yield series.to_numpy()
        elif series.dtype.name.endswith("[pyarrow]"):
            from fastnorm._frames.arrow import chunks

            yield from chunks(series.array.__arrow_array__())
        else:
            dtype = series.dtype.numpy_dtype
            gone = series.array.isna()
            if not gone.any():
                yield series.to_numpy(dtype)
            elif dtype.kind == "f":
                yield series.to_numpy(dtype, na_value=np.nan)
            else:
                yield np.ma.array(series.to_numpy(dtype, na_value=dtype.type(0)), mask=gone)

    def _block(self, places: list[int]) -> Array | None:
        kinds = {self._series[place].dtype for place in places}
        if self.is_column or len(kinds) > 1 or not isinstance(kinds.pop(), np.dtype):
            return None
        if places != list(range(places[0], places[-1] + 1)):
            return None
        try:
            return np.asarray(self.native.iloc[:, places[0] : places[-1] + 1], copy=False)
        except ValueError:  # they lie in several blocks
            return None

    def _column(self, place: int, values: Array) -> Any:
        series = self._series[place]
        if isinstance(series.dtype, np.dtype):
            return values
        gone = np.asarray(series.array.isna())
        if series.dtype.name.endswith("[pyarrow]"):
            import pyarrow as pa

            return pd.arrays.ArrowExtensionArray(pa.array(values, mask=gone))
        if values.dtype == np.float16:  # no nullable dtype
            return np.where(gone, np.float16(np.nan), values)
        return pd.arrays.FloatingArray(values, gone)

    def _table(self, columns: dict[int, Any]) -> Any:
        x = self.native
        if self.is_column:
            return pd.Series(columns[0], x.index, name=x.name, copy=False)
        bases = [values.base if isinstance(values, np.ndarray) else None for values in columns.values()]
        if list(columns) == list(range(x.shape[1])) and bases[0] is not None and all(b is bases[0] for b in bases):
            return pd.DataFrame(bases[0], x.index, x.columns, copy=False)
        all_columns = {place: columns.get(place, series) for place, series in enumerate(self._series)}
        table = pd.DataFrame(all_columns, x.index, copy=len(x) <= GATHERED)  # few rows: in as few blocks as can be
        return table.set_axis(x.columns, axis=1)
