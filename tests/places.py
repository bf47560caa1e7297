"""Layers on data that lie in memory in every way, so that writes beside them show."""

import functools
import math

import numpy as np
import pytest
import strategies as arrays
from hypothesis import strategies as st

from fastnorm import Normalization


def generator(seed=30):
    return np.random.default_rng(seed)


def bits(x):
    """Return the values of an array as bytes in C order, every NaN alike."""
    plain = np.array(x, x.dtype.newbyteorder("="), order="C")
    with np.errstate(invalid="ignore"):  # signalling NaN
        plain[np.isnan(plain)] = np.nan
    return plain.tobytes()


def assert_same_bits(expected, got):
    assert expected.shape == got.shape
    assert expected.dtype.newbyteorder("=") == got.dtype.newbyteorder("=")
    assert bits(expected) == bits(got)


# Ways to lay an array into bytes, so that writes outside of it show


def plainly(raw, shape, dtype):
    return np.ndarray(shape, dtype, raw, 64)


def column_major(raw, shape, dtype):
    return np.ndarray(shape, dtype, raw, 64, order="F")


def rolled(raw, shape, dtype):
    order = (*range(1, len(shape)), 0)
    return np.ndarray([shape[a] for a in order], dtype, raw, 64).transpose(np.argsort(order))


def every_nth(raw, shape, dtype, step):
    wide = np.ndarray([n * abs(step) for n in shape], dtype, raw, 64)
    return wide[(slice(None, None, step),) * len(shape)]


def rows_apart(raw, shape, dtype):
    return np.ndarray((*shape[:-1], shape[-1] + 5), dtype, raw, 64)[..., : shape[-1]]


def last_first(raw, shape, dtype):
    return np.ndarray(shape, dtype, raw, 64)[..., ::-1]


def inside(raw, shape, dtype):
    return np.ndarray([n + 3 for n in shape], dtype, raw, 64)[(slice(1, -2),) * len(shape)]


def big_endian(raw, shape, dtype):
    return np.ndarray(shape, dtype if dtype == arrays.BFLOAT16 else dtype.newbyteorder(">"), raw, 64)


def unaligned(raw, shape, dtype):
    return np.ndarray(shape, dtype, raw, 65)


def record_field(raw, shape, dtype):
    return np.ndarray(shape, [("other", "i1"), ("x", dtype)], raw, 64)["x"]


PLACES = {
    "C": plainly,
    "F": column_major,
    "rolled axes": rolled,
    "every second": functools.partial(every_nth, step=2),
    "reversed": functools.partial(every_nth, step=-1),
    "every third, reversed": functools.partial(every_nth, step=-3),
    "rows apart": rows_apart,
    "last axis reversed": last_first,
    "sub-block": inside,
    "big-endian": big_endian,
    "unaligned": unaligned,
    "record field": record_field,
}
by_place = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES.keys())


def memory(shape, dtype):
    """Return bytes with a pattern, enough for every one of the places."""
    room = math.prod(3 * n + 5 for n in shape) * (dtype.itemsize + 1)
    return np.resize(np.arange(251, dtype=np.uint8), 128 + room)


def filled_memory(place, values, dtype):
    """Return the same bytes with some values written at a place."""
    raw = memory(values.shape, dtype)
    with np.errstate(invalid="ignore"):
        place(raw, values.shape, dtype)[...] = values
    return raw


DIRECTIONS = ("transform", "inverse_transform")


@st.composite
def adapted(draw, dtypes=arrays.dtypes):
    """Draw data in C order, a layer adapted to them, and the name of a direction."""
    shape, axis = draw(arrays.shapes_and_axes(with_rows=True).filter(lambda s: math.prod(s[0])))
    x = draw(arrays.filled(shape, draw(dtypes)))
    affine = draw(st.booleans())
    layer = Normalization(axis, inf="omit", affine=affine).adapt(x)
    if affine:
        layer.gamma = 2 + generator().random(layer.gamma.shape)
        layer.beta = generator().random(layer.beta.shape)
    return x, layer, draw(st.sampled_from(DIRECTIONS))


def as_dtype(layer, dtype):
    """Return the layer with another dtype of its results."""
    twin = Normalization(layer.axis, inf="omit", affine=layer.affine, dtype=dtype)
    twin.merge(layer)
    if layer.affine:
        twin.gamma, twin.beta = layer.gamma, layer.beta
    return twin
