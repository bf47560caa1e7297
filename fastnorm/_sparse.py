"""Compressed sparse matrices (CSR, CSC): exact sums, and scaling of what is stored. What is not stored is 0."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastnorm import _counted, _reduce, _scan, _sums, _threads
from fastnorm._apply import Affine, Direction
from fastnorm._counted import Counted
from fastnorm._sums import Integers, Sums

Floats = NDArray[np.float64]

CHUNK = 1 << 16  # stored values that are taken at a time
RUN, MOST = 64, 1 << 20  # but so many a feature where they must be sorted, up to this
GRIDS = {"narrow": (-80, 110), "double": (-400, 500)}  # powers of two for which there are limbs and normal numbers


class Compressed(Protocol):
    """What is used of a matrix, in the names of scipy.sparse; no entry may be stored twice for sums."""

    data: NDArray[Any]  # float32 or float64
    indices: NDArray[Any]
    indptr: NDArray[Any]
    shape: tuple[int, int]
    format: str  # "csr" or "csc"


def count(matrix: Compressed, weights: Floats | None, threads: int | None) -> Counted:
    """Return the sums of each column, the same as those of the dense array."""
    rows, features = matrix.shape
    kind = _scan.kind_of(matrix.data.dtype) if weights is None else "weighted"
    size = CHUNK if weights is not None else min(max(CHUNK, RUN * features), MOST)

    def work(starts: Iterator[int]) -> _scan.State:
        state = _scan.State(kind, features)
        scanner = _scan.Scanner(matrix.data.dtype, state)
        for start in starts:
            stop = min(start + size, len(matrix.data))
            scanner._saw(stop - start)
            if weights is None:
                _add(matrix, start, stop, state)
            else:
                _add_weighted(matrix, start, stop, weights, state)
        return state

    state = _scan.united(_threads.share(work, *_jobs(matrix, threads, size, features)))
    counted = state.counted(rows)
    if weights is None:
        return counted
    every = _reduce.count(weights[:, np.newaxis], (1,), None, threads).total
    everywhere = Sums(every.exponent, np.repeat(every.limbs, features, axis=1))
    weight = _sums.add(everywhere, _sums.canonical(*state.limbs(2)), -1)
    return counted._replace(weight=None if weight == _counted.as_sums(counted.counts) else weight)


def _add(matrix: Compressed, start: int, stop: int, state: _scan.State) -> None:
    """Add the stored values from start to stop, column by column."""
    from fastnorm._kernels import sparse as kernels

    values = matrix.data[start:stop]
    if values.dtype not in (np.float32, np.float64):
        values = values.astype(np.float64)
    if matrix.format == "csr":
        found = np.empty_like(values)
        ends = np.zeros(matrix.shape[1] + 2, np.int64)
        kernels.gather(_read_only(values), _read_only(matrix.indices[start:stop]), ends, found)
        first, values, ends = 0, found, ends[:-1]
    else:
        first, ends = _bounds(matrix, start, stop)
        ends = ends.astype(np.int64) - start
    low, high = GRIDS[_scan.kind_of(values.dtype)]
    kernels.scan_runs(_read_only(values), ends, first, low, high, state.rows, state.layout, state.span)


def _add_weighted(matrix: Compressed, start: int, stop: int, weights: Floats, state: _scan.State) -> None:
    from fastnorm._kernels import sparse as kernels

    with np.errstate(invalid="ignore"):  # signalling NaNs are missing values like any other
        values = matrix.data[start:stop].astype(np.float64)
    major, minor = _places(matrix, start, stop)
    row, column = (major, minor) if matrix.format == "csr" else (minor, major)
    kernels.scan_scattered_weighted(values, column, weights[row], state.rows, state.layout, state.span)


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    """A view that kernels are compiled for once, whatever may be written."""
    view = array.view()
    view.flags.writeable = False
    return view


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
        _threads.share(work, *_jobs(matrix, threads, CHUNK, 0))


def _jobs(matrix: Compressed, threads: int | None, size: int, features: int) -> tuple[range, int]:
    """Where chunks start, and how many workers: sums of many features are no less work than few values."""
    stored = len(matrix.data)
    return range(0, stored, size), 1 if stored < max(CHUNK, 4 * features) else _threads.count(threads)


def _bounds(matrix: Compressed, start: int, stop: int) -> tuple[int, NDArray[Any]]:
    """The first index along the compressed axis of the stored values from start to stop, and where each begins."""
    first = int(np.searchsorted(matrix.indptr, start, "right")) - 1
    last = int(np.searchsorted(matrix.indptr, stop, "left"))
    return first, np.clip(matrix.indptr[first : last + 1], start, stop)


def _places(matrix: Compressed, start: int, stop: int) -> tuple[Integers, Integers]:
    """Indices along the compressed axis and along the other one, of the stored values from start to stop."""
    first, ends = _bounds(matrix, start, stop)
    major = np.repeat(np.arange(first, first + len(ends) - 1), np.diff(ends))
    return major, matrix.indices[start:stop].astype(np.int64, copy=False)
