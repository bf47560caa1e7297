"""Real layers of Keras: to and from ours, and adapted in place."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnorm import _layout, normalization
from fastnorm.batchnorm import BatchNormalization
from fastnorm.keras import batchnorm
from fastnorm.keras.preset import FLOOR, Normalization, policy_of


def from_keras(layer: Any, *, count: int | None = None) -> Normalization | BatchNormalization:
    """Return the fastnorm layer of a ``keras.layers.Normalization`` or ``BatchNormalization``.

    Parameters
    ----------
    layer : keras.layers.Normalization or keras.layers.BatchNormalization
        Of batch normalization, parameters, moving averages and settings are taken; initializers, regularizers and
        constraints stay behind. Fixed statistics stay fixed. Learned ones become learned ones of ``layer.count`` rows,
        which can be updated. But Keras 3 does not write how many rows it saw: the count is 0 unless fastnorm set it.
        Since nothing can be added to statistics of an unknown number of rows, they then become fixed ones. A
        layer with the mean 0 and the variance 1 that Keras begins with was never adapted, and neither is the result.
    count : int, optional
        The number of rows that the layer learned from, where you know it better.

    Raises
    ------
    TypeError
        If ``layer`` is something else.
    ValueError
        If its statistics are not finite.

    Examples
    --------
    >>> import keras
    >>> from_keras(keras.layers.Normalization(mean=1.0, variance=4.0))([[3.0]])
    array([[1.]], dtype=float32)
    """
    if hasattr(layer, "moving_mean"):
        return batchnorm.from_keras(layer)
    _check(layer, "keras.layers.Normalization or BatchNormalization")
    settings = {"axis": layer.axis, "invert": layer.invert, "name": layer.name, "dtype": layer.compute_dtype}
    if layer.input_mean is not None:
        made = Normalization(mean=np.asarray(layer.input_mean), variance=np.asarray(layer.input_variance), **settings)
    elif not layer.built:
        made = Normalization(**settings)
    else:
        mean, variance, seen = (np.asarray(weight) for weight in layer.weights)
        rows = seen if count is None else count
        learns = rows or (not mean.any() and (variance == 1).all())  # what Keras starts from
        made = Normalization(**settings) if learns else Normalization(mean=mean, variance=variance, **settings)
        if rows:
            made.set_weights([mean, variance, rows])
    made.build(_input_shape(layer))
    return made


def to_keras(
    layer: normalization.Normalization | BatchNormalization, *, input_shape: Sequence[int | None] | None = None
) -> Any:
    """Return a layer of Keras, built and with weights, that does what ``layer`` does.

    Parameters
    ----------
    layer : fastnorm.Normalization or fastnorm.BatchNormalization
        A Normalization is adapted, or has a fixed mean and variance, and has no gamma and beta.
    input_shape : tuple, optional
        Shape of the input with its rows, such as ``(None, 10, 3)``: needed where `axis` counts from the front, unless
        ``layer`` is a `fastnorm.keras.Normalization`, which remembers the shape of its data.

    Returns
    -------
    keras.layers.Normalization or keras.layers.BatchNormalization
        Keras holds weights in float32 (float64 for results of float64) and takes no standard deviation below 1e-7. A
        constant feature that ``layer`` only centres gets the variance 1.

    Raises
    ------
    NotAdaptedError
        If the layer has not seen data.
    ValueError
        If Keras has no such layer, or cannot compute with the statistics in its dtype.

    Examples
    --------
    >>> to_keras(Normalization().adapt([[1.0], [3.0]])).count_params()
    3
    """
    import keras

    if isinstance(layer, BatchNormalization):
        return batchnorm.to_keras(layer, input_shape)
    if not isinstance(layer, normalization.Normalization):
        kind = f"{type(layer).__module__.split('.')[0]}'s {type(layer).__name__}"
        raise TypeError(f"layer is {kind}, but fastnorm.Normalization or BatchNormalization is wanted")
    if layer.columns is not None:
        raise ValueError(
            "this layer takes columns=[...] of a table by name, and Keras knows no names; export "
            "Normalization.from_moments(layer.moments), which has the chosen features alone"
        )
    if layer.affine:
        raise ValueError("Keras's Normalization has no gamma and beta; export a layer with affine=False")
    layer._check_adapted()
    name, dtype = getattr(layer, "_name", None), policy_of(layer.dtype)
    axis, variance = layer.axis, _floored(layer)
    fixed = layer._fixed is not None
    statistics = {"mean": layer.mean.tolist(), "variance": variance.tolist()} if fixed else {}
    made = keras.layers.Normalization(axis, invert=layer.invert, name=name, dtype=dtype, **statistics)
    if input_shape is not None or not fixed:
        made.build(input_shape or _shape_for(layer))
    if fixed:
        _check_range(layer.mean, variance, made)
    else:
        _store(made, layer.mean, variance, layer.count)
    return made


def adapt(layer: Any, data: Any, *, weights: Any = None) -> Any:
    """Adapt a ``keras.layers.Normalization`` in place, exactly and by all cores; returns the layer.

    Functions that models have compiled with the old statistics of the layer are compiled anew when next used.

    Parameters
    ----------
    layer : keras.layers.Normalization
        Built or not, in a model or not.
    data, weights
        As for `Normalization.adapt`.

    Raises
    ------
    TypeError, ValueError
        If ``layer`` is something else, or ``data`` are not fit to learn from; the layer is then as it was.

    Examples
    --------
    >>> import keras
    >>> layer = adapt(keras.layers.Normalization(), np.array([[1.0], [3.0]]))
    >>> float(layer.adapt_mean[0]), int(layer.count)
    (2.0, 2)
    """
    _check(layer)
    if layer.input_mean is not None:
        raise ValueError("cannot adapt: this layer has a fixed `mean` and `variance`; make one without to learn them")
    learned = Normalization(layer.axis)
    built = layer.built
    if built:
        learned.build(_input_shape(layer))
    learned.adapt(data, weights=weights)
    if not built:
        layer.build(learned._output_shape())
    _store(layer, learned.mean, learned.variance, learned.count)
    if built:
        _compile_anew(layer)
    return layer


def _check(layer: Any, wanted: str = "keras.layers.Normalization") -> None:
    if not all(hasattr(layer, name) for name in ("axis", "input_mean", "finalize_state")):
        kind = f"{type(layer).__module__.split('.')[0]}'s {type(layer).__name__}"
        raise TypeError(f"layer is {kind}, but {wanted} is wanted; pass that layer of your model")


def _input_shape(layer: Any) -> tuple[int | None, ...] | None:
    return layer.get_build_config()["input_shape"] if layer.built else None


def _floored(layer: normalization.Normalization) -> NDArray[np.float64]:
    """The variances with which Keras divides by what ``layer`` divides by."""
    if layer.constant == "epsilon":
        return np.maximum(layer.variance, layer.epsilon**2 if layer.epsilon > FLOOR else 0.0)
    still = layer.variance == 0 if layer._fixed is not None else layer.moments.constant
    return np.where(still, 1.0, layer.variance)


def _shape_for(layer: normalization.Normalization) -> tuple[int | None, ...]:
    """A shape to build a layer of Keras with: the smallest where it broadcasts to any larger one."""
    axes = (layer.axis,) if isinstance(layer.axis, int) else layer.axis or ()
    if any(axis >= 0 for axis in axes):
        if (known := getattr(layer, "_input_shape", None)) is None:
            raise ValueError(
                f"axis={layer.axis!r} counts from the front, so that the number of axes is unknown; "
                "pass input_shape=, such as (None, 10, 3)"
            )
        return tuple(known)
    shape: list[int | None] = [None] * (1 - min(axes, default=0))
    for axis, length in zip(sorted(axes), layer.mean.shape, strict=True):
        shape[axis] = length
    return tuple(shape)


def _store(layer: Any, mean: NDArray[np.float64], variance: NDArray[np.float64], rows: int) -> None:
    """Write the weights of a built layer, or raise ValueError if it cannot compute with them."""
    _check_range(mean, variance, layer)
    dtype = _layout.float_dtype(layer.adapt_mean.dtype)
    rounded = [values.astype(dtype) for values in (mean, variance)]
    most = np.iinfo(layer.count.dtype).max  # int32 but with TensorFlow
    layer.set_weights([*rounded, np.array(min(rows, most))])
    layer.finalize_state()


def _check_range(mean: NDArray[np.float64], variance: NDArray[np.float64], layer: Any) -> None:
    """Raise ValueError where a layer of Keras would take statistics for 0 or infinite: it rounds them before use."""
    for dtype in map(_layout.float_dtype, (layer.variable_dtype, layer.compute_dtype)):
        with np.errstate(over="ignore"):
            rounded = [values.astype(dtype).astype(np.float64) for values in (mean, variance)]
        large = any(np.isinf(values).any() for values in rounded)
        if large or ((rounded[1] == 0) & (variance > FLOOR**2)).any():
            raise ValueError(
                f"the statistics are too {'large' if large else 'small'} for {dtype}, in which this layer computes; "
                f"make it with dtype='float{32 if dtype.itemsize == 2 else 64}'"
            )


def _compile_anew(layer: Any) -> None:
    """Make models drop the functions that they compiled with statistics of ``layer`` as constants.

    NumPy compiles nothing, and torch's functions look at the layer. A layer does not know its models, so that all there
    are must be asked; those that refer to their class are found in half the time of a look at every object.
    """
    from keras import Model
    from keras.backend import backend

    if backend() in ("numpy", "torch"):
        return
    for model in gc.get_referrers(*_with_subclasses(Model)):
        if isinstance(model, Model) and any(found is layer for found in model._flatten_layers()):
            model.train_function = model.test_function = model.predict_function = None


def _with_subclasses(kind: type) -> set[type]:
    return {kind}.union(*map(_with_subclasses, kind.__subclasses__()))
