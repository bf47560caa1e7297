"""Compile every kernel ahead of its first use."""

from __future__ import annotations

import numpy as np

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
    for dtype in DTYPES:
        x = np.ones((2, 3), dtype)
        for layer in (Normalization(), Normalization(affine=True)):
            z = layer.adapt(x).transform(x)
            layer.inverse_transform(z)
            layer.transform(z, out=z)
            layer.inverse_transform(z, out=z)
        layer.update(x).update(x, weights=np.ones(2))
