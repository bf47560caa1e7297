"""The proof for steps whose products round (docs/exactness.md), checked: any float, and any float with a weight.

All values and weights of a small format, and the worst of the real one; and each condition broken on purpose.
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
    STRICT,
    STRICT_NARROW,
    WEIGHTED,
    WEIGHTED_NARROW,
    WIDE,
    WIDE_NARROW,
    Model,
    Slicing,
    entry,
    increments,
    keep_numbers,
    parities,
    power_of_two,
    run,
    strict,
    strict_block,
    weighted,
    weighted_narrow,
    wide,
    wide_block,
)

from fastnorm import Moments, _sums
from fastnorm._kernels import lanes, steps, vector

SEED = 41
LOOPS = {
    "strict": steps._strict,
    "strict narrow": steps._strict_narrow,
    "wide": steps._wide,
    "wide narrow": steps._wide_narrow,
    "weighted": steps._weighted,
    "weighted narrow": steps._weighted_narrow,
}
TABLES = {
    "strict": (steps.WIDE, None),
    "strict narrow": (steps.WIDE[:5], None),
    "wide": (steps.WIDE, steps.WIDE_FLOOR),
    "wide narrow": (steps.WIDE, steps.WIDE_FLOOR_NARROW),
    "weighted": (steps.WEIGHTED, steps.WEIGHTED_FLOOR),
    "weighted narrow": (steps.WEIGHTED_NARROW, steps.WEIGHTED_FLOOR_NARROW),
}
LIGHTEST = 26  # binades of the weights
weighted_block = entry(steps.weighted_block)

REAL = (WIDE, WIDE_NARROW, WEIGHTED, WEIGHTED_NARROW)
EVERY = (STRICT, STRICT_NARROW, *REAL)
# (format, binades of its weights or None, one value and weight of so many): windows as wide as the last sums allow
SMALL = {
    "strict": (strict(8, 8, 1), None, 1),
    "strict narrow": (strict(9, 4, 2), None, 1),
    "wide": (wide(8, 8, 1), None, 1),
    "wide narrow": (wide(9, 4, 2), None, 1),
    "weighted": (weighted(6, 0, 2), 1, 1),
    "weighted, two rows": (weighted(8, 1, 2), 1, 97),
    "weighted narrow": (weighted_narrow(7, 3, 1, 3), 1, 1),
}
small = pytest.mark.parametrize("name", SMALL)
named = {"ids": lambda item: getattr(item, "name", None)}


@pytest.fixture(autouse=True)
def _numbers_of_a_model(monkeypatch):
    keep_numbers(monkeypatch)


# ---------------------------------------------------------------------------------------- the proof


def with_weight(form, weight):
    """The step with a weight, as one of a value alone."""
    if weight is None:
        return form

    def step(value, window, state):
        return *form.step(value, value.model.number(weight), window, state[:-1]), 0.0

    return replace(form, step=step)


def weights_of(bits, binades):
    """Every weight below 1 from 2**-binades on."""
    return [None] if binades is None else Slicing("", None, (), (), None, 1, bits, bits, binades).values(0)


def fault(form, binades, every=1, E=0):
    """The first thing that is not exact: an operation, the sums, or one that has no room for a block of the worst."""
    pairs = list(itertools.product(form.values(E), weights_of(form.bits, binades)))[::every]
    most = [0] * len(form.table)
    for (value, weight), sign in itertools.product(pairs, (1, -1)):
        for before in parities(form):
            model = Model(form.bits)
            found, rest = run(with_weight(form, weight), [sign * value], E, model, before)
            if model.faults or (form.square is None and rest[0]):
                return (model.faults or ["the mask passes over it"])[0]
            added = increments(found)
            expected = [sign * (weight or 1) * value, (weight or 1) * value**2]
            if expected != form.made_up([increment[-1] for increment in added], E):
                return f"the slices for {weight} * {value} do not make it up"
            most = [max(largest, *map(abs, of_row)) for largest, of_row in zip(most, added, strict=True)]
    room = 1 << (form.bits - 2)
    for k, largest in enumerate(most):
        if largest * form.rows > room:
            return f"sum {k} leaves its binade: {largest} * {form.rows} of {room}"
    return None


@small
def test_nothing_rounds_in_a_small_format(name):
    """No operation on a value and a weight rounds what it must not, and no block leaves its binades."""
    assert fault(*SMALL[name]) is None


# The sums whose unit may be no finer, and no coarser, for they or those below would have no room, or would round.
FINER = {"strict": {3, 4}, "wide": {3, 4}, "weighted": {0, 1, 4, 5, 7}, "weighted narrow": {0, 1, 2, 3, 4, 5, 6}}
COARSER = {
    "strict": {1, 2, 3, 5},
    "strict narrow": {4},
    "wide": {1, 2, 3, 5},
    "wide narrow": {1, 5},
    "weighted": {0, 1, 4, 7, 9},
    "weighted narrow": {0, 1, 2, 3, 4, 5},
}
OFF = [
    (name, k, change)
    for sets, change in ((FINER, -1), (COARSER, 1))
    for name, sums in sets.items()
    for k in sorted(sums)
]


@pytest.mark.parametrize(("name", "k", "change"), OFF)
def test_no_unit_may_be_another(name, k, change):
    """A unit that is off by one bit: something rounds, or that sum or the next has no room."""
    form, binades, _ = SMALL[name]
    assert fault(form.broken(k, 1, change), binades, 7 if name == "weighted" else 1)


@small
def test_no_window_and_no_block_may_be_larger(name):
    """A value or a weight a binade below its window rounds, and a block of twice the rows leaves a binade."""
    form, binades, every = SMALL[name]
    assert "rounds" in fault(replace(form, reach=form.reach + 1), binades, every)
    assert binades is None or "rounds" in fault(form, binades + 1, every)
    assert "leaves its binade" in fault(replace(form, rows=4 * form.rows), binades, every)


# ---------------------------------------------------------------------------------- the real format


@pytest.mark.parametrize("form", EVERY, **named)
def test_the_kernels_use_the_grid_of_the_proof(form):
    """Units, starts and windows are those of the small formats, for 53 bits."""
    loop = LOOPS[form.name]
    table, floor = TABLES[form.name]
    assert [list(row) for row in form.table] == table.tolist()
    assert (steps.LIGHTEST, floor) == (2.0**-LIGHTEST, 2.0 ** (-2 * form.reach) if form.square is None else None)
    assert (form.rows, form.step) == (steps.BLOCK, loop.step)
    for E in exponents(form):
        starts, window = loop._scaled(math.ldexp(1.0, E))
        assert [form.start(k) * form.unit(k, E) for k in range(loop.sums)] == [Fraction(s) for s in starts]
        assert form.window(E) == [Fraction(number) for number in window]


def exponents(form):
    if form.data == 24:
        return lanes.LOWEST_NARROW, 0, lanes.HIGHEST_NARROW
    return lanes.LOWEST, 0, lanes.HIGHEST


def worst(rng, form, E):
    """A block: values and weights at the ends of their windows, with bits all set, none or any."""
    below = power_of_two(E) * (1 - power_of_two(-form.data))
    floor = power_of_two(E - form.reach)
    ends = [below, below / 2, floor, floor * (2 - 2 * power_of_two(-form.data)), 0]
    some = [power_of_two(E - rng.randint(1, form.reach)) for _ in range(5)]
    any_bits = [n * (1 + Fraction(rng.getrandbits(form.data - 1), 1 << (form.data - 1))) for n in some]
    lightest = 2.0**-LIGHTEST
    heavy = [1 - 2.0**-53, 0.5, lightest, lightest * (2 - 2.0**-52), *(rng.uniform(lightest, 1) for _ in range(3))]
    values = [v for v in ends + any_bits if v == 0 or v < power_of_two(E)]
    choose = rng.choice(
        [
            lambda items: [rng.choice(items)] * steps.BLOCK,
            lambda items: [rng.choice(items) for _ in range(steps.BLOCK)],
        ]
    )
    signs = rng.choice([[1], [-1], [1, -1]])
    return [rng.choice(signs) * v for v in choose(values)], choose(heavy)


def loops_of(form):
    """Compiled and interpreted, called with a list of weights in the end."""
    compiled = weighted_block if "weighted" in form.name else wide_block if form.square is None else strict_block
    for loop in (compiled, LOOPS[form.name].interpret):
        if "weighted" in form.name:
            yield lambda *given, loop=loop: loop(*given[:-1], np.repeat(np.array(given[-1]), vector.SPREAD))
        else:
            yield lambda *given, loop=loop: loop(*given[:-1])


@pytest.mark.parametrize("form", EVERY, **named)
def test_the_real_steps_are_exact_on_the_worst_blocks(form):
    """Compiled and interpreted, the whole numbers of a block make up Σwx and Σwx²."""
    rng = random.Random(SEED)
    kind = np.float32 if form.data == 24 else np.float64
    for E in exponents(form):
        for trial in range(24):
            values, weights = worst(rng, form, E)
            if form.square is not None:  # a block spends less than 4**E, and the floor itself may fail it
                values = [v / 16 if abs(v) >= power_of_two(E - 4) else v for v in values]
                next_to = 1 + power_of_two(1 - form.data)
                values = [v * next_to if abs(v) == power_of_two(E - form.reach) else v for v in values]
            x = np.array([float(v) for v in values], kind)
            pairs = zip(x.tolist(), weights if "weighted" in form.name else [1] * len(values), strict=True)
            terms = [(Fraction(w) * Fraction(v), Fraction(w) * Fraction(v) ** 2) for v, w in pairs]
            for loop in list(loops_of(form))[: 2 if trial % 8 == 0 else 1]:
                count = 5  # a vector and what is left
                scales = np.full(vector.LANES, math.ldexp(1.0, E))
                sums = np.zeros(len(form.table) * vector.LANES, np.int64)
                flags = np.zeros(2 * vector.LANES, np.int64)
                tile = np.repeat(x, count)
                assert not loop(tile, 0, steps.BLOCK, count, 0, count, 0, scales, sums, flags, weights)
                for c in range(count):
                    assert [sum(side) for side in zip(*terms, strict=True)] == form.made_up(
                        sums[c :: vector.LANES].tolist(), E
                    )


@pytest.mark.parametrize("form", [WEIGHTED, WEIGHTED_NARROW], **named)
def test_values_beside_the_window_are_counted_and_left_out(form):
    """One float inside the window or outside, NaN and infinities: what is not added is flagged."""
    kind = np.float32 if form.data == 24 else np.float64
    top, floor = kind(1), kind(2.0**-form.reach)
    inside = [np.nextafter(top, kind(0)), floor, kind(0)]
    outside = [top, np.nextafter(floor, kind(0)), kind(np.nan), kind(np.inf), kind(-np.inf)]
    for sign, (value, flag) in itertools.product((1, -1), [(v, 0) for v in inside] + [(v, 2) for v in outside]):
        x = np.array([0.5, sign * value, 0.5, sign * value], kind)
        for loop in loops_of(form):
            sums, flags = np.zeros(len(form.table) * vector.LANES, np.int64), np.zeros(2 * vector.LANES, np.int64)
            loop(x, 0, 4, 1, 0, 1, 0, np.ones(vector.LANES), sums, flags, [0.75] * 4)
            kept = [0.5, 0.5] if flag else x.tolist()
            made = [sum(Fraction(3, 4) * Fraction(v) ** power for v in kept) for power in (1, 2)]
            assert (flags[0], made) == (flag, form.made_up(sums[:: vector.LANES].tolist()))


# ---------------------------------------------------------------------------------- whole arrays


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("columns", [1, 3, 600])
def test_any_mixture_of_weights_and_values_is_exact(kind, columns):
    """Windows that move, weights far below the others, none at all, gaps and infinities: Σw, Σwx and Σwx²."""
    rng = np.random.default_rng(SEED)
    rows = 200 if columns < 600 else 66
    x = (rng.standard_normal((rows, columns)) * np.exp2(rng.integers(-8, 8, (rows, columns)))).astype(kind)
    x[rows // 2 :] *= kind(2.0**70)
    for value, share in ((np.nan, 0.05), (np.inf, 0.02), (-np.inf, 0.02), (1e-30, 0.05), (0, 0.1)):
        x[rng.random(x.shape) < share] = value
    weights = rng.uniform(0, 2, rows) * np.where(rng.random(rows) < 0.1, 1e-300, 1.0)
    weights[rng.random(rows) < 0.1] = 0
    for scale in (1.0, 2.0**-1000, 2.0**1000):
        check(x, weights * scale)


def check(x, weights):
    counted = Moments.of(x, weights=weights, threads=1)._counted
    exact_weights = [Fraction(w) for w in weights.tolist()]
    sides = [(naive.power_of_two(s.exponent), _sums.to_integers(s)) for s in (counted.total, counted.square)]
    weight = _sums.to_integers(counted.weight), naive.power_of_two(counted.weight.exponent)
    for c in range(0, x.shape[1], max(1, x.shape[1] // 7)):
        column = [(w, Fraction(v)) for w, v in zip(exact_weights, x[:, c].tolist(), strict=True) if np.isfinite(v)]
        for power, (unit, sums) in enumerate(sides, 1):
            assert sums[c] * unit == sum(w * v**power for w, v in column)
        assert weight[0][c] * weight[1] == sum(w for w, _ in column)


def test_runs_that_need_flushes_are_exact():
    """More blocks than a whole number holds: as many equal rows with the weights of a half and a third."""
    rows = steps.BLOCK * (2 * lanes.FLUSH + 3) + 7
    x = np.full((rows, 2), [1.5, -3.25])
    weights = np.where(np.arange(rows) % 2, 0.5, 1 / 3)
    found = Moments.of(x, weights=weights)
    total = rows // 2 * Fraction(1, 2) + (rows - rows // 2) * Fraction(1 / 3)
    assert found.weight.tolist() == [float(total)] * 2
    assert (found.mean.tolist(), found.variance.tolist()) == ([1.5, -3.25], [0.0, 0.0])
