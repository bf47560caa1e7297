"""How a layer learns: exact moments of data that come as arrays, tables or batches, that grow, shrink and merge."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Self

from numpy.typing import ArrayLike

from fastnorm import _frames, _layout, _threads, policy
from fastnorm._accumulator import Accumulator
from fastnorm._arguments import batches, mismatch
from fastnorm._frames import Frame
from fastnorm._layer import Floats, Layer, NotAdaptedError
from fastnorm.moments import Moments

_ELSEWHERE = {
    "fit": "adapt(x)",
    "partial_fit": "update(x)",
    "mean_": "mean",
    "var_": "variance",
    "scale_": "std",
    "n_samples_seen_": "count",
}


class Learner(Layer):
    """A layer with the moments of what it has seen, unless its statistics are fixed."""

    _fixed: tuple[Floats, Floats] | None
    _moments: Moments | None
    _waiting: Accumulator | None  # moments with rows that were added since

    def __init__(
        self,
        axis: int | tuple[int, ...] | None = -1,
        *,
        nan: policy.Nan = "omit",
        inf: policy.Inf = "raise",
        columns: Iterable[str] | None = None,
        threads: int | None = None,
    ) -> None:
        self.axis = _layout.checked_axis(axis)
        self.nan: policy.Nan = policy.check_word("nan", nan, policy.Nan)
        self.inf: policy.Inf = policy.check_word("inf", inf, policy.Inf)
        self.columns = None if columns is None else _frames.checked_columns(columns)
        self.threads = threads
        _threads.count(threads)
        self._fixed = self._moments = self._waiting = None
        super().__init__()
        self._feature_names = self.columns

    def __getattr__(self, name: str) -> Any:
        if name in _ELSEWHERE:
            kind = type(self).__name__
            raise AttributeError(f"a {kind} has no {name}, which is scikit-learn's word; use {_ELSEWHERE[name]}")
        return object.__getattribute__(self, name)  # raises again what a property has raised

    def adapt(self, data: Any, *, weights: Any = None) -> Self:
        """Forget everything and learn mean and variance from ``data``; returns the layer.

        Parameters
        ----------
        data : array_like, table or iterable of batches
            One array or table, or any iterable of them or of ``(x, y)`` tuples, of which x is taken.
        weights : array_like or iterable of them, optional
            One number >= 0 for each row, in batches like ``data``.

        Raises
        ------
        ValueError, TypeError
            If the data are not fit to learn from; the layer is then as it was.

        Examples
        --------
        >>> from fastnorm import Normalization
        >>> import numpy as np
        >>> Normalization().adapt([np.array([[1.0], [2.0]]), np.array([[6.0]])]).mean
        array([3.])
        """
        self._must_learn("adapt")
        total, names = self._accumulator(None), None
        for batch, batch_weights in batches(data, weights):
            batch = self._as_array(self._taken(batch, names, total.has_begun))
            names = names or _frames.names_of(batch)
            if batch_weights is not None or not self._add_rows(batch, total):
                total.add(self._moments_of(batch, batch_weights, total.moments))
        if (moments := total.moments) is None:
            raise ValueError("adapt received an empty iterable (no batches); pass at least one batch")
        if not moments.rows:
            raise ValueError("adapt received no rows; pass at least one")
        if weights is not None and moments.count.any() and not moments.weight.any():
            raise ValueError("adapt received weights that are all 0, so that no row counts; give some row a weight")
        self._set(moments, names)
        return self

    def update(self, batch: Any, *, weights: ArrayLike | None = None) -> Self:
        """Add the rows of ``batch`` to what the layer has seen; returns the layer.

        Examples
        --------
        >>> from fastnorm import Normalization
        >>> Normalization().adapt([[1.0]]).update([[2.0], [6.0]]).mean
        array([3.])
        """
        self._must_learn("update")
        known = self._moments is not None
        batch = self._as_array(self._taken(batch, self._feature_names, known))
        if weights is not None or not self._add_waiting(batch):
            self._add(self._moments_of(batch, weights, self._seen()), _frames.names_of(batch))
        return self

    def _add(self, more: Moments, names: tuple[str, ...] | None) -> None:
        policy.check_batch(more, self.nan, self.inf, names if len(more.shape) == 1 else None)
        with self._lock:
            before = self._seen()
            self._set(more if before is None else before + more, names)

    def _add_waiting(self, batch: Any) -> bool:
        """Add a batch of few rows to sums that wait to be merged until somebody asks; False if not possible."""
        if self._moments is None:
            return False
        with self._lock:
            if self._waiting is None:
                self._waiting = self._accumulator(self._moments)
            if not self._add_rows(batch, self._waiting):
                return False
            self._reset()
            return True

    def _accumulator(self, moments: Moments | None) -> Accumulator:
        return Accumulator(moments, nan=self.nan != "raise", inf=self.inf != "raise")

    def _taken(self, x: Any, names: tuple[str, ...] | None, known: bool) -> Any:
        """See `_frames.taken`."""
        return _frames.taken(x, self.columns, names, known=known)

    def _as_array(self, batch: Any) -> Any:
        """The batch as an array, made once and under no lock; a table stays."""
        return batch if isinstance(batch, Frame) else _layout.as_array(batch)

    def _add_rows(self, batch: Any, total: Accumulator) -> bool:
        """Add a batch of few rows to the first ones; False for one that takes `_moments_of`."""
        return self.axis == -1 and self.columns is None and total.add_rows(batch)

    def _seen(self) -> Moments | None:
        """The moments of all data seen."""
        if self._waiting is not None:
            with self._lock:
                if self._waiting is not None:  # another thread may have been here first
                    self._moments = self._waiting.moments
                    self._waiting = None
        return self._moments

    def forget(self, batch: ArrayLike, *, weights: ArrayLike | None = None) -> Self:
        """Remove the rows of ``batch`` exactly, as if they had never been seen; returns the layer.

        Raises
        ------
        ValueError
            If the layer cannot have seen these rows; it is then as it was.

        Examples
        --------
        >>> from fastnorm import Normalization
        >>> Normalization().adapt([[1.0], [2.0], [6.0]]).forget([[6.0]]).mean
        array([1.5])
        """
        self._must_learn("forget")
        if self._seen() is None:
            raise NotAdaptedError("there is nothing to forget: this Normalization has seen no data")
        batch = self._taken(batch, self._feature_names, self._moments is not None)
        less = self._moments_of(batch, weights, self._seen())
        with self._lock:
            before = self._seen()
            assert before is not None
            self._set(before - less)
        return self

    def merge(self, other: Learner) -> Self:
        """Add what another layer has seen; returns the layer, whose settings stay as they are.

        Those of the other (nan, inf, constant, epsilon, dtype, gamma and the like) do not count: what it has seen knows
        nothing of them.

        Raises
        ------
        ValueError
            If axis, features or their names are not the same, either has fixed statistics, or the other has seen NaN or
            infinities that this one does not allow; the layer is then as it was.

        Examples
        --------
        >>> from fastnorm import Normalization
        >>> Normalization().adapt([[1.0]]).merge(Normalization().adapt([[3.0]])).mean
        array([2.])
        """
        self._must_learn("merge")
        if not isinstance(other, Learner):
            raise TypeError(f"can only merge another {type(self).__name__}, not {type(other).__name__}")
        other._must_learn("merge")
        if self.axis != other.axis:
            raise ValueError(
                f"cannot merge layers with axis={self.axis!r} and axis={other.axis!r}, for their features "
                "are not the same; adapt both with one axis"
            )
        _frames.check_names(other._feature_names, self._feature_names, "the other layer")
        if (more := other._seen()) is not None:
            self._add(more, other._feature_names)
        return self

    def __add__(self, other: Learner) -> Self:
        """Return a new layer, set up like the left one, that has seen what both have: a copy of it, and `merge`."""
        if not isinstance(other, Learner):
            return NotImplemented
        return self.copy().merge(other)

    def __radd__(self, other: Any) -> Self:  # sum(layers) begins with 0
        return self.copy() if isinstance(other, int) and other == 0 else NotImplemented

    def _must_learn(self, verb: str) -> None:
        if self._fixed is not None:
            raise ValueError(
                f"cannot {verb}: this Normalization has a fixed mean and variance; "
                "make one without `mean` and `variance` to learn them"
            )

    @classmethod
    def from_moments(cls, moments: Moments, *, axis: int | tuple[int, ...] | None = -1, **settings: Any) -> Self:
        """Return a layer that has seen what ``moments`` have seen, with the settings of the constructor.

        Raises
        ------
        ValueError
            If the moments hold NaN or infinities that the settings do not allow, or fixed statistics are given.

        Examples
        --------
        >>> from fastnorm import Normalization
        >>> parts = [Moments.of([[1.0], [2.0]]), Moments.of([[6.0]])]
        >>> Normalization.from_moments(sum(parts)).mean
        array([3.])
        """
        layer = cls(axis, **settings)
        layer._must_learn("take moments")
        if not isinstance(moments, Moments):
            raise TypeError(f"from_moments takes Moments, not {type(moments).__name__}; make them with Moments.of(x)")
        layer._add(moments, layer.columns if moments.shape == (len(layer.columns or ()),) else None)
        return layer

    def _moments_of(self, batch: Any, weights: Any, before: Moments | None) -> Moments:
        if self.columns is not None and not isinstance(batch, Frame):
            raise TypeError(
                "columns=[...] chooses columns of a table by name, but x is an array; pass a DataFrame, or the chosen "
                "columns to a layer without columns="
            )
        found = Moments.of(batch, self.axis, weights, self.threads)
        return self._checked(found, before, _frames.names_of(batch))

    def _checked(self, moments: Moments, before: Moments | None, names: tuple[str, ...] | None = None) -> Moments:
        if before is not None and moments.shape != before.shape:
            raise ValueError(mismatch(moments.shape, before.shape, self.axis))
        policy.check_batch(moments, self.nan, self.inf, names if len(moments.shape) == 1 else None)
        return moments

    def _set(self, moments: Moments, names: tuple[str, ...] | None = None) -> None:
        if len(moments.shape) != (kept := _layout.number_kept(self.axis)):
            raise ValueError(
                f"these features have shape {moments.shape}, but axis={self.axis!r} keeps {kept} axes; "
                "make the layer with the axis that they were learned with"
            )
        with self._lock:
            if self._moments is None or self._moments.shape != moments.shape:
                self._gamma = self._beta = None
                if self._feature_names is not None and len(self._feature_names) != math.prod(moments.shape):
                    self._feature_names = None
            if names is not None and len(moments.shape) == 1:
                self._feature_names = names
            self._moments, self._waiting = moments, None
            self._reset()

    def _check_adapted(self) -> None:
        if self._fixed is None and ((seen := self._seen()) is None or not seen.rows):
            raise NotAdaptedError(
                f"this {type(self).__name__} has not seen any data; call adapt(data) or update(batch) first"
            )

    @property
    def moments(self) -> Moments:
        """Exact moments of all data seen (`Moments`)."""
        self._must_learn("give moments")
        self._check_adapted()
        seen = self._seen()
        assert seen is not None
        return seen

    @property
    def count(self) -> int:
        """Rows seen, as in Keras a single number; ``moments.count`` has the finite values of each feature."""
        return self.moments.rows

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            self._seen()
            return super().__getstate__()
