"""Compile every kernel ahead of its first use."""

from __future__ import annotations

import numpy as np

from fastnorm.normalization import Normalization

DTYPES = ("float16", "float32", "float64", "bool", *(f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)))


def warmup() -> None:
    """Compile all kernels for all dtypes and store them in the cache; takes seconds once, nothing afterwards.

    Examples
    --------
    >>> from fastnorm import warmup
    >>> warmup()
    """
    for dtype in DTYPES:
        x = np.ones((2, 3), dtype)
        plain, affine = Normalization(), Normalization(affine=True)
        for layer in (plain, affine):
            z = layer.adapt(x).transform(x)
            layer.inverse_transform(z)
            if x.dtype == z.dtype:
                layer.inverse_transform(layer.transform(x, out=z), out=z)
        plain.update(x, weights=np.ones(2))
        Normalization(affine=True).adapt(z).transform(z, out=z)
