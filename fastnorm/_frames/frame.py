"""What tables have in common: features with names, read in pieces, counted and transformed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnorm import _apply, _counted, _reduce, _threads
from fastnorm._apply import Affine, Direction
from fastnorm._counted import Counted
from fastnorm._layout import Array

GATHERED = 1 << 16  # elements up to which columns are copied together: a call costs as much as reading so many
LONG = 1 << 10  # rows from which columns of more elements together are scanned where they lie

_FLOATS = {"float": "float32", "double": "float64", "halffloat": "float16"} | {
    name: name for name in ("float16", "float32", "float64")
}
_NUMBERS = {
    name: np.dtype(kind)
    for name, kind in {
        **_FLOATS,
        "boolean": "bool",
        **{name: name for name in ("bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)))},
    }.items()
}


class Frame:
    """The features of a table: some or all of its columns, with their names."""

    ndim = 2

    def __init__(
        self,
        native: Any,
        is_column: bool,
        rows: int,
        labels: list[Any],
        types: list[str],
        columns: Sequence[str] | None,
    ) -> None:
        self.native = native
        self.is_column = is_column
        texts = [str(label) for label in labels]
        self.places = list(range(len(texts))) if columns is None else _places(texts, columns)
        nameless = columns is None and (labels == list(range(len(labels))) or (is_column and labels[0] in ("", None)))
        self.names = None if nameless else tuple(texts[place] for place in self.places)
        times = Counter(texts)
        if twice := [name for name in dict.fromkeys(self.names or ()) if times[name] > 1]:
            raise ValueError(f"x has several columns named {listed(twice)}; rename them, so that each has its own")
        numeric = {kind: _NUMBERS.get(kind.lower().removesuffix("[pyarrow]")) for kind in set(types)}
        if other := [place for place in self.places if numeric[types[place]] is None]:
            kinds = ", ".join(sorted({types[place] for place in other}))
            raise TypeError(
                f"x has columns that are not numeric: {listed([texts[place] for place in other])} ({kinds}); leave "
                "them out, convert them (decimals, for instance, to float64), or choose others with "
                "Normalization(columns=[...])"
            )
        self.dtypes = [np.dtype(numeric[types[place]]) for place in self.places]
        self.shape = (rows, len(self.places))

    # What each library has its own words for.

    def _chunks(self, place: int) -> Iterator[Array]:
        """The values of a column in pieces of any length, without a copy where there is none missing.

        What is missing is NaN in floats and masked in integers.
        """
        raise NotImplementedError

    def _block(self, _places: list[int]) -> Array | None:
        """Columns of one dtype as a 2-D view of their memory; None where there is none."""
        return None

    def _column(self, place: int, values: Array) -> Any:
        """A new column with these values, missing where the column at ``place`` has nulls."""
        raise NotImplementedError

    def _table(self, columns: dict[int, Any]) -> Any:
        """The table with new columns at these places."""
        raise NotImplementedError

    # The same for all.

    def _runs(self) -> Iterator[tuple[range, Array | None]]:
        """Features of one dtype that follow each other, and the array that they are, if they lie together."""
        for _, group in groupby(range(self.shape[1]), key=self.dtypes.__getitem__):
            features = list(group)
            run = range(features[0], features[-1] + 1)
            yield run, self._block([self.places[feature] for feature in run])

    def _pieces(self, run: range, block: Array | None) -> Iterator[tuple[slice, Iterable[Array]]]:
        """Some features of a run, and their rows in pieces: 2-D arrays, masked where integers are missing."""
        if block is not None:
            yield slice(run.start, run.stop), [block]
            return
        rows = self.shape[0]
        width = max(1, GATHERED // max(rows, 1))
        for first in run[::width]:
            features = slice(first, min(first + width, run.stop))
            if rows <= GATHERED:
                yield features, [self._gathered(features, self.dtypes[first])]
            else:
                yield features, (values[:, np.newaxis] for values in self._chunks(self.places[first]))

    def _gathered(self, features: slice, dtype: np.dtype[Any]) -> Array:
        places = self.places[features]
        out = np.empty((self.shape[0], len(places)), dtype, order="F")
        mask = np.zeros(out.shape, bool, order="F")
        for index, place in enumerate(places):
            start = 0
            for values in self._chunks(place):
                rows = slice(start, start + len(values))
                out[rows, index] = np.ma.getdata(values)
                if np.ma.isMaskedArray(values):
                    mask[rows, index] = values.mask
                start = rows.stop
        return np.ma.array(out, mask=mask) if mask.any() else out

    def gathered(self) -> Array:
        """All features as one array, masked where integers are missing, in the dtype that they have in common."""
        return self._gathered(slice(0, self.shape[1]), np.result_type(*self.dtypes))

    def count(self, kept: tuple[int, ...], weights: NDArray[Any] | None, threads: int | None) -> Counted:
        """Return the exact sums of each column, or with no axis kept of all values."""
        _check_axes(kept)
        done = []
        for run, block in self._runs():
            is_large = self.shape[0] >= LONG and self.shape[0] * len(run) > GATHERED
            if is_large and block is None and weights is None:
                done.append(self._count_columns(run, kept, threads))
                continue
            for features, pieces in self._pieces(run, block):
                start, parts = 0, []
                for piece in pieces:
                    rows = slice(start, start + len(piece))
                    mine = None if weights is None else weights[rows] if kept else weights[rows, features]
                    parts.append(_reduce.count(piece, kept, mine, threads))
                    start = rows.stop
                done.append(reduce(_counted.merge, parts))
        if kept:
            return _counted.joined(done)
        return reduce(_counted.merge, done)._replace(rows=self.shape[0] * self.shape[1])

    def _count_columns(self, run: range, kept: tuple[int, ...], threads: int | None) -> Counted:
        pieces = (
            (feature - run.start if kept else 0, values)
            for feature in run
            for values in self._chunks(self.places[feature])
        )
        features, rows = (len(run), self.shape[0]) if kept else (1, len(run) * self.shape[0])
        return _reduce.count_columns(pieces, self.dtypes[run.start], features, rows, threads)

    def apply(
        self,
        kept: tuple[int, ...],
        affine: Affine,
        direction: Direction,
        result: Callable[[np.dtype[Any]], np.dtype[Any]],
        threads: int | None,
    ) -> Any:
        """Return the table with transformed columns; ``result`` gives the dtype of each."""
        _check_axes(kept)
        columns: dict[int, Any] = {}

        def work(claimed: Iterator[tuple[slice, Iterable[Array]]]) -> None:
            for features, pieces in claimed:
                mine = affine
                if kept:
                    mine = Affine(*(None if values is None else values[features] for values in affine))  # type: ignore[arg-type]
                out = self._transformed(pieces, kept, mine, direction, result, threads)
                for index, place in enumerate(self.places[features]):
                    columns[place] = self._column(place, out[:, index])

        workers = _threads.count(threads)
        for run, block in self._runs():  # by columns, if there is one for each worker; else each by all of them
            apart = block is None and self.shape[0] >= _reduce.TALL and len(run) >= workers
            _threads.share(work, self._pieces(run, block), workers if apart else 1)
        return self._table({place: columns[place] for place in self.places})

    def _transformed(
        self,
        pieces: Iterable[Array],
        kept: tuple[int, ...],
        affine: Affine,
        direction: Direction,
        result: Callable[[np.dtype[Any]], np.dtype[Any]],
        threads: int | None,
    ) -> Array:
        out, start = None, 0
        for piece in pieces:
            if out is None:
                dtype, shape = result(piece.dtype), (self.shape[0], piece.shape[1])
                if dtype.name == "bfloat16":
                    raise TypeError("tables have no columns of bfloat16; pass an array, or use dtype='float32'")
                out = np.empty_like(piece, dtype, shape=shape, subok=False)
            rows = slice(start, start + len(piece))
            _apply.run(np.ma.getdata(piece), out[rows], kept, affine, direction, threads)
            start = rows.stop
        assert out is not None
        return out


def _check_axes(kept: tuple[int, ...]) -> None:
    if kept not in ((), (1,)):
        raise ValueError(
            "a table has one feature for each column (axis=-1) or a single one (axis=None); for other axes pass an "
            "array, e.g. x.to_numpy()"
        )


def _places(labels: list[str], columns: Sequence[str]) -> list[int]:
    found = {label: place for place, label in enumerate(labels)}
    if missing := [name for name in columns if name not in found]:
        raise ValueError(f"x has no column {listed(missing)}; it has {listed(labels)}")
    return [found[name] for name in columns]


def listed(names: Sequence[str]) -> str:
    """The names as text, at most 20 of them."""
    shown = ", ".join(map(repr, names[:20]))
    return shown + f" and {len(names) - 20} more" * (len(names) > 20)
