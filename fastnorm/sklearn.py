"""A drop-in for scikit-learn's StandardScaler on exact moments."""

from __future__ import annotations

import contextlib
import copy as copying
from collections.abc import Iterator
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import issparse
from sklearn import get_config
from sklearn.base import _fit_context
from sklearn.preprocessing import StandardScaler as _Theirs
from sklearn.utils import check_array
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fastnorm import _apply, _sparse, _threads, policy
from fastnorm._accumulator import Accumulator
from fastnorm._apply import Affine, Direction
from fastnorm._arguments import holds_infinity
from fastnorm._sklearn import announced, checks, is_foreign
from fastnorm.moments import Moments

Floats = NDArray[np.float64]

OURS = ("threads", "constant", "_moments")  # attributes that scikit-learn's scaler does not have
NAMES = ("n_features_in_", "feature_names_in_")


class StandardScaler(_Theirs):  # type: ignore[misc]
    """Standardize features to mean 0 and variance 1, as scikit-learn's class of this name, with exact statistics.

    Parameters
    ----------
    copy : bool
        If False, ``transform`` and ``inverse_transform`` work in place on float arrays and CSR matrices.
    with_mean : bool
        Centre the data; not possible for sparse matrices.
    with_std : bool
        Divide by the standard deviation.
    threads : int, optional
        Most threads to use; results do not depend on it.
    constant : {"sklearn", "center", "raise"}
        Features that are constant up to scikit-learn's error bound are not divided; only those whose values are all
        equal; or these are an error in ``fit``.

    Attributes
    ----------
    mean_, var_, scale_ : ndarray of shape (n_features,) or None
        Correctly rounded mean, biased variance and divisor of each feature, float64. They may be set by hand.
    n_samples_seen_ : int or ndarray of shape (n_features,)
        Values seen, or the sum of their weights (float); one for each feature where they differ because of NaN.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, if they are all text.

    Examples
    --------
    >>> from fastnorm.sklearn import StandardScaler
    >>> scaler = StandardScaler().partial_fit([[0.0, 1.0]]).partial_fit([[2.0, 5.0]])
    >>> scaler.mean_, scaler.scale_
    (array([1., 3.]), array([1., 2.]))
    >>> scaler.transform([[3.0, 3.0]])
    array([[2., 0.]])
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **_Theirs._parameter_constraints,
        "threads": [Integral, None],
        "constant": [str],
    }

    def __init__(
        self,
        *,
        copy: bool = True,
        with_mean: bool = True,
        with_std: bool = True,
        threads: int | None = None,
        constant: str = "sklearn",
    ) -> None:
        super().__init__(copy=copy, with_mean=with_mean, with_std=with_std)
        self.threads = threads
        self.constant = constant

    # ------------------------------------------------------------------------------------------ statistics

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> StandardScaler:
        """Forget everything and learn from ``X``; returns the scaler.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Real numbers; NaN are left out of the statistics. Nothing is copied but integers of other sizes.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), optional
            One finite number >= 0 for each row.

        Raises
        ------
        ValueError, TypeError
            If the data are not fit to learn from; the scaler is then as it was.

        Examples
        --------
        >>> StandardScaler().fit([[1.0], [3.0]], sample_weight=[3, 1]).mean_
        array([1.5])
        """
        if is_foreign(X):
            super().fit(X, y, sample_weight)
            return self
        return self._learn(X, y, sample_weight, None)

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> StandardScaler:
        """Add the rows of ``X`` to what was seen, exactly: any chunks give the bits of one ``fit``; as for `fit`.

        Examples
        --------
        >>> StandardScaler().partial_fit([[1.0]]).partial_fit([[3.0]]).n_samples_seen_
        np.int64(2)
        """
        if is_foreign(X):
            self.__dict__.pop("_moments", None)
            super().partial_fit(X, y, sample_weight)
            return self
        return self._learn(X, y, sample_weight, self._seen())

    def _learn(self, X: Any, y: Any, sample_weight: Any, seen: Moments | None) -> StandardScaler:
        constant = self._checked_constant()
        _threads.count(self.threads)
        with self._names_kept_on_error():
            if seen is None or not self._knows(X):
                X = validate_data(self, X, reset=seen is None, **checks(X, ("csr", "csc")))
            with announced(self, X, y, sample_weight):
                weights = None
                if sample_weight is not None:
                    weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
                total = Accumulator(seen, nan=True, inf=False)
                if weights is None and not issparse(X) and total.add_rows(X):
                    assert total.moments is not None
                    self._become(total.moments, constant)
                else:
                    self._take(self._moments_of(X, weights), seen, constant, X.dtype)
        return self

    def _knows(self, X: Any) -> bool:
        """Whether validation has nothing to find or convert: rows of floats, as many features, no names."""
        return (
            type(X) is np.ndarray
            and X.ndim == 2
            and X.dtype.char in "fd"
            and X.dtype.isnative
            and len(X) > 0
            and vars(self).get("n_features_in_") == X.shape[1]
            and "feature_names_in_" not in vars(self)
        )

    def _take(self, more: Moments, seen: Moments | None, constant: policy.Constant, dtype: Any) -> None:
        """Learn moments of data of ``dtype`` beside what was seen."""
        try:
            policy.check_batch(more, "omit", "raise")
        except ValueError as error:
            raise ValueError(_infinite(dtype)) from error
        self._become(more if seen is None else seen + more, constant)

    def _become(self, moments: Moments, constant: policy.Constant) -> None:
        """Set the attributes."""
        divisors = policy.divisors(moments, constant, 0.0)
        self._moments = moments
        self.mean_ = moments.mean.copy() if self.with_mean or self.with_std else None
        self.var_ = moments.variance.copy() if self.with_std else None
        self.scale_ = divisors if self.with_std else None
        self.n_samples_seen_ = _samples_seen(moments)

    def _moments_of(self, X: Any, weights: Floats | None) -> Moments:
        if issparse(X):
            self._check_uncentred("center")
            if not X.has_canonical_format:  # entries may be stored in parts
                X = X.copy()
                X.sum_duplicates()
            return Moments._make(X.shape[1:], _sparse.count(X, weights, self.threads))
        return Moments.of(X, weights=weights, threads=self.threads)

    def _seen(self) -> Moments | None:
        """Moments that say what the attributes say, which may be set by hand or come from scikit-learn."""
        if not hasattr(self, "n_samples_seen_"):
            return None
        moments: Moments | None = vars(self).get("_moments")
        if moments is not None and (
            np.array_equal(self.n_samples_seen_, _samples_seen(moments))
            and (self.mean_ is None or np.array_equal(self.mean_, moments.mean, equal_nan=True))
            and (self.var_ is None or np.array_equal(self.var_, moments.variance, equal_nan=True))
        ):
            return moments
        mean, variance, count = (
            np.broadcast_to(np.asarray(0.0 if values is None else values, np.float64), (self.n_features_in_,))
            for values in (self.mean_, self.var_, self.n_samples_seen_)
        )
        try:
            return Moments._of_features(mean, variance, count)
        except ValueError as error:
            raise ValueError(f"cannot go on from mean_, var_ and n_samples_seen_ ({error}); fit anew") from None

    @contextlib.contextmanager
    def _names_kept_on_error(self) -> Iterator[None]:
        """Validation sets them before all is known to be well."""
        before = {name: vars(self)[name] for name in NAMES if name in vars(self)}
        moments = vars(self).get("_moments")
        try:
            yield
        except BaseException:
            if vars(self).get("_moments") is not moments:  # it has learned; a callback failed afterwards
                raise
            for name in set(NAMES) - set(before):
                self.__dict__.pop(name, None)
            self.__dict__.update(before)
            raise

    # ------------------------------------------------------------------------------------------- transform

    def transform(self, X: Any, copy: bool | None = None) -> Any:
        """Return ``(X - mean_) / scale_``, in float64 arithmetic rounded once.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Floats keep their dtype, anything else gives float64. NaN stay NaN.
        copy : bool, optional
            Instead of the parameter ``copy``: False works in place where `X` is a writeable float array or CSR matrix.

        Returns
        -------
        {ndarray, sparse matrix} of shape (n_samples, n_features)
            ``X`` itself, if in place.

        Raises
        ------
        ValueError
            If ``X`` has other features or infinities; it is then as it was.

        Examples
        --------
        >>> StandardScaler().fit([[1.0], [3.0]]).transform([[5.0]])
        array([[3.]])
        """
        check_is_fitted(self)
        return super().transform(X, copy) if is_foreign(X) else self._run(X, copy, "forward")

    def inverse_transform(self, X: Any, copy: bool | None = None) -> Any:
        """Return ``X * scale_ + mean_``: what `transform` was given, up to rounding. As for `transform`.

        Examples
        --------
        >>> StandardScaler().fit([[1.0], [3.0]]).inverse_transform([[3.0]])
        array([[5.]])
        """
        check_is_fitted(self)
        return super().inverse_transform(X, copy) if is_foreign(X) else self._run(X, copy, "inverse")

    def _run(self, X: Any, copy: bool | None, direction: Direction) -> Any:
        in_place = not (self.copy if copy is None else copy)
        if self._knows(X) and (X.flags.writeable or not in_place):
            pass
        elif direction == "forward":
            X = validate_data(self, X, reset=False, force_writeable=in_place, **checks(X, "csr"))
        else:  # z-scores need not have the names of the features
            X = check_array(X, force_writeable=in_place, **checks(X, "csr"))
        affine = self._affine(X.shape[1])
        if issparse(X):
            self._check_uncentred("center" if direction == "forward" else "uncenter")
        values = X.data if issparse(X) else X
        floating = values.dtype.kind == "f"
        if floating and not get_config()["assume_finite"] and holds_infinity(values, self.threads):
            raise ValueError(_infinite(X.dtype))
        if issparse(X):
            out = X if in_place else X.copy()
            if self.with_std:
                _sparse.scale(out, affine, direction, self.threads)
            return out
        out = X if in_place and floating else np.empty_like(X, X.dtype if floating else np.float64)
        _apply.run(X, out, (1,), affine, direction, self.threads)
        return out

    def _affine(self, features: int) -> Affine:
        """What is applied: the attributes, and to the last bit where they are those of the moments."""
        known = vars(self).get("n_features_in_", features)  # not there where attributes were set by hand
        if features != known:
            kind = type(self).__name__
            raise ValueError(f"X has {features} features, but {kind} is expecting {known} features as input")
        zero, one, still = np.zeros(features), np.ones(features), np.zeros(features, np.int64)
        mean = self._attribute("mean_", features) if self.with_mean else zero
        scale = self._attribute("scale_", features) if self.with_std else one
        given = Affine(mean, zero, zero, scale, still)
        moments: Moments | None = vars(self).get("_moments")
        if moments is None:
            return given
        parameters = policy.of_moments(moments, "omit", self._checked_constant(), 0.0)
        exact, same = Affine(*parameters[:5]), np.ones(features, bool)
        if self.with_std:
            same &= scale == policy.divisors(moments, self._checked_constant(), 0.0)
        else:
            rest = np.where(exact.shift == 0, exact.rest, 0.0)
            exact = Affine(moments.mean, moments.mean_low, rest, one, still)
        if self.with_mean:
            same &= mean == moments.mean
        else:
            exact = exact._replace(mean=zero, low=zero, rest=zero)
        return Affine(*(np.where(same, mine, theirs) for mine, theirs in zip(exact[:5], given[:5], strict=True)))

    def _attribute(self, name: str, features: int) -> Floats:
        values = np.asarray(getattr(self, name))
        if values.dtype == object or (values.ndim and values.shape != (features,)):
            raise ValueError(f"X has {features} features, but this {type(self).__name__} has {name}={values}; fit anew")
        return np.ascontiguousarray(np.broadcast_to(values, (features,)), np.float64)

    # ---------------------------------------------------------------------------------------------- checks

    def _checked_constant(self) -> policy.Constant:
        if self.constant == "epsilon":
            raise ValueError('constant="epsilon" needs an epsilon; use fastnorm.Normalization')
        word: policy.Constant = policy.check_word("constant", self.constant, policy.Constant)
        return word

    def _check_uncentred(self, verb: str) -> None:
        if self.with_mean:
            raise ValueError(
                f"Cannot {verb} sparse matrices: pass `with_mean=False` instead. See docstring for motivation and "
                "alternatives."
            )

    # ---------------------------------------------------------------------------------------- scikit-learn

    def to_sklearn(self) -> _Theirs:
        """Return scikit-learn's own scaler with these parameters and attributes, for what asks for just this class.

        Examples
        --------
        >>> type(StandardScaler().fit([[1.0], [3.0]]).to_sklearn()).__module__
        'sklearn.preprocessing._data'
        """
        theirs = _Theirs()
        kept = {name: value for name, value in vars(self).items() if name not in OURS}
        theirs.__dict__.update(copying.deepcopy(kept))
        return theirs

    @classmethod
    def from_sklearn(cls, scaler: Any, *, threads: int | None = None, constant: str = "sklearn") -> StandardScaler:
        """Return a scaler with the parameters and attributes of a fitted one of scikit-learn, which it applies.

        Its ``partial_fit`` goes on from ``mean_``, ``var_`` and ``n_samples_seen_`` as if they were exact.

        Raises
        ------
        TypeError
            If it is not a StandardScaler.
        NotFittedError
            If it is not fitted.

        Examples
        --------
        >>> import sklearn.preprocessing
        >>> theirs = sklearn.preprocessing.StandardScaler().fit([[1.0], [3.0]])
        >>> StandardScaler.from_sklearn(theirs).partial_fit([[5.0]]).mean_
        array([3.])
        """
        if not isinstance(scaler, _Theirs):
            raise TypeError(f"from_sklearn takes a StandardScaler of scikit-learn, not {type(scaler).__name__}")
        check_is_fitted(scaler)
        ours = cls(threads=threads, constant=constant)
        ours.__dict__.update(
            copying.deepcopy({name: value for name, value in vars(scaler).items() if name not in OURS})
        )
        return ours


def _samples_seen(moments: Moments) -> Any:
    """Values of each feature, or their weights: a single number where all are equal."""
    seen = moments.count if np.array_equal(moments.weight, moments.count) else moments.weight
    return seen[0] if (seen == seen[0]).all() else seen.copy()


def _infinite(dtype: Any) -> str:
    return f"Input X contains infinity or a value too large for {dtype!r}; clean it, or make it NaN."
