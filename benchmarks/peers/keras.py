"""Keras: `Normalization.adapt` of an array, and the layer applied to one; batches are taken in float32 alone."""

from __future__ import annotations

from typing import Any

from benchmarks.peers import Call, Given, Peer


def _layer(given: Given) -> Any:
    import keras

    return keras.layers.Normalization(dtype=given.x.dtype.name if given.x.dtype.kind == "f" else None)


def _adapted(given: Given) -> Any:
    layer = _layer(given)
    layer.adapt(given.x)
    return layer


def fit(given: Given) -> Call:
    import keras

    def run() -> Any:
        layer = _adapted(given)
        return keras.ops.convert_to_numpy(layer.adapt_mean), keras.ops.convert_to_numpy(layer.adapt_variance)

    return run


def partial_fit(given: Given) -> Call:
    import keras

    batches = given.batches(given.x)

    def run() -> Any:
        layer = keras.layers.Normalization()
        layer.adapt(batches)
        return keras.ops.convert_to_numpy(layer.adapt_mean), keras.ops.convert_to_numpy(layer.adapt_variance)

    return run


def transform_to_new(given: Given) -> Call:
    layer = _adapted(given)
    return lambda: layer(given.x)


def fit_transform_to_new(given: Given) -> Call:
    return lambda: _adapted(given)(given.x)


PEER = Peer(
    "Keras",
    ("keras",),
    {
        "fit": fit,
        "adapt a Keras layer": fit,
        "partial_fit": partial_fit,
        "transform to new": transform_to_new,
        "fit_transform to new": fit_transform_to_new,
    },
    dtypes=("float16", "float32", "float64", "uint8", "int32"),
)
