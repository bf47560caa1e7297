"""Columns of tables as numbers: which are numeric, and what their text means.

A missing number is null. Nothing is rounded but decimal fractions, once, to the nearest float64.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# What stands for a missing number in CSV: pyarrow's list, and R's and Excel's are in it.
MISSING = (
    *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "1.#IND", "1.#QNAN", "<NA>"),
    *("-NaN", "-nan", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"),
)
_TRUTH = {"true": "1", "false": "0"}
# A number as people write it, also with a comma for the point or between thousands.
_NUMBER = r"^[+-]?(\d+[.,]?\d*|[.,]\d+|\d{1,3}(,\d{3})+(\.\d*)?)([eE][+-]?\d+)?$"


class NotNumeric(ValueError):
    """The column holds other text: the first in row ``place``; and perhaps numbers beside it."""

    def __init__(self, text: Any) -> None:
        self.place = _first_text(text)
        self.among_numbers = bool(pc.any(pc.match_substring_regex(text, _NUMBER)).as_py())
        super().__init__(repr(text[self.place].as_py()))


def kind_of(kind: Any, asked: bool = False) -> bool | None:
    """Whether columns of an Arrow type are features; None for nulls, which may be. Truth is one only if asked for."""
    if pa.types.is_null(kind):
        return None
    number = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    return any(test(kind) for test in number) or (asked and pa.types.is_boolean(kind))


def of_typed(column: Any) -> Any:
    """A column that `kind_of` calls numeric, as integers, floats or truth."""
    if pa.types.is_null(column.type):
        return column.cast(pa.float64())
    if pa.types.is_decimal(column.type):  # rounded once, as the same digits in a CSV file are
        return of_text(column.cast(pa.string()))
    return column


def of_text(column: Any, asked: bool = False) -> Any:
    """A column of text as float64; as 64-bit integers where float64 would round whole numbers.

    Raises
    ------
    NotNumeric
        If there is other text; "true" and "false" are 1 and 0 if ``asked``.
    ValueError
        If whole numbers that float64 would round stand among others.
    """
    text = pc.if_else(pc.equal(pc.binary_length(column), 0), None, column)
    try:  # most columns need no more than this, half the time of looking at every word
        numbers = text.cast(pa.float64())
    except pa.ArrowInvalid:
        trimmed = pc.utf8_trim_whitespace(column)
        text = pc.if_else(pc.is_in(trimmed, value_set=pa.array(MISSING)), None, trimmed)
        if asked:
            text = _truth_as_digits(text)
        try:
            numbers = text.cast(pa.float64())
        except pa.ArrowInvalid as error:
            raise NotNumeric(text) from error
    numbers = pc.if_else(pc.is_nan(numbers), None, numbers)
    ends = pc.min_max(numbers).as_py()
    # float64 holds every whole number below 2**53.
    if ends["min"] is None or -(2.0**53) < ends["min"] <= ends["max"] < 2.0**53:
        return numbers
    return _exact(text, numbers)


def _first_text(column: Any) -> int:
    """The first row that is no number, of a column that has one."""
    first, end = 0, len(column)
    while end - first > 1:
        middle = (first + end) // 2
        try:
            column.slice(first, middle - first).cast(pa.float64())
            first = middle
        except pa.ArrowInvalid:
            end = middle
    return first


def _truth_as_digits(text: Any) -> Any:
    small = pc.utf8_lower(text)
    for word, digit in _TRUTH.items():
        text = pc.if_else(pc.equal(small, word), digit, text)
    return text


def _exact(text: Any, numbers: Any) -> Any:
    for kind, end in ((pa.int64(), 2.0**63), (pa.uint64(), 2.0**64)):
        try:
            whole = text.cast(kind)
        except pa.ArrowInvalid:
            continue
        values = whole.drop_null().to_numpy(zero_copy_only=False) if whole.null_count else np.asarray(whole)
        floats = values.astype(np.float64)
        inside = floats < end
        return numbers if inside.all() and (floats.astype(values.dtype) == values).all() else whole
    for item in text.filter(pc.match_substring_regex(text, r"^[+-]?\d{16,}$")):
        if Decimal(item.as_py()) != Decimal(float(item.as_py())):
            raise ValueError(
                f"holds {item}, which float64 would round, among numbers that are not whole; choose columns without it"
            )
    return numbers
