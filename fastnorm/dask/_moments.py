"""Statistics of a collection: one small value a chunk, added up in a tree."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial, reduce
from itertools import product
from operator import add
from typing import Any

import numpy as np
from dask._task_spec import Task, TaskRef
from dask.array import Array as DaskArray
from dask.array import asarray
from dask.base import is_dask_collection, tokenize
from dask.delayed import Delayed
from dask.highlevelgraph import HighLevelGraph
from dask.utils import is_dataframe_like, is_series_like

from fastnorm import _frames, _layout
from fastnorm.moments import Moments

FAN_IN = 8  # moments that one task of the tree adds up

Axis = int | tuple[int, ...] | None
Key = tuple[Any, ...]  # of a task: a name, and numbers
# Of a Key each. Dask's specification of graphs wants its class Task in the place of tuples, and the module with the
# underscore is the only place where it can be had; layers of `delayed` are public, and take a millisecond each.
Tasks = dict[Any, Task]


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
        If ``x`` is no array or DataFrame of Dask, or has columns that are not numeric.
    ValueError
        If columns are not there, or weights are not those of the rows.

    What is wrong in the data themselves is raised by ``compute()``.

    Examples
    --------
    >>> import dask.array as da
    >>> moments(da.arange(6, chunks=4).reshape(3, 2)).compute().mean
    array([2., 3.])
    """
    if isinstance(x, DaskArray):
        return _of_array(x, axis, weights)
    table = checked_table(x)
    if weights is not None:
        raise TypeError("weights go with arrays; pass x.to_dask_array(lengths=True)")
    return _of_table(table, axis, columns)


def checked_table(x: Any) -> Any:
    """``x``; TypeError if it is no table of Dask."""
    if not (is_dask_collection(x) and (is_dataframe_like(x) or is_series_like(x))):
        cure = "; pass x.data" if isinstance(getattr(x, "data", None), DaskArray) else ""
        raise TypeError(f"x is a {type(x).__name__}, but an array or a DataFrame of Dask is wanted{cure}")
    return x


def _of_table(x: Any, axis: Axis, columns: Sequence[str] | None) -> Delayed:
    names = tuple(map(str, x.columns if columns is None else columns))
    token = tokenize(x, axis, names)
    _frames.taken(x._meta, columns)  # columns that are not there, or no numbers, are an error now, not in a worker
    if columns is not None and is_dataframe_like(x):
        x = x[[label for label in x.columns if str(label) in names]]  # files need not be read for the others
    partitions = x.to_delayed()
    part = partial(_of_partition, axis, names)
    tasks: Tasks = {}
    for number, item in enumerate(partitions):
        _add_task(tasks, (f"moments-chunk-{token}", number), part, [item.key])
    return _delayed(_summed(tasks, token, (), [*tasks]), tasks, partitions[:1])


def _of_array(x: DaskArray, axis: Axis, weights: Any) -> Delayed:
    kept = _layout.kept_axes(axis, x.ndim)
    reduced = tuple(index for index in range(x.ndim) if index not in kept)
    arrays = [x] if weights is None else [x, _chunked_as(asarray(weights), x, reduced)]
    token, blocks = tokenize(*arrays, kept), [array.to_delayed() for array in arrays]
    sources = [items.flat[0] for items in blocks]
    tasks: Tasks = {}
    part = partial(_of_block, kept or None)
    filled = [[number for number, n in enumerate(x.chunks[index]) if n] or [0] for index in kept]  # with any features
    grid = np.empty([*map(len, filled)], object)
    for place, numbers in zip(np.ndindex(grid.shape), product(*filled), strict=True):
        chunks = []
        for row in np.ndindex(*(x.numblocks[index] for index in reduced)):
            index = dict(zip(kept + reduced, numbers + row, strict=True))
            block = tuple(index[number] for number in range(x.ndim))
            keys = [items[where].key for items, where in zip(blocks, (block, row), strict=False)]
            chunks.append(_add_task(tasks, (f"moments-chunk-{token}", *block), part, keys))
        grid[place] = _summed(tasks, token, numbers, chunks)
    if grid.size == 1:
        return _delayed(grid.item(), tasks, sources)
    joined = _add_task(tasks, (f"moments-{token}",), partial(_joined, grid.shape), grid.reshape(-1).tolist())
    return _delayed(joined, tasks, sources)


def _add_task(tasks: Tasks, key: Key, function: Any, keys: Sequence[Key]) -> Key:
    """Add a task that calls a function with the values of others."""
    tasks[key] = Task(key, function, *map(TaskRef, keys))
    return key


def _summed(tasks: Tasks, token: str, place: Key, keys: list[Key]) -> Key:
    """Add a tree of additions: the key of the sum of all that have these keys."""
    level = 0
    while len(keys) > 1:
        groups = enumerate(keys[first : first + FAN_IN] for first in range(0, len(keys), FAN_IN))
        name = f"moments-sum-{token}", *place, level
        keys = [_add_task(tasks, (*name, number), _added, group) for number, group in groups]
        level += 1
    return keys[0]


def _delayed(key: Key, tasks: Tasks, sources: Sequence[Any]) -> Delayed:
    """The value of one of the tasks. They are one layer of the graph: Dask takes a millisecond for each."""
    return Delayed(key, HighLevelGraph.from_collections(key[0], tasks, sources), layer=key[0])


def _of_block(axis: Axis, block: Any, weights: Any = None) -> Moments:
    return Moments.of(block, axis, weights, threads=1)


def _of_partition(axis: Axis, names: tuple[str, ...], partition: Any) -> Moments:
    return Moments.of(_frames.taken(partition, names, names), axis, threads=1)


def _added(*parts: Moments) -> Moments:
    return reduce(add, parts)


def _joined(shape: tuple[int, ...], *parts: Moments) -> Moments:
    grid = np.empty(len(parts), object)
    grid[:] = parts
    return Moments._block(grid.reshape(shape).tolist())


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
