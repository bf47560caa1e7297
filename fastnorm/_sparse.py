"""Compressed sparse matrices (CSR, CSC): exact sums, and scaling of what is stored. What is not stored is 0."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastnorm import _reduce, _sums, _threads
from fastnorm._apply import Affine, Direction
from fastnorm._reduce import Counted
from fastnorm._sums import Integers, Sums

Floats = NDArray[np.float64]

CHUNK = 1 << 16  # stored values that are taken at a time


class Compressed(Protocol):
    """What is used of a matrix, in the names of scipy.sparse; no entry may be stored twice for sums."""

    data: NDArray[Any]  # float32 or float64
    indices: NDArray[Any]
    indptr: NDArray[Any]
    shape: tuple[int, int]
    format: str  # "csr" or "csc"


def count(matrix: Compressed, weights: Floats | None, threads: int | None) -> Counted:
    """Return the sums of each column, the same as those of the dense array."""
    from fastnorm._kernels import sparse as kernels

    rows, features = matrix.shape
    kind = _reduce._kind(matrix.data.dtype) if weights is None else "weighted"

    def work(starts: Iterator[int]) -> _reduce._State:
        state = _reduce._State(kind, features)
        scanner = _reduce._Scanner(matrix.data.dtype, state)
        for start in starts:
            with np.errstate(invalid="ignore"):  # signalling NaNs are missing values like any other
                values = matrix.data[start : start + CHUNK].astype(np.float64)
            major, minor = _places(matrix, start, start + len(values))
            row, column = (major, minor) if matrix.format == "csr" else (minor, major)
            scanner._saw(len(values))
            limbs = state.rows, state.layout, state.span
            if weights is None:
                kernels.scan_scattered(values, column, *limbs)
            else:
                kernels.scan_scattered_weighted(values, column, weights[row], *limbs)
        return state

    state = _reduce._joined(_threads.share(work, *_jobs(matrix, threads, features)))
    counted = state.counted(rows)
    if weights is None:
        return counted
    every = _reduce.count(weights[:, np.newaxis], (1,), None, threads).total
    everywhere = Sums(every.exponent, np.repeat(every.limbs, features, axis=1))
    weight = _sums.add(everywhere, _sums.canonical(*state.limbs(2)), -1)
    return counted._replace(weight=None if weight == _reduce._as_sums(counted.counts) else weight)


def scale(matrix: Compressed, affine: Affine, direction: Direction, threads: int | None) -> None:
    """Divide what is stored by the scale of its column, or multiply, in place: as `_apply.run` does with mean 0."""
    factor = np.exp2(affine.shift)
    multiplies = matrix.data.dtype == np.float32
    with np.errstate(divide="ignore"):
        inverse = 1.0 / affine.scale

    def work(starts: Iterator[int]) -> None:
        for start in starts:
            part = matrix.data[start : start + CHUNK]
            major, minor = _places(matrix, start, start + len(part))
            column = minor if matrix.format == "csr" else major
            with np.errstate(all="ignore"):
                values = part.astype(np.float64)
                if direction == "inverse":
                    values = values * affine.scale[column] / factor[column]
                else:
                    values *= factor[column]
                    values = values * inverse[column] if multiplies else values / affine.scale[column]
                part[...] = values

    with _threads.uninterrupted():
        _threads.share(work, *_jobs(matrix, threads, 0))


def _jobs(matrix: Compressed, threads: int | None, features: int) -> tuple[range, int]:
    """Where chunks start, and how many workers: sums of many features are no less work than few values."""
    stored = len(matrix.data)
    return range(0, stored, CHUNK), 1 if stored < max(CHUNK, 4 * features) else _threads.count(threads)


def _places(matrix: Compressed, start: int, stop: int) -> tuple[Integers, Integers]:
    """Indices along the compressed axis and along the other one, of the stored values from start to stop."""
    first = int(np.searchsorted(matrix.indptr, start, "right")) - 1
    last = int(np.searchsorted(matrix.indptr, stop, "left"))
    ends = np.clip(matrix.indptr[first : last + 1], start, stop)
    return np.repeat(np.arange(first, last), np.diff(ends)), matrix.indices[start:stop].astype(np.int64, copy=False)
