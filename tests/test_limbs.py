"""Whole numbers and limbs: positions, flushes, carries, integers (docs/exactness.md)."""

import itertools
import random
from fractions import Fraction

import naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from model import entry, sums_of
from strategies import UNJITTED
from test_kernels import BORDERS, bordering

from fastnorm import Moments, Normalization, _reduce, _scan
from fastnorm._kernels import exact, integers, lanes, limbs, steps, vector

SEED = 40
TOP = 1 - 2.0**-53  # the largest float64 below 1
HUGE = float(np.finfo(np.float64).max)
DOUBLE, SINGLE = np.dtype("f8"), np.dtype("f4")
MOST_PUTS = 7  # sums of one side an element can leave behind; each raises a limb by < 2**32


move, widen, fitting = entry(lanes.move), entry(exact.widen), entry(lanes.fitting)
put, split, deposit = entry(limbs.put), entry(limbs.split), entry(limbs.deposit)


# ---------------------------------------------------------------------------------------- positions


@pytest.mark.parametrize("narrow", [True, False])
def test_every_position_lies_in_the_limbs(narrow):
    """For every E of a lane, units, starts, binades and rows of limbs are in range."""
    kind = "narrow" if narrow else "double"
    lowest, highest = (lanes.LOWEST_NARROW, lanes.HIGHEST_NARROW) if narrow else (lanes.LOWEST, lanes.HIGHEST)
    for at in range(lowest, highest + 1):
        above = at + (lanes.MARGIN_NARROW if narrow else lanes.MARGIN)
        for table, E in ((steps.NARROW if narrow else steps.PLAIN, at), (steps.WIDE, above)):
            for power, unit, twice, _ in table.tolist():
                low, high = _scan.RANGES[kind][power - 1]
                position = power * E + unit + twice
                assert low * 32 <= position < 32 * (high - 2)  # put writes three rows
                assert -1022 <= power * E + unit  # the smallest product, normal
                assert power * E + unit + 53 <= 1023  # the end of a binade
    assert_fits(kind, -149 if narrow else -1074, 128 if narrow else 1024)


@pytest.mark.parametrize("narrow", [True, False])
def test_a_lane_keeps_within_the_range_of_E(narrow):
    """Wherever a grid is aimed, it stays where units and limbs are in range; the sums start at exact numbers."""
    lowest, highest = (lanes.LOWEST_NARROW, lanes.HIGHEST_NARROW) if narrow else (lanes.LOWEST, lanes.HIGHEST)
    floats, integers = np.zeros(lanes.FLOATS), np.zeros(lanes.INTEGERS, np.int64)
    for E in (-(10**6), -1100, lowest - 1, lowest, -1, 0, highest, highest + 1, 1100, 10**6):
        move(np.int64(3), np.int64(E), floats, integers, narrow)
        expected = min(max(E, lowest), highest)
        assert (expected, 2.0**expected) == (integers[lanes.AT_E + 3], floats[3])


@given(squares=st.floats(0), rows=st.integers(1, steps.BLOCK))
def test_any_sum_of_squares_gives_an_exponent(squares, rows):
    """A grid fits twice the squares that a block needs, and where it can not, it is clamped: that is speed alone."""
    E = int(fitting(squares, rows))
    needed = 2 * Fraction(squares) * steps.BLOCK / rows if squares < 1e300 else 0
    assert naive.power_of_two(2 * E - 3) <= needed <= naive.power_of_two(2 * E) or E < lanes.LOWEST or squares >= 1e300
    assert squares < 1e300 or E > lanes.LOWEST


@pytest.mark.parametrize(("narrow", "margin"), [(False, lanes.MARGIN), (True, lanes.MARGIN_NARROW)])
def test_a_wide_grid_is_a_little_above_the_plain_one(narrow, margin):
    """`widen` moves the grid with its lane and starts its sums anew; where it is there already, it leaves them."""
    floats, integers = np.zeros(lanes.FLOATS), np.zeros(lanes.INTEGERS, np.int64)
    move(np.int64(1), np.int64(7), floats, integers, narrow)
    integers[lanes.WIDE_E + 1] = lanes.UNSET
    wide = integers[lanes.WIDE_SUMS :][: len(steps.WIDE) * vector.LANES].reshape(len(steps.WIDE), vector.LANES)
    wide[:] = 5
    for _ in range(2):
        widen(np.int64(1), np.int64(2), floats, integers, narrow)
        assert (7 + margin, 2.0 ** (7 + margin)) == (integers[lanes.WIDE_E + 1], floats[vector.LANES + 1])
        assert [0] * len(steps.WIDE) == wide[:, 1].tolist()
        assert (wide[:, [0, 2]] == 5).all()
    wide[:, 1] = 6
    widen(np.int64(1), np.int64(2), floats, integers, narrow)
    assert [6] * len(steps.WIDE) == wide[:, 1].tolist()


def assert_fits(kind, lowest, top):
    """Limbs have a place for 53 bits of a value in [2**lowest, 2**top), in three rows, and for its square, in five."""
    assert lowest == _scan.LOWEST[kind]
    for power, rows in ((1, 3), (2, 5)):
        low, high = _scan.RANGES[kind][power - 1]
        assert low * 32 <= power * lowest
        assert power * (top - 53) < 32 * (high - rows + 1)


def test_every_position_of_weights_and_integers_lies_in_the_limbs():
    """Weights times squares reach from 2**-3222 to 2**3072, integers to 2**128: limbs hold them."""
    ranges = _scan.RANGES["weighted"]
    for side, factors, offset in ((0, 2, 54), (1, 3, 108), (2, 1, 0)):
        low, high = ranges[side]
        assert low * 32 <= factors * _scan.LOWEST["weighted"]
        assert factors * (1024 - 53) + offset < 32 * (high - 2)
    for table in (integers.SHORT, integers.MIDDLE, integers.LONG):
        for power, unit, twice, _ in table.tolist():
            low, high = _scan.RANGES["integer"][power - 1]
            assert low * 32 <= unit + twice < 32 * (high - 2)


@pytest.mark.parametrize("name", integers.LOOPS)
def test_no_accumulator_of_integers_overflows(name):
    """Blocks of the largest digits of each width are summed exactly, within their accumulators and until a flush."""
    loop, limits = integers.LOOPS[name], np.iinfo(name)
    table = {32: integers.MIDDLE, 64: integers.LONG}.get(limits.bits, integers.SHORT)
    ends = [limits.min, limits.max, limits.max - (1 << limits.bits // 2 - 1), 1]
    for pair in itertools.product(ends, ends):
        x = np.resize(np.array(pair, name), steps.BLOCK)
        sums = np.zeros(loop.sums * vector.LANES, np.int64)
        loop.interpret(x, 0, steps.BLOCK, 1, 0, 1, 0, sums)
        found = [0, 0]
        for amount, (power, unit, twice, _) in zip(sums[:: vector.LANES].tolist(), table.tolist(), strict=True):
            found[power - 1] += amount << unit + twice
            assert abs(amount) * lanes.FLUSH < 2**63
            assert abs(amount) < (2 ** (loop.bits - 1) if loop.bits else 2**51)
        assert [sum(v**power for v in x.tolist()) for power in (1, 2)] == found


def test_a_flush_comes_in_time():
    """FLUSH blocks of whole numbers fit an int64 with a bit to spare: a block fills its half of a binade at most."""
    tables = (steps.NARROW, steps.PLAIN, steps.WIDE)
    largest = max((4 - halves) << 51 for table in tables for _, _, _, halves in table.tolist())
    assert largest == 2**52
    assert lanes.FLUSH * 2 * largest < 2**63


def put_all(puts):
    """Return the limbs after these (position, value), by the kernel."""
    state, span = np.zeros((24, 1), np.int64), np.array([24, 0])
    for position, value in puts:
        put(state, 0, -64, 0, position, np.int64(value), span, 0)
    return state[:, 0].tolist(), span.tolist()


def test_put_adds_the_value_and_little_to_each_limb():
    """Any int64 at any position adds exactly its value, and less than 2**32 to each limb."""
    rng = random.Random(SEED)
    values = [
        0,
        1,
        -1,
        2**63 - 1,
        -(2**63),
        2**32 - 1,
        -(2**32),
        *(rng.getrandbits(64) - 2**63 for _ in range(20)),
    ]
    for position in range(-64, 40):
        for value in values:
            limbs, (first, last) = put_all([(position, value)])
            assert sum(limb << (32 * i) for i, limb in enumerate(limbs)) == value << (position + 64)
            assert all(-(2**30) <= limb < 2**32 for limb in limbs)
            assert all(limb == 0 for i, limb in enumerate(limbs) if not first <= i < last)


@pytest.mark.parametrize("v", [5e-324, -5e-324, 2.0**-1022 * (2 - 2.0**-52), -0.1, 1 / 3, HUGE, -HUGE, 2.0**1023, 1.0])
def test_split_and_deposit_are_exact(v):
    """Any float64 is 53 bits times a power of two; it and its square go into the limbs."""
    whole, exponent = split(v, -1074)
    assert abs(Fraction(v)) == int(whole) * naive.power_of_two(int(exponent))
    assert int(whole) < 2**53
    state = _scan.State("double", 1)
    deposit(state.rows, state.layout, 0, v, state.span)
    assert (Fraction(v), Fraction(v) ** 2) == sums_of(state.counted(1))[0]


# ----------------------------------------------------------------------------------------- capacity


def test_an_element_goes_into_few_sums():
    """What a limb can hold is reckoned with seven sums of one side."""
    for table in (steps.NARROW, steps.PLAIN, steps.WIDE, integers.MIDDLE, integers.LONG):
        assert max(np.bincount(table[:, 0])) <= MOST_PUTS


@pytest.fixture
def largest_limbs(monkeypatch):
    """The largest limb of each state, before it becomes a value."""
    seen = []
    counted = _scan.State.counted

    def watched(self, *arguments):
        seen.append(int(np.abs(self.rows[_scan.COUNTS :]).max(initial=0)))
        return counted(self, *arguments)

    monkeypatch.setattr(_scan.State, "counted", watched)
    return seen


@pytest.mark.parametrize("dtype", ["f8", "f4", "i8"])
@pytest.mark.parametrize("weighted", [False, True])
def test_carries_come_in_time(dtype, weighted, monkeypatch, largest_limbs):
    """However long a scan, its carries keep the limbs small, and leave the sums alone."""
    rows, carry = (1500, 50) if UNJITTED else (6000, 500)
    rng = np.random.default_rng(SEED)
    if dtype == "i8":
        x = np.full((rows, 1), np.iinfo("i8").max)
    else:
        x = bordering(dtype, BORDERS[dtype], rng, rows // 8 + 1).reshape(-1, 1)[:rows]
    x = np.ascontiguousarray(x)
    weights = TOP * rng.choice([1.0, 0.5], len(x)) if weighted else None
    monkeypatch.setattr(_scan, "CARRY", carry)
    monkeypatch.setattr(_reduce, "COPIED", 32)
    found = Moments.of(np.ma.array(x, mask=np.zeros(x.shape, bool)), weights=weights, threads=1)
    feature = naive.moments(x, weights=weights).features[0]
    assert [(feature.total, feature.squares)] == sums_of(found._counted)
    assert max(largest_limbs) <= 2**32 + MOST_PUTS * 2**32 * (carry + 32)


@pytest.mark.parametrize("dtype", [DOUBLE, SINGLE], ids=str)
def test_carries_leave_room_for_any_number_of_rows(dtype):
    """2**40 rows of the largest value and of the smallest stay in the limbs of their own sums."""
    info = np.finfo(dtype)
    for large in (float(info.max), -float(info.max), 0.6 * float(info.max)):
        values = (large, float(info.smallest_subnormal))
        state = _scan.State(_scan.kind_of(dtype), 1)
        for value in values:
            deposit(state.rows, state.layout, 0, value, state.span)
        for doublings in range(1, 41):
            state.rows *= 2
            state.carry()
            expected = tuple(2**doublings * sum(Fraction(v) ** power for v in values) for power in (1, 2))
            assert [expected] == sums_of(state.counted(1))


@pytest.mark.parametrize("workers", [2, 16, 17, 256])
def test_workers_together_cannot_overflow_a_limb(workers):
    """However many they are, each with as much as it may hold before a carry, they add up below 2**63."""
    state = _scan.State("double", 1)
    held = MOST_PUTS * 2**32 * (_scan.CARRY + _reduce.SHARE)
    state.rows[_scan.COUNTS :] = held
    # The top limbs count whole 2**1024 and 2**2048.
    state.rows[[69, 202]] = _scan.CARRY
    state.span[:4] = 3, 3 + 67, 3 + 67, 3 + 67 + 133
    one = sums_of(state.counted(1))[0]
    others = []
    for _ in range(workers):
        other = _scan.State("double", 1)
        other.rows[:] = state.rows
        other.span[:] = state.span
        others.append(other)
    assert (workers * one[0], workers * one[1]) == sums_of(_scan.united(others).counted(workers))[0]


def test_no_tile_is_wider_than_the_lanes(monkeypatch):
    """Whatever the number of features and the way in, a worker has a place for every lane."""
    lanes = []
    add = _scan.Scanner.add

    def watched(self, flat, tile):
        lanes.append(tile.lanes)
        if tile.lanes <= vector.LANES:
            add(self, flat, tile)

    monkeypatch.setattr(_scan.Scanner, "add", watched)
    for features in (1, 9, 33, 255, 256, 257, 300, 1024, 1025, 2049, 4095, 4096, 4097):
        x = np.ones((3, features), np.float32)
        for array in (x[:1],) if UNJITTED else (x, np.asfortranarray(x), x[:1], x[:, ::2]):
            Normalization().adapt(array).update(array)
    assert max(lanes) <= vector.LANES
