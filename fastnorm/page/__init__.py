"""A report as one HTML page, for a browser, a reader of the screen and a printer."""

from fastnorm.page._features import BINS, BINS_A_STD, RULES, Feature, Histogram, Rule, flags
from fastnorm.page._html import page

__all__ = ["BINS", "BINS_A_STD", "RULES", "Feature", "Histogram", "Rule", "flags", "page"]
