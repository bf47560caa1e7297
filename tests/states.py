"""Layers of all kinds, to be saved, and what is to come back."""

import hashlib
import json

import ml_dtypes
import numpy as np
import strategies as arrays

from fastnorm import Normalization

NAMES = ("axis", "invert", "nan", "inf", "constant", "epsilon", "affine", "dtype", "feature_names")
X = np.random.default_rng(50).normal(5, 2, (12, 3))


def saved(layer, path):
    layer.save(path)
    return Normalization.load(path)


def state(layer):
    """All options and bits of a layer, whether it has learned something or not."""
    learned = [getattr(layer, name) for name in NAMES]
    try:
        learned += [array.tobytes() for array in layer.get_weights()]
        learned.append(layer.moments.to_bytes())
    except ValueError as error:  # not adapted, or fixed
        learned.append(str(error))
    return learned


def layer_of(x=X, names=None, **options):
    layer = Normalization(**options)
    if "mean" not in options and x is not None:
        layer.adapt(x)
    layer.feature_names = names
    return layer


# Round trips

LAYERS = {
    "plain": layer_of(),
    "not adapted": layer_of(None),
    "not adapted, affine": layer_of(None, affine=True),
    "no rows": Normalization().update(X[:0]),
    "one number": layer_of([[0.1]]),
    "all values missing": layer_of(np.full((3, 2), np.nan)),
    "weighted": Normalization().adapt(X, weights=np.linspace(0, 1, 12)),
    "inverting": layer_of(invert=True),
    "words": layer_of(nan="propagate", inf="omit", constant="epsilon", epsilon=0.1 + 0.2),
    "other words": layer_of(nan="raise", constant="raise", epsilon=0),
    "smallest epsilon": layer_of(epsilon=1e-300),
    "float16": layer_of(dtype="float16"),
    "bfloat16": layer_of(dtype=ml_dtypes.bfloat16),
    "float64": layer_of(dtype=np.float64),
    "no axis": layer_of(axis=None),
    "first axis": layer_of(axis=0),
    "two axes": layer_of(X.reshape(2, 3, 6), axis=(-1, 1)),
    "all axes": layer_of(axis=(0, 1)),
    "wide range": layer_of(arrays.wide(np.random.default_rng(1), (50, 3), np.finfo("f8"))),
    "affine": layer_of(affine=True),
    "fixed": layer_of(mean=[0.1, 1, 2], variance=[1 / 3, 4, 0]),
    "fixed scalar": layer_of(axis=None, mean=0.1, variance=2),
    "fixed, two axes": layer_of(axis=(1, 2), mean=np.ones((2, 3)), variance=np.ones((2, 3))),
    "fixed, affine": layer_of(mean=0, variance=1, affine=True),
    "names": layer_of(names=("größe", '"quoted"\n', "温度 🌡")),
    "empty names": layer_of(names=("", "", "")),
}
for _name in ("affine", "fixed, affine"):
    LAYERS[_name].gamma = 1 / 3
    LAYERS[_name].beta = -np.pi


def sealed(document):
    """Return a document with the checksum of docs/state.md."""
    canonical = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return document | {"sha256": hashlib.sha256(canonical.encode("ascii")).hexdigest()}
