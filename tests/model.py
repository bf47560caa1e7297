"""Floating-point arithmetic that tells what it rounds, and the steps of the kernels for any precision.

The steps are plain Python, so they run on numbers of a `Model` as they stand. `narrow`, `plain`,
`wide` and `weighted` give the grid of a step by the formulas of docs/exactness.md: for 53 bits the
tables of the kernels, for 11 bits (those of float16) or less one so small that every value and every
block can be tried.
"""

import functools
import math
from dataclasses import dataclass, replace
from fractions import Fraction

import naive
import numba
import numpy as np

from fastnorm import _sums
from fastnorm._kernels import steps

power_of_two = functools.cache(naive.power_of_two)


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

    `faults` lists the operations that rounded and the sums that left their binade. Two operations
    may round: adding to a sum that slices, and the square of a value that is only compared. `fused`
    leaves products unrounded, as FMA does. `reassociated` takes (P + v) - P for v, as a compiler
    would that was told that it may.
    """

    def __init__(self, bits, fused=False, reassociated=False):
        self.bits, self.fused, self.reassociated = bits, fused, reassociated
        self.faults = []

    def number(self, value, watched=False):
        if isinstance(value, Number):
            return value
        top, bottom = value.as_integer_ratio()
        return Number(self, top, 1 - bottom.bit_length(), watched=watched)

    def result(self, name, n, e, free=False):
        kept = rounded(n, self.bits)
        if kept != n and not free:
            self.faults.append(f"{name} rounds {n} * 2**{e}")
        return Number(self, kept, e)


class Sum:
    """A collecting sum: its place in the state, its unit, whether it slices what is added, and all that it was."""

    def __init__(self, k, exponent, slices):
        self.k, self.exponent, self.slices = k, exponent, slices
        self.seen = []


class Number:
    """A number n * 2**e of a model; `sum` is the sum whose value it is."""

    __slots__ = ("before", "e", "model", "n", "sum", "watched")
    __hash__ = None

    def __init__(self, model, n, e, watched=False):
        self.model, self.n, self.e, self.watched = model, n, e, watched
        self.sum = self.before = None

    @property
    def value(self):
        return self.n * power_of_two(self.e)

    def of(self, collecting, before=None):
        """Make this the value of a sum, after `before` = (its last value, what was added)."""
        self.sum, self.before = collecting, before
        shift = self.e - collecting.exponent
        units = self.n << shift if shift >= 0 else Fraction(self.n, 1 << -shift)
        if not 1 << (self.model.bits - 1) <= units <= 1 << self.model.bits:
            self.model.faults.append(f"sum {collecting.k} leaves its binade")
        collecting.seen.append(units)
        return self

    def _total(self, other, sign):
        e = min(self.e, other.e)
        return (self.n << (self.e - e)) + sign * (other.n << (other.e - e)), e

    def __add__(self, other):
        other = self.model.number(other)
        if other.sum is not None:
            return other + self
        if self.sum is None:
            return self.model.result("a sum of slices", *self._total(other, 1))
        name, free = f"sum {self.sum.k}", self.sum.slices
        return self.model.result(name, *self._total(other, 1), free=free).of(self.sum, (self, other))

    def __sub__(self, other):
        other = self.model.number(other)
        if self.model.reassociated and self.before is not None and self.before[0] is other:
            return self.before[1]
        return self.model.result("a slice", *self._total(other, -1))

    def __radd__(self, other):
        return self.model.number(other) + self

    def __rsub__(self, other):
        return self.model.number(other) - self

    def __mul__(self, other):
        free = self.model.fused or self.watched
        return self.model.result("a product", self.n * other.n, self.e + other.e, free=free)

    def __neg__(self):
        return Number(self.model, -self.n, self.e)

    def __abs__(self):
        return Number(self.model, abs(self.n), self.e)

    def _minus(self, other):
        """Something with the sign of the difference; NaN where there is none."""
        if isinstance(other, float) and not math.isfinite(other):
            return -other
        return self._total(self.model.number(other), -1)[0]

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


def keep_numbers(monkeypatch):
    """Have the steps leave a number of a model, or a float16, as it is, and round its products where they may."""
    widen, product, remainder = steps.double, steps.rounded_product, steps.remainder
    kinds = (Number, np.float16)

    def rounded_product(x, y):
        if not isinstance(x, Number):
            return product(x, y)
        return x.model.result("a product", x.n * y.n, x.e + y.e, free=True)

    def left(x, y, of):
        if not isinstance(x, Number):
            return remainder(x, y, of)
        e = min(x.e + y.e, of.e)
        return x.model.result("a remainder", (x.n * y.n << (x.e + y.e - e)) - (of.n << (of.e - e)), e)

    monkeypatch.setattr(steps, "double", lambda v: v if isinstance(v, kinds) else widen(v))
    monkeypatch.setattr(steps, "rounded_product", rounded_product)
    monkeypatch.setattr(steps, "remainder", left)


# ------------------------------------------------------------------------------------------ formats


@dataclass(frozen=True)
class Slicing:
    """A step with its table and window, for values of `data` bits in arithmetic of `bits`, in blocks of `rows`.

    The values are 0 or in [2**(E - reach), 2**E); `square` is the sum whose end says so (None: they are
    masked), `budget` how many of its units a block may spend, `slicing` the sums that slice.
    """

    name: str
    step: object
    table: tuple
    slicing: tuple
    square: int | None
    rows: int
    bits: int
    data: int
    reach: int

    @property
    def budget(self):
        """Units of the square between its start and 2**(2E) more."""
        return 1 << -self.table[self.square][1]

    def start(self, k):
        """Where sum k starts, in its units."""
        return self.table[k][3] << (self.bits - 2)

    def unit(self, k, E=0):
        power, exponent = self.table[k][:2]
        return power_of_two(power * E + exponent)

    @functools.cache  # noqa: B019 - formats live as long as the tests
    def window(self, E):
        """The constants of the window: the end of the square, or of w; and the floor, of |v| or of w."""
        if self.square is None:
            return [power_of_two(2 * E), power_of_two(2 * (E - self.reach))]
        end = (self.start(self.square) + self.budget) * self.unit(self.square, E)
        return [end, power_of_two(E - self.reach)]

    def values(self, E, first=None, above=None):
        """Every value > 0 of the data in the window, or from another binade to another (beside E)."""
        whole = range(1 << (self.data - 1), 1 << self.data)
        first, above = -self.reach if first is None else first, 0 if above is None else above
        exponents = range(E + first, E + above)
        return [n * power_of_two(e + 1 - self.data) for e in exponents for n in whole]

    def made_up(self, wholes, E=0):
        """The sums of x and of x**2 that are made up of these whole numbers, the ends of the sums less their starts."""
        lowest = min(row[1] for row in self.table)
        totals = [0, 0]
        for whole, (power, exponent, twice, _) in zip(wholes, self.table, strict=True):
            totals[power - 1] += whole * (1 + twice) << (exponent - lowest)
        return [total * power_of_two(power * E + lowest) for power, total in enumerate(totals, 1)]

    def broken(self, k, column, change):
        """The same with one number of the table changed; the window stays where it is."""
        table = [list(row) for row in self.table]
        table[k][column] += change
        return replace(self, table=tuple(map(tuple, table)))


def products(units, sums):
    """Rows of a table: of each sum the slices, or products of them, that it unites, whether twice, and its start."""
    return tuple(
        (len(terms[0]), min(sum(units[letter] for letter in term) for term in terms), twice, halves)
        for terms, twice, halves in ((text.split("+"), twice, halves) for text, twice, halves in sums)
    )


def narrow(bits, data, log_rows):
    """The slices of float32: one of the square, rounded to the unit in which a budget ends its binade."""
    whole = bits - 3 - log_rows // 2
    table = ((1, -whole, 0, 3), (2, 2 - bits, 0, 3), (2, -2 * whole, 0, 3))
    return Slicing("narrow", steps._narrow_step, table, (1,), 1, 1 << log_rows, bits, data, whole - data + 1)


def plain(bits, log_rows):
    """The slices of float64: the first so wide that its square fits, the others what their products leave."""
    p = (bits - 3) // 2
    q = bits - 1 - log_rows // 2
    s = q + bits - 1 - log_rows - (q - p - 1)
    table = products({"p": -p, "q": -q, "s": -s}, [
        ("p", 0, 3), ("q", 0, 3), ("s", 0, 3),
        ("pp", 0, 2), ("pq", 1, 3), ("ps", 1, 3), ("qq", 0, 2), ("qs", 1, 3), ("ss", 0, 2),
    ])  # fmt: skip
    return Slicing("plain", steps._plain_step, table, (0, 1), 3, 1 << log_rows, bits, bits, s - bits + 1)


def cascade(step, name, bits, data, log_rows, first, totals, squares, reach):
    """A step whose terms, products rounded and what rounding left, pass through sums: each slices, the last takes all.

    `first` is the exponent of the first unit, `totals` and `squares` how far each further one is below.
    """
    units = [[first - sum(steps_[:k]) for k in range(len(steps_) + 1)] for steps_ in (totals, squares)]
    table = tuple((power, unit, 0, 3) for power, side in enumerate(units, 1) for unit in side)
    last = len(totals), len(table) - 1
    slicing = tuple(k for k in range(len(table)) if k not in last)
    return Slicing(name, step, table, slicing, None, 1 << log_rows, bits, data, reach)


def wide(bits, data, log_rows):
    """Any float: the second sum of x, and the fourth of x**2, end where the window does."""
    s = bits - 2 - log_rows
    name, step = ("wide", steps._wide_step) if data == bits else ("wide narrow", steps._wide_narrow_step)
    return cascade(step, name, bits, data, log_rows, 1 - s, [s], [s, s, s - 1], 2 * s - data)


def strict(bits, data, log_rows):
    """The same sums for blocks in which nothing is passed over; of fewer bits, three for the squares."""
    form, s = wide(bits, data, log_rows), bits - 2 - log_rows
    if data == bits:
        return replace(form, name="strict", step=steps._strict_step, square=2)
    reach = (3 * s - 1) // 2 - data + 1
    form = cascade(steps._strict_narrow_step, "strict narrow", bits, data, log_rows, 1 - s, [s], [s, s], reach)
    return replace(form, square=2)


def weighted(bits, log_rows, reach):
    """float64 with a weight: four terms of a square, whose rests need a bit more from the third sum on."""
    s = bits - 2 - log_rows
    squares = [s, *[s - 1] * 4]
    return cascade(steps._weighted_step, "weighted", bits, bits, log_rows, -s, [s] * 3, squares, reach)


def weighted_narrow(bits, data, log_rows, reach):
    """float32 with a weight: two terms of either kind."""
    s = bits - 2 - log_rows
    step = steps._weighted_narrow_step
    return cascade(step, "weighted narrow", bits, data, log_rows, -s, [s] * 2, [s] * 4, reach)


NARROW, PLAIN = narrow(53, 24, 6), plain(53, 6)
WIDE, WIDE_NARROW = wide(53, 53, 6), wide(53, 24, 6)
STRICT, STRICT_NARROW = strict(53, 53, 6), strict(53, 24, 6)
WEIGHTED, WEIGHTED_NARROW = weighted(53, 6, 40), weighted_narrow(53, 24, 6, 34)


def run(slicing, values, E, model, before=None):
    """Run a step over values in a model; return the sums, and what the step watches.

    `before` is what the sums hold already, in units.
    """
    sums = []
    for k, (power, exponent, _, _) in enumerate(slicing.table):
        at = power * E + exponent
        start = Number(model, slicing.start(k) + (before[k] if before else 0), at)
        sums.append(start.of(Sum(k, at, k in slicing.slicing)))
    found = [start.sum for start in sums]
    window = [model.number(number) for number in slicing.window(E)]
    masked = slicing.square is None
    state = [*sums, 0.0, 0.0] if masked else [*sums, math.inf]
    for value in values:
        state = slicing.step(model.number(value, watched=masked), window, state)
    return found, state[len(found) :]


def increments(found):
    """What a row added to each sum, in units, after each of its additions."""
    return [tuple(int(n - one.seen[0]) for n in one.seen[1:]) for one in found]


def parities(slicing):
    """States before a row: the sums that slice are all even, or all odd.

    Parity is all that their rounding can see, and only a tie sees it. A value has one tie at most, for
    what a tie leaves is half a unit, a whole number of any smaller unit.
    """
    for odd in (0, 1):
        yield [odd * (k in slicing.slicing) for k in range(len(slicing.table))]


def sums_of(counted):
    """Σx and Σx² of each feature as Fractions, from what a scan counted."""
    sides = [(side.exponent, _sums.to_integers(side)) for side in (counted.total, counted.square)]
    return list(zip(*([v * power_of_two(e) for v in values] for e, values in sides), strict=True))


def entry(kernel):
    """A way into a kernel that only kernels call, and that has no entry for Python: a kernel around it."""
    if not hasattr(kernel, "py_func"):
        return kernel

    @numba.njit
    def call(*arguments):
        return kernel(*arguments)

    return call


_plain_blocks, _gaps_blocks = entry(steps.plain_blocks), entry(steps.gaps_blocks)
strict_block, wide_block = entry(steps.strict_block), entry(steps.wide_block)


def plain_block(x, start, *rest):
    """One block by the kernel that takes many."""
    return _plain_blocks(x, start, 1, *rest) == 0


def gaps_block(x, start, *rest):
    """The same with NaN among the values."""
    return _gaps_blocks(x, start, 1, *rest) == 0
