"""Keras's Normalization as a preset of ours, without Keras."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnorm import _layout, normalization
from fastnorm.moments import Moments

FLOOR = 1e-7  # keras.config.epsilon() as Keras sets it, under which it takes no standard deviation
_PRESET = {"nan": "propagate", "inf": "raise", "constant": "epsilon", "epsilon": FLOOR, "affine": False}


class Normalization(normalization.Normalization):
    """``keras.layers.Normalization`` with exact statistics: its arguments, its defaults, its rules.

    A `fastnorm.Normalization` with ``nan="propagate"``, ``constant="epsilon"`` and ``dtype="float32"``; it needs no
    Keras. Results are NumPy arrays. docs/keras.md lists what differs and why.

    Parameters
    ----------
    axis, mean, variance, invert
        As in Keras and in `fastnorm.Normalization`.
    name : str, optional
        Shown in the summary; "normalization" by default.
    dtype : dtype_like or policy, optional
        Floating dtype of the result, or a dtype policy of Keras, of which the compute dtype counts; float32 by default.
    trainable : bool
        Kept for `get_config`: the layer has nothing that could be trained.
    input_shape : tuple, optional
        Shape of the input without the rows: the layer is built for it.
    **settings
        Other arguments of `fastnorm.Normalization`.

    Examples
    --------
    >>> layer = Normalization(name="delay")
    >>> layer.adapt([[1], [3]])([[5]])
    array([[3.]], dtype=float32)
    >>> layer.name, layer.count_params()
    ('delay', 3)
    """

    _input_shape: tuple[int | None, ...] | None

    def __init__(
        self,
        axis: int | Sequence[int] | None = -1,
        mean: ArrayLike | None = None,
        variance: ArrayLike | None = None,
        invert: bool = False,
        *,
        name: str | None = None,
        dtype: Any = None,
        trainable: bool = True,
        input_shape: Sequence[int | None] | None = None,
        **settings: Any,
    ) -> None:
        self._name = name
        self.trainable = trainable
        self._input_shape = None
        kept = _layout.checked_axis(axis)
        if isinstance(kept, tuple) and len(kept) < 2:
            kept = kept[0] if kept else None
        given = {"mean": mean, "variance": variance, "invert": invert, "dtype": _float_dtype(dtype)}
        super().__init__(kept, **{**_PRESET, **given, **settings})
        if input_shape is not None:
            self.build((None, *input_shape))

    @property
    def name(self) -> str:
        """Name of the layer."""
        return self._name or "normalization"

    # ------------------------------------------------------------------------------------------------ shape

    def build(self, input_shape: Sequence[int | None] | None) -> None:
        """Say what shape data have, with None for what is not known: data with other features are then refused.

        Raises
        ------
        ValueError
            If a kept axis is not there or unknown, or the features are not those of the statistics.
        """
        if input_shape is None:
            return
        shape = tuple(None if length is None else int(length) for length in input_shape)
        lengths = self._kept(shape)
        if self._fixed is not None or self._moments is not None:
            self._affine_for(lengths)
        self._input_shape = shape

    @property
    def built(self) -> bool:
        """Whether the shape of the data is known."""
        return self._input_shape is not None

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """Return the shape of the result, which is that of the input."""
        return tuple(input_shape)

    def _kept(self, shape: tuple[int | None, ...]) -> tuple[int, ...]:
        lengths = []
        for index in _layout.kept_axes(self.axis, len(shape)):
            if (length := shape[index]) is None:
                raise ValueError(
                    "All `axis` values to be kept must have a known shape. "
                    f"Received axis={self.axis!r}, input_shape={shape}, with unknown axis at index {index}"
                )
            lengths.append(length)
        return tuple(lengths)

    def _output_shape(self) -> tuple[int | None, ...]:
        if (shape := self._input_shape) is None:
            return super()._output_shape()
        kept = _layout.kept_axes(self.axis, len(shape))
        return tuple(None if index == 0 and index not in kept else length for index, length in enumerate(shape))

    def _label(self) -> str:
        return self.name

    # ------------------------------------------------------------------------------------------- statistics

    def adapt(self, data: Any, *, weights: Any = None) -> Self:
        """As `fastnorm.Normalization.adapt`; of a ``tf.data.Dataset``, elements of one axis are put together."""
        before = self._input_shape
        try:
            return super().adapt(data if weights is not None else self._batched(data), weights=weights)
        except BaseException:
            self._input_shape = before
            raise

    def _batched(self, data: Any) -> Any:
        spec = getattr(data, "element_spec", None)  # of a tf.data.Dataset
        shape = getattr(spec[0] if isinstance(spec, tuple) else spec, "shape", None)
        if getattr(shape, "rank", None) == 1 and 0 not in _layout.kept_axes(self.axis, 2):
            return data.batch(128)
        return data

    def _moments_of(self, batch: Any, weights: Any, before: Moments | None) -> Moments:
        known = self._input_shape
        moments = super()._moments_of(batch, weights, before if known is None else None)
        if known is None:
            self._input_shape = np.shape(batch)
        self._check_built(moments.shape)
        return moments

    def _set(self, moments: Moments, names: tuple[str, ...] | None = None) -> None:
        self._check_built(moments.shape)
        super()._set(moments, names)

    def _check_built(self, features: tuple[int, ...]) -> None:
        if (shape := self._input_shape) is not None and features != self._kept(shape):
            raise ValueError(
                f"The layer was built with input_shape={shape}, but the data have features of the incompatible shape "
                f"{features}; pass the same features or make a new layer"
            )

    def update_state(self, data: ArrayLike) -> None:
        """Add the rows of ``data`` to what the layer has seen: `update` under its name in Keras 2."""
        self.update(data)

    def reset_state(self) -> None:
        """Forget what the layer has seen, if it learns, and stay built."""
        with self._lock:
            self._moments = self._waiting = None
            self._reset()

    def finalize_state(self) -> None:
        """Do nothing: statistics are never out of date. Keras needs the call after `update_state`."""

    def __call__(self, x: Any, out: Any = None, *, training: Any = None, mask: Any = None) -> Any:  # noqa: ARG002
        """Return the standardized ``x``, as `transform`; ``training`` and ``mask`` change nothing, as in Keras."""
        return self.transform(x, out)

    # ------------------------------------------------------------------------------------------------ state

    @property
    def weights(self) -> list[NDArray[Any]]:
        """The arrays of `get_weights`: mean, variance and count, or nothing if they are fixed."""
        return self.get_weights()

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make such a layer, which ``keras.layers.Normalization.from_config`` takes too.

        Settings that Keras does not have are in it only where they are not the preset's. As in Keras, what was learned
        is not.
        """
        axis = self.axis if isinstance(self.axis, tuple) else () if self.axis is None else (self.axis,)
        mean, variance = (None, None) if self._fixed is None else (values.tolist() for values in self._fixed)
        other = {name: value for name, default in _PRESET.items() if (value := getattr(self, name)) != default}
        config = {"name": self.name, "trainable": self.trainable, "dtype": policy_of(self.dtype), "axis": axis}
        return config | {"invert": self.invert, "mean": mean, "variance": variance} | other

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Return a layer of what `get_config` gave, here or in Keras."""
        return cls(**config)

    def _document(self) -> dict[str, Any]:
        return super()._document() | {"keras": {"name": self._name, "input_shape": self._input_shape}}

    @classmethod
    def _of_document(cls, document: dict[str, Any]) -> Self:
        layer = super()._of_document(document)
        if "keras" in document:  # not in the file of a fastnorm.Normalization
            layer._name = document["keras"]["name"]
            layer.build(document["keras"]["input_shape"])
        return layer


def policy_of(dtype: np.dtype[Any] | None) -> str | None:
    """The dtype policy of a layer with results of this dtype: its statistics are never held in 16 bits."""
    return None if dtype is None else f"mixed_{dtype.name}" if dtype.itemsize == 2 else dtype.name


def _float_dtype(dtype: Any) -> np.dtype[Any]:
    """The dtype that a layer of Keras computes in, of a dtype, the name of a policy, a policy or its config."""
    if isinstance(dtype, Mapping):
        dtype = dtype["config"]["name"]
    dtype = getattr(dtype, "compute_dtype", dtype)
    if isinstance(dtype, str):
        return _layout.float_dtype(dtype.removeprefix("mixed_"))
    return np.dtype(np.float32 if dtype is None else dtype)
