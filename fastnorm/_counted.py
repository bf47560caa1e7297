"""What a scan found, as a value: exact sums of every feature, added, put together and chosen from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fastnorm import _sums
from fastnorm._sums import Integers, Sums


class Counted(NamedTuple):
    """What a scan found: ``rows`` for all features, the rest for each, in the order of the features."""

    rows: int
    missing: Integers
    posinf: Integers
    neginf: Integers
    total: Sums
    square: Sums
    weight: Sums | None  # None where it equals the count: no weights, or all of them 1

    @property
    def counts(self) -> Integers:
        """Finite values of each feature."""
        return self.rows - self.missing - self.posinf - self.neginf


def merge(left: Counted, right: Counted, sign: int = 1) -> Counted:
    """Return the sums of ``left + sign * right``."""
    rows = left.rows + sign * right.rows
    missing, posinf, neginf = (mine + sign * other for mine, other in zip(left[1:4], right[1:4], strict=True))
    total = _sums.add(left.total, right.total, sign)
    square = _sums.add(left.square, right.square, sign)
    merged = Counted(rows, missing, posinf, neginf, total, square, None)
    if left.weight is None and right.weight is None:
        return merged
    weight = _sums.add(left.weight or as_sums(left.counts), right.weight or as_sums(right.counts), sign)
    return merged if weight == as_sums(merged.counts) else merged._replace(weight=weight)


def joined(parts: Sequence[Counted]) -> Counted:
    """The sums of the features of all parts, of the same rows, in their order."""
    missing, posinf, neginf = (np.concatenate([part[index] for part in parts]) for index in (1, 2, 3))
    total, square = _sums.joined([part.total for part in parts]), _sums.joined([part.square for part in parts])
    weight = None
    if any(part.weight is not None for part in parts):
        weight = _sums.joined([part.weight or as_sums(part.counts) for part in parts])
    return Counted(parts[0].rows, missing, posinf, neginf, total, square, weight)


def chosen(counted: Counted, features: Sequence[int] | Integers) -> Counted:
    """The sums of some features, in this order."""
    index = np.asarray(features, np.intp)
    missing, posinf, neginf = (values[index] for values in counted[1:4])
    total, square = _sums.chosen(counted.total, index), _sums.chosen(counted.square, index)
    part = Counted(counted.rows, missing, posinf, neginf, total, square, None)
    if counted.weight is None or (weight := _sums.chosen(counted.weight, index)) == as_sums(part.counts):
        return part
    return part._replace(weight=weight)


def as_sums(count: Integers) -> Sums:
    return _sums.canonical(0, count[np.newaxis])
