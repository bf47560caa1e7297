"""Batch normalization from and to Keras."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnorm import _layout
from fastnorm.batchnorm import BatchNormalization
from fastnorm.keras.preset import policy_of

_WEIGHTS = ("gamma", "beta", "moving_mean", "moving_variance")


def from_keras(layer: Any) -> BatchNormalization:
    """Return the layer that computes what a ``keras.layers.BatchNormalization`` computes.

    The dtype of its results is that of the Keras layer. Initializers, regularizers and constraints stay behind.

    Raises
    ------
    TypeError
        If ``layer`` is another layer.
    ValueError
        If it does batch renormalization or is synchronized.

    Examples
    --------
    >>> import keras
    >>> layer = from_keras(keras.layers.BatchNormalization(momentum=0.9))
    >>> layer.momentum, layer.dtype
    (0.9, dtype('float32'))
    """
    from keras.layers import BatchNormalization as KerasLayer

    if not isinstance(layer, KerasLayer):
        raise TypeError(f"this takes a keras.layers.BatchNormalization, not {type(layer).__name__}")
    for unknown in ("renorm", "synchronized"):
        if getattr(layer, unknown, False):
            raise ValueError(f"this Keras layer has {unknown}=True, which fastnorm does not do; make it without")
    found = BatchNormalization(
        layer.axis,
        layer.momentum,
        layer.epsilon,
        layer.center,
        layer.scale,
        trainable=layer.trainable,
        dtype=_layout.float_dtype(layer.compute_dtype),
    )
    if layer.built:
        from keras.ops import convert_to_numpy

        weights = (getattr(layer, name) for name in _WEIGHTS)
        found.set_weights(convert_to_numpy(weight) for weight in weights if weight is not None)
    return found


def to_keras(layer: BatchNormalization, input_shape: Sequence[int | None] | None = None) -> Any:
    """Return the ``keras.layers.BatchNormalization`` that a layer is, built.

    Keras keeps the rank of ``input_shape``: unless given, that of the data that the layer saw, or the shortest that has
    the axis, such as ``(None, n)``. The weights are rounded to float32, the momentum is written as Keras means it, and
    the number of batches stays behind. A Keras layer trains on biased variances, whatever this one did.

    Raises
    ------
    NotAdaptedError
        If the layer has no parameters yet.
    ValueError
        If ``input_shape`` does not fit, the weights are too large for float32, or momentum is None, for which Keras has
        no word.

    Examples
    --------
    >>> to_keras(BatchNormalization(convention="torch").build((None, 3))).momentum
    0.9
    """
    from keras.layers import BatchNormalization as KerasLayer

    weights = layer.get_weights()
    features = weights[-1].size
    if (momentum := layer.momentum_of("keras")) is None:
        raise ValueError(
            "this layer has momentum=None (the average of all batches), which Keras does not have; "
            "set the weights of a BatchNormalization with a momentum and convert that"
        )
    if input_shape is None:
        input_shape = [None] * (layer._rank or max(layer.axis + 1, 1 - layer.axis))
        input_shape[layer.axis] = features
    layer.copy().build(input_shape)
    made = KerasLayer(
        axis=layer.axis,
        momentum=momentum,
        epsilon=layer.epsilon,
        center=layer.center,
        scale=layer.scale,
        trainable=layer.trainable,
        dtype=policy_of(layer.dtype),
    )
    made.build(tuple(input_shape))
    most = np.finfo(made.variable_dtype).max
    for name, values in zip((name for name in _WEIGHTS if getattr(made, name) is not None), weights, strict=True):
        if (np.abs(values) > most).any():
            raise ValueError(f"{name} is too large for {made.variable_dtype}; make the layer with dtype='float64'")
        getattr(made, name).assign(values)
    return made
