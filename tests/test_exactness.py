"""The proof of docs/exactness.md, checked: the lemma on a small format, then the real kernels.

`Model` is floating-point arithmetic of any precision that notes each operation that rounds. The
steps of the kernels are plain Python, so they run on it as they stand: with 11 significant bits
(those of float16) for every value that there is and every sum that a block can reach, with 53 bits
for the worst blocks of the real format.
"""

import itertools
import math
import random
from dataclasses import dataclass, replace
from fractions import Fraction

import ml_dtypes
import naive
import numpy as np
import pytest
from strategies import UNJITTED

from fastnorm import Moments, Normalization, _reduce, _statistics, _sums
from fastnorm._kernels import exact
from fastnorm._layout import Tile

SEED = 40
TOP = 1 - 2.0**-53  # the largest float64 below 1
HUGE = float(np.finfo(np.float64).max)
DOUBLE, SINGLE = np.dtype("f8"), np.dtype("f4")
MOST_PUTS = 7  # sums of one side an element can leave behind; each raises a limb by < 2**32


# ---------------------------------------------------------------------------- arithmetic that tells


def rounded(n, bits):
    """Round an integer to so many significant bits, ties to even."""
    cut = n.bit_length() - bits
    if cut <= 0:
        return n
    rest = n & ((1 << cut) - 1)
    down, half = n - rest, 1 << (cut - 1)
    return down + ((rest > half or (rest == half and (down >> cut) & 1)) << cut)


class Model:
    """Arithmetic with `bits` significant bits, ties to even, and exponents without bounds.

    `rounded` lists the operations that rounded, but for the two that may: a value plus a constant
    of the grid, and the square of a value, which is only compared. `addends[k]` are the numbers
    added to sum k. `fused` leaves products unrounded, as FMA does. `reassociated` takes
    (v + M) - M for v, as a compiler would that was told that it may.
    """

    def __init__(self, bits, fused=False, reassociated=False):
        self.bits, self.fused, self.reassociated = bits, fused, reassociated
        self.rounded = []
        self.addends = {}

    def number(self, value, role=""):
        if isinstance(value, Number):
            return value
        top, bottom = value.as_integer_ratio()
        return Number(self, top, 1 - bottom.bit_length(), role)

    def result(self, name, n, e, role="", free=False):
        kept = rounded(n, self.bits)
        if kept != n and not free:
            self.rounded.append(f"{name} rounds {n} * 2**{e}")
        return Number(self, kept, e, role)


class Number:
    """A number n * 2**e of a model; its role is "data", "grid", the index of a sum, or nothing."""

    __slots__ = ("before", "e", "model", "n", "role")
    __hash__ = None

    def __init__(self, model, n, e, role=""):
        self.model, self.n, self.e, self.role = model, n, e, role
        self.before = None

    @property
    def value(self):
        return self.n * naive.power_of_two(self.e)

    def _add(self, other, sign):
        other = self.model.number(other)
        e = min(self.e, other.e)
        n = (self.n << (self.e - e)) + sign * (other.n << (other.e - e))
        if other.role == "grid":
            if self.model.reassociated and sign < 0:
                return Number(self.model, self.before.n, self.before.e)
            result = self.model.result("slicing", n, e, free=sign > 0)
            result.before = self
            return result
        if isinstance(self.role, int):
            self.model.addends.setdefault(self.role, []).append(other)
            return self.model.result(f"sum {self.role}", n, e, self.role)
        return self.model.result("a slice", n, e)

    def __add__(self, other):
        return self._add(other, 1)

    def __radd__(self, other):
        return self.model.number(other) + self

    def __sub__(self, other):
        return self._add(other, -1)

    def __rsub__(self, other):
        return self.model.number(other) - self

    def __mul__(self, other):
        n, e = self.n * other.n, self.e + other.e
        if self.model.fused:
            return Number(self.model, n, e)
        watch = self.role == other.role == "data"
        return self.model.result("a product", n, e, free=watch)

    def __abs__(self):
        return Number(self.model, abs(self.n), self.e)

    def _minus(self, other):
        """Something with the sign of the difference; NaN where there is none."""
        if isinstance(other, float) and not math.isfinite(other):
            return -other
        other = self.model.number(other)
        e = min(self.e, other.e)
        return (self.n << (self.e - e)) - (other.n << (other.e - e))

    def __lt__(self, other):
        return self._minus(other) < 0

    def __gt__(self, other):
        return self._minus(other) > 0

    def __ge__(self, other):
        return self._minus(other) >= 0

    def __eq__(self, other):
        return self._minus(other) == 0

    def __ne__(self, other):
        return not self == other


@pytest.fixture(autouse=True)
def _steps_keep_numbers_of_a_model(monkeypatch):
    """Widening leaves a number of a model as it is."""
    widen = exact.double
    monkeypatch.setattr(exact, "double", lambda v: v if isinstance(v, Number) else widen(v))


# ------------------------------------------------------------------------------------------ formats


@dataclass(frozen=True)
class Slicing:
    """A step and the sizes that its proof needs, for any precision.

    Slice i is at most 2**k times 2**(E - unit(i)). `data` is the precision of the values, `bits`
    that of the arithmetic, 2**`log_rows` the length of a block.
    """

    name: str
    step: object
    table: np.ndarray
    slices: int
    terms: tuple  # of each sum: the slices whose unit, or product of units, it counts
    k: int
    bits: int
    data: int
    log_rows: int

    def unit(self, i):
        return i * (self.k + 1) - 1

    def units(self):
        """Power of the data and unit of each sum, as in the tables of the kernels."""
        return [(len(term), sum(self.unit(i) for i in term)) for term in self.terms]

    @property
    def reach(self):
        """The window is [2**(E - reach), 2**E)."""
        return self.unit(self.slices) - (self.data - 1)

    def constants(self, E):
        """What `aim` and `aim_wide` set, for this precision."""
        m = [3 * naive.power_of_two(self.bits - 2 + E - self.unit(i)) for i in range(1, self.slices)]
        power = 1 if self.step is exact._narrow_step else 2
        return [*m, naive.power_of_two(power * E), naive.power_of_two(power * (E - self.reach))]

    def values(self, E, reach=None, above=0):
        """Every value > 0 of the data in the window, or in one that reaches further."""
        whole = range(1 << (self.data - 1), 1 << self.data)
        exponents = range(E - (self.reach if reach is None else reach), E + above)
        return [n * naive.power_of_two(e + 1 - self.data) for e in exponents for n in whole]


NARROW_TERMS = ((2,), (1, 1), (1, 2), (2, 2))
PLAIN_TERMS = ((2,), (3,), (1, 1), (1, 2), (1, 3), (2, 2), (2, 3), (3, 3))
WIDE_TERMS = ((2,), (4,), (1, 1), (1, 2), (2, 2), (1, 4), (3, 3), (3, 4), (4, 4))

NARROW = Slicing("narrow", exact._narrow_step, exact.NARROW, 2, NARROW_TERMS, 23, 53, 24, 6)
PLAIN = Slicing("plain", exact._plain_step, exact.PLAIN, 3, PLAIN_TERMS, 23, 53, 53, 6)
WIDE = Slicing("wide", exact._wide_step, exact.WIDE, 4, WIDE_TERMS, 22, 53, 53, 6)
WIDE_NARROW = replace(WIDE, name="wide narrow", data=24)
REAL = (NARROW, PLAIN, WIDE, WIDE_NARROW)

SMALL_NARROW = replace(NARROW, k=4, bits=11, data=5, log_rows=2)
SMALL_PLAIN = replace(PLAIN, k=4, bits=11, data=11, log_rows=2)
SMALL_WIDE = replace(WIDE, k=3, bits=11, data=11, log_rows=3)
SMALL_WIDE_NARROW = replace(WIDE_NARROW, k=3, bits=11, data=5, log_rows=3)
SMALL = (SMALL_NARROW, SMALL_PLAIN, SMALL_WIDE, SMALL_WIDE_NARROW)

named = {"ids": lambda slicing: slicing.name}


def run(slicing, values, constants, model):
    """Run a step over a block of values in a model; return its sums and what it watches."""
    state = [Number(model, 0, 0, k) for k in range(len(slicing.terms))]
    if slicing.slices < 4:
        state += [0.0, math.inf]
    grid = [model.number(m, "grid" if i < slicing.slices - 1 else "") for i, m in enumerate(constants)]
    for value in values:
        state = slicing.step(model.number(value, "data"), grid, state)
    return state[: len(slicing.terms)], state[len(slicing.terms) :]


# ---------------------------------------------------------------------------------------- the lemma


def rounding(slicing, E=3, *, values=None, constants=None, log_rows=None, **model):
    """The lemma for every value and every sum of a block: return the first thing that rounds.

    First each value runs through the step alone, where no operation may round and the slices must
    make up the value and its square. Then come all sums that blocks of these values can reach, in
    any order, one addition after the other: each must be a number of the format. So no block is
    left out, though only sums are enumerated.
    """
    values = slicing.values(E) if values is None else values
    constants = slicing.constants(E) if constants is None else constants
    rows = 1 << (slicing.log_rows if log_rows is None else log_rows)
    added = [set() for _ in slicing.terms]
    for value in values:
        found = Model(slicing.bits, **model)
        sums, _ = run(slicing, [value], constants, found)
        if found.rounded:
            return found.rounded[0]
        twice = [1 + int(both) for both in slicing.table[:, 2]]
        parts = [(power, n * s.value) for (power, _), n, s in zip(slicing.units(), twice, sums, strict=True)]
        for power in (1, 2):
            if value**power != sum(part for p, part in parts if p == power):
                return f"the slices of {value} miss its power {power}"
        for k, numbers in found.addends.items():
            added[k].add(tuple((number.n, number.e) for number in numbers))
    for k, (power, unit) in enumerate(slicing.units()):
        if what := _rounding_of_sums(added[k], power * E - unit, rows, slicing.bits):
            return f"sum {k}: {what}"
    return None


def _rounding_of_sums(added, exponent, rows, bits):
    """Say which sum of `rows` of these addends, of either sign, is no number of the format."""
    wholes = set()
    for numbers in added:
        parts = [n * naive.power_of_two(e - exponent) for n, e in numbers]
        if not all(part.denominator == 1 for part in parts):
            return f"an addend is no whole number of 2**{exponent}: rounds when it is made one"
        wholes |= {tuple(sign * int(part) for part in parts) for sign in (1, -1)}
    middle = rows * max(sum(map(abs, whole)) for whole in wholes)
    exact_ones = sum(1 << (n + middle) for n in range(-middle, middle + 1) if rounded(n, bits) == n)
    reached = 1 << middle  # a set: bit n + middle stands for the sum n
    for _ in range(rows):
        before, steps = reached, {(): reached}
        for whole in sorted(wholes):
            for end in range(1, len(whole) + 1):
                if whole[:end] not in steps:
                    earlier, shift = steps[whole[: end - 1]], whole[end - 1]
                    steps[whole[:end]] = earlier << shift if shift >= 0 else earlier >> -shift
                reached |= steps[whole] if end == len(whole) else 0
                if steps[whole[:end]] & ~exact_ones:
                    return f"a sum of {whole} in a block rounds"
        if reached == before:
            break
    return None


@pytest.mark.parametrize("slicing", SMALL, **named)
def test_nothing_rounds_in_a_small_format(slicing):
    """With 11 bits, no operation on any value of the window and no sum of any block rounds."""
    assert rounding(slicing) is None


@pytest.mark.parametrize("slicing", SMALL, **named)
def test_fma_finds_nothing_to_round_in_a_small_format(slicing):
    """Leaving out the rounding of products changes nothing that is added."""
    assert rounding(slicing, fused=True) is None


@pytest.mark.parametrize("slicing", SMALL, **named)
def test_the_lemma_does_not_depend_on_the_exponent_or_the_sign(slicing):
    """Each E and sign slices as E = 3 does, but for the power of two: the proof may choose one."""

    def slices(value, E):
        sums, _ = run(slicing, [value], slicing.constants(E), Model(slicing.bits))
        return [s.value * naive.power_of_two(-power * E) for (power, _), s in zip(slicing.units(), sums, strict=True)]

    powers = [power for power, _ in slicing.units()]
    for value in slicing.values(0)[:: 1 if slicing.data < 11 else 29]:
        for E in (3, -20):
            scaled = value * naive.power_of_two(E)
            assert slices(scaled, E) == slices(value, 0)
            assert slices(-scaled, E) == [(-1) ** p * s for p, s in zip(powers, slices(value, 0), strict=True)]


# A still smaller format, for these need not be large. The wide slices have room: in places what
# breaks them is further off than one bit.
TINY_PLAIN = replace(SMALL_PLAIN, k=3, bits=9, data=9)
TINY_WIDE = replace(SMALL_WIDE, k=2, bits=9, data=9)
BROKEN = (SMALL_NARROW, TINY_PLAIN, TINY_WIDE, SMALL_WIDE_NARROW)
HALF = Fraction(1, 2)

BREAKS = [(slicing, "reach", 1) for slicing in BROKEN]
BREAKS += [(slicing, "above", 2 if slicing.data == 5 else 1) for slicing in BROKEN]
BREAKS += [(slicing, "log_rows", 2 if slicing is SMALL_WIDE_NARROW else 1) for slicing in BROKEN]
BREAKS += [(slicing, "reassociated", True) for slicing in BROKEN]
BREAKS += [(SMALL_NARROW, "constant 0", factor) for factor in (2, HALF)]
BREAKS += [(TINY_PLAIN, f"constant {i}", factor) for i in (0, 1) for factor in (2, HALF)]
BREAKS += [(TINY_WIDE, f"constant {i}", factor) for i in (0, 1, 2) for factor in (4 if i == 2 else 2, HALF)]


@pytest.mark.parametrize("slicing", BROKEN, **named)
def test_nothing_rounds_in_a_tiny_format(slicing):
    """The formats that are broken below are sound before."""
    assert rounding(slicing) is None


@pytest.mark.parametrize(("slicing", "condition", "change"), BREAKS, ids=lambda item: getattr(item, "name", str(item)))
def test_each_condition_of_the_lemma_is_needed(slicing, condition, change):
    """Off the window, in a longer block, on another grid or reassociated, something rounds."""
    E = 3
    constants = slicing.constants(E)
    if condition == "reach":  # binades below the window
        constants[-1] /= 4**change
        values = slicing.values(E, reach=slicing.reach + change)
        assert rounding(slicing, E, values=values, constants=constants)
    elif condition == "above":
        constants[-2] *= 4**change
        assert rounding(slicing, E, values=slicing.values(E, above=change), constants=constants)
    elif condition == "log_rows":
        assert rounding(slicing, E, log_rows=slicing.log_rows + change)
    elif condition == "reassociated":
        assert rounding(slicing, E, reassociated=change)
    else:
        constants[int(condition[-1])] *= change
        assert rounding(slicing, E, constants=constants)


def test_the_model_is_float16():
    """The plain step on the model with 11 bits and on NumPy's float16 adds the same bits."""
    E = 4
    constants = [np.float16(float(c)) for c in SMALL_PLAIN.constants(E)]
    for value in SMALL_PLAIN.values(E):
        start = [np.float16(0)] * 9 + [np.float16(np.inf)]
        found = exact._plain_step(np.float16(float(value)), constants, start)
        sums, _ = run(SMALL_PLAIN, [value], SMALL_PLAIN.constants(E), Model(11))
        assert [float(s.value) for s in sums] == [float(s) for s in found[:8]]
        assert {type(s) for s in found[:8]} == {np.float16}


# ---------------------------------------------------------------------------------- the real format


@pytest.mark.parametrize("E", [exact.LOWEST_NARROW, -1, 0, 129])
@pytest.mark.parametrize("slicing", REAL, **named)
def test_the_kernels_use_the_grid_of_the_proof(slicing, E):
    """Constants, units and factors are those of the small formats, for 53 bits."""
    aim = exact.aim_wide if slicing.slices == 4 else exact.aim
    grid = np.full(exact.FLOATS, np.nan)
    aim(grid, 0, E, slicing.data == 24)
    found = [Fraction(v) for v in grid[: 14 * exact.LANES : exact.LANES] if not math.isnan(v)]
    factors = [naive.power_of_two(unit - power * E) for power, unit in slicing.units()]
    assert slicing.constants(E) + factors == found
    twice = [
        sum(term in (one, one[::-1]) for one in itertools.product(range(1, 5), repeat=2)) for term in slicing.terms
    ]
    assert [[power, -unit] for power, unit in slicing.units()] == slicing.table[:, :2].tolist()
    if slicing.slices < 4:  # a wide sum unites several products
        assert [int(n == 2 and len(t) == 2) for n, t in zip(twice, slicing.terms, strict=True)] == [
            int(both) for both in slicing.table[:, 2]
        ]
    assert exact.BLOCK == 1 << slicing.log_rows


def worst_blocks(slicing, E):
    """Blocks at the edges of the window: largest and smallest, ties, all bits set, mixed signs."""
    rng = random.Random(SEED)
    top = naive.power_of_two(E) * (1 - naive.power_of_two(-slicing.data))
    floor = naive.power_of_two(E - slicing.reach)
    full = floor * (2 - naive.power_of_two(1 - slicing.data))
    edges = [top, floor, full, Fraction(0), naive.power_of_two(E - 1)]
    ties = [
        (2 * n + 1) * naive.power_of_two(E - slicing.unit(i) - 1) for i in range(1, slicing.slices) for n in (0, 1, 2)
    ]
    ties = [naive.power_of_two(E - 2) + tie for tie in ties]
    ties = [
        tie
        for tie in ties
        if Fraction(float(tie)) == tie and (slicing.data == 53 or np.float32(float(tie)) == float(tie))
    ]
    anything = [
        naive.power_of_two(E - rng.randint(1, slicing.reach))
        * (1 + Fraction(rng.getrandbits(slicing.data - 1), 1 << (slicing.data - 1)))
        for _ in range(64)
    ]
    for pool in ([top], [full], [floor], edges, ties or edges, anything):
        block = [rng.choice(pool) for _ in range(exact.BLOCK)]
        yield block
        yield [-v for v in block]
        yield [v * (-1) ** i for i, v in enumerate(block)]


def exact_slices(slicing, value, E):
    """The slices of a value by definition: rounded to a unit, ties to even, and what is left."""
    units = [naive.power_of_two(E - slicing.unit(i)) for i in range(1, slicing.slices)]
    if slicing.slices == 2:
        p = round(value / units[0]) * units[0]
        return [p, value - p]
    h = round(value / units[1]) * units[1]
    p = round(h / units[0]) * units[0]
    rest = value - h
    if slicing.slices == 3:
        return [p, h - p, rest]
    r = round(rest / units[2]) * units[2]
    return [p, h - p, r, rest - r]


def exact_sums(slicing, block, E):
    """What the sums of a block are, in rational numbers."""
    parts = [(value, exact_slices(slicing, value, E)) for value in block]
    if slicing.slices == 2:
        sums = [[v, p * p, p * t, t * t] for v, (p, t) in parts]
    elif slicing.slices == 3:
        sums = [[p + q, s, p * p, p * q, p * s, q * q, q * s, s * s] for _, (p, q, s) in parts]
    else:
        sums = [
            [
                p + q,
                r + s,
                p * p,
                p * q,
                2 * p * r + q * q,
                p * s + q * r,
                2 * q * s + r * r,
                r * s,
                s * s,
            ]
            for _, (p, q, r, s) in parts
        ]
    return [sum(column) for column in zip(*sums, strict=True)]


def real_exponents(slicing):
    return (exact.LOWEST_NARROW, -1, 3, 129) if slicing.data == 24 else (exact.LOWEST, -1, 0, exact.HIGHEST)


@pytest.mark.parametrize("slicing", REAL, **named)
def test_the_real_steps_are_exact_on_the_worst_blocks(slicing):
    """On float64 every sum of a block equals the rational one, and the sums make up Σx and Σx²."""
    for E in real_exponents(slicing):
        constants = [float(c) for c in slicing.constants(E)]
        for block in worst_blocks(slicing, E):
            state = [0.0] * len(slicing.terms) + [0.0, math.inf] * (slicing.slices < 4)
            for value in block:
                state = slicing.step(float(value), constants, state)
            sums = [Fraction(s) for s in state[: len(slicing.terms)]]
            assert exact_sums(slicing, block, E) == sums
            twice = [1 + int(both) for both in slicing.table[:, 2]]
            for power in (1, 2):
                made_up = sum(n * s for (p, _), n, s in zip(slicing.units(), twice, sums, strict=True) if p == power)
                assert sum(value**power for value in block) == made_up


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("slicing", REAL, **named)
def test_the_real_steps_round_nothing_on_the_worst_blocks(slicing, fused):
    """With 53 bits, fused or not, no operation rounds and no sum exceeds 2**53 units."""
    E = 3
    for block in worst_blocks(slicing, E):
        model = Model(53, fused=fused)
        sums, _ = run(slicing, block, slicing.constants(E), model)
        assert model.rounded == []
        for (power, unit), s in zip(slicing.units(), sums, strict=True):
            whole = s.value * naive.power_of_two(unit - power * E)
            assert whole.denominator == 1
            assert abs(whole) <= 2**53


# -------------------------------------------------------------------------------------- the verdict


def kept(slicing, E, values):
    """The verdict on a block."""
    constants = [float(c) for c in slicing.constants(E)]
    state = [0.0] * len(slicing.terms) + [0.0, math.inf]
    for value in values:
        state = slicing.step(value, constants, state)
    keep, flag, tally = exact._in_window(constants, state[:-2], state[-2:])
    assert (0.0 if keep else 1.0, 0) == (flag, tally)
    return bool(keep)


def edges(slicing, E):
    """Return values just inside and just outside the window, in the precision of the data."""
    dtype = np.float32 if slicing.data == 24 else np.float64
    top, floor = dtype(math.ldexp(1, E)), dtype(math.ldexp(1, E - slicing.reach))
    zero, far = dtype(0), dtype(np.finfo(dtype).max)
    inside = [np.nextafter(top, zero), floor, zero, dtype(-0.0), np.nextafter(floor, top)]
    outside = [
        top,
        np.nextafter(floor, zero),
        np.nextafter(top, far),
        np.nextafter(zero, far),
        far,
        dtype(np.inf),
    ]
    for values in (inside, outside):
        values += [-v for v in values]
    return [float(v) for v in inside], [float(v) for v in outside]


@pytest.mark.parametrize("slicing", [NARROW, PLAIN], **named)
def test_one_value_outside_the_window_fails_the_block(slicing):
    """A block is kept exactly when all its values are in the window or 0; an ulp off shows."""
    exponents = (-69, -1, 0, 100) if slicing is NARROW else (exact.LOWEST, -1, 0, exact.HIGHEST)
    for E in exponents:
        inside, outside = edges(slicing, E)
        block = (inside * exact.BLOCK)[: exact.BLOCK - 1]
        for value in inside:
            assert kept(slicing, E, [*block, value])
        for value in [*outside, math.nan, -math.nan]:
            for place in (0, 31, 63):
                assert not kept(slicing, E, [*block[:place], value, *block[place:]])
            assert not kept(slicing, E, [value])
    assert kept(slicing, 0, [0.0] * exact.BLOCK)


def test_a_rounded_square_tells_the_window():
    """v*v, rounded, over- or underflown, compares with the squared border as |v| with it."""
    for E in range(exact.LOWEST, exact.HIGHEST + 1):
        for power in (E, E - PLAIN.reach, E - WIDE.reach):
            border = math.ldexp(1, power)
            for v in (
                math.nextafter(border, 0),
                border,
                math.nextafter(border, HUGE),
                5e-324,
                1e-170,
                1e160,
                HUGE,
            ):
                assert (v >= border) == (v * v >= border * border), (v, border)
                assert border * border == math.ldexp(1, 2 * power)


@pytest.mark.parametrize("slicing", [WIDE, WIDE_NARROW], **named)
def test_the_wide_step_passes_over_what_its_watch_counts(slicing):
    """Each value is summed, counted as outside or counted as missing: one of the three."""
    watch = exact._wide_watch if slicing is WIDE else exact._narrow_watch
    for E in real_exponents(slicing):
        E = min(E, 127) if slicing is WIDE_NARROW else E
        constants = [float(c) for c in slicing.constants(E)]
        inside, outside = edges(slicing, E)
        for value in [*inside, *outside, math.nan]:
            if slicing is WIDE_NARROW and abs(value) == 2.0**128:
                continue  # no float32
            sums = slicing.step(value, constants, [0.0] * len(slicing.terms))
            counts = watch(value, constants, (0.0, 0.0))
            assert (float(value in outside), float(value != value)) == counts
            want = value if value in inside else 0.0
            assert Fraction(want) == Fraction(sums[0]) + Fraction(sums[1])


# -------------------------------------------------------------------------------- numbers and limbs


@pytest.mark.parametrize("narrow", [True, False])
def test_every_position_lies_in_the_limbs(narrow):
    """For every E of a lane, units, factors and rows of limbs are in range."""
    kind = "narrow" if narrow else "double"
    highest = 129 if narrow else exact.HIGHEST  # float32 ends at 2**128, and a grid leaves one bit free
    for E in range(exact.LOWEST_NARROW if narrow else exact.LOWEST, highest + 1):
        for table in (exact.NARROW if narrow else exact.PLAIN, exact.WIDE):
            for power, unit, twice in table.tolist():
                low, high = _reduce._RANGES[kind][power - 1]
                position = power * E + unit + twice
                assert low * 32 <= position < 32 * (high - 2)  # put writes three rows
                assert -1022 <= power * E + unit  # the smallest product, normal
                assert -1022 <= -power * E - unit <= 1023  # the factor
                assert power * E + 7 <= 1023  # the largest sum
    assert_fits(kind, -149 if narrow else -1074, 128 if narrow else 1024)


def assert_fits(kind, lowest, top):
    """Limbs have a place for 53 bits of a value in [2**lowest, 2**top), and for its square."""
    assert lowest == _reduce._LOWEST[kind]
    for power, offset in ((1, 0), (2, 54)):
        low, high = _reduce._RANGES[kind][power - 1]
        assert low * 32 <= power * lowest
        assert power * (top - 53) + offset < 32 * (high - 2)


def test_every_position_of_weights_and_integers_lies_in_the_limbs():
    """Weights times squares reach from 2**-3222 to 2**3072, integers to 2**128: limbs hold them."""
    ranges = _reduce._RANGES["weighted"]
    for side, factors, offset in ((0, 2, 54), (1, 3, 108), (2, 1, 0)):
        low, high = ranges[side]
        assert low * 32 <= factors * _reduce._LOWEST["weighted"]
        assert factors * (1024 - 53) + offset < 32 * (high - 2)
    for table in (exact.SHORT, exact.MIDDLE, exact.LONG):
        for power, unit, twice in table.tolist():
            low, high = _reduce._RANGES["integer"][power - 1]
            assert low * 32 <= unit + twice < 32 * (high - 2)


@pytest.mark.parametrize(
    ("bits", "signed"),
    [
        (8, True),
        (8, False),
        (16, True),
        (16, False),
        (32, True),
        (32, False),
        (64, True),
        (64, False),
    ],
)
def test_no_accumulator_of_integers_overflows(bits, signed):
    """The largest digits of each width, added until a flush, stay below 2**63."""
    ends = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    addends = {abs(v) for v in ends} | {v * v for v in ends} if bits <= 16 else set()
    if bits == 32:
        a, b = max(abs(v >> 16) for v in ends), 0xFFFF
        addends = {max(map(abs, ends)), a * a, a * b, b * b}
    if bits == 64:
        p, q = 1 << (19 if signed else 20), (1 << 22) - 1
        addends = {p * p, p * q, q * q + 2 * p * q, q * q}
    assert max(addends) * exact.BLOCK * exact.FLUSH < 2**63


def test_a_flush_comes_in_time():
    """1000 blocks of sums of at most 2**53 fit an int64; 1024 would not."""
    assert exact.FLUSH * 2**53 < 2**63 <= 1024 * 2**53


def put_all(puts):
    """Return the limbs after these (position, value), by the kernel."""
    state, span = np.zeros((24, 1), np.int64), np.array([24, 0])
    for position, value in puts:
        exact.put(state, 0, -64, 0, position, np.int64(value), span, 0)
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
    whole, exponent = exact.split(v, -1074)
    assert Fraction(v) == int(whole) * naive.power_of_two(int(exponent))
    assert abs(int(whole)) < 2**53
    state = _reduce._State("double", 1)
    exact.deposit(state.rows, state.layout, 0, v, state.span)
    assert (Fraction(v), Fraction(v) ** 2) == sums_of(state.counted(1))[0]


# -------------------------------------------------------------------------------------- the kernels


def sums_of(counted):
    """Return Σx and Σx² of each feature as Fractions."""
    sides = [(side.exponent, _sums.to_integers(side)) for side in (counted.total, counted.square)]
    return list(zip(*([v * naive.power_of_two(e) for v in values] for e, values in sides), strict=True))


def scanned(x, *tiles, features=1):
    """Return the sums that the kernels find in these tiles of a flat array."""
    state = _reduce._State(_reduce._kind(x.dtype), features)
    scanner = _reduce._Scanner(x.dtype, state)
    flat = _reduce._native(x).view()
    flat.flags.writeable = False
    for tile in tiles:
        scanner.add(flat, tile)
    return state.counted(sum(tile.outer * tile.rows for tile in tiles))


LONG = exact.BLOCK * (exact.FLUSH + 1)  # rows: one block more than an int64 is trusted with


def below(dtype, power):
    """The largest number below 2**power."""
    return np.nextafter(dtype.type(2.0**power), dtype.type(0))


@pytest.mark.parametrize(
    ("dtype", "head", "odd"),
    [(DOUBLE, 0.3, None), (SINGLE, 0.3, None), (DOUBLE, 0.3, 2.0**-30), (SINGLE, 0.3, 2.0**-30)],
    ids=["plain", "narrow", "wide", "wide narrow"],
)
def test_long_runs_at_the_top_of_the_window_are_exact(dtype, head, odd):
    """More blocks of the largest values of one sign than an int64 holds: flushed in time."""
    x = np.full(LONG + 16, below(dtype, 0))
    x[:16] = head  # from which the grid is set, so that all that follows is at its very top
    if odd is not None:
        x[40::64] = odd  # below the plain window: every block is taken by the wide one
    values, counts = np.unique(x, return_counts=True)
    pairs = list(zip(map(Fraction, values.tolist()), counts.tolist(), strict=True))
    expected = tuple(sum(v**power * n for v, n in pairs) for power in (1, 2))
    assert [expected] == sums_of(scanned(x, Tile(0, 1, 0, len(x), 1, 1, 1, 0)))


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"])
def test_long_runs_of_the_largest_integers_are_exact(dtype):
    """More blocks of the ends of a dtype than one accumulator is trusted with are exact."""
    info = np.iinfo(dtype)
    for value in (info.min, info.max):
        row = np.full(8, value, dtype)
        rows = 2048 if UNJITTED else LONG
        found = sums_of(scanned(row, Tile(0, 1, 0, rows, 0, 8, 1, 0)))
        assert [(rows * 8 * int(value), rows * 8 * int(value) ** 2)] == found


def bordering(dtype, exponents, rng, rows):
    """Rows whose columns lie around these powers of two, at the ends of windows below them."""
    steps = [0, 0, 1, 2, 18, 19, 20, 23, 24, 25, 38, 39, 40, 67, 68, 69]
    info = np.finfo(dtype)
    exponent = np.array(exponents) - rng.choice(steps, (rows, len(exponents)))
    significand = rng.choice([1.0, 2 - float(info.eps), 1 + float(info.eps), 1.5], exponent.shape)
    with np.errstate(all="ignore"):
        x = np.ldexp(significand, np.clip(exponent, -1080, 1023)).astype(dtype)
    x[~np.isfinite(x)] = info.max
    x *= rng.choice(np.array([-1, 1, 1, 0], dtype), x.shape)
    return x


BORDERS = {
    "f8": (
        exact.LOWEST,
        exact.LOWEST + 1,
        exact.HIGHEST,
        exact.HIGHEST + 1,
        -1021,
        -1060,
        1023,
        -538,
        511,
        0,
        40,
    ),
    "f4": (exact.LOWEST_NARROW, exact.LOWEST_NARROW + 1, -126, -140, 127, 126, 0, 24),
}


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("steady", [True, False])
def test_kernels_are_exact_at_the_borders_of_their_range(dtype, steady):
    """Around the least and largest E, subnormals and the largest values, every sum is exact."""
    rng = np.random.default_rng(SEED)
    exponents = BORDERS[dtype]
    for rows in (1, 63, 200 if UNJITTED else 1300):
        x = bordering(dtype, exponents, rng, rows)
        x = x if steady else rng.permuted(x, axis=1)  # each column sees every magnitude
        expected = [(f.total, f.squares) for f in naive.moments(x).features]
        assert expected == sums_of(Moments.of(x)._counted)


@pytest.mark.parametrize("dtype", ["f8", "f4"])
def test_kernels_are_exact_for_any_bits(dtype):
    """All exponents, subnormals, NaN and infinities at once: sums and counts equal the oracle's."""
    rng = np.random.default_rng(SEED)
    x = rng.integers(0, 256, (100 if UNJITTED else 1000, 7, np.dtype(dtype).itemsize), np.uint8).view(dtype)[..., 0]
    expected = naive.moments(x)
    found = Moments.of(x)
    assert [(f.total, f.squares) for f in expected.features] == sums_of(found._counted)
    for name in ("missing", "posinf", "neginf"):
        assert expected.counts(name).tolist() == getattr(found, name).tolist()


@pytest.mark.parametrize("dtype", [np.dtype("f2"), np.dtype(ml_dtypes.bfloat16)], ids=["float16", "bfloat16"])
def test_every_half_is_widened_exactly(dtype):
    """All 65536 bit patterns, each a feature of its own, give their value and its square."""
    x = np.arange(1 << 16, dtype=np.uint16).view(dtype)[np.newaxis]
    if UNJITTED:
        x = x[:, ::17]
    with np.errstate(invalid="ignore"):
        values = x[0].astype(np.float64)
    finite = np.isfinite(values)
    found = Moments.of(x)
    assert finite.astype(int).tolist() == found.count.tolist()
    assert np.isnan(values).astype(int).tolist() == found.missing.tolist()
    expected = [
        (Fraction(v), Fraction(v) ** 2) if ok else (0, 0) for v, ok in zip(values.tolist(), finite, strict=True)
    ]
    assert expected == sums_of(found._counted)


def test_weights_are_exact_at_the_ends():
    """The smallest and largest weights and values, all bits set, of either sign, are exact."""
    ends = [5e-324, 2.0**-1022 * (2 - 2.0**-52), TOP, 1 / 3, 1.0, HUGE, 2.0**-538, 2.0**512]
    pairs = list(itertools.product(ends, [*ends, *(-v for v in ends), 0.0]))
    weights = np.array([w for w, _ in pairs])
    x = np.array([[v] for _, v in pairs])
    feature = naive.moments(x, weights=weights).features[0]
    found = Moments.of(x, weights=weights)._counted
    assert [(feature.total, feature.squares)] == sums_of(found)
    assert feature.weight == _sums.to_integers(found.weight)[0] * naive.power_of_two(found.weight.exponent)


@pytest.mark.parametrize("dtype", ["i8", "u8"])
def test_weighted_long_integers_are_exact(dtype):
    """64-bit integers, which no float64 holds, keep every digit under weights."""
    info = np.iinfo(dtype)
    x = np.array([[info.min], [info.max], [info.max - 1], [info.max // 3], [7]], dtype)
    weights = np.array([1 / 3, HUGE, 5e-324, 0.1, 3.0])
    feature = naive.moments(x, weights=weights).features[0]
    assert [(feature.total, feature.squares)] == sums_of(Moments.of(x, weights=weights)._counted)


# ----------------------------------------------------------------------------------------- capacity


@pytest.fixture
def largest_limbs(monkeypatch):
    """The largest limb of each state, before it becomes a value."""
    seen = []
    counted = _reduce._State.counted

    def watched(self, *arguments):
        seen.append(int(np.abs(self.rows[_reduce._COUNTS :]).max(initial=0)))
        return counted(self, *arguments)

    monkeypatch.setattr(_reduce._State, "counted", watched)
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
    weights = below(DOUBLE, 0) * rng.choice([1.0, 0.5], len(x)) if weighted else None
    monkeypatch.setattr(_reduce, "CARRY", carry)
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
        state = _reduce._State(_reduce._kind(dtype), 1)
        for value in values:
            exact.deposit(state.rows, state.layout, 0, value, state.span)
        for doublings in range(1, 41):
            state.rows *= 2
            state.carry()
            expected = tuple(2**doublings * sum(Fraction(v) ** power for v in values) for power in (1, 2))
            assert [expected] == sums_of(state.counted(1))


def test_workers_together_cannot_overflow_a_limb():
    """256 workers, each with as much as it may hold before a carry, add up below 2**63."""
    state = _reduce._State("double", 1)
    held = MOST_PUTS * 2**32 * (_reduce.CARRY + _reduce.SHARE)
    state.rows[_reduce._COUNTS :] = held
    # The top limbs count whole 2**1024 and 2**2048.
    state.rows[[69, 202]] = _reduce.CARRY
    state.span[:4] = 3, 3 + 67, 3 + 67, 3 + 67 + 133
    one = sums_of(state.counted(1))[0]
    others = []
    for _ in range(256):
        other = _reduce._State("double", 1)
        other.rows[:] = state.rows
        other.span[:] = state.span
        others.append(other)
    assert (256 * one[0], 256 * one[1]) == sums_of(_reduce._joined(others).counted(256))[0]


def test_no_tile_is_wider_than_the_lanes(monkeypatch):
    """Whatever the number of features and the way in, a worker has a place for every lane."""
    lanes = []
    add = _reduce._Scanner.add

    def watched(self, flat, tile):
        lanes.append(tile.lanes)
        if tile.lanes <= exact.LANES:
            add(self, flat, tile)

    monkeypatch.setattr(_reduce._Scanner, "add", watched)
    for features in (1, 9, 33, 255, 256, 257, 300, 2047, 2048, 4095):
        x = np.ones((3, features), np.float32)
        for array in (x[:1],) if UNJITTED else (x, np.asfortranarray(x), x[:1], x[:, ::2]):
            Normalization().adapt(array).update(array)
    assert max(lanes) <= exact.LANES


# --------------------------------------------------------------------------------------- finalising


def half_way_points():
    """Fractions on and beside the middle of two neighbouring float64, over the whole range."""
    rng = random.Random(SEED)
    for exponent in (-1074, -1073, -1050, -1022, -538, -1, 0, 52, 500, 970, 971):
        for whole in (1, 2, 3, 2**52, 2**53 - 1, rng.getrandbits(52) | 1 << 52):
            middle = (2 * whole + 1) * naive.power_of_two(exponent - 1)
            for beside in (0, 1, -1):
                yield middle * (1 + beside * naive.power_of_two(-300))
                yield middle + beside * naive.power_of_two(-2400)


def test_quotients_are_correctly_rounded():
    """On the middle of two floats and a hair beside it, from subnormals to infinity."""
    for value in half_way_points():
        for exponent in (0, 7, -33, 2000, -2000):
            n, d = value.numerator, value.denominator
            scaled = Fraction(n, d) / naive.power_of_two(exponent)
            for sign in (1, -1):
                found = _statistics.quotient(sign * scaled.numerator, scaled.denominator, exponent)
                assert naive.nearest(sign * value) == found


def test_roots_are_correctly_rounded():
    """Roots that lie on the middle of two floats, or a hair beside it, go to the right one."""
    for root in half_way_points():
        for square in (root * root, root * root * (1 + naive.power_of_two(-2400))):
            for exponent in (0, 1, -33, 2000):
                scaled = square / naive.power_of_two(exponent)
                found = _statistics.root(scaled.numerator, scaled.denominator, exponent)
                assert naive.nearest_sqrt(square) == found


def test_a_variance_is_zero_only_for_equal_values():
    """Equal values have variance 0, and one ulp in one of a thousand rows shows."""
    for value in (0.1, 1e300, -1 / 3, 1e9 + 0.1):
        x = np.full((1000, 1), value)
        assert Moments.of(x).variance.tolist() == [0.0]
        x[500] = np.nextafter(value, 0)
        assert Moments.of(x).variance.tolist() > [0.0]
