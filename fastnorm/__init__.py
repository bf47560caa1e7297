"""Exact standardization of numeric features, at the speed of memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastnorm._layer import NotAdaptedError
    from fastnorm._threads import shutdown_threads
    from fastnorm._warmup import warmup
    from fastnorm.batchnorm import BatchNormalization
    from fastnorm.files import adapt_files, normalize_files, recover, write_report
    from fastnorm.moments import Moments
    from fastnorm.normalization import Normalization

    __version__: str

_HOMES = {
    "BatchNormalization": "fastnorm.batchnorm",
    "Moments": "fastnorm.moments",
    "Normalization": "fastnorm.normalization",
    "NotAdaptedError": "fastnorm._layer",
    "adapt_files": "fastnorm.files",
    "normalize_files": "fastnorm.files",
    "recover": "fastnorm.files",
    "shutdown_threads": "fastnorm._threads",
    "warmup": "fastnorm._warmup",
    "write_report": "fastnorm.files",
}

__all__ = [
    "BatchNormalization",
    "Moments",
    "Normalization",
    "NotAdaptedError",
    "__version__",
    "adapt_files",
    "normalize_files",
    "recover",
    "shutdown_threads",
    "warmup",
    "write_report",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that ``import fastnorm`` costs nothing."""
    if name == "__version__":
        from fastnorm._version import version

        value: Any = version()
    elif name in _HOMES:
        from importlib import import_module

        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'fastnorm' has no attribute {name!r}; it has {', '.join(__all__)}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
