"""What a report knows of a feature, and the rules by which it draws attention to some: their only place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

BINS = 32
BINS_A_STD = 4  # so the bins reach from mean - 4 std to mean + 4 std

_NORMAL_OUTSIDE = 6.334e-5  # of a normal distribution lies outside of mean ± 4 std


class Histogram(NamedTuple):
    """The values of a feature in `BINS` bins, each from its lower edge up to, not including, its upper one."""

    bins: Sequence[int]
    below: int
    above: int
    missing: int
    infinite: int

    @property
    def outside(self) -> float:
        """Share of the finite values outside the bins."""
        outside = self.below + self.above
        return outside / max(1, sum(self.bins) + outside)


class Feature(NamedTuple):
    """What was learned of a feature, and its histogram where the data were at hand."""

    name: str
    values: int  # the finite ones
    missing: int
    infinite: int
    mean: float
    std: float
    constant: bool
    histogram: Histogram | None = None


class Rule(NamedTuple):
    """A rule: a word for a filter, a label, what it means, and whether it holds for a feature."""

    word: str
    label: str
    meaning: str
    holds: Callable[[Feature], bool]


RULES = (
    Rule("empty", "no values", "Every value is missing or infinite: there is no mean.", lambda f: not f.values),
    Rule("constant", "constant", "All values are equal, the variance is exactly 0.", lambda f: f.constant),
    Rule(
        "missing",
        "mostly missing",
        "More than 50 % of the values are missing.",
        lambda f: f.missing > (f.values + f.missing + f.infinite) / 2,
    ),
    Rule("infinite", "infinities", "Infinite values, left out of the statistics.", lambda f: f.infinite > 0),
    Rule(
        "narrow",
        "nearly constant",
        "The mean is more than 1,000,000 standard deviations away from 0.",
        lambda f: not f.constant and abs(f.mean) > 1e6 * f.std,
    ),
    Rule(
        "tails",
        "heavy tails",
        "More than 0.63 % of the values lie outside mean ± 4 std, 100 times as many as of a normal distribution.",
        lambda f: f.histogram is not None and f.histogram.outside > 100 * _NORMAL_OUTSIDE,
    ),
    Rule(
        "normalized",
        "normalized already",
        "The mean is 0 and the standard deviation 1, both to 0.000001.",
        lambda f: abs(f.mean) <= 1e-6 and abs(f.std - 1) <= 1e-6,
    ),
)


def flags(feature: Feature) -> list[Rule]:
    """Return the rules that hold for a feature.

    Examples
    --------
    >>> [rule.label for rule in flags(Feature("month", 0, 9, 0, float("nan"), float("nan"), False))]
    ['no values', 'mostly missing']
    """
    return [rule for rule in RULES if rule.holds(feature)]
