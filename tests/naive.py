"""The oracle: the moments of an array as exact rational numbers, clear rather than fast.

Nothing here is shared with the library. Every finite element becomes a Python integer over
one common power of two, so sums, means and variances are exact `Fraction`s, and each number
that is compared with the library is rounded once, at the end, by `nearest` or `nearest_sqrt`.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

SMALLEST_EXPONENT = -1074  # every finite double is a multiple of 2**-1074
SIGNIFICANT_BITS = 53


def nearest(value):
    """Round a Fraction to the nearest double, ties to even; None (no value) is NaN.

    >>> nearest(Fraction(1, 10)), nearest(Fraction(2) ** 1024), nearest(None)
    (0.1, inf, nan)
    """
    if value is None:
        return math.nan
    if value < 0:
        return -nearest(-value)
    exponent = max(floor_log2(value) - SIGNIFICANT_BITS + 1, SMALLEST_EXPONENT)
    return times_power(round(value / power_of_two(exponent)), exponent)


def nearest_sqrt(value):
    """Round the square root of a Fraction to the nearest double, ties to even.

    >>> nearest_sqrt(Fraction(2)), nearest_sqrt(Fraction(1, 4) ** 1000)
    (1.4142135623730951, 9.332636185032189e-302)
    """
    if value is None:
        return math.nan
    exponent = max(floor_log2(value) // 2 - SIGNIFICANT_BITS + 1, SMALLEST_EXPONENT)
    scaled = value / power_of_two(2 * exponent)
    root = math.isqrt(math.floor(scaled))
    midpoint = (root + Fraction(1, 2)) ** 2
    if scaled > midpoint or (scaled == midpoint and root % 2 == 1):
        root += 1
    return times_power(root, exponent)


def floor_log2(value):
    """Return the largest k with 2**k <= value; far below every double for 0."""
    if value == 0:
        return 2 * SMALLEST_EXPONENT
    k = value.numerator.bit_length() - value.denominator.bit_length()
    return k if power_of_two(k) <= value else k - 1


def power_of_two(exponent):
    return Fraction(2) ** exponent


def times_power(significand, exponent):
    """Return significand * 2**exponent, infinity when it is beyond the doubles."""
    try:
        return math.ldexp(significand, exponent)
    except OverflowError:
        return math.inf


@dataclass(frozen=True)
class Feature:
    """The exact moments of one feature: integers and Fractions, nothing rounded."""

    count: int
    missing: int
    posinf: int
    neginf: int
    weight: Fraction
    total: Fraction
    squares: Fraction

    @property
    def mean(self):
        return self.total / self.weight if self.weight else None

    @property
    def variance(self):
        return self.squares / self.weight - self.mean**2 if self.weight else None

    @property
    def mean_low(self):
        """Return what the mean rounded to a double leaves over."""
        return self.mean - Fraction(nearest(self.mean)) if self.weight else None


@dataclass(frozen=True)
class Naive:
    """The exact moments of every feature, and their values rounded to arrays."""

    rows: int
    shape: tuple[int, ...]
    features: tuple[Feature, ...]

    def array(self, name, rounding=nearest):
        """Return one field of every feature as a float64 array of the kept axes."""
        values = [rounding(getattr(feature, name)) for feature in self.features]
        return np.array(values, dtype=np.float64).reshape(self.shape)

    def counts(self, name):
        """Return one count of every feature as an int64 array of the kept axes."""
        values = [getattr(feature, name) for feature in self.features]
        return np.array(values, dtype=np.int64).reshape(self.shape)


def moments(x, axis=-1, weights=None):
    """Return the exact moments of x; axis names the axes that are kept, as in Keras.

    x is an array, a masked array or a list; weights has the shape of the reduced axes.
    """
    data, masked, shape = as_table(x, axis)
    rows, width = data.shape
    shares = [1] * rows if weights is None else python_exact(weights).ravel().tolist()
    columns = zip(data.T.tolist(), masked.T.tolist(), strict=True)
    features = tuple(feature_moments(*column, shares) for column in columns)
    assert (rows, width) == (len(shares), len(features))
    return Naive(rows, shape, features)


def as_table(x, axis):
    """Return x as (rows, features), its mask in the same form, and the kept shape."""
    data = python_exact(np.ma.getdata(x))
    kept = kept_axes(axis, data.ndim)
    reduced = reduced_axes(axis, data.ndim)
    shape = tuple(data.shape[a] for a in kept)
    table = (math.prod(data.shape[a] for a in reduced), math.prod(shape))
    order = reduced + kept
    mask = np.ma.getmaskarray(x) if np.ma.isMaskedArray(x) else np.zeros_like(data, bool)
    return data.transpose(order).reshape(table), mask.transpose(order).reshape(table), shape


def python_exact(x):
    """Return x in a dtype whose elements are Python numbers of the same value."""
    data = np.asarray(x)
    if data.dtype.kind in "biuO":
        return data
    with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
        return data.astype(np.float64)


def kept_axes(axis, ndim):
    """Return the kept axes in the order of the array, as Keras does."""
    axes = () if axis is None else (axis,) if isinstance(axis, int) else axis
    return tuple(sorted(range(ndim)[a] for a in axes))


def reduced_axes(axis, ndim):
    return tuple(a for a in range(ndim) if a not in kept_axes(axis, ndim))


def feature_moments(values, masked, weights):
    """Sum one column; values and weights are Python numbers, masked a list of bool."""
    missing = [hidden or math.isnan(v) for v, hidden in zip(values, masked, strict=True)]
    seen = [(v, w) for v, w, gone in zip(values, weights, missing, strict=True) if not gone]
    finite = [(v, w) for v, w in seen if not math.isinf(v)]
    xs, x_unit = over_common_unit([v for v, _ in finite])
    ws, w_unit = over_common_unit([w for _, w in finite])
    pairs = list(zip(xs, ws, strict=True))
    return Feature(
        count=len(finite),
        missing=sum(missing),
        posinf=sum(v == math.inf for v, _ in seen),
        neginf=sum(v == -math.inf for v, _ in seen),
        weight=Fraction(sum(ws), w_unit),
        total=Fraction(sum(w * x for x, w in pairs), x_unit * w_unit),
        squares=Fraction(sum(w * x * x for x, w in pairs), x_unit**2 * w_unit),
    )


def over_common_unit(values):
    """Return finite numbers as integers over one denominator: the largest power of two."""
    ratios = [v.as_integer_ratio() for v in values]
    unit = max((bottom for _, bottom in ratios), default=1)
    return [top * (unit // bottom) for top, bottom in ratios], unit
