"""Statistics of a collection: one small value a chunk, added up in a tree."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
from dask.array import Array as DaskArray
from dask.array import asarray
from dask.delayed import Delayed, delayed

from fastnorm import _frames, _layout
from fastnorm.moments import Moments

FAN_IN = 8  # moments that one task of the tree adds up

Axis = int | tuple[int, ...] | None


def moments(x: Any, axis: Axis = -1, weights: Any = None, columns: Sequence[str] | None = None) -> Delayed:
    """Return the moments of a Dask array or DataFrame as a Dask object: ``compute()`` gives `Moments`.

    One task a chunk makes its moments, in one thread, and a tree of additions makes one of them all, so that only small
    values travel. Since sums are exact, neither chunks nor the order of tasks nor a retry can change a bit.

    Parameters
    ----------
    x : dask.array.Array or dask.dataframe.DataFrame
        Chunked in any way; lengths of chunks need not be known.
    axis : int, tuple of int or None
        The axes that are kept, as for `Moments.of`. A DataFrame keeps its columns, or None.
    weights : dask.array.Array or array_like, optional
        One number for each row, for arrays.
    columns : sequence of str, optional
        The features of a DataFrame; by default all columns.

    Raises
    ------
    TypeError
        If ``x`` is no array or DataFrame of Dask. What is wrong in the data is raised by ``compute()``.

    Examples
    --------
    >>> import dask.array as da
    >>> moments(da.arange(6, chunks=4).reshape(3, 2)).compute().mean
    array([2., 3.])
    """
    if isinstance(x, DaskArray):
        return _of_array(x, axis, weights)
    if hasattr(x, "map_partitions") and hasattr(x, "columns"):
        if weights is not None:
            raise TypeError("weights go with arrays; pass x.to_dask_array(lengths=True)")
        names = tuple(map(str, x.columns if columns is None else columns))
        part = _pure(_of_partition)
        return _sum([part(partition, axis, names) for partition in x.to_delayed()])
    raise TypeError(f"x is a {type(x).__name__}, but an array or a DataFrame of Dask is wanted")


def _pure(function: Any) -> Any:
    """A task whose name depends on its arguments alone."""
    return delayed(function, pure=True)


def _of_array(x: DaskArray, axis: Axis, weights: Any) -> Delayed:
    kept = _layout.kept_axes(axis, x.ndim)
    reduced = tuple(index for index in range(x.ndim) if index not in kept)
    blocks = x.to_delayed()
    by_row = None if weights is None else _chunked_as(asarray(weights), x, reduced).to_delayed()
    part, grid = _pure(Moments.of), np.empty([blocks.shape[index] for index in kept], object)
    for place in np.ndindex(*grid.shape):
        parts = []
        for row in np.ndindex(*(blocks.shape[index] for index in reduced)):
            index = dict(zip(kept + reduced, place + row, strict=True))
            block = blocks[tuple(index[number] for number in range(x.ndim))]
            parts.append(part(block, kept or None, None if by_row is None else by_row[row], 1))
        grid[place] = _sum(parts)
    return grid.item() if grid.size == 1 else _pure(Moments._block)(grid.tolist())  # type: ignore[no-any-return]


def _chunked_as(weights: DaskArray, x: DaskArray, reduced: tuple[int, ...]) -> DaskArray:
    lengths = tuple(x.shape[index] for index in reduced)
    if weights.shape != lengths and not np.isnan((*weights.shape, *lengths)).any():
        raise ValueError(
            f"weights have shape {weights.shape}, but x has rows of shape {lengths} (the axes that are reduced); pass "
            "one number for each row"
        )
    rechunked: DaskArray = weights.rechunk(tuple(x.chunks[index] for index in reduced))
    return rechunked


def known_features(x: DaskArray, kept: tuple[int, ...]) -> None:
    """ValueError if it takes a computation to know how many features there are."""
    if np.isnan([x.shape[index] for index in kept]).any():
        raise ValueError(f"x has shape {x.shape}: how many features is not known; call x.compute_chunk_sizes() first")


def _of_partition(partition: Any, axis: Axis, names: tuple[str, ...]) -> Moments:
    frame = _frames.taken(partition, names, names)
    return Moments.of(frame, axis, threads=1)


def _sum(parts: list[Delayed]) -> Delayed:
    """The sum of all parts, by a tree of tasks."""
    add = _pure(_added)
    while len(parts) > 1:
        parts = [add(parts[first : first + FAN_IN]) for first in range(0, len(parts), FAN_IN)]
    return parts[0]


def _added(parts: list[Moments]) -> Moments:
    return reduce(lambda left, right: left + right, parts)
