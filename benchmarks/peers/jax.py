"""JAX: `mean` and `var` in one compiled function, with 64 bits where the data have them."""

from __future__ import annotations

from typing import Any

from benchmarks.peers import Call, Given, Peer


def _array(x: Any) -> Any:
    import jax

    jax.config.update("jax_enable_x64", True)
    return jax.numpy.asarray(x)


def _statistics(x: Any) -> Any:
    return x.mean(axis=0), x.var(axis=0)


def fit(given: Given) -> Call:
    import jax

    x, work = _array(given.table), jax.jit(_statistics)
    return lambda: jax.block_until_ready(work(x))


def transform_to_new(given: Given) -> Call:
    import jax

    x = _array(given.x)
    mean, variance = jax.jit(_statistics)(x)
    std, work = jax.numpy.sqrt(variance), jax.jit(lambda x, mean, std: (x - mean) / std)
    return lambda: jax.block_until_ready(work(x, mean, std))


def fit_transform_to_new(given: Given) -> Call:
    import jax

    def scores(x: Any) -> Any:
        mean, variance = _statistics(x)
        return (x - mean) / jax.numpy.sqrt(variance)

    x, work = _array(given.x), jax.jit(scores)
    return lambda: jax.block_until_ready(work(x))


PEER = Peer(
    "JAX",
    ("jax",),
    {"fit": fit, "transform to new": transform_to_new, "fit_transform to new": fit_transform_to_new},
    dtypes=("float16", "float32", "float64"),
)
