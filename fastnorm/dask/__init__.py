"""Dask: statistics as one small value a chunk, added up in a tree; transforms that stay lazy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastnorm.dask._layer import Normalization
from fastnorm.dask._moments import moments

if TYPE_CHECKING:
    from fastnorm.dask._scaler import StandardScaler

__all__ = ["Normalization", "StandardScaler", "moments"]


def __getattr__(name: str) -> Any:
    """Import the scaler when it is asked for, since it needs scikit-learn."""
    if name != "StandardScaler":
        raise AttributeError(f"module 'fastnorm.dask' has no attribute {name!r}; it has {', '.join(__all__)}")
    from fastnorm.dask._scaler import StandardScaler

    return StandardScaler
