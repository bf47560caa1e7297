"""fastnorm itself, through the same interface as its peers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks import files
from benchmarks.peers import Call, Given, Peer


def _layer(given: Given) -> Any:
    from fastnorm import Normalization

    return Normalization(threads=given.threads)


def fit(given: Given) -> Call:
    """Adapt, up to a mean and a variance that can be read."""
    layer = _layer(given)

    def run() -> Any:
        layer.adapt(given.x, weights=given.weights)
        return layer.mean, layer.variance

    return run


def moments(given: Given) -> Call:
    """The exact sums alone: the statistics are computed when they are read."""
    from fastnorm import Moments

    class Lazy:
        def __init__(self) -> None:
            self.found = Moments.of(given.x, threads=given.threads)

        def __iter__(self) -> Any:
            yield from (self.found.mean, self.found.variance)

    return Lazy


def partial_fit(given: Given) -> Call:
    batches = given.batches(given.x)

    def run() -> Any:
        layer = _layer(given)
        for batch in batches:
            layer.update(batch)
        return layer.mean, layer.variance

    return run


def transform_in_place(given: Given) -> Call:
    layer = _layer(given).adapt(given.x)
    return lambda: layer.transform(given.target, out=given.target)


def transform_into(given: Given) -> Call:
    layer = _layer(given).adapt(given.x)
    return lambda: layer.transform(given.x, out=given.target)


def transform_to_new(given: Given) -> Call:
    layer = _layer(given).adapt(given.x)
    return lambda: layer.transform(given.x)


def inverse_in_place(given: Given) -> Call:
    layer = _layer(given).adapt(given.x)
    return lambda: layer.inverse_transform(given.target, out=given.target)


def fit_transform_in_place(given: Given) -> Call:
    layer = _layer(given)
    return lambda: layer.fit_transform(given.target, out=given.target)


def fit_then_transform_in_place(given: Given) -> Call:
    """In two calls, beside which one call must not cost much more."""
    layer = _layer(given)

    def run() -> Any:
        layer.adapt(given.target)
        return layer.transform(given.target, out=given.target)

    return run


def fit_transform_to_new(given: Given) -> Call:
    layer = _layer(given)
    return lambda: layer.fit_transform(given.x)


def transform_rows(given: Given) -> Call:
    """Row after row, in place."""
    layer, rows = _layer(given).adapt(given.x), given.batches(given.target)

    def run() -> Any:
        for row in rows:
            layer.transform(row, out=row)
        return given.target

    return run


def scaler_fit(given: Given) -> Call:
    """The drop-in for scikit-learn's class."""
    from fastnorm.sklearn import StandardScaler

    scaler = StandardScaler()

    def run() -> Any:
        scaler.fit(given.x)
        return scaler.mean_, scaler.var_

    return run


def keras_adapt(given: Given) -> Call:
    """A layer of Keras, adapted by fastnorm."""
    import keras

    import fastnorm.keras

    def run() -> Any:
        layer = fastnorm.keras.adapt(keras.layers.Normalization(), given.x)
        return keras.ops.convert_to_numpy(layer.adapt_mean), keras.ops.convert_to_numpy(layer.adapt_variance)

    return run


def _state(given: Given) -> tuple[Any, Path]:
    return _layer(given).adapt(given.x), files.folder(given) / "state.json"


def save(given: Given) -> Call:
    layer, path = _state(given)

    def run() -> Any:
        layer.save(path)
        return layer.mean, layer.variance

    return run


def load(given: Given) -> Call:
    from fastnorm import Normalization

    layer, path = _state(given)
    layer.save(path)

    def run() -> Any:
        loaded = Normalization.load(path)
        return loaded.mean, loaded.variance

    return run


def adapt_file(path: Path) -> Any:
    from fastnorm import adapt_files

    layer = adapt_files(path)
    return layer.mean, layer.variance


PEER = Peer(
    "fastnorm",
    ("fastnorm-numba",),
    {
        "fit": fit,
        "fit with weights": fit,
        "moments": moments,
        "partial_fit": partial_fit,
        "transform in place": transform_in_place,
        "transform into": transform_into,
        "transform to new": transform_to_new,
        "inverse in place": inverse_in_place,
        "fit_transform in place": fit_transform_in_place,
        "fit, then transform in place": fit_then_transform_in_place,
        "fit_transform to new": fit_transform_to_new,
        "transform row by row": transform_rows,
        "fit a StandardScaler": scaler_fit,
        "adapt a Keras layer": keras_adapt,
        "save": save,
        "load": load,
        **files.ways(adapt_file),
    },
    dtypes=("float16", "float32", "float64", *(f"{u}int{n}" for u in ("", "u") for n in (8, 16, 32, 64))),
    missing=True,
    tables=("pandas", "polars"),
)
