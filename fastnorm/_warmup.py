"""Compile every kernel ahead of its first use."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastnorm import _sparse
from fastnorm._apply import FEW, FOLD
from fastnorm._layout import float_dtype
from fastnorm._statistics import MANY
from fastnorm._tiles import RUN, RUNS
from fastnorm.normalization import Normalization

DTYPES = (
    "float16",
    "float32",
    "float64",
    "bool",
    *(f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)),
)


def warmup() -> None:
    """Compile all kernels for all dtypes and store them in the cache; takes seconds once, nothing afterwards.

    Examples
    --------
    >>> from fastnorm import warmup
    >>> warmup()
    """
    import fastnorm._kernels.limbs  # noqa: F401  # from here on, few values are for kernels too

    wide = np.ones((2, MANY))
    Normalization().adapt(wide).forget(wide[:1]).transform(wide)
    for dtype in (*map(np.dtype, DTYPES), *_bfloat16()):
        x, runs = np.ones((2, 3), dtype), np.ones((RUN, RUNS), dtype, order="F")
        rows = np.ones((FEW // FOLD + 1, FOLD), dtype)
        for layer in (Normalization(), Normalization(affine=True)):
            for y in (runs, rows, x):
                z = layer.adapt(y).transform(y)
                layer.inverse_transform(z)
                layer.transform(z, out=z)
                layer.inverse_transform(z, out=z)
            if dtype == "float32":
                layer.transform(x.astype(">f4"))  # by way of a float64 tile
        layer.update(x).update(x, weights=np.ones(2))
    for weights in (None, np.ones(1)):
        _sparse.count(_Identity(), weights, None)


def _bfloat16() -> list[np.dtype[Any]]:
    """The dtype that NumPy lacks, if there is a package for it: without one, nobody has such data."""
    try:
        return [float_dtype("bfloat16")]
    except ImportError:
        return []


class _Identity:
    """A sparse matrix as scipy has them, which need not be installed."""

    data = np.ones(1)
    indices, indptr = np.zeros(1, np.int32), np.array([0, 1], np.int32)
    shape, format = (1, 1), "csr"
