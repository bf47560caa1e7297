"""Laws of transform and its inverse: exact z-scores to the last place, equal bits everywhere."""

import functools
import itertools
import math
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
from fractions import Fraction

import ml_dtypes
import naive
import numpy as np
import pytest
import strategies as arrays
from hypothesis import given, settings
from hypothesis import strategies as st

from fastnorm import Normalization

ROOT_BITS = 200  # of a square root that stands for the exact one
UNIT = Fraction(1, 2**52)  # one unit in the last place of a float64, relative to its power of two
SMALLEST = Fraction(5e-324)
LOOKED_AT = 40  # elements of an array that are compared with exact rational numbers
GUARD = 60  # seconds until a hang becomes a failure
FEW = settings(max_examples=max(4, settings().max_examples // 12))  # a law of many parameters
WIDE_INTEGERS = ("int32", "int64", "uint32", "uint64")


def generator(seed=30):
    return np.random.default_rng(seed)


# The oracle: z-scores as Fractions


def square_root(value):
    """Return a Fraction that differs from the square root by less than one part in 2**199."""
    if not value:
        return Fraction(0)
    shift = ROOT_BITS - naive.floor_log2(value) // 2
    return math.isqrt(math.floor(value * naive.power_of_two(2 * shift))) / naive.power_of_two(shift)


@functools.lru_cache(maxsize=4096)
def divisor(feature, epsilon=None):
    """Return what a feature is divided by: 1 for a constant one, or Keras's floor."""
    std = square_root(feature.variance)
    return max(std, Fraction(epsilon)) if epsilon else std or Fraction(1)


def spacing(value, dtype):
    """Return the distance of the floats of a dtype around a Fraction."""
    info = ml_dtypes.finfo(dtype)
    smallest = int(math.log2(float(info.smallest_subnormal)))
    return naive.power_of_two(max(naive.floor_log2(abs(value)) - info.nmant, smallest))


def exact(value):
    """Return a finite element as a Fraction, whatever its dtype."""
    return Fraction(value.item() if value.dtype.kind in "biu" else float(value))


def with_features(x, axis, expected):
    """Every element of x with its flat position and the moments of its feature."""
    numbers = np.arange(len(expected.features)).reshape(expected.shape)
    numbers = np.expand_dims(numbers, naive.reduced_axes(axis, x.ndim))
    numbers = np.broadcast_to(numbers, x.shape).ravel()
    flat = np.array(x).ravel()
    places = range(flat.size)
    if flat.size > LOOKED_AT:
        places = generator(flat.size).choice(flat.size, LOOKED_AT, replace=False)
    return [(place, flat[place], expected.features[numbers[place]]) for place in places]


def assert_z_scores(y, x, axis, expected, ulps, epsilon=None):
    """Every y is within some units in the last place of the exact (x - mean) / std."""
    assert y.shape == x.shape
    got = np.array(y).ravel()
    for place, value, feature in with_features(x, axis, expected):
        result = float(got[place])
        number = float(value)  # np.isnan warns of a signalling NaN in bfloat16
        if not feature.count or math.isnan(number):
            assert math.isnan(result), (value, result)
        elif math.isinf(number):
            assert result == number
        else:
            z = (exact(value) - feature.mean) / divisor(feature, epsilon)
            assert_near(result, z, ulps * spacing(z, y.dtype), y.dtype)


def assert_near(result, value, most, dtype):
    """A result is at most so far from a Fraction; infinity stands for all beyond the largest."""
    assert not math.isnan(result)
    if math.isinf(result):
        largest = Fraction(float(ml_dtypes.finfo(dtype).max))
        sign = 1 if result > 0 else -1
        result = sign * (largest + spacing(largest, dtype))
        if value * sign > result * sign:
            return
    assert abs(Fraction(result) - value) <= most, (result, naive.nearest(value), dtype)


def allowed(dtype):
    """Half a unit and a little for what is rounded from float64, 4 units for float64 itself."""
    return 4 if dtype == np.float64 else Fraction("0.51")


def result_dtype(dtype):
    native = dtype.newbyteorder("=")
    if native in arrays.FLOATS:
        return native
    return np.dtype("f8" if dtype.name in WIDE_INTEGERS else "f4")


def check_z_scores(x, axis=-1, other=None, **options):
    """Adapt to x, transform x or another array, and compare with the oracle."""
    layer = Normalization(axis, inf="omit", **options).adapt(x)
    data = x if other is None else other
    y = layer.transform(data)
    assert y.dtype == result_dtype(data.dtype)
    assert_z_scores(y, data, axis, naive.moments(x, axis), allowed(y.dtype))


# Exactness

MAGNITUDES = [
    arrays.ordinary,
    arrays.offset,
    arrays.subnormal,
    arrays.enormous,
    arrays.log_normal,
    arrays.constant,
    arrays.mostly_zero,
    arrays.money,
    arrays.wide,
    arrays.window,
    arrays.drift,
    arrays.columns,
]
shapes = st.tuples(st.sampled_from([1, 2, 3, 7, 64, 65, 257]), st.integers(1, 5))
by_magnitude = pytest.mark.parametrize("magnitude", MAGNITUDES, ids=lambda f: f.__name__)
by_float = pytest.mark.parametrize("dtype", arrays.FLOATS, ids=str)


@by_magnitude
@by_float
@FEW
@given(shapes, arrays.seeds, arrays.missing)
def test_z_scores_of_floats_are_exact(magnitude, dtype, shape, seed, missing):
    """Data of any magnitude get their true z-scores, to the last place of the dtype."""
    check_z_scores(arrays.seeded_floats(shape, dtype, magnitude, seed, missing, 0))


@pytest.mark.parametrize("std", [49.0, 93.0, 98.0])
def test_float32_results_do_not_depend_on_byte_order_or_layout(std):
    """Values whose z-score lies between two floats: where they are divided and multiplied, ties part."""
    layer = Normalization().adapt([[-std], [std]])
    between = np.arange(2**24 - 60_000, 2**24) / 2**24 - 2.0**-25
    x = (between * std)[:, None]
    want = layer.transform(x, out=np.empty(x.shape, "f4"))
    for out in (np.empty(x.shape, ">f4"), np.empty((2 * len(x), 3), "f4")[::2, 1:2], np.empty(x.shape[::-1], "f4").T):
        np.testing.assert_array_equal(layer.transform(x, out=out).astype("f4"), want)


@pytest.mark.parametrize("dtype", [*arrays.INTEGERS, np.dtype(bool)], ids=str)
@FEW
@given(shapes, arrays.spreads, arrays.seeds)
def test_z_scores_of_integers_are_exact(dtype, shape, spread, seed):
    """Integers of any width get their true z-scores, though float64 does not hold them all."""
    check_z_scores(arrays.seeded_integers(shape, dtype, spread, seed))


@given(arrays.cases(with_rows=True))
def test_z_scores_are_exact_for_any_array_and_axis(case):
    """Any layout, dtype, shape and kept axes give the z-scores of the oracle."""
    x, axis = case
    if x.size:
        check_z_scores(x, axis)


@given(arrays.tables(), arrays.dtypes, st.data())
def test_z_scores_of_other_data_are_exact(x, dtype, data):
    """Data that the layer has not seen, of another dtype and magnitude, get true z-scores too."""
    if len(x):
        x = x[:, :3]
        other = data.draw(arrays.filled((5, x.shape[1]), dtype))
        check_z_scores(x, other=other)


@FEW
@given(arrays.seeds, st.integers(-1070, 1020))
def test_z_scores_of_far_data_are_exact(seed, power):
    """Rows near the largest double get true z-scores, whatever the spread of the data seen."""
    x = np.ldexp(generator(seed).standard_normal((9, 2)), power)
    check_z_scores(x, other=np.array([[1.7e308, -1.7e308], [-1e308, 1e308], [1e300, 0]]))


BILLION = 1e9 + generator().standard_normal((300, 2))
MOMENT = 1_700_000_000_000_000_000  # unix time in ns
TIMES = MOMENT + generator().normal(0, 1e9, (300, 2)).astype("i8")
MICROSECONDS = MOMENT + generator().integers(-1000, 1001, (300, 2))
FAR = {
    "billion": BILLION,
    "time in ns": TIMES,
    "time in ns, float64": TIMES.astype("f8"),
    "time in ns, spread of 1 µs": MICROSECONDS,
    "top of uint64": (2**64 - 1 - generator().integers(0, 9, (300, 2), "u8")).astype("u8"),
    "middle of uint64": (2**63 + generator().integers(-9, 9, (300, 2)).astype("u8")).astype("u8"),
    "both ends of uint64": np.array([[0, 1], [2**64 - 1, 2**64 - 2], [2**63, 2**53 + 1]], "u8"),
    "both ends of int64": np.array([[-(2**63), -1], [2**63 - 1, 2**62 + 1], [0, 2]], "i8"),
    "bottom of int64": (-(2**63) + generator().integers(0, 9, (300, 2))).astype("i8"),
    "around 2**31": 2**31 + generator().integers(-3, 3, (300, 2)),
    "around 2**53": 2**53 + generator().integers(-3, 3, (300, 2)),
    "1e9 in float32": BILLION.astype("f4"),
    "1e5 in float32": (1e5 + generator().standard_normal((300, 2))).astype("f4"),
    "one ulp apart": np.array([[1.0, 0.1], [1 + 2**-52, math.nextafter(0.1, 1)], [1, 0.1]]),
    "mean between two doubles": np.array([[1.0], [1 + 2**-52]]),
    "first above 2**1023": np.array([[-1.7e308], [1.7e308], [1.7e308], *[[1.0]] * 1000]),
}
by_far = pytest.mark.parametrize("x", FAR.values(), ids=FAR.keys())


@by_far
@pytest.mark.parametrize("layout", ["C", "F", "every second", "big-endian"])
def test_z_scores_far_from_zero_are_exact(x, layout):
    """Times, prices and identifiers keep all digits of their z-scores, in any layout."""
    check_z_scores(arrays.LAYOUTS[layout](x))


@by_far
def test_z_scores_far_from_zero_are_exact_with_affine(x):
    """The trainable pair takes the same z-scores, and leaves them alone at 1 and 0."""
    check_z_scores(x, affine=True)
    plain, scaled = Normalization().adapt(x), Normalization(affine=True).adapt(x)
    np.testing.assert_array_equal(plain.transform(x), scaled.transform(x))


@pytest.mark.parametrize("std", [1e-9, 1e-7, 1e-5, 0])
@pytest.mark.parametrize("epsilon", [1e-7, 1e-3])
def test_the_floor_of_keras_is_divided_by(std, epsilon):
    """With constant="epsilon" the divisor is max(std, epsilon), everything else exact."""
    x = generator().normal(0.3, std, (50, 3))
    y = Normalization(constant="epsilon", epsilon=epsilon).adapt(x).transform(x)
    assert_z_scores(y, x, -1, naive.moments(x), 4, epsilon)


@given(arrays.tables(arrays.float_dtypes), arrays.seeds)
def test_features_do_not_depend_on_each_other(x, seed):
    """A column gets the same bits alone as beside columns of any other magnitude."""
    x = x[:, : 1 + seed % 4]
    if len(x):
        whole = Normalization(inf="omit").adapt(x).transform(x)
        for j in range(x.shape[1]):
            column = x[:, j : j + 1]
            alone = Normalization(inf="omit").adapt(column).transform(column)
            assert_same_bits(alone, whole[:, j : j + 1])


@pytest.mark.parametrize("seen", [arrays.subnormal, arrays.ordinary, arrays.wide])
def test_a_huge_feature_leaves_its_neighbour_alone(seen):
    """Scaling against overflow in one column takes no bit from another."""
    info = np.finfo("f8")
    near = np.ldexp(arrays.ordinary(generator(), (50, 1), info), -1021)
    if seen is not arrays.ordinary:
        near = seen(generator(), (50, 1), info)
    huge = arrays.enormous(generator(), (50, 1), info)
    x = np.hstack([huge, near])
    together = Normalization().adapt(x).transform(x)
    assert_same_bits(Normalization().adapt(near).transform(near), together[:, 1:])
    assert_same_bits(Normalization().adapt(huge).transform(huge), together[:, :1])


# The inverse


def restored(z, feature):
    """Return the exact z * std + mean, and how far a float64 computation may be from it.

    std and the product are rounded (one unit together), then the sum with the low part of the
    mean (half a unit of the product) and that with the mean (half a unit of the result).
    """
    product = z * divisor(feature)
    value = product + feature.mean
    underflow = SMALLEST * (3 + abs(z))
    return value, UNIT * (2 * abs(product) + abs(value)) + underflow


@given(arrays.cases(arrays.float_dtypes, with_rows=True), arrays.seeds)
def test_the_inverse_is_exact(case, seed):
    """inverse_transform gives z * std + mean, computed in float64 and rounded once."""
    x, axis = case
    if not x.size:
        return
    layer = Normalization(axis, inf="omit").adapt(x)
    z = generator(seed).normal(0, 3, x.shape).astype(x.dtype)
    back = layer.inverse_transform(z)
    assert back.dtype == result_dtype(z.dtype)
    assert_restored(back, z, axis, naive.moments(x, axis))


def assert_restored(back, z, axis, expected):
    got = back.ravel()
    for place, value, feature in with_features(z, axis, expected):
        if not feature.count:
            assert np.isnan(got[place])
            continue
        true, most = restored(exact(value), feature)
        if back.dtype != np.float64:
            most += spacing(true, back.dtype) / 2
        assert_near(float(got[place]), true, most, back.dtype)


@by_magnitude
@FEW
@given(shapes, arrays.seeds)
def test_the_inverse_brings_the_data_back(magnitude, shape, seed):
    """float64 data come back within 6 units of their distance from the mean, 1 of their own."""
    x = arrays.seeded_floats(shape, np.dtype("f8"), magnitude, seed, 0, 0)
    layer = Normalization().adapt(x)
    assert_brought_back(layer.inverse_transform(layer.transform(x)), x)


@by_far
def test_the_inverse_brings_far_data_back(x):
    """The same for times and other data with far means, in float64."""
    layer = Normalization(dtype="f8").adapt(x)
    assert_brought_back(layer.inverse_transform(layer.transform(x)), x)


def assert_brought_back(back, x):
    """4 units of z, 1.5 of its product with std, half a unit of the result; times std, not of 1."""
    for place, value, feature in with_features(x, -1, naive.moments(x)):
        true = exact(value)
        most = UNIT * (6 * abs(true - feature.mean) + abs(true))
        underflow = 8 * SMALLEST * (1 + divisor(feature))
        assert_near(float(back.ravel()[place]), true, most + underflow, np.dtype("f8"))


@given(arrays.cases(with_rows=True), arrays.seeds)
def test_invert_swaps_the_directions(case, seed):
    """The transform of an inverting layer is the inverse of a plain one, and vice versa."""
    x, axis = case
    if not x.size:
        return
    plain = Normalization(axis, inf="omit").adapt(x)
    swapped = Normalization(axis, inf="omit", invert=True).adapt(x)
    z = generator(seed).normal(size=x.shape).astype(result_dtype(x.dtype))
    assert_same_bits(plain.inverse_transform(z), swapped.transform(z))
    assert_same_bits(plain.inverse_transform(z), swapped(z))
    assert_same_bits(plain.transform(x), swapped.inverse_transform(x))
    assert_same_bits(plain.transform(z), swapped.inverse_transform(z.copy(), out=z))


# The trainable pair


@by_float
@FEW
@given(shapes, arrays.seeds)
def test_the_pair_scales_and_shifts(dtype, shape, seed):
    """y is gamma * z + beta, with two more roundings in float64 and one to the dtype."""
    x = generator(seed).normal(5, 3, shape).astype(dtype)
    layer, gamma, beta = with_pair(x, seed)
    y = layer.transform(x)
    for place, value, feature in with_features(x, -1, naive.moments(x)):
        j = place % shape[1]
        z = (exact(value) - feature.mean) / divisor(feature)
        true = Fraction(gamma[j]) * z + Fraction(beta[j])
        most = UNIT * (5 * abs(Fraction(gamma[j]) * z) + abs(true))
        if dtype != np.float64:
            most += spacing(true, dtype) / 2
        assert_near(float(y.ravel()[place]), true, most, y.dtype)


@FEW
@given(shapes, arrays.seeds)
def test_the_inverse_undoes_the_pair(shape, seed):
    """The inverse subtracts beta and divides by gamma first."""
    x = generator(seed).normal(5, 3, shape)
    layer, gamma, beta = with_pair(x, seed)
    y = layer.transform(x)
    most = 1e-15 * (10 * abs(y) + 10 * abs(beta)) / abs(gamma) * layer.std + 1e-14
    assert (abs(layer.inverse_transform(y) - x) <= most).all()
    assert layer.inverse_transform(y, out=y) is y
    assert (abs(y - x) <= most).all()


def with_pair(x, seed=1):
    layer = Normalization(affine=True, inf="omit").adapt(x)
    gamma = generator(seed + 1).uniform(0.5, 4, x.shape[-1]) * (-1) ** seed
    beta = generator(seed + 2).normal(size=x.shape[-1])
    layer.gamma, layer.beta = gamma, beta
    return layer, gamma, beta


# Equal bits


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


@given(adapted())
def test_any_layout_gives_the_same_bits(case):
    """Order, strides, byte order and alignment of x change no bit of the result, nor x."""
    x, layer, direction = case
    apply = getattr(layer, direction)
    expected = apply(x)
    for place in PLACES.values():
        raw = filled_memory(place, x, x.dtype)
        before = raw.tobytes()
        assert_same_bits(expected, apply(place(raw, x.shape, x.dtype)))
        assert before == raw.tobytes()
    assert_same_bits(expected, apply(arrays.read_only(x)))


@given(adapted(), st.integers(1, 4))
def test_a_broadcast_array_gives_every_repetition(case, times):
    """A stride of 0 means what the written-out array means."""
    x, layer, direction = case
    apply = getattr(layer, direction)
    repeated = np.broadcast_to(x[:1], (times, *x.shape[1:]))
    if layer.axis is None or 0 not in naive.kept_axes(layer.axis, x.ndim):
        assert_same_bits(apply(repeated.copy()), apply(repeated))
    single = np.broadcast_to(x.ravel()[0], x.shape)
    assert_same_bits(apply(single.copy()), apply(single))


@given(adapted(), arrays.float_dtypes, st.sampled_from(list(PLACES)))
def test_any_destination_gets_the_same_bits(case, dtype, name):
    """Out may have any layout and float dtype; nothing around it is touched, nor x."""
    x, layer, direction = case
    before = x.tobytes()
    expected = getattr(as_dtype(layer, dtype), direction)(x)
    raw = memory(x.shape, dtype)
    out = PLACES[name](raw, x.shape, dtype)
    assert getattr(layer, direction)(x, out=out) is out
    assert_same_bits(expected, out)
    assert raw.tobytes() == filled_memory(PLACES[name], expected, dtype).tobytes()
    assert before == x.tobytes()


@by_place
@FEW
@given(adapted(arrays.float_dtypes))
def test_in_place_gives_the_same_bits(place, case):
    """Out may be x in any layout; nothing around it is touched."""
    x, layer, direction = case
    expected = getattr(layer, direction)(x)
    raw = filled_memory(place, x, x.dtype)
    view = place(raw, x.shape, x.dtype)
    assert getattr(layer, direction)(view, out=view) is view
    assert_same_bits(expected, view)
    assert raw.tobytes() == filled_memory(place, expected, x.dtype).tobytes()


@by_place
@FEW
@given(adapted(arrays.float_dtypes))
def test_a_second_view_of_x_works_in_place(place, case):
    """Out may be another array object on the same elements."""
    x, layer, direction = case
    expected = getattr(layer, direction)(x)
    raw = filled_memory(place, x, x.dtype)
    view, same = (place(raw, x.shape, x.dtype) for _ in range(2))
    getattr(layer, direction)(view, out=same)
    assert_same_bits(expected, view)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i8", "u1"])
@pytest.mark.parametrize("shape", [(40_001, 3), (9_000, 17), (300, 1_100), (20, 5_001)])
def test_any_number_of_threads_gives_the_same_bits(shape, dtype, direction):
    """One, two or seven threads share the work and leave every bit alone, in any layout."""
    if arrays.UNJITTED:
        shape = (shape[0] % 97 + 5, shape[1] % 29)
    x = (50 + 20 * generator().standard_normal(shape)).astype(dtype)
    layer = Normalization().adapt(x)
    one, two, seven = (Normalization(threads=n).merge(layer) for n in (1, 2, 7))
    for place in (plainly, column_major, rows_apart, functools.partial(every_nth, step=2)):
        view = place(filled_memory(place, x, x.dtype), x.shape, x.dtype)
        expected = getattr(one, direction)(view).tobytes()
        for other in (two, seven):
            assert expected == getattr(other, direction)(view).tobytes()


@given(adapted(), st.data())
def test_a_result_depends_on_its_own_row_alone(case, data):
    """Any rows, together or alone, in any order, get the results that they get in the whole."""
    x, layer, direction = case
    apply = getattr(layer, direction)
    along = naive.reduced_axes(layer.axis, x.ndim)[0]
    chosen = data.draw(st.lists(st.integers(0, x.shape[along] - 1), max_size=20))
    expected = np.take(apply(x), chosen, along)
    assert_same_bits(expected, apply(np.take(x, chosen, along)))


@given(arrays.tables(arrays.float_dtypes))
def test_one_row_gets_what_the_whole_gets(x):
    """A single row, also in place as a server does it, has the bits of the batch."""
    if not len(x):
        return
    layer = Normalization(inf="omit").adapt(x)
    whole = layer.transform(x)
    for i in {0, len(x) // 2, len(x) - 1}:
        row = x[i : i + 1].copy()
        assert_same_bits(whole[i : i + 1], layer.transform(row))
        assert_same_bits(whole[i], layer.transform(x[i]))
        assert layer.transform(row, out=row) is row
        assert_same_bits(whole[i : i + 1], row)


# Missing values, infinities, masks, no rows


@given(adapted(arrays.float_dtypes), arrays.seeds, st.sampled_from(list(PLACES)))
def test_nan_and_infinities_pass(case, seed, name):
    """NaN stays NaN, an infinity gives an infinity, and all other elements keep their bits."""
    x, layer, direction = case
    with np.errstate(invalid="ignore"):  # signalling NaN
        clean = np.where(np.isfinite(x), x, x.dtype.type(1))
    kept = generator(seed).choice([0, 1, 2, 3], x.shape, p=[0.7, 0.1, 0.1, 0.1])
    values = np.array([0, np.nan, np.inf, -np.inf], x.dtype)
    poisoned = np.where(kept == 0, clean, values[kept])
    raw = filled_memory(PLACES[name], poisoned, x.dtype)
    got = getattr(layer, direction)(PLACES[name](raw, x.shape, x.dtype))
    dead = np.isnan(getattr(layer, direction)(np.zeros_like(x)))  # features without a value
    expected = np.where(kept == 0, getattr(layer, direction)(clean), values[kept])
    expected[dead] = np.nan
    assert_same_bits(expected, got)


def test_a_feature_that_is_to_propagate_is_nan_throughout():
    """nan="propagate" makes a feature with a NaN NaN, and leaves the others alone."""
    x = generator().normal(size=(9, 3))
    clean = Normalization().adapt(x).transform(x)
    x[4, 1] = np.nan
    y = Normalization(nan="propagate").adapt(x).transform(x)
    assert np.isnan(y[:, 1]).all()
    np.testing.assert_array_equal(clean[:, [0, 2]], y[:, [0, 2]])


@given(adapted(), st.integers(0, 3))
def test_no_rows_give_no_rows(case, extra):
    """An array without rows keeps its shape and gets the dtype of the results."""
    x, layer, direction = case
    along = naive.reduced_axes(layer.axis, x.ndim)[0]
    nothing = x[(slice(None),) * along + (slice(0),)]
    got = getattr(layer, direction)(nothing)
    assert (got.shape, got.dtype) == (nothing.shape, result_dtype(x.dtype))
    out = np.empty(nothing.shape, "f4")
    assert getattr(layer, direction)(nothing, out=out) is out


@given(adapted(), arrays.seeds)
def test_a_masked_array_gives_a_masked_array(case, seed):
    """The mask stays, what is not masked gets the bits of a plain array, and x stays as it was."""
    x, layer, direction = case
    mask = generator(seed).random(x.shape) < 0.3
    masked = np.ma.array(x.copy(), mask=mask.copy())
    got = getattr(layer, direction)(masked)
    assert isinstance(got, np.ma.MaskedArray)
    np.testing.assert_array_equal(mask, np.ma.getmaskarray(got))
    plain = getattr(layer, direction)(x)
    assert_same_bits(plain[~mask], np.ma.getdata(got)[~mask])
    got[...] = 0  # the mask of the result is its own
    np.testing.assert_array_equal(mask, np.ma.getmaskarray(masked))
    assert x.tobytes() == np.ma.getdata(masked).tobytes()


def test_a_masked_array_works_in_place():
    """Out may be a masked x: its mask stays and its values are transformed."""
    x = np.ma.array(generator().normal(size=(9, 3)), mask=generator().random((9, 3)) < 0.3)
    layer = Normalization().adapt(x)
    expected = layer.transform(x)
    mask = x.mask.copy()
    assert layer.transform(x, out=x) is x
    np.testing.assert_array_equal(mask, x.mask)
    np.testing.assert_array_equal(expected.compressed(), x.compressed())


# Memory

LARGE = 50_000 if arrays.UNJITTED else 64 << 20  # bytes
SCRATCH = 8 << 20  # far from the size of the data, enough for a tile of each worker


def peak(function, *arguments, **options):
    tracemalloc.start()
    try:
        function(*arguments, **options)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def large(place, dtype):
    rows = LARGE // 9 // np.dtype(dtype).itemsize
    values = np.resize(generator().standard_normal(9 * 997), (rows, 9)).astype(dtype)
    space = np.empty((rows + 8, 9 + 5), dtype)
    if place is every_nth:
        space = np.empty((2 * rows, 18), dtype)
        view = space[::2, ::2]
    else:
        view = place(space.reshape(-1).view(np.uint8), (rows, 9), np.dtype(dtype))
    view[...] = values
    return view


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("place", [plainly, column_major, rows_apart, every_nth])
@pytest.mark.parametrize("dtype", ["f4", "f2"])
def test_in_place_takes_no_second_array(place, dtype, direction):
    """Working in place, or into an array that is there, takes scratch memory for a tile alone."""
    x = large(place, dtype)
    layer = Normalization().adapt(x[:1000])
    apply = getattr(layer, direction)
    apply(x[:10], out=x[:10])
    assert peak(apply, x, out=x) < SCRATCH


@pytest.mark.parametrize("place", [plainly, rows_apart])
def test_another_layout_is_filled_without_a_copy(place):
    """Neither x nor out is copied when they lie differently in memory."""
    x = large(place, "f4")
    layer = Normalization().adapt(x[:1000])
    layer.transform(x[:10])
    out = np.empty(x.shape, "f4", order="F")
    assert peak(layer.transform, x, out=out) < SCRATCH
    assert peak(layer.transform, x) < x.nbytes + SCRATCH


# Ctrl-C


VICTIM = """
    import random, signal, sys, time
    import numpy as np
    from fastnorm import Normalization

    rows, layout = int(sys.argv[1]), sys.argv[2]
    base = np.resize(np.random.default_rng(0).normal(3, 2, 99_991), (rows, 9)).astype("f4")
    x = np.empty((rows, 9), "f4", order="F" if layout == "F" else "C")
    if layout == "rows apart":
        x = np.empty((2 * rows, 9), "f4")[::2]
    if layout == "every second":
        x = np.empty((2 * rows, 18), "f4")[::2, ::2]
    layer = Normalization().adapt(base)
    whole = layer.transform(base)
    x[...] = base
    start = time.perf_counter()
    layer.transform(x, out=x)
    print(time.perf_counter() - start, flush=True)
    while True:
        x[...] = base
        inside = raised = True
        try:
            sys.stdout.write("go\\n")
            sys.stdout.flush()
            layer.transform(x, out=x)
            inside = False
            for _ in range(2000):  # a worker thread may take the signal: it does not end a sleep
                time.sleep(0.01)
            raised = False
        except KeyboardInterrupt:
            pass
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        state = "whole" if (x == whole).all() else "untouched" if (x == base).all() else "half"
        print(state, inside, raised, flush=True)
        if sys.stdin.readline() == "stop\\n":
            break
        signal.signal(signal.SIGINT, signal.default_int_handler)
"""


@pytest.mark.parametrize("layout", ["C", "F", "rows apart", "every second"])
def test_ctrl_c_leaves_an_array_whole_or_untouched(layout):
    """A Ctrl-C at any moment is raised, but no transform in place is left half done."""
    rows = 2_000 if arrays.UNJITTED else 1_000_000
    command = [sys.executable, "-c", textwrap.dedent(VICTIM), str(rows), layout]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    hits = 0
    with subprocess.Popen(command, **pipes) as child:
        watchdog = threading.Timer(GUARD, child.kill)
        watchdog.start()
        try:
            duration = float(child.stdout.readline())
            for tries in itertools.count(1):
                assert child.stdout.readline() == "go\n"
                time.sleep(random.uniform(0, duration))
                child.send_signal(signal.SIGINT)
                state, inside, raised = child.stdout.readline().split()
                assert (state, raised) in [("whole", "True"), ("untouched", "True")]
                hits += (state, inside) == ("whole", "True")
                done = hits >= 4 or tries >= 60
                child.stdin.write("stop\n" if done else "again\n")
                child.stdin.flush()
                if done:
                    break
            assert child.wait(GUARD) == 0
        finally:
            watchdog.cancel()
            child.kill()
    assert hits, "no signal came during the transform"
