"""Hypothesis strategies: arrays of every dtype, magnitude, shape and memory layout.

Small arrays are drawn element by element, so that failures shrink; larger ones come from a
seed. Sizes crowd around the borders of the kernels: 8, 64 rows a block, 512 lanes a tile.
"""

import functools
import itertools
import math
import os

import hypothesis.extra.numpy as hnp
import ml_dtypes
import numpy as np
from hypothesis import strategies as st
from naive import reduced_axes

UNJITTED = os.environ.get("NUMBA_DISABLE_JIT") == "1"
ELEMENTS = 2_000 if UNJITTED else 20_000  # plain-Python kernels are about 1000x slower
FEATURES = 800  # each costs the oracle some long divisions

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOATS = (np.dtype("f8"), np.dtype("f4"), np.dtype("f2"), BFLOAT16)
INTEGERS = tuple(np.dtype(f"{kind}{size}") for kind in "iu" for size in (1, 2, 4, 8))
DTYPES = (*FLOATS, *INTEGERS, np.dtype(bool))

BORDERS = (8, 16, 64, 256)
AWKWARD = sorted(
    {1, 2, 3, 5}
    | {b * k + d for b in BORDERS for k in (1, 2, 3) for d in (-1, 0, 1)}
    | {64 * 256 + d for d in (-1, 0, 1)}  # one whole tile of narrow data
)

dtypes = st.sampled_from(DTYPES)
float_dtypes = st.sampled_from(FLOATS)
seeds = st.integers(0, 2**32 - 1)
missing = st.sampled_from([0, 0, 0, 0.01, 0.5, 1])
infinite = st.sampled_from([0, 0, 0, 0.02])
spreads = st.sampled_from(["small", "all", "ends"])


# Values


def ordinary(rng, shape, info):
    return rng.standard_normal(shape)


def offset(rng, shape, info):
    far = 1e9 if info.max > 1e9 else 1e3
    return far + 0.1 * rng.standard_normal(shape)


def subnormal(rng, shape, info):
    return rng.integers(-100, 101, shape) * float(info.smallest_subnormal)


def enormous(rng, shape, info):
    return rng.uniform(-1, 1, shape) * float(info.max)


def log_normal(rng, shape, info):
    return np.minimum(np.exp(3 * rng.standard_normal(shape)), float(info.max))


def constant(rng, shape, info):
    return np.full(shape, rng.choice([0.1, -1 / 3, 0.0, 1e4 + 0.7]))


def mostly_zero(rng, shape, info):
    return rng.standard_normal(shape) * (rng.random(shape) < 0.05)


def money(rng, shape, info):
    return np.round(rng.uniform(0, 10_000, shape), 2)


def wide(rng, shape, info):
    """Every exponent of the dtype equally often."""
    low, high = math.log2(float(info.smallest_subnormal)), math.log2(float(info.max))
    return rng.choice([-1, 1], shape) * np.exp2(rng.uniform(low, high, shape))


def window(rng, shape, info):
    """All bits of the significand set, exponents at both ends of a block's window."""
    below = rng.choice([0, 1, 18, 19, 20, 23, 24, 25], shape)
    return rng.choice([-1, 1], shape) * np.ldexp(1 - 2.0 ** -(info.nmant + 1), 3 - below)


def drift(rng, shape, info):
    """Each row is larger than the one before, so that no first guess of the range holds."""
    low, high = math.log2(float(info.smallest_subnormal)), math.log2(float(info.max)) - 4
    steps = np.exp2(np.linspace(low, high, math.prod(shape))).reshape(shape)
    return steps * rng.standard_normal(shape)


def columns(rng, shape, info):
    """Each last-axis feature has a magnitude of its own."""
    high = math.log2(float(info.max)) - 4
    return rng.standard_normal(shape) * np.exp2(rng.uniform(-high, high, shape[-1:]))


def bits(rng, shape, dtype):
    """Any bit pattern: all magnitudes, quiet and signalling NaN, infinities."""
    return rng.integers(0, 256, (*shape, dtype.itemsize), np.uint8).view(dtype)[..., 0]


magnitudes = st.sampled_from(
    [
        ordinary,
        offset,
        subnormal,
        enormous,
        log_normal,
        constant,
        mostly_zero,
        money,
        wide,
        window,
        drift,
        columns,
        bits,
        bits,
    ]
)


def seeded_floats(shape, dtype, magnitude, seed, missing_share, infinite_share):
    """Return floats of one magnitude with a share of NaN and of infinities."""
    rng = np.random.default_rng(seed)
    with np.errstate(all="ignore"):
        x = magnitude(rng, shape, ml_dtypes.finfo(dtype)).astype(dtype)
    x[rng.random(shape) < infinite_share] = np.inf
    x[rng.random(shape) < infinite_share / 2] = -np.inf
    x[rng.random(shape) < missing_share] = np.nan
    return x


def seeded_integers(shape, dtype, spread, seed):
    """Return integers of the whole range, its ends only, or near zero."""
    rng = np.random.default_rng(seed)
    if dtype.kind == "b":
        return rng.random(shape) < {"all": 0.5, "ends": 0.01, "small": 1}[spread]
    low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    if spread == "ends":
        return rng.choice(np.array([low, high, high], dtype), shape)
    if spread == "small":
        low, high = max(low, -100), 100
    return rng.integers(low, high, shape, dtype, endpoint=True)


@st.composite
def filled(draw, shape, dtype):
    """Draw an array of one shape and dtype in C order, of any magnitude."""
    if math.prod(shape) <= 30 and draw(st.booleans()):
        return draw(one_by_one(shape, dtype))
    if dtype.kind in "biu":
        return seeded_integers(shape, dtype, draw(spreads), draw(seeds))
    magnitude = draw(magnitudes)
    if magnitude is bits:
        return bits(np.random.default_rng(draw(seeds)), shape, dtype)
    return seeded_floats(shape, dtype, magnitude, draw(seeds), draw(missing), draw(infinite))


def one_by_one(shape, dtype):
    if dtype == BFLOAT16:
        return hnp.arrays(np.uint16, shape).map(lambda x: x.view(BFLOAT16))
    return hnp.arrays(dtype, shape)


# Shapes and axes


@functools.cache
def kept_axes(ndim):
    """None, one axis or several, counted from either end, in any order."""
    several = st.lists(st.integers(0, ndim - 1), min_size=1, max_size=ndim, unique=True)
    signed = several.flatmap(lambda axes: st.tuples(*(st.sampled_from([a, a - ndim]) for a in axes)))
    return st.just(-1) | st.integers(-ndim, ndim - 1) | st.none() | signed


@functools.cache
def sizes(smallest, largest):
    """Small sizes, and those around the borders of the kernels."""
    awkward = st.sampled_from([size for size in AWKWARD if size <= largest])
    return st.integers(smallest, min(9, largest)) | awkward


@st.composite
def shapes_and_axes(draw, with_rows=False):
    """Draw a shape of one to four axes and the axes kept; with_rows: some axis is reduced.

    Reduced axes may have size 0, kept ones may not.
    """
    ndim = draw(st.sampled_from([2, 2, 1, 3, 4]))
    axis = draw(kept_axes(ndim).filter(lambda a: reduced_axes(a, ndim) or not with_rows))
    shape, room, width = [1] * ndim, ELEMENTS, FEATURES
    for a in draw(st.permutations(range(ndim))):
        if a in reduced_axes(axis, ndim):
            shape[a] = draw(sizes(0, room))
        else:
            shape[a] = draw(sizes(1, min(room, width)))
            width //= shape[a]
        room //= max(shape[a], 1)
    return tuple(shape), axis


@st.composite
def cases(draw, dtypes=dtypes, with_rows=False):
    """Draw an array in any memory layout and the axes of it that are kept."""
    shape, axis = draw(shapes_and_axes(with_rows))
    dtype = draw(dtypes)
    x = draw(filled(shape, dtype))
    return draw(st.sampled_from(list(LAYOUTS.values())))(x), axis


@st.composite
def tables(draw, dtypes=dtypes):
    """Draw a 2-D array, rows by features."""
    rows = draw(sizes(0, ELEMENTS))
    width = draw(sizes(1, min(FEATURES, max(ELEMENTS // max(rows, 1), 1))))
    return draw(filled((rows, width), draw(dtypes)))


def rows_of(x, axis):
    """Return x with all its reduced axes as one first axis, and the axes kept by that."""
    reduced = reduced_axes(axis, x.ndim)
    kept = tuple(a for a in range(x.ndim) if a not in reduced)
    shape = (math.prod(x.shape[a] for a in reduced), *(x.shape[a] for a in kept))
    return x.transpose(reduced + kept).reshape(shape), tuple(range(1, len(shape))) or None


# Weights


def seeded_weights(shape, kind, seed):
    rng = np.random.default_rng(seed)
    if kind == "integers":
        return rng.integers(0, 5, shape)
    if kind == "uniform":
        return rng.random(shape)
    if kind == "float32":
        return rng.random(shape, np.float32)
    if kind == "zeros":
        return np.zeros(shape)
    with np.errstate(all="ignore"):
        return np.exp2(rng.uniform(-1080, 1023.9, shape)) * (rng.random(shape) < 0.9)


def weights(shape):
    """Weights of the reduced axes: integers, uniform, none at all, or any magnitude."""
    kinds = st.sampled_from(["integers", "uniform", "float32", "zeros", "wild"])
    return st.builds(seeded_weights, st.just(shape), kinds, seeds)


@st.composite
def weighted_cases(draw, dtypes=dtypes):
    """Draw an array, the axes kept, and a weight for each row."""
    x, axis = draw(cases(dtypes, with_rows=True))
    return x, axis, draw(weights(tuple(x.shape[a] for a in reduced_axes(axis, x.ndim))))


# Memory layouts: each returns an array equal to x that lies differently in memory


def poisoned(shape, dtype):
    """Return memory in which a value read by mistake shows."""
    return np.full(shape, 77 if dtype.kind in "biu" else np.nan, dtype)


def every_nth(x, step):
    space = poisoned([size * abs(step) for size in x.shape], x.dtype)
    view = space[(slice(None, None, step),) * x.ndim]
    view[...] = x
    return view


def sub_block(x):
    view = poisoned([size + 3 for size in x.shape], x.dtype)[(slice(1, -2),) * x.ndim]
    view[...] = x
    return view


def rolled_axes(x):
    order = (*range(1, x.ndim), 0)
    return np.ascontiguousarray(x.transpose(order)).transpose(np.argsort(order))


def read_only(x):
    view = x.copy().view()
    view.flags.writeable = False
    return view


def big_endian(x):
    if x.dtype == BFLOAT16:  # ml_dtypes has no swapped form
        return x.copy()
    return x.astype(x.dtype.newbyteorder(">"))


def unaligned(x):
    view = np.ndarray(x.shape, x.dtype, bytearray(x.nbytes + 1), offset=1)
    view[...] = x
    return view


def record_field(x):
    """Strides that are no multiple of the item size."""
    view = np.zeros(x.shape, [("other", "i1"), ("x", x.dtype)])["x"]
    view[...] = x
    return view


LAYOUTS = {
    "C": np.array,
    "F": np.asfortranarray,
    "every second": lambda x: every_nth(x, 2),
    "reversed": lambda x: every_nth(x, -1),
    "every third, reversed": lambda x: every_nth(x, -3),
    "rolled axes": rolled_axes,
    "sub-block": sub_block,
    "read-only": read_only,
    "big-endian": big_endian,
    "unaligned": unaligned,
    "record field": record_field,
}


# Ways to take rows apart


@st.composite
def cuts(draw, size):
    """Draw up to six places to cut an axis of this size, empty pieces included."""
    return sorted(draw(st.lists(st.integers(0, size), max_size=6)))


def pieces(x, places, axis=0):
    """Return x cut at these places along one axis."""
    bounds = itertools.pairwise([0, *places, x.shape[axis]])
    return [x[(slice(None),) * axis + (slice(*pair),)] for pair in bounds]
