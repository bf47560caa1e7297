"""TensorFlow: `tf.nn.moments` in a `tf.function`, with or without weights."""

from __future__ import annotations

from typing import Any

from benchmarks.peers import Call, Given, Peer


def _tensorflow() -> Any:
    import tensorflow

    tensorflow.get_logger().setLevel("ERROR")  # each way compiles a function of its own, which it warns of
    return tensorflow


def fit(given: Given) -> Call:
    tf = _tensorflow()
    x = tf.constant(given.table)
    if given.weights is None:
        statistics = tf.function(lambda x: tf.nn.moments(x, axes=[0]))
        return lambda: [value.numpy() for value in statistics(x)]
    weights = tf.constant(given.weights[:, None], x.dtype)
    weighted = tf.function(lambda x, weights: tf.nn.weighted_moments(x, axes=[0], frequency_weights=weights))
    return lambda: [value.numpy() for value in weighted(x, weights)]


def transform_to_new(given: Given) -> Call:
    tf = _tensorflow()
    x = tf.constant(given.x)
    mean, variance = tf.nn.moments(x, axes=[0])
    std = tf.sqrt(variance)
    scores = tf.function(lambda x: (x - mean) / std)
    return lambda: scores(x)


def fit_transform_to_new(given: Given) -> Call:
    tf = _tensorflow()
    x = tf.constant(given.x)

    def work(x: Any) -> Any:
        mean, variance = tf.nn.moments(x, axes=[0])
        return (x - mean) / tf.sqrt(variance)

    scores = tf.function(work)
    return lambda: scores(x)


PEER = Peer(
    "TensorFlow",
    ("tensorflow-cpu", "tensorflow"),
    {
        "fit": fit,
        "fit with weights": fit,
        "transform to new": transform_to_new,
        "fit_transform to new": fit_transform_to_new,
    },
    dtypes=("float16", "float32", "float64"),
    note="The tensor, which is a copy, is made before the time starts",
)
