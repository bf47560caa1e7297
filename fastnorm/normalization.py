"""The Normalization layer: Keras's vocabulary over exact moments."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastnorm import _apply, _frames, _layout, _threads, policy, report, state
from fastnorm._apply import Affine, Direction
from fastnorm._arguments import batches, checked_dtype, checked_out, mismatch, result_dtype
from fastnorm._frames import Frame
from fastnorm._layer import Floats, Layer, NotAdaptedError
from fastnorm._reduce import Running
from fastnorm.moments import Moments
from fastnorm.report import Parameter


class Normalization(Layer):
    """Standardize each feature to mean 0 and variance 1: ``(x - mean) / std``, with exact statistics.

    Parameters
    ----------
    axis : int, tuple of int or None
        Axes that are kept, as in Keras: each index along them is a feature with its own mean and variance.
        -1 is one feature for each column; None one for all values.
    mean, variance : array_like, optional
        Fixed statistics, given together; such a layer is not adapted and has no parameters.
    invert : bool
        Turn the direction: ``transform`` gives ``z * std + mean``.
    nan : {"omit", "propagate", "raise"}
        NaN and masked values are left out of the statistics, make them NaN, or are an error in ``adapt``, ``update``.
    inf : {"raise", "omit"}
        Infinities are an error in ``adapt`` and ``update``, or left out of the statistics.
    constant : {"center", "epsilon", "raise", "sklearn"}
        A feature of variance 0 is only centred, divided by ``epsilon`` (Keras's ``max(std, epsilon)``), or an error;
        or what scikit-learn takes for constant is only centred.
    epsilon : float
        The floor of the standard deviation with ``constant="epsilon"``: 0, or at least 1e-300.
    affine : bool
        Scale and shift the result by ``gamma`` (1 at first) and ``beta`` (0), one of each for each feature.
    columns : sequence of str, optional
        The features of tables, by name; other columns go through ``transform`` unchanged. By default all columns,
        which must be numeric.
    dtype : dtype_like, optional
        Floating dtype of the result. By default floats keep theirs, integers up to 16 bits and bool give float32,
        wider integers float64.
    threads : int, optional
        Most threads to use; results do not depend on it.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnorm import Normalization
    >>> x = np.array([[0.0, 7.0, 4.0], [2.0, 9.0, 6.0], [0.0, 7.0, 4.0], [2.0, 9.0, 6.0]])
    >>> layer = Normalization().adapt(x)
    >>> layer.mean, layer.variance, layer.count
    (array([1., 8., 5.]), array([1., 1., 1.]), 4)
    >>> layer(x[:1])
    array([[-1., -1., -1.]])
    """

    _settings = frozenset(
        {"axis", "invert", "nan", "inf", "constant", "epsilon", "affine", "columns", "dtype", "threads", "_fixed"}
    )
    _weights = {"gamma": ("affine", 1.0), "beta": ("affine", 0.0)}  # noqa: RUF012
    _passing = ("_applied", "_small", "_running")

    _applied: tuple[policy.Parameters, Affine] | None
    _small: _Small | None
    _running: Running | None

    def __init__(
        self,
        axis: int | tuple[int, ...] | None = -1,
        *,
        mean: ArrayLike | None = None,
        variance: ArrayLike | None = None,
        invert: bool = False,
        nan: policy.Nan = "omit",
        inf: policy.Inf = "raise",
        constant: policy.Constant = "center",
        epsilon: float = 1e-7,
        affine: bool = False,
        columns: Iterable[str] | None = None,
        dtype: DTypeLike | None = None,
        threads: int | None = None,
    ) -> None:
        self.axis = _layout.checked_axis(axis)
        self.invert = bool(invert)
        self.nan: policy.Nan = policy.check_word("nan", nan, policy.Nan)
        self.inf: policy.Inf = policy.check_word("inf", inf, policy.Inf)
        self.constant: policy.Constant = policy.check_word("constant", constant, policy.Constant)
        self.epsilon = policy.check_epsilon(epsilon)
        self.dtype = checked_dtype(dtype)
        self.threads = threads
        _threads.count(threads)
        self.affine = bool(affine)
        self._fixed = self._check_fixed(mean, variance)
        self._moments: Moments | None = None
        super().__init__()
        self.columns = None if columns is None else _frames.checked_columns(columns)
        self._feature_names = self.columns

    def _check_fixed(self, mean: ArrayLike | None, variance: ArrayLike | None) -> tuple[Floats, Floats] | None:
        if mean is None and variance is None:
            return None
        if mean is None or variance is None:
            raise ValueError(
                "When setting values directly, both `mean` and `variance` must be set. "
                f"Received: mean={mean!r} and variance={variance!r}"
            )
        try:
            pair = np.array(mean, np.float64), np.array(variance, np.float64)
        except (TypeError, ValueError) as error:
            raise type(error)(f"`mean` and `variance` must be numbers: {error}") from None
        axes = 0 if self.axis is None else len(self.axis) if isinstance(self.axis, tuple) else 1
        if pair[0].shape != pair[1].shape:
            raise ValueError(f"`mean` and `variance` must have the same shape, not {pair[0].shape} and {pair[1].shape}")
        if pair[0].ndim > axes:
            raise ValueError(
                f"The rank of `mean` must be less than or equal to the number of axes that are kept ({axes} with "
                f"axis={self.axis!r}), but it has shape {pair[0].shape}"
            )
        if not pair[0].size:
            raise ValueError("`mean` and `variance` have no features; give at least one number")
        if not (np.isfinite(pair[0]).all() and np.isfinite(pair[1]).all() and (pair[1] >= 0).all()):
            raise ValueError(
                "`mean` must be finite and `variance` finite and >= 0 (variances, not standard deviations)"
            )
        return pair

    # ------------------------------------------------------------------------------------------ statistics

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
        >>> Normalization().adapt([np.array([[1.0], [2.0]]), np.array([[6.0]])]).mean
        array([3.])
        """
        self._must_learn("adapt")
        moments: Moments | None = None
        names = None
        for batch, batch_weights in batches(data, weights):
            batch = _frames.taken(batch, self.columns, names)
            names = names or _frames.names_of(batch)
            more = self._moments_of(batch, batch_weights, moments)
            moments = more if moments is None else moments + more
        if moments is None:
            raise ValueError("adapt received an empty iterable (no batches); pass at least one batch")
        if not moments.rows:
            raise ValueError("adapt received no rows; pass at least one")
        self._set(moments, names)
        return self

    def update(self, batch: Any, *, weights: ArrayLike | None = None) -> Self:
        """Add the rows of ``batch`` to what the layer has seen; returns the layer.

        Examples
        --------
        >>> Normalization().adapt([[1.0]]).update([[2.0], [6.0]]).mean
        array([3.])
        """
        self._must_learn("update")
        if weights is None and _is_few_rows(batch) and self._add_few(batch):
            return self
        batch = _frames.taken(batch, self.columns, self._feature_names)
        self._add(self._moments_of(batch, weights, self._seen()), _frames.names_of(batch))
        return self

    def _add(self, more: Moments, names: tuple[str, ...] | None) -> None:
        policy.check_batch(more, self.nan, self.inf)
        with self._lock:
            before = self._seen()
            self._set(more if before is None else before + more, names)

    def _add_few(self, batch: NDArray[Any]) -> bool:
        """Add a few rows to sums that wait to be merged until somebody asks for a result; False if not possible."""
        if self.axis != -1 or self._moments is None or self._moments.shape != batch.shape[1:]:
            return False
        with self._lock:
            if self._running is None or self._running.dtype != batch.dtype:
                self._seen()
                self._running = Running(batch.dtype, batch.shape[1])
            if not self._running.add(batch, (self.nan == "raise") + 2 * (self.inf == "raise")):
                return False
            self._applied = self._small = None
            return True

    def _seen(self) -> Moments | None:
        """The moments of all data seen."""
        if self._running is not None:
            with self._lock:
                running: Running | None = self._running  # another thread may have been here first
                if running is not None and self._moments is not None:
                    self._moments += Moments._make(self._moments.shape, running.counted())
                self._running = None
        return self._moments

    def forget(self, batch: ArrayLike, *, weights: ArrayLike | None = None) -> Self:
        """Remove the rows of ``batch`` exactly, as if they had never been seen; returns the layer.

        Raises
        ------
        ValueError
            If the layer cannot have seen these rows; it is then as it was.

        Examples
        --------
        >>> Normalization().adapt([[1.0], [2.0], [6.0]]).forget([[6.0]]).mean
        array([1.5])
        """
        self._must_learn("forget")
        if self._seen() is None:
            raise NotAdaptedError("there is nothing to forget: this Normalization has seen no data")
        batch = _frames.taken(batch, self.columns, self._feature_names)
        less = self._moments_of(batch, weights, self._seen())
        with self._lock:
            before = self._seen()
            assert before is not None
            self._set(before - less)
        return self

    def merge(self, other: Normalization) -> Self:
        """Add what another layer has seen; returns the layer.

        Examples
        --------
        >>> Normalization().adapt([[1.0]]).merge(Normalization().adapt([[3.0]])).mean
        array([2.])
        """
        self._must_learn("merge")
        if not isinstance(other, Normalization):
            raise TypeError(f"can only merge another Normalization, not {type(other).__name__}")
        other._must_learn("merge")
        if self.axis != other.axis:
            raise ValueError(f"cannot merge layers with axis={self.axis!r} and axis={other.axis!r}")
        _frames.check_names(other._feature_names, self._feature_names, "the other layer")
        if (more := other._seen()) is not None:
            self._add(more, other._feature_names)
        return self

    def __add__(self, other: Normalization) -> Self:
        """Return a new layer, set up like the left one, that has seen what both have."""
        if not isinstance(other, Normalization):
            return NotImplemented
        return self.copy().merge(other)

    def __radd__(self, other: Any) -> Self:  # sum(layers) begins with 0
        return self.copy() if isinstance(other, int) and other == 0 else NotImplemented

    def _part(self, region: tuple[slice, ...]) -> Self:
        """The layer of the features in a region."""
        with self._lock:
            twin = self.copy()
            names = ("_fixed", "_gamma", "_beta", "_moments", "_feature_names")
            fixed, gamma, beta, moments, feature_names = (twin.__dict__[name] for name in names)
            shape = self._feature_shape()

            def part(values: Any) -> Any:
                return values if values is None or values.shape != shape else values[region]

            twin.__dict__.update(
                _fixed=None if fixed is None else tuple(map(part, fixed)),
                _gamma=part(gamma),
                _beta=part(beta),
                _moments=None if moments is None else moments._part(region),
                _feature_names=None if len(region) != 1 or feature_names is None else feature_names[region[0]],
            )
            return twin

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
        >>> parts = [Moments.of([[1.0], [2.0]]), Moments.of([[6.0]])]
        >>> Normalization.from_moments(sum(parts)).mean
        array([3.])
        """
        layer = cls(axis, **settings)
        layer._must_learn("take moments")
        if not isinstance(moments, Moments):
            raise TypeError(f"from_moments takes Moments, not {type(moments).__name__}; make them with Moments.of(x)")
        layer._add(moments, None)
        return layer

    def _moments_of(self, batch: Any, weights: Any, before: Moments | None) -> Moments:
        if self.columns is not None and not isinstance(batch, Frame):
            raise TypeError(
                "columns=[...] chooses columns of a table by name, but x is an array; pass a DataFrame, or the chosen "
                "columns to a layer without columns="
            )
        return self._checked(Moments.of(batch, self.axis, weights, self.threads), before)

    def _checked(self, moments: Moments, before: Moments | None) -> Moments:
        if before is not None and moments.shape != before.shape:
            raise ValueError(mismatch(moments.shape, before.shape, self.axis))
        policy.check_batch(moments, self.nan, self.inf)
        return moments

    def _set(self, moments: Moments, names: tuple[str, ...] | None = None) -> None:
        with self._lock:
            if self._moments is None or self._moments.shape != moments.shape:
                self._gamma = self._beta = None
                if self._feature_names is not None and len(self._feature_names) != math.prod(moments.shape):
                    self._feature_names = None
            if names is not None and len(moments.shape) == 1:
                self._feature_names = names
            self._moments = moments
            self._reset()

    # ------------------------------------------------------------------------------------------- transform

    def transform(self, x: Any, out: Any = None) -> Any:
        """Return the standardized ``x``.

        Parameters
        ----------
        x : array_like or table
            Numbers with the features that the layer was adapted to, any number of rows.
        out : ndarray, optional
            Where to write: None allocates an array in the layout of ``x``, ``x`` itself works in place, any other
            floating array of the shape of ``x`` is filled. float64 arithmetic, rounded once.

        Returns
        -------
        ndarray
            ``out``, or the new array. A masked array gives a masked array.

        Raises
        ------
        NotAdaptedError
            If the layer has not seen data.
        ValueError, TypeError
            If ``x`` has other features, or ``out`` cannot hold the result or overlaps ``x`` in part.

        Examples
        --------
        >>> x = np.array([[1.0], [2.0], [3.0]], np.float32)
        >>> Normalization().adapt(x).transform(x, out=x) is x
        True
        """
        if (
            (out is x or out is None)
            and (small := self._small) is not None
            and _is_few_rows(x)
            and x.shape[1] == small.features
            and (self.dtype is None or self.dtype == x.dtype)
        ):
            out = x if out is x else x.copy()
            small.transform(out)
            return out
        return self._run(x, out, "inverse" if self.invert else "forward")

    __call__ = transform

    def inverse_transform(self, z: Any, out: Any = None) -> Any:
        """Return ``z * std + mean``: what `transform` was given, up to rounding. Arguments as for `transform`.

        Examples
        --------
        >>> Normalization(mean=[2.0], variance=[4.0]).inverse_transform([[1.0]])
        array([[4.]])
        """
        return self._run(z, out, "forward" if self.invert else "inverse")

    def fit_transform(self, x: Any, *, out: Any = None, weights: Any = None) -> Any:
        """Adapt to ``x`` and return it standardized: the same as ``adapt(x).transform(x, out)``.

        An ``out`` that cannot take the result is refused before anything changes.

        Examples
        --------
        >>> Normalization().fit_transform([[1.0], [3.0]])
        array([[-1.],
               [ 1.]])
        """
        x = _frames.taken(x, self.columns)
        if out is not None:
            checked_out(x if isinstance(x, Frame) else np.asarray(_layout.as_array(x)), out, x)
        return self.adapt(x, weights=weights).transform(x, out)

    def _run(self, x: Any, out: Any, direction: Direction) -> Any:
        self._check_adapted()
        x = _frames.taken(x, self.columns, self._feature_names)
        array = x if isinstance(x, Frame) else _layout.as_array(x)
        kept = _layout.kept_axes(self.axis, array.ndim)
        lengths = tuple(array.shape[index] for index in kept)
        if 0 in lengths:
            raise ValueError(f"x has zero features (shape {array.shape}); pass at least one column")
        affine = self._affine_for(lengths)
        if isinstance(array, Frame):
            if out is not None:
                checked_out(array, out, x)
            return array.apply(kept, affine, direction, partial(result_dtype, self.dtype), self.threads)
        mask = _layout.mask_of(array)
        plain = np.asarray(array)
        if out is None:
            result = np.empty_like(plain, result_dtype(self.dtype, plain.dtype), subok=False)
        else:
            result = checked_out(plain, out, x)
        _apply.run(np.atleast_1d(plain), np.atleast_1d(result), kept, affine, direction, self.threads)
        if out is not None:
            return out
        return result if mask is None else np.ma.array(result, mask=mask.copy())

    def _affine_for(self, lengths: tuple[int, ...]) -> Affine:
        """The parameters for features of this shape."""
        if self._fixed is None:
            if lengths != self.moments.shape:
                raise ValueError(mismatch(lengths, self.moments.shape, self.axis))
            return self._parameters_applied()[1]
        try:
            mean, variance = (np.broadcast_to(values, lengths).reshape(-1) for values in self._fixed)
        except ValueError:
            raise ValueError(mismatch(lengths, self._fixed[0].shape, self.axis, "has a fixed mean for")) from None
        parameters = policy.of_fixed(mean, variance, self.constant, self.epsilon)
        gamma = beta = None
        if self.affine:
            try:
                gamma, beta = (np.broadcast_to(values, lengths).reshape(-1) for values in (self.gamma, self.beta))
            except ValueError:
                raise ValueError(mismatch(lengths, self.gamma.shape, self.axis, "has gamma and beta for")) from None
        return Affine(*parameters[:5], gamma, beta)

    def _parameters_applied(self) -> tuple[policy.Parameters, Affine]:
        with self._lock:
            if (applied := self._applied) is None:
                parameters = policy.of_moments(self.moments, self.nan, self.constant, self.epsilon)
                gamma, beta = (self.gamma.reshape(-1), self.beta.reshape(-1)) if self.affine else (None, None)
                applied = self._applied = parameters, Affine(*parameters[:5], gamma, beta)
                if self.axis == -1 and not self.invert and (transform := _apply.small(applied[1])) is not None:
                    self._small = _Small(len(parameters.mean), transform)
            return applied

    # ---------------------------------------------------------------------------------------------- values

    def _check_weight(self, name: str, values: Floats) -> None:
        if not np.isfinite(values).all() or (name == "gamma" and (values == 0).any()):
            raise ValueError(f"{name} must be finite{' and not 0' if name == 'gamma' else ''}")

    def _check_adapted(self) -> None:
        if self._fixed is None and ((seen := self._seen()) is None or not seen.rows):
            raise NotAdaptedError("this Normalization has not seen any data; call adapt(data) or update(batch) first")

    @property
    def moments(self) -> Moments:
        """Exact moments of all data seen (`Moments`)."""
        self._must_learn("give moments")
        self._check_adapted()
        seen = self._seen()
        assert seen is not None
        return seen

    def _statistic(self, values: Floats) -> Floats:
        out = values.reshape(self._fixed[0].shape if self._fixed else self.moments.shape)
        out.flags.writeable = False
        return out

    @property
    def mean(self) -> Floats:
        """Mean of each feature (float64, shape of the kept axes)."""
        return self._statistic(self._fixed[0][...] if self._fixed else self._reported_mean())

    def _reported_mean(self) -> Floats:
        return np.where(np.isnan(self._parameters_applied()[0].mean), np.nan, self.moments.mean.reshape(-1))

    @property
    def variance(self) -> Floats:
        """Biased variance of each feature (float64, shape of the kept axes)."""
        return self._statistic((self._fixed[1] if self._fixed else self._parameters_applied()[0].variance)[...])

    @property
    def std(self) -> Floats:
        """Standard deviation of each feature (float64, shape of the kept axes), before any floor."""
        if self._fixed:
            return self._statistic(np.sqrt(self._fixed[1]))
        gone = np.isnan(self._parameters_applied()[0].variance)
        return self._statistic(np.where(gone, np.nan, self.moments.std.reshape(-1)))

    @property
    def count(self) -> int:
        """Rows seen, as in Keras a single number; ``moments.count`` has the finite values of each feature."""
        return self.moments.rows

    def _feature_shape(self) -> tuple[int, ...] | None:
        if self._fixed is not None:
            return self._fixed[0].shape
        return None if self._moments is None else self._moments.shape

    def _features(self) -> int | None:
        return None if self._fixed is not None else super()._features()

    def get_weights(self) -> list[NDArray[Any]]:
        """Return copies of gamma and beta (if affine), mean, variance and count, in Keras's order.

        Examples
        --------
        >>> Normalization().adapt([[1.0], [3.0]]).get_weights()
        [array([2.]), array([1.]), array(2)]
        """
        weights: list[NDArray[Any]] = [self.gamma.copy(), self.beta.copy()] if self.affine else []
        if self._fixed is None:
            weights += [self.mean.copy(), self.variance.copy(), np.array(self.count)]
        return weights

    def set_weights(self, weights: Iterable[ArrayLike]) -> None:
        """Take over what `get_weights` gave: as if ``count`` rows of this mean and variance had been seen.

        Rounded statistics cannot hold all that a layer knows: each feature then counts ``count`` values, none of them
        missing. `save`, `copy` and pickle keep everything.

        Raises
        ------
        ValueError
            If number, shapes or values of the arrays do not fit; the layer is then as it was.
        """
        given = [np.array(item) for item in weights]
        expected = ["gamma", "beta"] * self.affine + ["mean", "variance", "count"] * (self._fixed is None)
        if len(given) != len(expected):
            raise ValueError(f"set_weights takes {len(expected)} arrays ({', '.join(expected)}), but got {len(given)}")
        twin = self.copy()
        if self._fixed is None:
            moments = Moments._of_statistics(*given[-3:])
            if twin._moments is not None and twin._moments.shape != moments.shape:
                raise ValueError(
                    f"mean and variance have shape {moments.shape}, but this Normalization has features of shape "
                    f"{twin._moments.shape}; set the weights of a new one"
                )
            twin._set(moments)
        if self.affine:
            twin.gamma, twin.beta = given[:2]
        with self._lock:
            self.__setstate__(twin.__getstate__())

    # ---------------------------------------------------------------------------------------------- report

    def parameters(self) -> list[Parameter]:
        """Return name, shape, dtype, trainable, size and bytes of each parameter.

        Examples
        --------
        >>> [(p.name, p.size, p.trainable) for p in Normalization().adapt([[1.0, 2.0]]).parameters()]
        [('mean', 2, False), ('variance', 2, False), ('count', 1, False)]
        """
        self._check_adapted()
        found = [
            Parameter(name, getattr(self, name).shape, "float64", True) for name in ("gamma", "beta") * self.affine
        ]
        if self._fixed is None:
            found += [Parameter(name, self.moments.shape, "float64", False) for name in ("mean", "variance")]
            found.append(Parameter("count", (), "int64", False))
        return found

    def summary(self, count: bool = True, print_fn: Callable[[str], Any] = print) -> None:
        """Print the table of parameters; ``count=False`` leaves the row count out.

        Examples
        --------
        >>> Normalization().adapt([[1.0]]).summary(print_fn=lambda text: print(text.splitlines()[-1]))
         Non-trainable params: 3 (24.00 B)
        """
        chosen = [parameter for parameter in self.parameters() if count or parameter.name != "count"]
        print_fn(self._show(report.summary, chosen))

    def statistics(self) -> dict[str, Any]:
        """Return per-feature columns for a table: feature, count, missing, mean, std.

        Examples
        --------
        >>> Normalization().adapt([[1.0], [3.0], [np.nan]]).statistics()["missing"]
        array([1])
        """
        moments = self.moments
        names = self.feature_names or [", ".join(map(str, index)) for index in np.ndindex(moments.shape)]
        return {
            "feature": names,
            "count": moments.count.reshape(-1),
            "missing": moments.missing.reshape(-1),
            "mean": self.mean.reshape(-1),
            "std": self.std.reshape(-1),
        }

    def _repr_html_(self) -> str:
        if self._fixed is not None or (seen := self._seen()) is None or not seen.rows:
            return super()._repr_html_()
        return self._show(report.html, self.parameters(), statistics=self.statistics())

    def __repr__(self) -> str:
        seen = self._seen()
        what = "fixed" if self._fixed else "not adapted" if seen is None else f"{seen.rows} rows seen"
        return f"<Normalization axis={self.axis!r}, {what}>"

    # ----------------------------------------------------------------------------------------------- state

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            self._seen()
            return super().__getstate__()

    def _document(self) -> dict[str, Any]:
        names = ("axis", "invert", "nan", "inf", "constant", "epsilon", "affine")
        config = {name: getattr(self, name) for name in names}
        if self.columns is not None:
            config["columns"] = self.columns
        document: dict[str, Any] = {"config": config | {"dtype": None if self.dtype is None else self.dtype.name}}
        if (seen := self._seen()) is not None:
            document["moments"] = base64.b64encode(seen.to_bytes()).decode("ascii")
        if self._fixed is not None:
            document["fixed"] = [state.pack(values) for values in self._fixed]
        return document

    @classmethod
    def _of_document(cls, document: dict[str, Any]) -> Self:
        config = dict(document["config"])
        axis = config.pop("axis")
        config["dtype"] = config["dtype"] and _layout.float_dtype(config["dtype"])
        mean, variance = (state.unpack(entry) for entry in document["fixed"]) if "fixed" in document else (None, None)
        layer = cls(tuple(axis) if isinstance(axis, list) else axis, mean=mean, variance=variance, **config)
        if "moments" in document:
            layer._must_learn("hold moments")
            layer._moments = Moments.from_bytes(base64.b64decode(document["moments"], validate=True))
        return layer


class _Small(NamedTuple):
    """What transforms a few rows at once, where the layer is as simple as most are."""

    features: int
    transform: Callable[[NDArray[Any]], None]


def _is_few_rows(x: Any) -> bool:
    return (
        type(x) is np.ndarray
        and x.ndim == 2
        and 0 < x.size < 4096
        and x.dtype.char in "fd"
        and x.flags.carray  # C-contiguous, aligned, writeable
        and x.dtype.isnative
    )
