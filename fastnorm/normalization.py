"""The Normalization layer: Keras's vocabulary over exact moments."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastnorm import _apply, _frames, _layout, policy, report, state
from fastnorm._apply import Affine, Direction
from fastnorm._arguments import checked_dtype, checked_out, checked_statistics, mismatch
from fastnorm._frames import Frame
from fastnorm._layer import Floats
from fastnorm._learner import Learner
from fastnorm.moments import Moments
from fastnorm.report import Parameter


class Normalization(Learner):
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
        {"axis", "invert", "nan", "inf", "constant", "epsilon", "affine", "columns", "dtype", "threads"}
    )
    _weights = {"gamma": ("affine", 1.0), "beta": ("affine", 0.0)}  # noqa: RUF012
    _passing = ("_applied", "_small")

    _applied: tuple[policy.Parameters, Affine] | None
    _small: Callable[[Any, Any], NDArray[Any] | None] | None  # what transforms a few rows

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
        super().__init__(axis, nan=nan, inf=inf, columns=columns, threads=threads)
        self.invert = bool(invert)
        self.constant: policy.Constant = policy.check_word("constant", constant, policy.Constant)
        self.epsilon = policy.check_epsilon(epsilon)
        self.affine = bool(affine)
        self.dtype = checked_dtype(dtype)
        self._fixed = checked_statistics(mean, variance, self.axis)

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
            ``out``, or the new array. A masked array gives a masked array, or NaN where ``out`` cannot be masked.

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
        if (small := self._small) is not None and (result := small(x, out)) is not None:
            return result
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
        x = _frames.taken(x, self.columns, self._feature_names, known=True)
        array = x if isinstance(x, Frame) else _layout.as_array(x)
        kept = _layout.kept_axes(self.axis, array.ndim)
        lengths = tuple(array.shape[index] for index in kept)
        if 0 in lengths:
            raise ValueError(f"x has zero features (shape {array.shape}); pass at least one column")
        affine = self._affine_for(lengths)
        result = self._write(array, self._destination(array, out, x), kept, affine, direction)
        return self._returned(result, out)

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
                parameters = policy.of_moments(self.moments, self.nan, self.constant, self.epsilon, self._feature_names)
                gamma, beta = (self.gamma.reshape(-1), self.beta.reshape(-1)) if self.affine else (None, None)
                applied = self._applied = parameters, Affine(*parameters[:5], gamma, beta)
                if self.axis == -1 and not self.invert:
                    self._small = _apply.small(applied[1], self.dtype)
            return applied

    # ---------------------------------------------------------------------------------------------- values

    def _statistic(self, values: Floats) -> Floats:
        out = values.reshape(self._fixed[0].shape if self._fixed else self.moments.shape)
        out.flags.writeable = False
        return out

    @property
    def mean(self) -> Floats:
        """Mean of each feature (float64, shape of the kept axes)."""
        return self._statistic(self._fixed[0][...] if self._fixed else self._reported_mean())

    def _reported_mean(self) -> Floats:
        mean, gone = self.moments.mean.reshape(-1), np.isnan(self._parameters_applied()[0].mean)
        return np.where(gone, np.nan, mean) if gone.any() else mean

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

    def _part(self, region: tuple[slice, ...]) -> Self:
        """The layer of the features in a region."""
        with self._lock:
            twin = self.copy()
            names = ("_fixed", "_gamma", "_beta", "_moments", "_feature_names")
            fixed, gamma, beta, moments, feature_names = (twin.__dict__[name] for name in names)

            def part(values: Any) -> Any:
                if values is None:
                    return None
                mine = region[len(region) - values.ndim :]  # fixed values may lack axes, or repeat along one
                return values[..., *(slice(None) if n == 1 else one for n, one in zip(values.shape, mine, strict=True))]

            twin.__dict__.update(
                _fixed=None if fixed is None else tuple(map(part, fixed)),
                _gamma=part(gamma),
                _beta=part(beta),
                _moments=None if moments is None else moments._part(region),
                _feature_names=None if len(region) != 1 or feature_names is None else feature_names[region[0]],
            )
            return twin

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
            layer._set(Moments.from_bytes(base64.b64decode(document["moments"], validate=True)))
        return layer
