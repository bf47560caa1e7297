"""The Normalization layer for collections."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from dask.array import Array as DaskArray
from dask.base import is_dask_collection
from dask.delayed import delayed

from fastnorm import _frames, _layout, normalization
from fastnorm._arguments import result_dtype
from fastnorm._frames import Frame
from fastnorm.dask._moments import checked_table, known_features, moments
from fastnorm.moments import Moments


class Normalization(normalization.Normalization):
    """A `fastnorm.Normalization` whose methods take arrays and DataFrames of Dask too.

    What learns (`adapt`, `update`, `forget`) computes at once, with the scheduler that is set; what transforms stays
    lazy, keeps chunks, names and index, and never changes its input. Everything else goes as with NumPy's arrays.

    Examples
    --------
    >>> import dask.array as da
    >>> x = da.arange(6, chunks=4).reshape(3, 2).astype("float32")
    >>> Normalization().adapt(x).transform(x).compute()
    array([[-1.2247449, -1.2247449],
           [ 0.       ,  0.       ],
           [ 1.2247449,  1.2247449]], dtype=float32)
    """

    def _as_array(self, batch: Any) -> Any:
        return batch if is_dask_collection(batch) else super()._as_array(batch)

    def _taken(self, x: Any, names: tuple[str, ...] | None, known: bool) -> Any:
        if not is_dask_collection(x) or isinstance(x, DaskArray):
            return super()._taken(x, names, known)
        table = super()._taken(checked_table(x)._meta, names, known)
        table.native = x  # the table of this meta
        return table

    def _moments_of(self, batch: Any, weights: Any, before: Moments | None) -> Moments:
        collection = batch.native if isinstance(batch, Frame) else batch
        if not is_dask_collection(collection):
            return super()._moments_of(batch, weights, before)
        if isinstance(collection, DaskArray) and self.columns is not None:
            super()._moments_of(collection._meta, None, None)  # raises: an array has no columns
        found: Moments = moments(collection, self.axis, weights, self.columns).compute()
        return self._checked(found, before, _frames.names_of(batch))

    def _run(self, x: Any, out: Any, direction: Any) -> Any:
        if not is_dask_collection(x):
            return super()._run(x, out, direction)
        if out is not None:
            raise TypeError("out does not go with Dask, whose results are lazy; leave it away")
        self._check_adapted()
        layer = _plain(self)
        if isinstance(x, DaskArray):
            return _map_array(x, layer, direction)
        meta = _applied(checked_table(x)._meta_nonempty, layer, direction).iloc[:0]
        return x.map_partitions(_applied, layer, direction, meta=meta)


def _plain(layer: Normalization) -> normalization.Normalization:
    twin = object.__new__(normalization.Normalization)
    twin.__setstate__({**layer.__getstate__(), "threads": 1})
    return twin


def _applied(block: Any, layer: normalization.Normalization, direction: Any) -> Any:
    return layer._run(block, None, direction)


def _applied_block(
    block: Any, layer: normalization.Normalization, direction: Any, ends: dict[int, list[int]], block_id: Any = None
) -> Any:
    if not block.size:  # perhaps without features
        return block.astype(result_dtype(layer.dtype, block.dtype))
    region = tuple(slice(*ends[index][block_id[index] : block_id[index] + 2]) for index in sorted(ends))
    whole = all(len(ends[index]) == 2 for index in ends)
    return _applied(block, layer if whole else layer._part(region), direction)


def _map_array(x: Any, layer: normalization.Normalization, direction: Any) -> DaskArray:
    kept = _layout.kept_axes(layer.axis, x.ndim)
    known_features(x, kept)
    layer._affine_for(tuple(x.shape[index] for index in kept))  # other features are an error now, not in a worker
    dtype = result_dtype(layer.dtype, x.dtype)
    ends = {index: np.cumsum((0, *x.chunks[index])).tolist() for index in kept}
    result: DaskArray = x.map_blocks(
        partial(_applied_block, direction=direction, ends=ends),
        layer=delayed(layer, pure=True),
        dtype=dtype,
        meta=x._meta.astype(dtype),
    )
    return result
