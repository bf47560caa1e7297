"""Moments: the exact counts and sums of a data set, as an immutable value that adds and subtracts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnorm import _counted, _frames, _layout, _reduce, _statistics
from fastnorm._counted import Counted
from fastnorm._frames import Frame
from fastnorm._statistics import Scaled, Statistics

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


class Moments:
    """Exact counts, sums and sums of squares of each feature of some rows.

    Make one with `Moments.of`, combine with ``+`` and ``-``. Two are equal exactly when their rows have the same
    counts and sums, however they were split, ordered or laid out. Statistics are correctly rounded float64: the
    nearest to the exact value. Arrays are read-only and have the shape of the axes that were kept.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnorm import Moments
    >>> a, b = Moments.of(np.array([[1.0, 10.0], [2.0, 30.0]])), Moments.of(np.array([[6.0, 20.0]]))
    >>> (a + b).mean
    array([ 3., 20.])
    >>> (a + b) - b == a
    True
    """

    __slots__ = ("_counted", "_shape", "_statistics")

    _counted: Counted
    _shape: tuple[int, ...]
    _statistics: Statistics | None

    def __init__(self) -> None:
        raise TypeError("Moments are made by Moments.of(x), Moments.from_bytes(data) or Moments.from_dict(data)")

    @classmethod
    def of(
        cls,
        x: ArrayLike,
        axis: int | tuple[int, ...] | None = -1,
        weights: ArrayLike | None = None,
        threads: int | None = None,
    ) -> Moments:
        """Return the moments of ``x``, reduced over all axes but ``axis``.

        Parameters
        ----------
        x : array_like or table
            Real numbers of up to 64 bits (floats, bfloat16, integers, bool) in any layout; NaN and masked elements
            are counted as missing, infinities apart. Read without a copy where its dtype is native. A table of pandas,
            polars or Arrow is read column by column, and its nulls are missing.
        axis : int, tuple of int or None
            The axes that are kept, as in Keras: -1 gives one feature for each column, None a single feature.
        weights : array_like, optional
            One finite number >= 0 for each row, in the shape of the reduced axes.
        threads : int, optional
            Most threads to use; the result does not depend on it.

        Raises
        ------
        TypeError
            If ``x`` or ``weights`` are not real numbers.
        ValueError
            If ``x`` has no features, or ``axis`` or ``weights`` do not fit it: a single number takes ``axis=None``.
        MemoryError
            If there are more features than memory for their sums.

        Examples
        --------
        >>> Moments.of([[1, 2], [3, 6]]).variance
        array([1., 4.])
        """
        table = _frames.taken(x)
        array = table if isinstance(table, Frame) else _layout.as_array(x)
        kept = _layout.kept_axes(axis, array.ndim)
        shape = tuple(array.shape[index] for index in kept)
        if 0 in shape:
            raise ValueError(f"x has zero features (shape {array.shape}, kept axes {kept}); pass at least one column")
        lengths = tuple(n for index, n in enumerate(array.shape) if index not in kept)
        by_row = None if weights is None else _row_weights(weights, lengths)
        try:
            if isinstance(array, Frame):
                return cls._make(shape, array.count(kept, by_row, threads))
            return cls._make(shape, _reduce.count(np.atleast_1d(array), kept, by_row, threads))
        except MemoryError as error:
            raise MemoryError(
                f"there is no memory for the sums of {math.prod(shape)} features ({error}); "
                "pass fewer columns at a time, or keep fewer axes (axis=)"
            ) from None

    @classmethod
    def _make(cls, shape: tuple[int, ...], counted: Counted) -> Moments:
        self = object.__new__(cls)
        object.__setattr__(self, "_shape", shape)
        object.__setattr__(self, "_counted", counted)
        object.__setattr__(self, "_statistics", None)
        return self

    @classmethod
    def _of_statistics(cls, mean: NDArray[Any], variance: NDArray[Any], count: NDArray[Any]) -> Moments:
        """Moments of ``count`` rows that have exactly this mean and variance: sums need no rounding."""
        means, variances = _layout.as_floats(mean, "mean"), _layout.as_floats(variance, "variance")
        number = _layout.as_array(count, "count", "pass a whole number")
        rows = int(number) if number.ndim == 0 and np.isfinite(number) else 0
        if not 1 <= rows < 1 << 63 or rows != number:
            raise ValueError(f"count must be a whole number of rows from 1 to 2**63 - 1, not {count!r}")
        if means.shape != variances.shape or not means.size:
            raise ValueError(f"mean and variance must have one shape, not {means.shape} and {variances.shape}")
        if not (np.isfinite(means).all() and np.isfinite(variances).all() and (variances >= 0).all()):
            raise ValueError("mean must be finite, and variance finite and >= 0")
        if rows == 1 and variances.any():
            raise ValueError("the variance of a single row is 0; give the number of rows that was learned from")
        return cls._of_features(means, variances, np.full(means.shape, rows))

    @classmethod
    def _of_features(cls, mean: Floats, variance: Floats, count: NDArray[Any]) -> Moments:
        """Moments with this mean, variance and count in each feature; counts that rows cannot have are weights."""
        empty = count == 0
        mean, variance = np.where(empty, 0.0, mean), np.where(empty, 0.0, variance)
        finite = np.isfinite(mean) & np.isfinite(variance) & np.isfinite(count)
        if not (finite & (variance >= 0) & (count >= 0)).all():
            raise ValueError("mean, variance and count must be finite, and the last two >= 0")
        weighted = bool(((count % 1 != 0) | (count <= 1) & (variance > 0)).any())
        rows = max(2, math.ceil(count.max())) if weighted else int(count.max())
        missing = np.where(empty, rows, 0) if weighted else rows - count.astype(np.int64)
        weight, total, square = _statistics.invert(count.reshape(-1).tolist(), mean.reshape(-1), variance.reshape(-1))
        none = np.zeros(mean.size, np.int64)
        counted = Counted(rows, missing.reshape(-1), none, none.copy(), total, square, weight if weighted else None)
        return cls._make(mean.shape, counted)

    @classmethod
    def _block(cls, grid: Any) -> Moments:
        """Moments of all features, from nested lists (as of `np.block`) of those of some, of the same rows."""
        parts: list[Moments] = []

        def numbered(item: Any) -> Any:
            if isinstance(item, list):
                return [numbered(inner) for inner in item]
            first = sum(part._counted.missing.size for part in parts)
            parts.append(item)
            return np.arange(first, first + item._counted.missing.size).reshape(item.shape)

        order = np.block(numbered(grid))
        joined = _counted.joined([part._counted for part in parts])
        return cls._make(order.shape, _counted.chosen(joined, order.reshape(-1)))

    def _part(self, region: tuple[slice, ...]) -> Moments:
        """Moments of the features in a region."""
        numbers = np.arange(self._counted.missing.size).reshape(self._shape)[region]
        return Moments._make(numbers.shape, _counted.chosen(self._counted, numbers.reshape(-1)))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"Moments are immutable: cannot set {name!r}; combine them with + and - instead")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"Moments are immutable: cannot delete {name!r}")

    def _array(self, values: NDArray[Any]) -> NDArray[Any]:
        out = values.reshape(self._shape)
        out.flags.writeable = False
        return out

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the kept axes; the number of features is its product."""
        return self._shape

    @property
    def rows(self) -> int:
        """Rows seen, whatever they hold: positions along the reduced axes."""
        return self._counted.rows

    @property
    def count(self) -> Counts:
        """Finite values of each feature (int64)."""
        return self._array(self._counted.counts)

    @property
    def missing(self) -> Counts:
        """NaN and masked values of each feature (int64)."""
        return self._array(self._counted.missing[:])

    @property
    def posinf(self) -> Counts:
        """Values +inf of each feature (int64)."""
        return self._array(self._counted.posinf[:])

    @property
    def neginf(self) -> Counts:
        """Values -inf of each feature (int64)."""
        return self._array(self._counted.neginf[:])

    @property
    def weight(self) -> Floats:
        """Sum of the weights of the finite values of each feature (float64); their count without weights."""
        return self._array(self._calculated().weight[:])

    @property
    def mean(self) -> Floats:
        """Mean of the finite values, correctly rounded (float64); NaN where there are none."""
        return self._array(self._calculated().mean[:])

    @property
    def mean_low(self) -> Floats:
        """What `mean` lacks of the exact mean, correctly rounded: ``mean + mean_low`` has about 106 bits."""
        return self._array(self._calculated().mean_low[:])

    @property
    def variance(self) -> Floats:
        """Biased variance (divided by the count or weight), correctly rounded; 0 exactly for equal values."""
        return self._array(self._calculated().variance[:])

    @property
    def std(self) -> Floats:
        """Square root of the exact variance, correctly rounded (float64)."""
        return self._array(self._calculated().std[:])

    @property
    def constant(self) -> NDArray[np.bool_]:
        """True for a feature with values that are all equal: its exact variance is 0 (bool)."""
        return self._array(self._calculated().constant[:])

    @property
    def _scaled(self) -> Scaled:
        return self._calculated().scaled

    def _calculated(self) -> Statistics:
        if self._statistics is None:
            object.__setattr__(self, "_statistics", _statistics.of(self._counted))
        assert self._statistics is not None
        return self._statistics

    def __add__(self, other: Moments) -> Moments:
        return self._combine(other, 1)

    def __radd__(self, other: Any) -> Moments:  # sum(parts) begins with 0
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __sub__(self, other: Moments) -> Moments:
        result = self._combine(other, -1)
        if result is not NotImplemented and (reason := _impossible(result._counted)):
            raise ValueError(f"cannot remove these rows: {reason}; they were not all part of these Moments")
        return result

    def _combine(self, other: Moments, sign: int) -> Moments:
        if not isinstance(other, Moments):
            return NotImplemented
        if self._shape != other._shape:
            raise ValueError(
                f"these Moments have features of shape {self._shape} and {other._shape}; "
                "only Moments of the same features can be combined"
            )
        return Moments._make(self._shape, _counted.merge(self._counted, other._counted, sign))

    def _chosen(self, features: Sequence[int]) -> Moments:
        """The moments of some features, in this order; for features of one axis."""
        return Moments._make((len(features),), _counted.chosen(self._counted, features))

    def _key(self) -> tuple[Any, ...]:
        return self._shape, *(item.tobytes() if isinstance(item, np.ndarray) else item for item in self._counted)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Moments) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"Moments(rows={self.rows}, shape={self._shape})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Moments.from_bytes, (self.to_bytes(),)

    def to_bytes(self) -> bytes:
        """Return the exact state as bytes: versioned, checksummed, the same on every machine.

        The format is described in docs/state.md.

        Examples
        --------
        >>> Moments.from_bytes(Moments.of([[1.0], [2.0]]).to_bytes()).mean
        array([1.5])
        """
        from fastnorm import _codec

        return _codec.encode(self._shape, self._counted)

    @classmethod
    def from_bytes(cls, data: bytes) -> Moments:
        """Return the moments that `to_bytes` gave.

        Raises
        ------
        ValueError
            If the bytes are damaged, incomplete, of something else or of a newer version.
        """
        from fastnorm import _codec

        shape, counted = _codec.decode(data)
        if reason := _impossible(counted):
            raise ValueError(f"no data have these moments: {reason}; make them again")
        return cls._make(shape, counted)

    def to_dict(self) -> dict[str, Any]:
        """Return the exact state as a dict of plain ints and lists, ready for JSON.

        A sum is ``{"exponent": e, "values": [...]}``: feature j is ``int(values[j], 16) * 2**e``.

        Examples
        --------
        >>> Moments.of([[1.0], [2.0]]).to_dict()["sum"]
        {'exponent': 0, 'values': ['0x3']}
        """
        from fastnorm import _codec

        return _codec.to_dict(self._shape, self._counted)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Moments:
        """Return the moments that `to_dict` gave.

        Raises
        ------
        ValueError
            If an entry is missing or cannot be of any data.
        """
        from fastnorm import _codec

        shape, counted = _codec.from_dict(data)
        if reason := _impossible(counted):
            raise ValueError(f"no data have these moments: {reason}; make them again")
        return cls._make(shape, counted)


def _row_weights(weights: ArrayLike, lengths: tuple[int, ...]) -> NDArray[Any]:
    given = _layout.as_array(weights, "weights", "pass numbers >= 0")
    rows = math.prod(lengths)
    if given.shape != lengths:
        raise ValueError(
            f"weights have shape {given.shape}, but x has rows of shape {lengths} (the axes that are reduced); "
            f"pass one number for each of the {rows} rows"
        )
    array = np.ascontiguousarray(given, given.dtype.newbyteorder("="))
    if given.dtype.kind not in "iu" or given.dtype.itemsize < 8 or (given.size and given.max() <= 1 << 53):
        array = array.astype(np.float64)
    if _layout.mask_of(weights) is not None or not np.isfinite(array).all():
        raise ValueError(
            "weights must be finite, but hold NaN, an infinity or a masked value; use 0 to leave a row out"
        )
    if (given < 0).any():
        raise ValueError("weights must not be negative; use 0 to leave a row out, or `-` to remove rows exactly")
    return array


def _impossible(counted: Counted) -> str | None:
    """Say why no data can have these counts and sums, or None."""
    if counted.rows < 0:
        return f"there would be {counted.rows} rows"
    for name in ("counts", "missing", "posinf", "neginf"):
        values = getattr(counted, name)
        if (values < 0).any():
            feature = int((values < 0).argmax())
            return f"the {name.removesuffix('s')} of feature {feature} would be {values[feature]}"
    if (bad := _statistics.impossible(counted)) is not None:
        return f"feature {bad} would have a negative variance or weight, or sums without values"
    return None
