"""Exact sums as values: whole numbers of any size times a power of two, one for each feature."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastnorm import _few

Integers = NDArray[np.int64]


class Sums(NamedTuple):
    """Feature j is ``sum(limbs[i, j] * 2**(exponent + 32*i))``; one form for each value (see ``canonical``)."""

    exponent: int
    limbs: Integers

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sums) and self.exponent == other.exponent and np.array_equal(self.limbs, other.limbs)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((self.exponent, self.limbs.shape, self.limbs.tobytes()))


def canonical(exponent: int, limbs: Integers) -> Sums:
    """Carry, and drop rows that say nothing: equal values get equal limbs; ``exponent`` is a multiple of 32."""
    if _few.without_kernels(limbs.size):
        _few.spend(limbs.size)
        columns = limbs.T.tolist()
        return from_integers(exponent, (sum(limb << 32 * i for i, limb in enumerate(column)) for column in columns))
    from fastnorm._kernels.limbs import trim

    out = np.empty((limbs.shape[0] + 1, limbs.shape[1]), np.int64)
    low, high = trim(np.ascontiguousarray(limbs), out, 0, 0)
    if low == high:
        return Sums(0, out[:0])
    kept = out[low:high]
    return Sums(exponent + 32 * low, kept if low == 0 and high + 1 >= len(out) else kept.copy())


def add(left: Sums, right: Sums, sign: int = 1) -> Sums:
    """Return ``left + sign * right``."""
    parts = [(part, factor) for part, factor in ((left, 1), (right, sign)) if len(part.limbs)]
    if not parts:
        return left
    low = min(part.exponent for part, _ in parts)
    high = max(part.exponent + 32 * len(part.limbs) for part, _ in parts)
    out = np.zeros(((high - low) // 32, left.limbs.shape[1]), np.int64)
    for part, factor in parts:
        at = (part.exponent - low) // 32
        rows = out[at : at + len(part.limbs)]
        (np.add if factor == 1 else np.subtract)(rows, part.limbs, out=rows)
    return canonical(low, out)


def joined(parts: Sequence[Sums]) -> Sums:
    """The sums of the features of all parts, in their order."""
    low = min(part.exponent for part in parts)
    high = max(part.exponent + 32 * len(part.limbs) for part in parts)
    out = np.zeros(((high - low) // 32, sum(part.limbs.shape[1] for part in parts)), np.int64)
    feature = 0
    for part in parts:
        rows, features = part.limbs.shape
        first = (part.exponent - low) // 32
        out[first : first + rows, feature : feature + features] = part.limbs
        feature += features
    return canonical(low, out)


def chosen(sums: Sums, features: NDArray[np.intp]) -> Sums:
    """The sums of some features, in this order."""
    return canonical(sums.exponent, np.ascontiguousarray(sums.limbs[:, features]))


def to_integers(sums: Sums) -> list[int]:
    """Each feature as a Python int, in units of ``2**sums.exponent``."""
    count = len(sums.limbs)
    if not count:
        return [0] * sums.limbs.shape[1]
    data = np.ascontiguousarray(sums.limbs.astype("<u4").T).tobytes()
    size = 4 * count
    return [int.from_bytes(data[at : at + size], "little", signed=True) for at in range(0, len(data), size)]


def from_integers(exponent: int, values: Iterable[int]) -> Sums:
    """Return sums of ``values[j] * 2**exponent``; ``exponent`` is a multiple of 32."""
    numbers = list(values)
    low = min(((value & -value).bit_length() - 1 for value in numbers if value), default=None)
    if low is None:
        return Sums(0, np.empty((0, len(numbers)), np.int64))
    low //= 32
    count = max((value if value >= 0 else ~value).bit_length() for value in numbers) // 32 + 1 - low
    data = b"".join((value >> 32 * low).to_bytes(4 * count, "little", signed=True) for value in numbers)
    limbs = np.frombuffer(data, "<i4").reshape(len(numbers), count).T.astype(np.int64)
    limbs[:-1] &= 0xFFFFFFFF
    return Sums(exponent + 32 * low, np.ascontiguousarray(limbs))
