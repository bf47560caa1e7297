"""Laws of the division: the statistics of given sums, to the last bit, against exact rational numbers.

The sums are made up, so that quotients and roots lie where rounding is hardest. A feature is (n, S, Q) in Fractions.
"""

import itertools
import math
import os
import random
from fractions import Fraction

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import run_python

from fastnorm import Moments, _counted, _statistics, _sums
from fastnorm._kernels import quick
from fastnorm._kernels import statistics as kernels

LIMB = 32
EDGE = 1 << LIMB  # counts from here on are no job for the kernel
SEEDS = st.integers(0, 1 << 64).map(random.Random)
# Divisors of 2**84 - 1: quotients by them repeat after 84 bits, 53 digits and a gap of 31 zeros.
FACTORS = (3, 3, 5, 7, 7, 13, 29, 43, 113, 127, 337, 1429, 5419, 14449)
PRODUCTS = {math.prod(some) for size in range(len(FACTORS)) for some in itertools.combinations(FACTORS, size)}
PERIODIC = sorted(n for n in PRODUCTS if EDGE // 2 < n < EDGE)


@pytest.fixture(autouse=True, scope="module")
def _few_are_many():
    """The kernel is asked however few features there are, and takes few at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_statistics, "MANY", 1)
        patch.setattr(_statistics, "SHARE", 7)
        yield


def feature(n, mean, variance, hair=0):
    """Sums of n values with this mean and variance; or with a sum a hair off, and no less variance."""
    return n, n * mean + hair, n * (variance + mean * mean) + abs(2 * mean * hair) + hair * hair


def state(features, weighted=False):
    """The state with these sums; n is a weight or a count."""
    n, total, square = ([Fraction(value) for value in column] for column in zip(*features, strict=True))
    rows = math.ceil(max(n))
    missing = np.array([0 if weighted else rows - int(count) for count in n])
    none = np.zeros(len(n), np.int64)
    return _counted.Counted(rows, missing, none, none, limbs(total), limbs(square), limbs(n) if weighted else None)


def limbs(values):
    digits = max(value.denominator for value in values).bit_length() // LIMB + 1
    whole = [value * EDGE**digits for value in values]
    assert all(value.denominator == 1 for value in whole)
    return _sums.from_integers(-LIMB * digits, map(int, whole))


def left_over(counted):
    """The features that the kernel leaves to Python's integers."""
    return _statistics._by_kernel(counted, _statistics._divisors(counted, "statistics"))[1].tolist()


def parts(value):
    """Three floats, each the nearest to what is left of value."""
    found = []
    for _ in range(3):
        found.append(naive.nearest(value))
        value -= Fraction(found[-1])
    return found


def expected(n, total, square):
    """The statistics as a flat list: weight, mean, low, variance, std, constant, then what is applied."""
    if not n:
        return [0.0, *[math.nan] * 4, False, *[math.nan] * 4, 0]
    mean = Fraction(total) / n
    variance = Fraction(square) / n - mean**2
    high, low, _ = parts(mean)
    std = naive.nearest_sqrt(variance)
    shift = 0
    if abs(high) > 2.0**960 or std > 2.0**960:
        shift = -4
    elif abs(high) < 2.0**-800 and 0 < std < 2.0**-960:
        shift = 200
    scaled = *parts(mean * Fraction(2) ** shift), naive.nearest_sqrt(variance * Fraction(4) ** shift)
    return [naive.nearest(Fraction(n)), high, low, naive.nearest(variance), std, variance == 0, *scaled, shift]


def bits(rows):
    return [[value.hex() if isinstance(value, float) else value for value in row] for row in rows]


def assert_statistics(features, weighted=False):
    """Every statistic of every feature has the bits that the oracle says."""
    out = _statistics.of(state(features, weighted))
    found = zip(*(column.tolist() for column in (*out[:-1], *out.scaled)), strict=True)
    assert bits(expected(*each) for each in features) == bits(found)


def count(draw):
    """A count of up to 32 bits, any or a power of two."""
    bits = draw.randrange(LIMB)
    return draw.choice((1 << bits, draw.randrange(1, 2 << bits)))


def significand(draw):
    """53 bits: any, or few ones, or next to a power of two."""
    return 1 << 52 | draw.choice([draw.getrandbits(52), 1 << draw.randrange(52), 0, 1, (1 << 52) - 1, (1 << 52) - 2])


def number(draw, exponent):
    return draw.choice((-1, 1)) * significand(draw) * Fraction(2) ** exponent


def between(draw, exponent):
    """The middle of two floats."""
    return (2 * significand(draw) + 1) * Fraction(2) ** exponent


def hair(draw, thickest=100):
    return draw.choice((-1, 0, 1)) * Fraction(1, 1 << draw.randint(thickest, 300))


@given(SEEDS)
def test_statistics_of_data_are_correctly_rounded(draw):
    """Sums of real rows, of either sign, near and far from 0, are all divided by the kernel."""
    scale = 10.0 ** draw.randint(-20, 20)
    rng = np.random.default_rng(draw.getrandbits(32))
    x = scale * (rng.standard_normal((draw.randint(1, 20), 10)) + draw.choice((0, 3, -1e9)))
    x = x.astype(draw.choice(("f4", "f8")))
    features = [(f.count, f.total, f.squares) for f in naive.moments(x).features]
    assert_statistics(features)
    assert left_over(state(features)) == []


@given(SEEDS)
def test_means_beside_a_tie_are_correctly_rounded(draw):
    """On the middle of two floats or a hair beside it, in the first, second or third part of the mean."""
    features = []
    for _ in range(10):
        tail = draw.randint(-30, 0)
        first, second = number(draw, tail + 60), number(draw, tail)
        third = first + second + between(draw, tail - 70)
        means = third, first + between(draw, tail - 60), first + second, second, between(draw, tail)
        features += [feature(count(draw), draw.choice((-1, 1)) * mean, 1, hair(draw, 50)) for mean in means]
    assert_statistics(features)
    assert left_over(state(features)) == []


@given(SEEDS)
def test_variances_beside_a_tie_are_correctly_rounded(draw):
    """On the middle of two floats or a hair beside it, whatever the mean."""
    means = [draw.choice((0, number(draw, draw.randint(-70, -40)))) for _ in range(30)]
    middles = [(mean, between(draw, draw.randint(-90, -20))) for mean in means]
    features = [feature(count(draw), mean, variance) for mean, variance in middles]
    features = [(n, total, square + hair(draw)) for n, total, square in features]
    assert_statistics(features)
    assert left_over(state(features)) == []


@given(SEEDS)
def test_stds_beside_a_tie_are_correctly_rounded(draw):
    """The variance is the square of a float, or of the middle of two, or a hair beside it."""
    means = [draw.choice((0, number(draw, draw.randint(-70, -40)))) for _ in range(30)]
    roots = [(mean, draw.choice((number, between))(draw, draw.randint(-90, -20))) for mean in means]
    features = [feature(count(draw), mean, root * root) for mean, root in roots]
    features = [(n, total, square + hair(draw)) for n, total, square in features]
    assert_statistics(features)
    assert left_over(state(features)) == []


def test_the_longest_gaps_between_the_parts_of_a_mean():
    """1/n with 53 digits, a gap of 31 zeros, 53 digits, and so on: as far down as three parts ever reach."""
    assert len(PERIODIC) == 200
    totals = [sign * total for sign in (-1, 1) for total in (1, 3, 1 << 31)]
    features = [(n, total, total * total) for n in PERIODIC[::9] for total in totals]
    assert_statistics(features)
    assert left_over(state(features)) == []


@given(SEEDS)
def test_means_of_160_bits(draw):
    """Sums whose bits barely fit, or do not, what is looked at first: a tie in each part, broken by the last bits."""
    top = [1 << 159 | draw.getrandbits(50) << 108 | 1 << 106 | draw.getrandbits(9) << 55 for _ in range(10)]
    sums = [Fraction(each + (1 << 53) + draw.randrange(1 << 16), 1 << 96) for each in top]
    assert_statistics([(draw.choice((1, count(draw))), total, total * total) for total in sums])


@given(SEEDS)
def test_statistics_near_the_ends_of_float64_are_correctly_rounded(draw):
    """Subnormal, underflowing, overflowing or shifted: whatever the kernel does not do itself."""
    features = []
    for _ in range(20):
        mean = number(draw, draw.choice((draw.randint(-1200, 960), *range(-860, -840), *range(900, 910))))
        std = number(draw, draw.choice((draw.randint(-1200, 960), -480, -427, -426, -425, 426, 427, 428)))
        features.append(feature(count(draw), draw.choice((mean, 0)), draw.choice((std * std, 0))))
    assert_statistics(features)


def test_the_kernel_decides_only_what_is_not_shifted():
    """Its results are where neither x - mean overflows nor a std becomes subnormal."""
    smallest, largest = math.ldexp(1 << 52, kernels.LOWEST), math.ldexp(1 << 53, kernels.HIGHEST)
    for mean in (smallest, largest, 2.0**quick.REACH):
        for std in (0.0, math.sqrt(smallest), math.sqrt(largest), math.sqrt(quick.LEAST * 2.0**-quick.REACH)):
            assert _statistics._shift(mean, std) == 0


@given(SEEDS)
def test_features_without_spread_or_values_are_exact(draw):
    """Equal values, a single one, nothing but zeros, nothing at all."""
    equal = [feature(count(draw), number(draw, draw.randint(-90, 0)), 0) for _ in range(10)]
    single = [feature(1, number(draw, draw.randint(-90, 0)), 0) for _ in range(5)]
    features = [*equal, *single, (5, 0, 0), (0, 0, 0), (1, 0, 0), (1 << 40, 0, 0)]
    draw.shuffle(features)
    assert_statistics(features)


@given(SEEDS)
def test_counts_beyond_a_digit_are_left_to_integers(draw):
    """Up to 2**32 - 1 rows the kernel divides, beyond it does not; the bits are right either way."""
    counts = [EDGE - 1, EDGE, EDGE + 1, draw.randrange(EDGE, 1 << 62)]
    features = [feature(n, number(draw, -50), abs(number(draw, -60))) for n in counts]
    assert_statistics(features)
    assert [1, 2, 3] == left_over(state(features))


@given(SEEDS)
def test_weights_divide_like_counts(draw):
    """Whole weights go to the kernel, others to Python's integers."""
    for unit in (1, Fraction(1, 1 << 60)):
        n = [(count(draw) >> 1 or 1) * unit for _ in range(10)]
        features = [feature(each, number(draw, -50), abs(number(draw, -60))) for each in n]
        assert_statistics(features, weighted=True)
        assert (unit == 1) == (_statistics._divisors(state(features, weighted=True), "statistics") is not None)


@given(SEEDS)
def test_sums_that_no_data_have_are_found(draw):
    """The first feature is named that has a negative variance, a spread with one row, or sums with none."""
    sound = [feature(count(draw), number(draw, -50), draw.choice((0, abs(number(draw, -60))))) for _ in range(12)]
    sound = [each if each[0] > 1 else feature(1, each[1], 0) for each in sound]
    sound += [(0, 0, 0), feature(EDGE + 5, number(draw, -50), 1)]
    n, mean, tiny = count(draw), number(draw, -50), Fraction(1, 1 << 200)
    wrong = [
        feature(n, mean, -tiny),
        feature(EDGE, mean, -tiny),
        (n, 0, -tiny),
        (n, tiny, 0),
        feature(1, mean, tiny),
        (0, 1, 0),
        (0, 0, 1),
    ]
    assert _statistics.impossible(state(sound)) is None
    for bad in wrong:
        at, later = sorted(draw.sample(range(len(sound)), 2))
        features = [*sound[:at], bad, *sound[at:later], draw.choice(wrong), *sound[later:]]
        assert at == _statistics.impossible(state(features))


@given(SEEDS)
def test_many_features_have_the_bits_of_few(draw):
    """From `MANY` features on a kernel does what Python's integers do for fewer."""
    rng = np.random.default_rng(draw.getrandbits(32))
    x = np.exp(draw.choice((1, 50)) * rng.standard_normal((5, 20))) * rng.choice([-1, 0, 1], 20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_statistics, "MANY", 21)
        patch.setattr(_statistics, "PATIENCE", math.inf)
        patch.setattr(_statistics, "_at_hand", lambda kernel: False)
        few = _statistics.of(Moments.of(x)._counted)
    many = _statistics.of(Moments.of(x)._counted)
    assert [v.tobytes() for v in (*few[:-1], *few.scaled)] == [v.tobytes() for v in (*many[:-1], *many.scaled)]


def test_few_features_are_for_the_kernel_once_there_were_many_of_them():
    """A loop of small batches does not go on to divide Python's integers for ever."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_statistics, "MANY", 21)
        patch.setattr(_statistics, "PATIENCE", 45)
        patch.setattr(_statistics, "_so_far", 0)
        patch.setattr(_statistics, "_at_hand", lambda kernel: False)
        counted = Moments.of(np.ones((2, 20)))._counted
        asked = [_statistics._divisors(counted, "statistics") is not None for _ in range(5)]
    assert [False, False, False, True, True] == asked


def test_a_stored_kernel_is_for_few_features_too(tmp_path):
    """Where the kernel needs no compiling, a process takes it at once."""
    code = """
        import sys
        import numpy as np
        from fastnorm import Moments, _statistics
        import fastnorm._kernels.limbs
        kernels = "statistics", "signs"
        print(*map(_statistics._at_hand, kernels))
        x = Moments.of(np.ones((2, int(sys.argv[1]))))
        (x - x).mean
        print(*map(_statistics._at_hand, kernels))
    """
    compiled = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    environment = compiled | {"FASTNORM_CACHE": str(tmp_path)}
    words = [run_python(code, features, environment=environment) for features in ("20", "300", "20")]
    assert [4 * ["False"], [*2 * ["False"], *2 * ["True"]], 4 * ["True"]] == words
