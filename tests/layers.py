"""Data and doubles for layers, and what they have learned."""

import numpy as np

SEEN = "not .*seen any data.*adapt|not .*adapted"
FIXED = "fixed"


def generator(seed=40):
    return np.random.default_rng(seed)


def table(rows=12, width=3, seed=1):
    return generator(seed).normal(5, 2, (rows, width))


class Tensor:
    """What torch, JAX and pandas hand out: no ndarray, but it has `__array__` and iterates."""

    def __init__(self, x):
        self.values = np.asarray(x)

    @property
    def shape(self):
        return self.values.shape

    def __len__(self):
        return len(self.values)

    def __iter__(self):
        return map(Tensor, self.values)

    def __array__(self, dtype=None, copy=None):
        return self.values if dtype is None else self.values.astype(dtype)


class Loader:
    """Batches that can be read again and again, as a data loader gives them."""

    def __init__(self, *batches):
        self.batches = batches

    def __iter__(self):
        return iter(self.batches)


def state(layer):
    """All bits of what a layer has learned."""
    weights = [array.tobytes() for array in layer.get_weights()]
    return [layer.moments.to_bytes(), *weights]


def assert_unchanged(layer, before):
    assert before == state(layer)


# adapt

WHOLE = table()
HALVES = (WHOLE[:5], WHOLE[5:])
LABELS = (np.arange(5), np.arange(7))
PAIRS = list(zip(HALVES, LABELS, strict=True))


# nan, inf, constant, epsilon

HOLES = np.array([[1.0, 5.0, 2.0], [3.0, np.nan, 4.0], [8.0, 7.0, 9.0]])
