"""The proof of docs/exactness.md, checked: every value and every block of a small format, the worst of the real one.

Each condition of the proof is also broken on purpose, and seen to round or to leave its binade.
"""

import itertools
import math
import random
from dataclasses import replace
from fractions import Fraction

import naive
import numpy as np
import pytest
from model import (
    NARROW,
    PLAIN,
    Model,
    increments,
    keep_numbers,
    narrow,
    parities,
    plain,
    plain_block,
    run,
)

from fastnorm._kernels import lanes, steps, vector

SEED = 40
LOOPS = {"narrow": steps._narrow, "plain": steps._plain}
TABLES = {"narrow": steps.NARROW, "plain": steps.PLAIN}
REAL = (NARROW, PLAIN)

SMALL_NARROW, SMALL_PLAIN = narrow(11, 5, 2), plain(11, 2)
SMALL = (SMALL_NARROW, SMALL_PLAIN)

named = {"ids": lambda slicing: slicing.name}


@pytest.fixture(autouse=True)
def _steps_keep_numbers_of_a_model(monkeypatch):
    keep_numbers(monkeypatch)


# ---------------------------------------------------------------------------------------- the proof


def fault(slicing, E=3, *, values=None, budget=None, **arithmetic):
    """The proof for every value and every block: return the first thing that is not exact.

    First each value runs through the step alone, after sums of either parity. No operation may round
    but the slicing, and what is added must make up the value and its square. Then come the largest
    sums that blocks of these values reach within the budget, in any order, after each addition: the
    sums must stay in their binades. So no block is left out, though only sums are enumerated.
    """
    values = slicing.values(E) if values is None else values
    rows = set()
    for value in itertools.chain(values, (-v for v in values)):
        for before in parities(slicing):
            found, faults = one_row(slicing, value, E, before, **arithmetic)
            if faults:
                return faults[0]
            added = increments(found)
            if [value, value**2] != slicing.made_up([steps[-1] for steps in added], E):
                return f"the slices of {value} do not make it up"
            rows.add(tuple(added))
    for k, (_, _, _, halves) in enumerate(slicing.table):
        costs = [row[slicing.square][-1] for row in rows]
        limit = slicing.budget if budget is None else budget
        up = peak(costs, [row[k] for row in rows], slicing.rows, limit)
        down = peak(costs, [[-n for n in row[k]] for row in rows], slicing.rows, limit)
        above = (4 - halves) << (slicing.bits - 2)
        below = (halves - 2) << (slicing.bits - 2)
        if up > above or down > below:
            return f"sum {k} leaves its binade: {up} of {above}, {-down} of {-below}"
    return None


def one_row(slicing, value, E, before, **arithmetic):
    model = Model(slicing.bits, **arithmetic)
    found, _ = run(slicing, [value], E, model, before)
    return found, model.faults


def peak(costs, steps, rows, limit):
    """The largest that a sum becomes in a block whose rows cost less than the limit together."""
    best = {}  # of rows that cost so much: the largest total, and the largest on the way to a total
    for cost, row in zip(costs, steps, strict=True):
        total, highest = best.get(cost, (row[-1], max(row)))
        best[cost] = max(total, row[-1]), max(highest, *row)
    reached, largest = {0: 0}, 0  # spent → the largest sum
    for _ in range(rows):
        after = dict(reached)
        for (spent, so_far), (cost, (total, highest)) in itertools.product(reached.items(), best.items()):
            if spent + cost < limit:
                largest = max(largest, so_far + highest)
                after[spent + cost] = max(after.get(spent + cost, so_far + total), so_far + total)
        reached = after
    return largest


@pytest.mark.parametrize("slicing", SMALL, **named)
def test_nothing_rounds_in_a_small_format(slicing):
    """With 11 bits, no operation on a value of the window rounds, and no block leaves its binades."""
    assert fault(slicing) is None


@pytest.mark.parametrize("slicing", SMALL, **named)
def test_fma_finds_nothing_to_round_in_a_small_format(slicing):
    """Leaving out the rounding of products changes nothing that is added."""
    assert fault(slicing, fused=True) is None
    for value in slicing.values(3)[::5]:
        for before in parities(slicing):
            (one, _), (other, _) = (one_row(slicing, value, 3, before, fused=fused) for fused in (False, True))
            assert increments(one) == increments(other)


@pytest.mark.parametrize("slicing", SMALL, **named)
def test_the_proof_does_not_depend_on_the_exponent(slicing):
    """Each E slices as E = 3 does, in units: the proof may choose one."""
    for value in slicing.values(0)[:: 1 if slicing.data < 11 else 29]:
        for before in parities(slicing):
            expected, _ = one_row(slicing, value, 0, before)
            for E in (3, -20):
                found, _ = one_row(slicing, value * naive.power_of_two(E), E, before)
                assert increments(expected) == increments(found)


@pytest.mark.parametrize("slicing", [SMALL_NARROW, SMALL_PLAIN], **named)
def test_a_value_above_the_window_spends_the_budget_alone(slicing):
    """From 2**E to far beyond the binades of all sums, after rows of any kind: the square reaches its end."""
    E, square = 3, slicing.square
    far = slicing.rows * max(slicing.values(0)) / slicing.unit(0)
    values = slicing.values(E, first=0, above=3 * slicing.bits)
    for value in values[:4] + values[5 :: 1 if slicing.data < 11 else 61]:
        for earlier in (0, 1, math.floor(far), -math.floor(far)):
            for sign in (1, -1):
                before = [earlier if k == 0 else 0 for k in range(len(slicing.table))]
                model = Model(slicing.bits)
                found, _ = run(slicing, [sign * value], E, model, before)
                assert found[square].seen[-1] >= slicing.start(square) + slicing.budget


# ------------------------------------------------------------------------------------ its conditions

TINY_PLAIN = plain(9, 2)  # enough to break it
BROKEN = (SMALL_NARROW, TINY_PLAIN)
# The sums whose unit may be no finer (for their binade would end too soon), and no coarser (for they would round).
FINER = {"narrow": {1}, "plain": {0, 1, 4, 6, 7}}
COARSER = {"narrow": {0, 2}, "plain": set(range(9))}
# The sums that may not start at the begin of a binade, nor, where they are squares, in the middle.
BEGIN = {"narrow": {0, 2}, "plain": {0, 1, 2, 4, 5, 7}}
MIDDLE = {"plain": {6}}

OFF = [
    (slicing, k, column, change)
    for sets, column, change in ((FINER, 1, -1), (COARSER, 1, 1), (BEGIN, 3, -1), (MIDDLE, 3, 1))
    for slicing in BROKEN
    for k in sorted(sets.get(slicing.name, ()))
]


def test_nothing_rounds_in_a_tiny_format():
    """The format that is broken below is sound before, as the small ones are."""
    assert fault(TINY_PLAIN) is None


def test_each_row_of_a_table_can_be_broken():
    """There is a direction for each sum in which its unit is off."""
    for slicing in BROKEN:
        assert set(range(len(slicing.table))) == FINER[slicing.name] | COARSER[slicing.name]


@pytest.mark.parametrize(("slicing", "k", "column", "change"), OFF, ids=lambda item: getattr(item, "name", str(item)))
def test_no_unit_and_no_start_may_be_another(slicing, k, column, change):
    """A unit that is off by one bit, or a start that is off by half a binade: something rounds or has no room."""
    assert fault(slicing.broken(k, column, change))


@pytest.mark.parametrize("slicing", BROKEN, **named)
def test_a_value_below_the_window_rounds(slicing):
    """A binade below the floor there are values with bits that no sum holds."""
    assert "rounds" in fault(replace(slicing, reach=slicing.reach + 1))


@pytest.mark.parametrize("slicing", BROKEN, **named)
def test_a_value_above_the_window_leaves_a_binade(slicing):
    """With twice the budget sums have no room."""
    assert "leaves its binade" in fault(slicing, budget=2 * slicing.budget)


@pytest.mark.parametrize(("slicing", "times"), list(zip(BROKEN, (8, 1.25), strict=True)))
def test_a_longer_block_leaves_a_binade(slicing, times):
    """The plain step has no row to spare, the others have less than twice to eight times the rows."""
    assert "leaves its binade" in fault(replace(slicing, rows=int(times * slicing.rows)))


@pytest.mark.parametrize("slicing", BROKEN, **named)
def test_a_compiler_may_not_reassociate(slicing):
    """With (P + v) - P taken for v, nothing is sliced."""
    assert fault(slicing, reassociated=True)


def test_the_model_is_float16():
    """The plain step on the model with 11 bits and on NumPy's float16 gives the same bits."""
    E, rng, slicing = 4, random.Random(SEED), SMALL_PLAIN
    values = slicing.values(E)
    starts = [np.float16(float(slicing.start(k) * slicing.unit(k, E))) for k in range(len(slicing.table))]
    for _ in range(500):
        block = [rng.choice((1, -1)) * rng.choice(values) for _ in range(slicing.rows)]
        state = [*starts, math.inf]
        for value in block:
            state = slicing.step(np.float16(float(value)), None, state)
        found, _ = run(slicing, block, E, Model(11))
        assert [one.seen[-1] * slicing.unit(k, E) for k, one in enumerate(found)] == [
            Fraction(float(s)) for s in state[:-1]
        ]
        assert {type(s) for s in state[:-1]} == {np.float16}


# ---------------------------------------------------------------------------------- the real format


@pytest.mark.parametrize("slicing", REAL, **named)
def test_the_kernels_use_the_grid_of_the_proof(slicing):
    """Units, starts and windows are those of the small formats, for 53 bits, and a block is as long."""
    loop = LOOPS[slicing.name]
    assert [list(row) for row in slicing.table] == TABLES[slicing.name].tolist()
    for E in exponents(slicing):
        starts, window = loop._scaled(math.ldexp(1.0, E))
        assert [slicing.start(k) * slicing.unit(k, E) for k in range(loop.sums)] == [Fraction(s) for s in starts]
        assert slicing.window(E) == [Fraction(number) for number in window]
    assert (slicing.rows, slicing.step) == (steps.BLOCK, loop.step)


def exponents(slicing):
    if slicing.data == 24:
        return lanes.LOWEST_NARROW, -1, 3, lanes.HIGHEST_NARROW
    return lanes.LOWEST, -1, 0, lanes.HIGHEST


def worst_values(slicing, E):
    """Values at which slices and sums are largest: the share of a row in the budget, beside halves of units."""
    share = naive.power_of_two(E - 3)
    floor = naive.power_of_two(E - slicing.reach)
    below = share * naive.power_of_two(-slicing.data)  # a float less than the share
    units = [slicing.unit(k, E) for k in range(3)]
    bases = [
        share,
        share - units[0],
        share - 2 * units[0],
        share / 2,
        floor,
        2 * floor - floor * below / share,
        units[0],
        0,
    ]
    halves = [units[0] / 2, units[1] / 2, units[2] / 2, units[0] / 2 - units[1] / 2, units[1] / 2 - units[2] / 2]
    beside = [0, -below, *halves, *(half - below for half in halves)]
    found = {base + sign * offset for base in bases for offset in beside for sign in (1, -1)}
    kind = np.float32 if slicing.data == 24 else np.float64
    return sorted(v for v in found if (v == 0 or floor < v < 8 * share) and Fraction(float(kind(float(v)))) == v)


def worst_blocks(slicing, E):
    """Whole blocks of each such value, of either and of both signs, and blocks of several and of any values."""
    rng = random.Random(SEED)
    values = worst_values(slicing, E)
    for value in values:
        yield [value] * steps.BLOCK
        yield [-value] * steps.BLOCK
    below = E - 3
    for _ in range(40):
        yield [rng.choice((1, -1)) * rng.choice(values) for _ in range(steps.BLOCK)]
        bits = [1 + Fraction(rng.getrandbits(slicing.data - 1), 1 << (slicing.data - 1)) for _ in range(steps.BLOCK)]
        block = [float(b * naive.power_of_two(below - rng.randint(1, slicing.reach - (E - below)))) for b in bits]
        yield [Fraction(v) for v in (np.array(block, np.float32).tolist() if slicing.data == 24 else block)]


def in_columns(slicing, blocks, E, loop):
    """Run a kernel on these blocks, one a lane; return the flag and the whole numbers of each."""
    kind = np.float32 if slicing.data == 24 else np.float64
    lanes = len(blocks)
    x = np.array([[float(v) for v in block] for block in blocks], kind).T.ravel()
    scales = np.full(vector.LANES, math.ldexp(1.0, E))
    sums, flags = np.zeros(len(slicing.table) * vector.LANES, np.int64), np.zeros(2 * vector.LANES, np.int64)
    loop(x, 0, steps.BLOCK, lanes, 0, lanes, 0, scales, sums, flags)
    return flags[:lanes].tolist(), sums.reshape(len(slicing.table), vector.LANES)[:, :lanes].T.tolist()


@pytest.mark.parametrize("slicing", REAL, **named)
def test_the_real_steps_are_exact_on_the_worst_blocks(slicing):
    """Compiled and interpreted, the whole numbers of a block that is kept make up Σx and Σx²; most are kept."""
    for E in exponents(slicing):
        blocks = [block for block in worst_blocks(slicing, E) if max(map(abs, block)) < naive.power_of_two(E)]
        for loop in (plain_block, LOOPS[slicing.name].interpret):
            flags, sums = in_columns(slicing, blocks, E, loop)
            for block, flag, wholes in zip(blocks, flags, sums, strict=True):
                expected = [0, 0] if flag else [sum(v**power for v in block) for power in (1, 2)]
                assert expected == slicing.made_up(wholes, E)
            assert sum(map(bool, flags)) <= len(blocks) / 2


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("slicing", REAL, **named)
def test_the_real_steps_round_nothing_on_the_worst_blocks(slicing, fused):
    """With 53 bits, fused or not, no operation rounds and no sum leaves its binade; the kernel reads the same sums."""
    E = 3
    blocks = [block for block in worst_blocks(slicing, E) if max(map(abs, block)) < naive.power_of_two(E)][fused::3]
    flags, sums = in_columns(slicing, blocks, E, plain_block)
    for block, flag, wholes in zip(blocks, flags, sums, strict=True):
        model = Model(53, fused=fused)
        found, _ = run(slicing, block, E, model)
        if not flag:
            assert model.faults == []
            assert wholes == [one.seen[-1] - one.seen[0] for one in found]
        else:
            assert found[slicing.square].seen[-1] >= slicing.start(slicing.square) + slicing.budget


def test_the_bounds_of_the_plain_step_are_reached():
    """Q² fills its binade to the end and QS to the begin; PQ leaves less than a millionth."""
    blocks = list(worst_blocks(PLAIN, 0))
    _, sums = in_columns(PLAIN, blocks, 0, plain_block)
    largest, least = ([pick(column) for column in zip(*sums, strict=True)] for pick in (max, min))
    assert (2**52, -(2**51)) == (largest[6], least[7])
    assert 2**51 * (1 - 1e-6) < largest[4] < 2**51


def test_a_tie_may_go_either_way():
    """A value that lies between two units is sliced by what came before it; its sums are the same."""
    tie = PLAIN.unit(0) * Fraction(5, 2)
    one, other = (increments(run(PLAIN, [tie], 0, Model(53), before)[0]) for before in parities(PLAIN))
    assert one != other
    for added in (one, other):
        assert [tie, tie**2] == PLAIN.made_up([steps[-1] for steps in added])
