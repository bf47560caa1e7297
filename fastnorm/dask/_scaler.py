"""scikit-learn's StandardScaler for collections."""

from __future__ import annotations

from typing import Any

import numpy as np
from dask.array import Array as DaskArray
from dask.base import is_dask_collection
from dask.delayed import delayed
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import _check_feature_names, _check_n_features, check_array, check_is_fitted

from fastnorm import sklearn
from fastnorm.dask._moments import known_features, moments
from fastnorm.moments import Moments


class StandardScaler(sklearn.StandardScaler):
    """A `fastnorm.sklearn.StandardScaler` whose methods take arrays and DataFrames of Dask too.

    ``fit`` and ``partial_fit`` compute at once; ``transform`` and ``inverse_transform`` stay lazy, keep chunks of rows,
    names and index, and give the kind of collection that they were given.

    Examples
    --------
    >>> import dask.array as da
    >>> scaler = StandardScaler().fit(da.arange(6, chunks=4).reshape(3, 2))
    >>> scaler.mean_
    array([2., 3.])
    >>> scaler.transform(da.ones((1, 2))).compute()
    array([[-0.61237244, -1.22474487]])
    """

    def _learn(self, X: Any, y: Any, sample_weight: Any, seen: Moments | None) -> StandardScaler:
        if not is_dask_collection(X):
            return super()._learn(X, y, sample_weight, seen)
        constant = self._checked_constant()
        with self._names_kept_on_error():
            self._check_features(X, reset=seen is None)
            found: Moments = moments(X, weights=sample_weight).compute()
            check_array(np.zeros((min(found.rows, 1), *found.shape)), estimator=self)  # a row at least
            self._take(found, seen, constant, X.dtype if isinstance(X, DaskArray) else np.dtype(np.float64))
        return self

    def _check_features(self, X: Any, reset: bool, named: bool = True) -> None:
        if isinstance(X, DaskArray):
            check_array(np.zeros((1,) * X.ndim))  # two dimensions
            known_features(X, (1,))
        empty = np.empty((0, X.shape[1])) if isinstance(X, DaskArray) else X._meta
        if named:  # z-scores need not have the names of the features
            _check_feature_names(self, empty, reset=reset)
        _check_n_features(self, empty, reset=reset)

    def _run(self, X: Any, copy: bool | None, direction: Any) -> Any:
        if not is_dask_collection(X):
            return super()._run(X, copy, direction)
        check_is_fitted(self)
        if (container := _get_output_config("transform", self)["dense"]) != "default":
            raise TypeError(
                f"transform_output={container!r} would load what Dask has; call "
                'set_output(transform="default"), and pass a DataFrame of Dask to get one'
            )
        self._check_features(X, reset=False, named=direction == "forward")
        scaler = sklearn.StandardScaler()
        scaler.__dict__.update({**self.__dict__, "threads": 1, "copy": True})
        if isinstance(X, DaskArray):
            X = X.rechunk({1: -1})
            dtype = X.dtype if X.dtype.kind == "f" else np.dtype(np.float64)
            meta = np.empty((0, 0), dtype)
            return X.map_blocks(_of_block, delayed(scaler, pure=True), direction, dtype=dtype, meta=meta)
        meta = _of_partition(X._meta_nonempty, scaler, direction).iloc[:0]
        return X.map_partitions(_of_partition, scaler, direction, meta=meta)


def _of_block(block: Any, scaler: Any, direction: Any) -> Any:
    if not len(block):  # scikit-learn wants a row at least
        return block.astype(block.dtype if block.dtype.kind == "f" else np.float64)
    return sklearn.StandardScaler._run(scaler, block, None, direction)


def _of_partition(part: Any, scaler: Any, direction: Any) -> Any:
    values = _of_block(part if len(part) else part.to_numpy(), scaler, direction)
    return type(part)(values, index=part.index, columns=part.columns)
