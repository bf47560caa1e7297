"""What the machine can do: plain passes over the memory of an array, by all threads or one.

Each kernel walks four places of a chunk at once. On two cores of a Zen 3 server one thread read
17 GB/s with one stream, 21 with two or four, 20 with eight; in cache the loop makes over 50 GB/s,
so memory is what it measures. Prefetching by hand (13) and streams a page apart (16) were slower.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from fastnorm import _threads

Array = NDArray[Any]

CHUNK = 1 << 23  # bytes a thread takes at a time
FACTOR = 1.0000001


@numba.njit(nogil=True, fastmath=True)
def read_chunk(words):  # type: ignore[no-untyped-def]
    """Sum of int64 words, modulo 2**64."""
    n = words.size // 4
    w0, w1, w2, w3 = words[:n], words[n : 2 * n], words[2 * n : 3 * n], words[3 * n : 4 * n]
    s0 = s1 = s2 = s3 = np.int64(0)
    for i in range(n):
        s0 += w0[i]
        s1 += w1[i]
        s2 += w2[i]
        s3 += w3[i]
    for i in range(4 * n, words.size):
        s0 += words[i]
    return s0 + s1 + s2 + s3


@numba.njit(nogil=True, fastmath=True)
def multiply_chunk(x, factor):  # type: ignore[no-untyped-def]
    """x *= factor."""
    n = x.size // 4
    x0, x1, x2, x3 = x[:n], x[n : 2 * n], x[2 * n : 3 * n], x[3 * n : 4 * n]
    for i in range(n):
        x0[i] *= factor
        x1[i] *= factor
        x2[i] *= factor
        x3[i] *= factor
    for i in range(4 * n, x.size):
        x[i] *= factor


@numba.njit(nogil=True)
def copy_chunk(source, target):  # type: ignore[no-untyped-def]
    """target[:] = source; several streams gained nothing."""
    for i in range(source.size):
        target[i] = source[i]


def flat(x: Array) -> Array:
    """The memory of an array that is contiguous in rows or in columns, as one dimension."""
    return (x if x.flags.c_contiguous else x.T).reshape(-1)


def words(x: Array) -> NDArray[np.int64]:
    """The memory of ``x`` as whole int64 words; up to 7 bytes at the end are left out."""
    octets = flat(x).view(np.uint8)
    return octets[: octets.size // 8 * 8].view(np.int64)


def read(x: Array, threads: int | None = None) -> int:
    """Read every word once; return their sum modulo 2**64."""
    return int(sum(_by_chunks(read_chunk, threads, words(x)))) % 2**64


def multiply(x: Array, threads: int | None = None) -> None:
    """Multiply every element in place by a factor of nearly 1."""
    factor = x.dtype.type(FACTOR)
    _by_chunks(lambda part: multiply_chunk(part, factor), threads, flat(x))


def copy(x: Array, out: Array) -> None:
    """Copy every element into ``out``, which has the layout of ``x``."""
    _by_chunks(copy_chunk, None, flat(x), flat(out))


def stream(x: Array, out: Array) -> None:
    """The same by the system's `memcpy`, which stores past the caches what is large: as many parts as threads."""
    source, target, workers = flat(x), flat(out), _threads.count()
    cuts = [source.size * number // workers for number in range(workers + 1)]

    def work(parts: Any) -> None:
        for start, stop in parts:
            np.copyto(target[start:stop], source[start:stop])

    _threads.share(work, list(pairwise(cuts)), workers)


def copy_to_new(x: Array) -> Array:
    """Copy every element into new memory, whose pages the system has to provide."""
    out = np.empty_like(x)
    copy(x, out)
    return out


def _by_chunks(kernel: Callable[..., Any], threads: int | None, *arrays: Array) -> list[Any]:
    workers = _threads.count(threads)
    size, width = arrays[0].size, arrays[0].itemsize
    step = max(1 << 12, min(CHUNK // width, size // (16 * workers)) & -(1 << 12))  # whole pages

    def work(starts: Any) -> list[Any]:
        return [kernel(*(array[start : start + step] for array in arrays)) for start in starts]

    found = _threads.share(work, range(0, size, step), workers)
    return [result for results in found for result in results]
