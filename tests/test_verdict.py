"""The verdict on a block and what the wide step passes over: docs/exactness.md, at the very ends of each window."""

import math
from fractions import Fraction

import numpy as np
import pytest
from model import (
    NARROW,
    PLAIN,
    STRICT,
    STRICT_NARROW,
    WIDE,
    WIDE_NARROW,
    entry,
    gaps_block,
    keep_numbers,
    narrow,
    plain,
    plain_block,
    strict,
    strict_block,
    sums_of,
    wide_block,
)
from strategies import UNJITTED

from fastnorm import _scan
from fastnorm._kernels import exact, lanes, rows, steps, vector

HUGE = float(np.finfo(np.float64).max)
LOOPS = {
    "narrow": steps._narrow,
    "plain": steps._plain,
    "strict": steps._strict,
    "strict narrow": steps._strict_narrow,
    "wide": steps._wide,
    "wide narrow": steps._wide_narrow,
}
WHOLE = (NARROW, PLAIN, STRICT, STRICT_NARROW)  # those that take a block as it is, or not at all
GAPS = {"narrow": steps._narrow_gaps, "plain": steps._plain_gaps}
move, widen, sweep = entry(lanes.move), entry(exact.widen), entry(exact.sweep)

named = {"ids": lambda slicing: slicing.name}
in_turn = pytest.mark.parametrize("compiled", [False, True], ids=["interpreted", "compiled"])


def exponents(slicing):
    more = 0 if slicing in (NARROW, PLAIN) else margin(slicing)
    if slicing.data == 24:
        return lanes.LOWEST_NARROW + more, -1, 0, lanes.HIGHEST_NARROW + more
    return lanes.LOWEST + more, -1, 0, lanes.HIGHEST + more


def margin(slicing):
    """How much higher a wide grid is than the plain one."""
    return lanes.MARGIN_NARROW if slicing.data == 24 else lanes.MARGIN


def just_below(slicing, value, E):
    """A value that is smaller by so little that a unit less of the square is added."""
    dtype = kind(slicing)
    if slicing.data == 24:
        return np.nextafter(value, dtype(0))
    return value - dtype(math.ldexp(1, E - 40)) if slicing is STRICT else value - dtype(float(slicing.unit(0, E)))


def kind(slicing):
    return np.float32 if slicing.data == 24 else np.float64


def blocks_of(slicing, blocks, E, compiled, gaps=False):
    """Run blocks of values, one a lane: its flag, what it was tallied, Σx and Σx² of what was added."""
    rows, lanes, sums = max(map(len, blocks)), len(blocks), len(slicing.table)
    x = np.zeros((rows, lanes), kind(slicing))
    for c, block in enumerate(blocks):
        x[: len(block), c] = block  # elements of NumPy: a signalling NaN stays one
    scales = np.full(lanes, math.ldexp(1.0, E))
    wholes, flags = np.zeros(sums * vector.LANES, np.int64), np.zeros(2 * vector.LANES, np.int64)
    plainly = strict_block if slicing in (STRICT, STRICT_NARROW) else plain_block
    kernel = wide_block if slicing.square is None else gaps_block if gaps else plainly
    loop = kernel if compiled else (GAPS if gaps else LOOPS)[slicing.name].interpret
    with np.errstate(all="ignore"):
        loop(x.ravel(), 0, rows, lanes, 0, lanes, 0, scales, wholes, flags)
    wholes = wholes.reshape(sums, vector.LANES)[:, :lanes].T.tolist()
    tally = flags[vector.LANES :][:lanes]
    return list(zip(flags[:lanes].tolist(), tally.tolist(), [slicing.made_up(w, E) for w in wholes], strict=True))


def added(values):
    values = [Fraction(float(v)) for v in values]
    return [sum(values), sum(v * v for v in values)]


def nans(slicing):
    """NaNs of either sign, quiet and signalling, with the least payload and the largest."""
    if slicing.data == 24:
        patterns = [0x7F800001, 0xFF800001, 0x7FC00000, 0xFFC00000, 0x7FFFFFFF, 0xFFFFFFFF]
        return list(np.array(patterns, np.uint32).view(np.float32))
    patterns = [0x7FF << 52 | 1, 0xFFF << 52 | 1, 0x7FF8 << 48, 0xFFF8 << 48, (1 << 63) - 1, (1 << 64) - 1]
    return list(np.array(patterns, np.uint64).view(np.float64))


# ---------------------------------------------------------------------------------------- the blocks


@in_turn
@pytest.mark.parametrize("slicing", WHOLE, **named)
def test_a_block_of_values_in_the_window_is_kept(slicing, compiled):
    """From an ulp above the floor to the last value below 2**E whose slice is too: kept, and added exactly."""
    dtype = kind(slicing)
    for E in exponents(slicing):
        top, floor = dtype(math.ldexp(1, E)), dtype(math.ldexp(1, E - slicing.reach))
        last = top - dtype(float(slicing.unit(0, E))) * dtype(0.75) if slicing is PLAIN else just_below(slicing, top, E)
        inside = [np.nextafter(floor, top), dtype(0), dtype(-0.0), 3 * floor, last / 16]
        block = ([*inside, *(-v for v in inside)] * steps.BLOCK)[: steps.BLOCK - 1]
        blocks = [[*block, v] for v in inside] + [[last], [-last], [dtype(0)] * steps.BLOCK, [dtype(-0.0)]]
        for (flag, tally, sums), values in zip(blocks_of(slicing, blocks, E, compiled), blocks, strict=True):
            assert (0, 0, added(values)) == (flag, tally, sums)


@in_turn
@pytest.mark.parametrize("slicing", WHOLE, **named)
def test_one_value_outside_the_window_fails_the_block(slicing, compiled):
    """An ulp below the floor, the smallest, 2**E, the largest, inf or NaN, in any place: nothing is added."""
    dtype = kind(slicing)
    for E in exponents(slicing):
        top, floor = dtype(math.ldexp(1, E)), dtype(math.ldexp(1, E - slicing.reach))
        info, zero = np.finfo(dtype), dtype(0)
        outside = [np.nextafter(floor, zero), floor / 2, floor / 4, info.smallest_subnormal, info.tiny]
        outside += [top, np.nextafter(top, info.max), 2 * top, info.max / 2, info.max, dtype(np.inf)]
        outside = [v for v in outside if not floor <= v < top]
        outside += [-v for v in outside] + nans(slicing)
        block = [4 * floor, -5 * floor, zero] * (steps.BLOCK // 3)
        blocks = [[*block[:place], v, *block[place:]] for v in outside for place in (0, 31, 63)] + [
            [v] for v in outside
        ]
        for flag, tally, sums in blocks_of(slicing, blocks, E, compiled):
            assert (1, 0, [0, 0]) == (flag, tally, sums)


@in_turn
@pytest.mark.parametrize("slicing", WHOLE, **named)
def test_the_floor_itself_is_kept_or_dropped_and_never_wrong(slicing, compiled):
    """The compiled test looks at the number below and drops the floor; |v| keeps it, with all of its bits."""
    for E in exponents(slicing):
        floor = kind(slicing)(math.ldexp(1, E - slicing.reach))
        for flag, _, sums in blocks_of(slicing, [[floor], [-floor, floor, floor]], E, compiled):
            dropped = compiled and not UNJITTED
            assert dropped == bool(flag)
            assert dropped == (sums == [0, 0])
        assert [floor, Fraction(float(floor)) ** 2] == blocks_of(slicing, [[floor]], E, False)[0][2]


@in_turn
@pytest.mark.parametrize("slicing", WHOLE, **named)
def test_a_budget_is_spent_to_the_last_unit(slicing, compiled):
    """64 values of an eighth of 2**E spend it; with the last of them one unit smaller the block is kept."""
    dtype = kind(slicing)
    for E in exponents(slicing):
        eighth = dtype(math.ldexp(1, E - 3))
        less = just_below(slicing, eighth, E)
        rest = [eighth, -eighth] * 31 + [eighth]
        found = blocks_of(slicing, [[*rest, eighth], [*rest, less], [less, *rest], rest], E, compiled)
        assert [1, 0, 0, 0] == [flag for flag, _, _ in found]
        assert [[0, 0], added([*rest, less]), added([*rest, less]), added(rest)] == [sums for _, _, sums in found]


@in_turn
@pytest.mark.parametrize("slicing", [NARROW, PLAIN], **named)
def test_gaps_are_zeros_that_are_counted(slicing, compiled):
    """Where NaN is expected, it is left out and counted if the block is kept; all else fails as before."""
    dtype, some = kind(slicing), nans(slicing)
    for E in exponents(slicing):
        top, floor = dtype(math.ldexp(1, E)), dtype(math.ldexp(1, E - slicing.reach))
        inside = [np.nextafter(floor, top), -3 * floor, dtype(0), top / 16, *[some[0]] * 20, top / 2]
        blocks = [[*inside, *some], [*some, *inside], [some[-1]] * steps.BLOCK, [dtype(0)]]
        expected = [(0, sum(map(math.isnan, block)), added(v for v in block if v == v)) for block in blocks]
        assert expected == blocks_of(slicing, blocks, E, compiled, gaps=True)
        for outside in (top, -top, floor / 2, np.finfo(dtype).smallest_subnormal, dtype(np.inf), dtype(-np.inf)):
            failing = [[*some, outside, *inside], [*inside, outside, *some], [outside]]
            assert [(1, 0, [0, 0])] * 3 == blocks_of(slicing, failing, E, compiled, gaps=True)
        assert LOOPS[slicing.name]._scaled(float(top)) == GAPS[slicing.name]._scaled(float(top))


@pytest.mark.parametrize("slicing", [narrow(11, 5, 2), plain(11, 2), strict(11, 5, 2)], **named)
def test_every_float16_gets_the_right_verdict(slicing, monkeypatch):
    """Every bit pattern, beside rows in the window, in float16 arithmetic: kept only if in the window or 0."""
    keep_numbers(monkeypatch)
    E = 4
    top, floor = (np.float16(float(number)) for number in slicing.window(E))
    loop = rows.RowLoop(slicing.step, slicing.table, (), (), steps._in_window(slicing.square))
    starts = [np.float16(float(slicing.start(k) * slicing.unit(k, E))) for k in range(loop.sums)]
    high = np.float16(2.0**E)
    values = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    with np.errstate(all="ignore"):
        for earlier in ([], [np.float16(7)], [np.float16(-7), np.float16(2.5)]):
            before = [*starts, math.inf]
            for value in earlier:
                before = slicing.step(value, None, before)
            for value in values[:: 7 if earlier else 1]:
                state = slicing.step(value, None, before)
                keep = loop.finish((top, floor), state[:-1], state[-1:])[0]
                assert not keep or value == 0 or floor <= abs(value) < high
                assert keep or earlier or not (value == 0 or floor <= abs(value) < high * np.float16(0.9))
                state = slicing.step(np.float16(1), None, state)
                assert keep or not loop.finish((top, floor), state[:-1], state[-1:])[0]


def test_what_lies_below_a_number():
    """A number for the floor to be compared with: |v|, or the number next to it; NaN for a zero."""
    for v in (5e-324, -5e-324, 1.0, -1.5, HUGE, math.inf, -math.inf):
        assert abs(v) == steps.below(v)
    assert all(math.isnan(steps.below(v)) for v in (0.0, -0.0, math.nan))
    assert [1.0, 1.0, 0.5] == [steps.smaller(math.nan, 1.0), steps.smaller(2.0, 1.0), steps.smaller(0.5, 1.0)]


def test_the_difference_of_bits_counts_units():
    """From the begin of a binade to its end, both included, for every E of a sum."""
    for slicing in (*WHOLE, WIDE):
        for k, (_, _, _, halves) in enumerate(slicing.table):
            for E in exponents(slicing):
                start, unit = (Fraction(slicing.start(k)) * slicing.unit(k, E)), slicing.unit(k, E)
                for whole in {(2 - halves) * 2**51, -(halves - 2), 0, 1, 2**51 - 1, 2**51, (4 - halves) * 2**51}:
                    assert whole == rows._whole(float(start + whole * unit), float(start))


# ------------------------------------------------------------------------------------- the wide step


def test_a_rounded_square_tells_the_window():
    """v*v, rounded, over- or underflown, compares with the squared border as |v| with it."""
    narrows = range(lanes.LOWEST_NARROW - WIDE_NARROW.reach, lanes.HIGHEST_NARROW + 1)
    for power in {*range(lanes.LOWEST - WIDE.reach, lanes.HIGHEST + 1), *narrows}:
        border = math.ldexp(1, power)
        assert border * border == math.ldexp(1, 2 * power) > 2.0**-1022
        for v in (math.nextafter(border, 0), border, math.nextafter(border, HUGE), 5e-324, 1e-170, 1e160, HUGE):
            assert (v >= border) == (v * v >= border * border), (v, border)


@in_turn
@pytest.mark.parametrize("slicing", [WIDE, WIDE_NARROW], **named)
def test_the_wide_step_passes_over_what_its_watch_counts(slicing, compiled):
    """Each value is summed, counted as outside or counted as missing: one of the three."""
    dtype = kind(slicing)
    info, zero = np.finfo(dtype), dtype(0)
    for E in exponents(slicing):
        top, floor = dtype(math.ldexp(1, E)), dtype(math.ldexp(1, E - slicing.reach))
        inside = [np.nextafter(top, zero), top / 2, floor, np.nextafter(floor, top), zero, dtype(-0.0)]
        outside = [top, np.nextafter(top, info.max), info.max, dtype(np.inf), info.smallest_subnormal]
        outside += [np.nextafter(floor, zero), floor / 2]
        for values in (inside, outside):
            values += [-v for v in values]
        missing = nans(slicing)
        blocks = [[v] for v in (*inside, *outside, *missing)] + [inside + outside + missing]
        found = blocks_of(slicing, blocks, E, compiled)
        expected = [(0, 0, added([v])) for v in inside]
        expected += [(1, 0, [0, 0]) for _ in outside] + [(0, 1, [0, 0]) for _ in missing]
        assert expected == found[:-1]
        assert (len(outside), len(missing), added(inside)) == found[-1]


@pytest.mark.parametrize("slicing", [WIDE, WIDE_NARROW], **named)
def test_a_sweep_deposits_what_the_watch_counts(slicing):
    """What the wide step leaves out goes into the limbs, and infinities are counted; nothing is added twice."""
    dtype, small = kind(slicing), slicing.data == 24
    info, zero = np.finfo(dtype), dtype(0)
    for E in exponents(slicing):
        top, floor = dtype(math.ldexp(1, E)), dtype(math.ldexp(1, E - slicing.reach))
        inside = [np.nextafter(top, zero), -floor, zero]
        outside = [top, -np.nextafter(floor, zero), info.smallest_subnormal, -info.smallest_subnormal, info.max]
        values = np.array([*inside, *outside, np.inf, -np.inf, -np.inf, np.nan], dtype)
        state = _scan.State("narrow" if small else "double", 1)
        floats, integers = np.zeros(lanes.FLOATS), np.zeros(lanes.INTEGERS, np.int64)
        move(0, E - margin(slicing), floats, integers, small)
        integers[lanes.WIDE_E] = lanes.UNSET
        widen(np.int64(0), np.int64(1), floats, integers, small)
        with np.errstate(all="ignore"):
            sweep(values, 0, len(values), 1, 0, True, floats, integers, small, state.rows, state.layout, 0, state.span)
        assert [tuple(added(outside))] == sums_of(state.counted(len(values)))
        assert [0, 1, 2] == state.rows[:3, 0].tolist()
