"""The proof for weights in docs/exactness.md, checked: all values of a small format, the worst of the real one."""

import itertools
import math
import random
from dataclasses import replace
from fractions import Fraction

import naive
import numpy as np
import pytest
from model import Model, Number, Slicing, entry, increments, keep_numbers, parities, power_of_two, run

from fastnorm._kernels import lanes, steps, vector

SEED = 41
LOOPS = {"weighted": steps._weighted, "weighted narrow": steps._weighted_narrow}
TABLES = {"weighted": steps.WEIGHTED, "weighted narrow": steps.WEIGHTED_NARROW}
FLOORS = {"weighted": steps.WEIGHTED_FLOOR, "weighted narrow": steps.WEIGHTED_FLOOR_NARROW}
LIGHTEST = 26  # binades of the weights
weighted_block = entry(steps.weighted_block)


def table(bits, log_rows, finer, totals, squares):
    """Units by the formula of the proof: each sum leaves room for a block; four rests take a bit, three at first."""
    step = bits - 2 - log_rows
    rows = [(1, -k * step, 0, 3) for k in range(1, totals + 1)]
    return (*rows, *((2, max(0, k - 2) * finer - k * step, 0, 3) for k in range(1, squares + 1)))


def weighted(bits, log_rows, squares, reach):
    """float64: w*v is two floats, w*v*v four."""
    units = table(bits, log_rows, 1, 4, squares)
    return Slicing("weighted", steps._weighted_step, units, slicing(4, squares), None, 1 << log_rows, bits, bits, reach)


def narrow(bits, data, log_rows, squares, reach):
    """float32: v*v is a float, so w*v*v are two as w*v are."""
    units = table(bits, log_rows, 0, 3, squares)
    step = steps._weighted_narrow_step
    return Slicing("weighted narrow", step, units, slicing(3, squares), None, 1 << log_rows, bits, data, reach)


def slicing(totals, squares):
    """All sums slice but the last one of each side."""
    return tuple(k for k in range(totals + squares) if k not in (totals - 1, totals + squares - 1))


REAL = (weighted(53, 6, 6, 40), narrow(53, 24, 6, 5, 34))
# (format, binades of its weights, one pair of so many): the windows as wide as the last sums allow
ONE_ROW = (weighted(6, 0, 6, 2), 1, 1)
TWO_ROWS = (weighted(8, 1, 6, 2), 1, 37)
NARROW = (narrow(7, 3, 1, 5, 3), 1, 1)
named = {"ids": lambda item: getattr(item, "name", None)}


@pytest.fixture(autouse=True)
def _numbers_of_a_model(monkeypatch):
    """Products round, what is left of them does not."""
    keep_numbers(monkeypatch)
    product, remainder = steps.rounded_product, steps.remainder

    def rounded_product(x, y):
        if not isinstance(x, Number):
            return product(x, y)
        return x.model.result("a product", x.n * y.n, x.e + y.e, free=True)

    def left(x, y, of):
        if not isinstance(x, Number):
            return remainder(x, y, of)
        e = min(x.e + y.e, of.e)
        return x.model.result("a remainder", (x.n * y.n << (x.e + y.e - e)) - (of.n << (of.e - e)), e)

    monkeypatch.setattr(steps, "rounded_product", rounded_product)
    monkeypatch.setattr(steps, "remainder", left)


def with_weight(form, weight):
    """The step with a weight, as one of a value alone."""

    def step(value, window, state):
        *sums, outside = form.step(value, value.model.number(weight), window, [*state, 0.0])
        assert outside == 0.0
        return sums

    return replace(form, step=step)


def weights_of(bits, binades):
    """Every weight below 1 from 2**-binades on."""
    return Slicing("", None, (), (), None, 1, bits, bits, binades).values(0)


def fault(form, binades, E=0, every=1):
    """The first thing that is not exact: an operation, a sum that has no room for a block of the worst, or the sums."""
    pairs = list(itertools.product(form.values(E), weights_of(form.bits, binades)))[::every]
    most = [0] * len(form.table)
    for (value, weight), sign in itertools.product(pairs, (1, -1)):
        for before in parities(form):
            model = Model(form.bits)
            found, _ = run(with_weight(form, weight), [sign * value], E, model, before)
            if model.faults:
                return model.faults[0]
            added = increments(found)
            if [sign * weight * value, weight * value**2] != form.made_up([steps_[-1] for steps_ in added], E):
                return f"the slices for {weight} * {value} do not make it up"
            for k, of_row in enumerate(added):
                most[k] = max(most[k], *map(abs, of_row))
    room = 1 << (form.bits - 2)
    for k, largest in enumerate(most):
        if largest * form.rows > room:
            return f"sum {k} leaves its binade: {largest} * {form.rows} of {room}"
    return None


@pytest.mark.parametrize(("form", "binades", "every"), [ONE_ROW, TWO_ROWS, NARROW], **named)
def test_nothing_rounds_in_a_small_format(form, binades, every):
    """No operation on a value and a weight rounds what it must not, and no block leaves its binades."""
    assert fault(form, binades, every=every) is None


FINER = {"weighted": {0, 1, 4, 5, 7}, "weighted narrow": {0, 1, 2, 3, 4, 5, 6}}
COARSER = {"weighted": {0, 1, 4, 7, 9}, "weighted narrow": {0, 1, 2, 3, 4, 5}}
OFF = [
    (form, binades, k, change)
    for (form, binades, _), sets, change in itertools.product((ONE_ROW, NARROW), (FINER, COARSER), (-1, 1))
    for k in sorted(sets[form.name])
    if (sets is COARSER) == (change == 1)
]


@pytest.mark.parametrize(("form", "binades", "k", "change"), OFF, **named)
def test_no_unit_may_be_another(form, binades, k, change):
    """A unit that is off by one bit: something rounds, or that sum or the next has no room."""
    assert fault(form.broken(k, 1, change), binades, every=7 if form is ONE_ROW[0] else 1)


@pytest.mark.parametrize(("form", "binades", "every"), [TWO_ROWS, NARROW], **named)
def test_no_window_and_no_block_may_be_larger(form, binades, every):
    """A value or a weight a binade below its window rounds, and a block of twice the rows leaves a binade."""
    assert "rounds" in fault(replace(form, reach=form.reach + 1), binades, every=every)
    assert "rounds" in fault(form, binades + 1, every=every)
    assert "leaves its binade" in fault(replace(form, rows=2 * form.rows), binades, every=every)


# ---------------------------------------------------------------------------------- the real format


@pytest.mark.parametrize("form", REAL, **named)
def test_the_kernels_use_the_grid_of_the_proof(form):
    """Units, starts and windows are those of the small formats, for 53 bits."""
    loop = LOOPS[form.name]
    assert [list(row) for row in form.table] == TABLES[form.name].tolist()
    assert (steps.LIGHTEST, FLOORS[form.name]) == (2.0**-LIGHTEST, 2.0 ** (-2 * form.reach))
    assert (form.rows, form.step) == (steps.BLOCK, loop.loops[0][0])
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


@pytest.mark.parametrize("form", REAL, **named)
def test_the_real_steps_are_exact_on_the_worst_blocks(form):
    """Compiled and interpreted, the whole numbers of a block make up Σwx and Σwx²."""
    rng = random.Random(SEED)
    kind = np.float32 if form.data == 24 else np.float64
    for E in exponents(form):
        for trial in range(24):
            values, weights = worst(rng, form, E)
            x = np.array([float(v) for v in values], kind)
            expected = [sum(Fraction(w) * v**power for v, w in zip(values, weights, strict=True)) for power in (1, 2)]
            for loop in (weighted_block, LOOPS[form.name].interpret)[: 2 if trial % 8 == 0 else 1]:
                lanes = 5  # a vector and what is left
                scales = np.full(vector.LANES, math.ldexp(1.0, E))
                sums = np.zeros(len(form.table) * vector.LANES, np.int64)
                flags = np.zeros(2 * vector.LANES, np.int64)
                spread = np.repeat(np.array(weights), vector.SPREAD)
                tile = np.repeat(x, lanes)
                assert not loop(tile, 0, steps.BLOCK, lanes, 0, lanes, 0, scales, sums, flags, spread)
                for c in range(lanes):
                    assert expected == form.made_up(sums[c :: vector.LANES].tolist(), E)


@pytest.mark.parametrize("form", REAL, **named)
def test_values_beside_the_window_are_counted_and_left_out(form):
    """One float inside the window or outside, NaN and infinities: what is not added is flagged."""
    kind = np.float32 if form.data == 24 else np.float64
    top, floor = kind(1), kind(2.0**-form.reach)
    inside = [np.nextafter(top, kind(0)), floor, kind(0)]
    outside = [top, np.nextafter(floor, kind(0)), kind(np.nan), kind(np.inf), kind(-np.inf)]
    for sign, (value, flag) in itertools.product((1, -1), [(v, 0) for v in inside] + [(v, 2) for v in outside]):
        x = np.array([0.5, sign * value, 0.5, sign * value], kind)
        for loop in (weighted_block, LOOPS[form.name].interpret):
            sums, flags = np.zeros(len(form.table) * vector.LANES, np.int64), np.zeros(2 * vector.LANES, np.int64)
            spread = np.full(4 * vector.SPREAD, 0.75)
            loop(x, 0, 4, 1, 0, 1, 0, np.ones(vector.LANES), sums, flags, spread)
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
    from fastnorm import Moments, _sums

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
    from fastnorm import Moments

    rows = steps.BLOCK * (2 * lanes.FLUSH + 3) + 7
    x = np.full((rows, 2), [1.5, -3.25])
    weights = np.where(np.arange(rows) % 2, 0.5, 1 / 3)
    found = Moments.of(x, weights=weights)
    total = rows // 2 * Fraction(1, 2) + (rows - rows // 2) * Fraction(1 / 3)
    assert found.weight.tolist() == [float(total)] * 2
    assert (found.mean.tolist(), found.variance.tolist()) == ([1.5, -3.25], [0.0, 0.0])
