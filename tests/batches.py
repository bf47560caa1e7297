"""Batches to train on."""

import math
from fractions import Fraction

import numpy as np
import pytest

from fastnorm import BatchNormalization

X = np.random.default_rng(3).normal(5, 10, (20, 3))
BOTH = pytest.mark.parametrize("convention", ["keras", "torch"])


def trained(convention="keras", **settings):
    """A layer that has seen three batches and has gamma and beta of its own."""
    layer = BatchNormalization(convention=convention, **settings)
    for batch in np.split(X, (5, 12)):
        layer(batch, training=True)
    for name, values in (("gamma", [2.0, -0.5, 0.0]), ("beta", [1.0, 0.0, 1e3])):
        if settings.get({"gamma": "scale", "beta": "center"}[name], True):
            setattr(layer, name, values)
    return layer


def state_of(layer):
    return (layer._shape, layer.num_batches_tracked, layer.trainable, repr(layer)) + (
        () if layer._shape is None else tuple(values.tobytes() for values in layer.get_weights())
    )


def root(value):
    """The square root of a Fraction to some 100 digits."""
    return Fraction(math.isqrt(math.floor(value * 2**4000)), 2**2000)
