"""The BatchNormalization layer: exact statistics of each batch in training, moving averages of them afterwards."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from fastnorm import _frames, _layout, _threads, policy, report
from fastnorm._apply import Affine
from fastnorm._arguments import checked_dtype, masked
from fastnorm._frames import Frame
from fastnorm._layer import Floats, Layer, NotAdaptedError
from fastnorm.moments import Moments
from fastnorm.policy import Parameters
from fastnorm.report import Parameter

Convention = Literal["keras", "torch"]

_DEFAULTS = {"keras": (0.99, 1e-3), "torch": (0.1, 1e-5)}  # momentum and epsilon


class BatchNormalization(Layer):
    """Standardize each feature by its batch in training, by moving averages otherwise, then scale and shift it.

    ``gamma * (x - mean) / sqrt(variance + epsilon) + beta``. In training, mean and (biased) variance are those of the
    batch, from exact sums, and `moving_mean` and `moving_variance` move towards them; otherwise they are these two.

    Parameters
    ----------
    axis : int
        The axis of the features, as in Keras; torch has them on axis 1.
    momentum : float or None
        How much of the moving averages stays with each batch in Keras (0.99 unless given), how much of the batch
        comes in with torch (0.1 unless given). None makes them the averages of all batches, each counted alike.
    epsilon : float
        What is added to the variance: 1e-3 for Keras, 1e-5 for torch unless given; 0, or at least 1e-300.
    center, scale : bool
        Whether there is a trainable offset `beta` (0 at first), a trainable factor `gamma` (1 at first).
    convention : {"keras", "torch"}
        What momentum means, and which variance of a batch moves `moving_variance`: the biased one, as in Keras 3, or
        the unbiased one, as in torch.
    trainable : bool
        False freezes the layer: it takes its moving averages even in training, as in Keras. May be set.
    dtype : dtype_like, optional
        Floating dtype of the result; by default as for `Normalization`.
    threads : int, optional
        Most threads to use; results do not depend on it.

    Attributes
    ----------
    num_batches_tracked : int
        How many batches have moved the averages.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnorm import BatchNormalization
    >>> layer = BatchNormalization(momentum=0.5, epsilon=0.0)
    >>> layer(np.array([[1.0, 10.0], [3.0, 30.0]]), training=True)
    array([[-1., -1.],
           [ 1.,  1.]])
    >>> layer.moving_mean, layer.moving_variance
    (array([ 1., 10.]), array([ 1. , 50.5]))
    """

    _settings = frozenset({"axis", "momentum", "epsilon", "center", "scale", "convention", "dtype", "threads"})
    _weights = {  # noqa: RUF012
        "gamma": ("scale", 1.0),
        "beta": ("center", 0.0),
        "moving_mean": (None, 0.0),
        "moving_variance": (None, 1.0),
    }
    _passing = ("_applied",)

    _applied: Affine | None

    def __init__(
        self,
        axis: int = -1,
        momentum: float | Literal["default"] | None = "default",
        epsilon: float | Literal["default"] = "default",
        center: bool = True,
        scale: bool = True,
        *,
        convention: Convention = "keras",
        trainable: bool = True,
        dtype: DTypeLike | None = None,
        threads: int | None = None,
    ) -> None:
        try:
            self.axis = operator.index(axis)
        except TypeError:
            raise TypeError(f"axis must be an int, not {axis!r}: this layer has its features on one axis") from None
        self.convention: Convention = policy.check_word("convention", convention, Convention)
        usual = _DEFAULTS[self.convention]
        self.momentum = _checked_momentum(usual[0] if momentum == "default" else momentum)
        self.epsilon = policy.check_epsilon(usual[1] if epsilon == "default" else epsilon)
        self.center, self.scale = bool(center), bool(scale)
        self.trainable = bool(trainable)
        self.dtype = checked_dtype(dtype)
        self.threads = threads
        _threads.count(threads)
        self.num_batches_tracked = 0
        self._shape: tuple[int] | None = None
        self._rank: int | None = None  # axes of the data last seen
        super().__init__()

    def build(self, input_shape: Sequence[int | None]) -> Self:
        """Make the parameters for data of this shape, if there are none yet; returns the layer.

        Raises
        ------
        ValueError
            If the shape has no axis `axis`, no features on it, or others than the layer has.

        Examples
        --------
        >>> BatchNormalization().build((None, 9)).count_params()
        36
        """
        (axis,) = _layout.kept_axes(self.axis, len(input_shape))
        self._set_features(input_shape[axis])
        self._rank = len(input_shape)
        return self

    def _set_features(self, features: int | None) -> None:
        if not features:
            raise ValueError(f"x has {features} features (axis={self.axis}); give a shape with at least one")
        if self._shape not in (None, (features,)):
            raise ValueError(
                f"x has {features} features (axis={self.axis}), but this BatchNormalization has {self._features()}; "
                "pass the same features or make a new layer"
            )
        if (names := self._feature_names) is not None and len(names) != features:
            raise ValueError(f"x has {features} features (axis={self.axis}), but there are {len(names)} feature_names")
        self._shape = (int(features),)

    # ---------------------------------------------------------------------------------------------- batches

    def __call__(self, x: Any, training: bool | None = False, mask: ArrayLike | None = None, out: Any = None) -> Any:
        """Return the normalized ``x``; the first call makes the parameters.

        Parameters
        ----------
        x : array_like or table
            Numbers with the features of the layer on `axis`, any number of rows. NaN and masked elements are left out
            of the statistics; a NaN stays one. A table gives a table, and its columns their names.
        training : bool
            Normalize by the statistics of this batch and move the averages towards them. A feature without values in
            the batch is normalized by its moving averages, which stay.
        mask : array_like of bool, optional
            False for what is left out of the statistics, not of the result; without the last dimension of ``x``.
        out : ndarray, optional
            Where to write: None allocates an array in the layout of ``x``, ``x`` itself works in place, any other
            floating array of the shape of ``x`` is filled. float64 arithmetic, rounded once.

        Returns
        -------
        ndarray
            ``out``, or the new array. A masked array gives a masked array.

        Raises
        ------
        ValueError, TypeError
            If arguments do not fit, or a batch to learn from holds infinities or (with ``convention="torch"``) a
            single value of a feature; the layer is then as it was.

        Examples
        --------
        >>> BatchNormalization(epsilon=0.0)([[1.0], [3.0], [100.0]], training=True, mask=[True, True, False])
        array([[-1.],
               [ 1.],
               [98.]])
        """
        x = _frames.taken(x, None, self._feature_names, known=self._shape is not None)
        array = x if isinstance(x, Frame) else _layout.as_array(x)
        kept = _layout.kept_axes(self.axis, array.ndim)
        batch: Any = array if mask is None else masked(array, mask)
        destination = self._destination(array, out, x)
        if training and self.trainable:
            moments = Moments.of(batch, self.axis, threads=self.threads)
            variance = policy.batch_variance(moments, unbiased=self.convention == "torch")
            self.build(array.shape)
            parameters = policy.of_batch(moments, self.moving_mean, self.moving_variance, self.epsilon)
            result = self._write(array, destination, kept, self._affine(parameters), "forward")
            self._learn(moments, variance)
        else:
            result = self._write(array, destination, kept, self.build(array.shape)._inference(), "forward")
        self._feature_names = _frames.names_of(array) or self._feature_names
        return self._returned(result, out)

    def _learn(self, moments: Moments, variance: Floats) -> None:
        """Move the averages towards a batch."""
        seen = moments.count > 0
        if not seen.any():
            return
        with self._lock:
            self.num_batches_tracked += 1
            momentum = self.momentum_of("torch")
            share = 1 / self.num_batches_tracked if momentum is None else momentum
            for name, new in (("moving_mean", moments.mean), ("moving_variance", variance)):
                old = getattr(self, name)
                setattr(self, f"_{name}", np.where(seen, old * (1 - share) + new * share, old))
            self._reset()

    def _inference(self) -> Affine:
        with self._lock:
            if self._applied is None:
                moving = policy.of_moving(self.moving_mean, self.moving_variance, self.epsilon)
                self._applied = self._affine(moving)
            return self._applied

    def _affine(self, parameters: Parameters) -> Affine:
        if not (self.scale or self.center):
            return Affine(*parameters[:5])
        gamma = self.gamma if self.scale else np.ones_like(parameters.mean)
        return Affine(*parameters[:5], gamma, self.beta if self.center else None)

    def momentum_of(self, convention: Convention) -> float | None:
        """Return the momentum as Keras or torch would write it.

        Examples
        --------
        >>> BatchNormalization(momentum=0.9).momentum_of("torch")
        0.1
        """
        if self.momentum is None or policy.check_word("convention", convention, Convention) == self.convention:
            return self.momentum
        return float(1 - Decimal(repr(self.momentum)))  # 1 - 0.9 would be 0.09999999999999998

    # ---------------------------------------------------------------------------------------------- values

    def _feature_shape(self) -> tuple[int, ...] | None:
        return self._shape

    def _check_adapted(self) -> None:
        if self._shape is None:
            raise NotAdaptedError("this BatchNormalization has no parameters yet; call build(input_shape) or use it")

    def _check_weight(self, name: str, values: Floats) -> None:
        super()._check_weight(name, values)
        if name == "moving_variance" and (values < 0).any():
            raise ValueError("moving_variance must not be negative")

    @property
    def moving_mean(self) -> Floats:
        """Moving average of the mean of each feature (float64), 0 at first; may be set."""
        return self._weight("moving_mean")

    @moving_mean.setter
    def moving_mean(self, values: ArrayLike) -> None:
        self._set_weight("moving_mean", values)

    @property
    def moving_variance(self) -> Floats:
        """Moving average of the variance of each feature (float64), 1 at first; may be set."""
        return self._weight("moving_variance")

    @moving_variance.setter
    def moving_variance(self, values: ArrayLike) -> None:
        self._set_weight("moving_variance", values)

    def _weight_names(self) -> list[str]:
        return [name for name, (setting, _) in self._weights.items() if setting is None or getattr(self, setting)]

    def get_weights(self) -> list[Floats]:
        """Return copies of gamma, beta, moving_mean and moving_variance, in Keras's order.

        Examples
        --------
        >>> BatchNormalization(scale=False).build((None, 1)).get_weights()
        [array([0.]), array([0.]), array([1.])]
        """
        return [getattr(self, name).copy() for name in self._weight_names()]

    def set_weights(self, weights: Iterable[ArrayLike]) -> None:
        """Take over what `get_weights` gave.

        Raises
        ------
        ValueError
            If number, shapes or values of the arrays do not fit; the layer is then as it was.
        """
        given, names = [np.array(item, np.float64) for item in weights], self._weight_names()
        if len(given) != len(names):
            raise ValueError(f"set_weights takes {len(names)} arrays ({', '.join(names)}), but got {len(given)}")
        twin = self.copy()
        twin._set_features(given[-1].size)
        for name, values in zip(names, given, strict=True):
            twin._set_weight(name, values)
        with self._lock:
            self.__setstate__(twin.__getstate__())

    # ---------------------------------------------------------------------------------------------- report

    def parameters(self) -> list[Parameter]:
        """Return name, shape, dtype, trainable, size and bytes of each parameter, in the order of `get_weights`.

        Examples
        --------
        >>> [(p.name, p.trainable) for p in BatchNormalization().build((None, 9)).parameters()]
        [('gamma', True), ('beta', True), ('moving_mean', False), ('moving_variance', False)]
        """
        return [
            Parameter(name, getattr(self, name).shape, "float64", self.trainable and name in ("gamma", "beta"))
            for name in self._weight_names()
        ]

    def summary(self, print_fn: Callable[[str], Any] = print) -> None:
        """Print the table of parameters.

        Examples
        --------
        >>> BatchNormalization().build((None, 9)).summary(lambda text: print(text.splitlines()[-2]))
         Trainable params: 18 (144.00 B)
        """
        print_fn(self._show(report.summary, self.parameters()))

    def statistics(self) -> dict[str, Any]:
        """Return per-feature columns for a table: feature, gamma, beta, moving_mean, moving_variance.

        Examples
        --------
        >>> BatchNormalization().build((None, 2)).statistics()["moving_variance"]
        array([1., 1.])
        """
        values = {name: getattr(self, name) for name in self._weight_names()}
        return {"feature": self.feature_names or [str(index) for index in range(self._features() or 0)], **values}

    def _repr_html_(self) -> str:
        if self._shape is None:
            return super()._repr_html_()
        return self._show(report.html, self.parameters(), statistics=self.statistics())

    def __repr__(self) -> str:
        what = "not built" if self._shape is None else f"{self._shape[0]} features"
        return f"<BatchNormalization axis={self.axis}, {what}, {self.num_batches_tracked} batches tracked>"

    # ----------------------------------------------------------------------------------------------- state

    def _document(self) -> dict[str, Any]:
        names = ("axis", "momentum", "epsilon", "center", "scale", "convention", "trainable")
        config = {name: getattr(self, name) for name in names}
        return {
            "config": config | {"dtype": None if self.dtype is None else self.dtype.name},
            "features": None if self._shape is None else self._shape[0],
            "num_batches_tracked": self.num_batches_tracked,
        }

    @classmethod
    def _of_document(cls, document: dict[str, Any]) -> Self:
        config = dict(document["config"])
        layer = cls(**config | {"dtype": config["dtype"] and _layout.float_dtype(config["dtype"])})
        if (features := document["features"]) is not None:
            layer._set_features(operator.index(features))
        layer.num_batches_tracked = operator.index(document["num_batches_tracked"])
        return layer


def _checked_momentum(momentum: Any) -> float | None:
    if momentum is None:
        return None
    value = float(momentum)
    if not 0 <= value <= 1:
        raise ValueError(f"momentum must be a number from 0 to 1, or None for the average of all, not {momentum!r}")
    return value
