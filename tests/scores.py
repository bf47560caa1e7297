"""The oracle of z-scores as Fractions, and data that are hard to scale."""

import functools
import math
from fractions import Fraction

import ml_dtypes
import naive
import numpy as np
import pytest
import strategies as arrays
from hypothesis import settings
from hypothesis import strategies as st
from places import generator

from fastnorm import Normalization

ROOT_BITS = 200  # of a square root that stands for the exact one
UNIT = Fraction(1, 2**52)  # one unit in the last place of a float64, relative to its power of two
SMALLEST = Fraction(5e-324)
LOOKED_AT = 40  # elements of an array that are compared with exact rational numbers
FEW = settings(max_examples=max(4, settings().max_examples // 12))  # a law of many parameters
WIDE_INTEGERS = ("int32", "int64", "uint32", "uint64")


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
