"""Parameters and statistics as text and as HTML: values in, text out.

`_describe` and `_statistics` say what is in a report; what follows them only draws it.

The layer table and the footer equal those of `keras.Model.summary()` in Keras 3.15, character by
character: compared at widths 44 to 120, wherever the table of parameters, which is ours, fits.
"""

import math
import shutil
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import zip_longest
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Parameter", "html", "statistics_html", "statistics_table", "summary"]

Columns = Mapping[str, Sequence[Any] | NDArray[Any]]

_LONGEST_WORD = 16  # a longer word may be broken to fit the width; a number never is
_LONGEST_NAME = 48  # in statistics_table, or one long name pushes the numbers out of sight


@dataclass(frozen=True, slots=True)
class Parameter:
    """One named array of a layer, without its values.

    `shape` is () for a scalar; `dtype` is numpy's name of the type.

    >>> gamma = Parameter("gamma", (9,), "float64", trainable=True)
    >>> gamma.size, gamma.bytes
    (9, 72)
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    trainable: bool

    @property
    def size(self) -> int:
        """The number of elements; a scalar has one."""
        return math.prod(map(int, self.shape))

    @property
    def bytes(self) -> int:
        """The memory of the elements in bytes."""
        return self.size * np.dtype(self.dtype).itemsize


def summary(
    title: str,
    layer: str,
    output_shape: Sequence[int | None],
    parameters: Sequence[Parameter],
    width: int | None = None,
) -> str:
    """The table of a layer and its parameters that people know from Keras 3.

    `width` counts terminal cells; None takes 88, or four less than the terminal if that is less.
    Names wrap to fit, numbers do not: the tables are wider than `width` where their numbers and
    heads need it (from 51 cells up). Without parameters there is no second table. The text does
    not end with a newline.

    >>> count = Parameter("count", (), "int64", trainable=False)
    >>> print(summary("demo", "normalization (Normalization)", (None, 1), [count], width=64))
    Model: "demo"
    ┏━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━┓
    ┃ Layer (type)              ┃ Output Shape        ┃    Param # ┃
    ┡━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━┩
    │ normalization             │ (None, 1)           │          1 │
    │ (Normalization)           │                     │            │
    └───────────────────────────┴─────────────────────┴────────────┘
    ┏━━━━━━━━━━━━━┳━━━━━━━━━━━━┳━━━━━━━━━━┳━━━━━━━━━━━┳━━━━━━━━━━━━┓
    ┃ Parameter   ┃ Shape      ┃ Dtype    ┃ Trainable ┃    Param # ┃
    ┡━━━━━━━━━━━━━╇━━━━━━━━━━━━╇━━━━━━━━━━╇━━━━━━━━━━━╇━━━━━━━━━━━━┩
    │ count       │ ()         │ int64    │     N     │          1 │
    └─────────────┴────────────┴──────────┴───────────┴────────────┘
     Total params: 1 (8.00 B)
     Trainable params: 0 (0.00 B)
     Non-trainable params: 1 (8.00 B)
    """
    head, tables, foot = _describe(title, layer, output_shape, parameters)
    if width is None:
        width = min(88, shutil.get_terminal_size().columns - 4)
    width = max(width, *(_frame(table) + sum(_floors(table)) for table in tables), 0)
    boxes = [line for table in tables for line in _boxed(table, width)]
    return "\n".join([head, *boxes, *(f" {line}" for line in foot)])


def html(
    title: str,
    layer: str,
    output_shape: Sequence[int | None],
    parameters: Sequence[Parameter],
    statistics: Columns | None = None,
) -> str:
    """The content of `summary` as HTML for a notebook, then the per-feature `statistics` if given.

    Names are escaped. Nothing sets a colour, so the theme of the page decides.

    >>> count = Parameter("count", (), "int64", trainable=False)
    >>> page = html("demo", "normalization (Normalization)", (None, 1), [count])
    >>> "<br/>Non-trainable params: 1 (8.00 B)" in page
    True
    """
    head, tables, foot = _describe(title, layer, output_shape, parameters)
    parts = [f"<p><strong>{escape(head)}</strong></p>", *map(_table_html, tables)]
    parts.append(f"<p>{'<br/>'.join(map(escape, foot))}</p>")
    if statistics is not None:
        parts.append(statistics_html(statistics))
    return "\n".join(['<div class="fastnorm-report">', *parts, "</div>"])


def statistics_table(columns: Columns, limit: int = 60) -> str:
    """Per-feature statistics as aligned text, one line a feature.

    `columns` maps a head to its values, one a feature, all of one length. Floats have 6
    significant digits, integers have commas, None is empty; a text of more than 48 cells is cut.
    Of more than `limit` features the first and the last `limit / 2` are shown. The text does not
    end with a newline. A ValueError names columns that differ in length.

    >>> columns = {"feature": ["delay", "month"], "count": [328521, 336776], "mean": [12.63907, 6]}
    >>> print(statistics_table(columns))
    feature    count     mean
    delay    328,521  12.6391
    month    336,776        6
    """
    table = _statistics(columns, limit)
    rows = [tuple(map(_clip, row)) for row in (table.heads, *table.rows)]
    widths = [max(map(_cells, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(_pad, row, widths, table.align)).rstrip() for row in rows]
    if table.gap:
        lines.insert(table.gap_at + 1, table.gap)
    return "\n".join(lines)


def statistics_html(columns: Columns, limit: int = 60) -> str:
    """The content of `statistics_table` as an HTML table, with its arguments and its errors.

    Names are escaped and in full.

    >>> '<td style="text-align:right">328,521</td>' in statistics_html({"count": [328521]})
    True
    """
    return _table_html(_statistics(columns, limit))


# What is in a report.


class _Table(NamedTuple):
    heads: tuple[str, ...]
    align: str  # "<", "^" or ">" for each column
    rows: list[tuple[str, ...]]
    edges: tuple[float, ...] = ()  # where each column ends, as a part of the width
    gap: str = ""  # what to say of rows left out
    gap_at: int = 0  # before which row


def _describe(
    title: str, layer: str, output_shape: Sequence[int | None], parameters: Sequence[Parameter]
) -> tuple[str, list[_Table], list[str]]:
    """The line above the tables, the tables, the lines below them."""

    def count(group: Sequence[Parameter]) -> str:
        return f"{sum(p.size for p in group):,}"

    trainable = [p for p in parameters if p.trainable]
    frozen = [p for p in parameters if not p.trainable]
    groups = {"Total": parameters, "Trainable": trainable, "Non-trainable": frozen}
    foot = [f"{name} params: {count(group)} ({_memory(sum(p.bytes for p in group))})" for name, group in groups.items()]
    heads: tuple[str, ...] = ("Layer (type)", "Output Shape", "Param #")
    row = (_plain(layer), _shape(output_shape), count(parameters))
    tables = [_Table(heads, "<<>", [row], edges=(0.45, 0.8, 1.0))]
    if parameters:
        heads = ("Parameter", "Shape", "Dtype", "Trainable", "Param #")
        rows = [(_plain(p.name), _shape(p.shape), _plain(p.dtype), "NY"[p.trainable], count([p])) for p in parameters]
        # 0.45 and 0.8 again, so that the lines of the two tables meet.
        tables.append(_Table(heads, "<<<^>", [*rows], edges=(0.22, 0.45, 0.61, 0.8, 1.0)))
    return f'Model: "{_plain(title)}"', tables, foot


def _statistics(columns: Columns, limit: int) -> _Table:
    if limit < 0:
        raise ValueError(f"limit is {limit}, but it wants 0 rows or more; 60 is the usual number")
    lengths = {head: len(values) for head, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns differ in length: {lengths}; pass one value a feature in each")
    features = next(iter(lengths.values()), 0)
    hidden = max(features - limit, 0)
    first = limit - limit // 2 if hidden else features
    # Only the rows on show are read: a million features cost no more than `limit`.
    shown = [*range(first), *range(first + hidden, features)]
    values = [[column[i] for i in shown] for column in columns.values()]
    numeric = [all(v is None or _is_number(v) for v in column) for column in values]
    rows = [tuple(map(_value, row)) for row in zip(*values, strict=True)]
    return _Table(
        tuple(map(_plain, columns)),
        "".join("<>"[right] for right in numeric),
        rows,
        gap=f"… {hidden:,} more feature{'s' * (hidden > 1)} …" if hidden else "",
        gap_at=first,
    )


def _memory(size: float) -> str:
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if size < 1024:
            return f"{size:.2f} {unit}"
        size /= 1024
    return f"{size:.2f} PB"


def _shape(shape: Sequence[int | None]) -> str:
    # int() because numpy 2 prints its own integers as np.int64(9).
    return str(tuple(None if n is None else int(n) for n in shape))


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _value(value: Any) -> str:
    if value is None:
        return ""
    if not _is_number(value):
        return _plain(str(value))
    return f"{int(value):,}" if isinstance(value, Integral) else f"{float(value):.6g}"


def _plain(text: str) -> str:
    """The text with an escape for all that would break a line or move the cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


# A table as text. A cell is the place of a Latin letter in a terminal; a CJK letter takes two.


def _cells(text: str) -> int:
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def _pad(text: str, width: int, align: str) -> str:
    gap = width - _cells(text)
    left = {"<": 0, "^": gap // 2, ">": gap}[align]
    return " " * left + text + " " * (gap - left)


def _clip(text: str) -> str:
    if _cells(text) <= _LONGEST_NAME:
        return text
    short = text[: _LONGEST_NAME - 1]
    while _cells(short) >= _LONGEST_NAME:
        short = short[:-1]
    return f"{short}…"


def _wrap(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and _cells(lines[-1]) + 1 + _cells(word) <= width:
            lines[-1] += f" {word}"
            continue
        if lines[-1]:
            lines.append("")
        for char in word:
            if lines[-1] and _cells(lines[-1] + char) > width:
                lines.append("")
            lines[-1] += char
    return lines


def _frame(table: _Table) -> int:
    return 3 * len(table.heads) + 1  # a bar and two spaces for each column, and the closing bar


def _floors(table: _Table) -> list[int]:
    columns = zip(table.heads, *table.rows, strict=True)
    longest = [max(_cells(word) for cell in column for word in cell.split()) for column in columns]
    aligned = zip(longest, table.align, strict=True)
    return [n if align == ">" else min(n, _LONGEST_WORD) for n, align in aligned]


def _widths(table: _Table, width: int) -> list[int]:
    cuts = [int(edge * width) for edge in table.edges]
    widths = [right - left - 3 for left, right in zip([0, *cuts[:-1]], cuts, strict=True)]
    widths[-2] -= 1  # pays for the closing bar, as in Keras
    floors = _floors(table)
    widths = list(map(max, widths, floors))
    while sum(widths) + _frame(table) > width:
        slack = [have - need for have, need in zip(widths, floors, strict=True)]
        widths[slack.index(max(slack))] -= 1
    return widths


def _boxed(table: _Table, width: int) -> list[str]:
    widths = _widths(table, width)

    def rule(left: str, line: str, cross: str, right: str) -> str:
        return left + cross.join(line * (n + 2) for n in widths) + right

    def row(cells: tuple[str, ...], bar: str) -> list[str]:
        lines = zip_longest(*map(_wrap, cells, widths), fillvalue="")
        padded = (map(_pad, line, widths, table.align) for line in lines)
        return [f"{bar} {f' {bar} '.join(line)} {bar}" for line in padded]

    head = [rule("┏", "━", "┳", "┓"), *row(table.heads, "┃"), rule("┡", "━", "╇", "┩")]
    body = [line for cells in table.rows for line in row(cells, "│")]
    return [*head, *body, rule("└", "─", "┴", "┘")]


# A table as HTML.


def _table_html(table: _Table) -> str:
    sides = [{"<": "left", "^": "center", ">": "right"}[align] for align in table.align]

    def row(cells: tuple[str, ...], tag: str) -> str:
        pairs = zip(sides, cells, strict=True)
        tags = (f'<{tag} style="text-align:{side}">{escape(c)}</{tag}>' for side, c in pairs)
        return f"<tr>{''.join(tags)}</tr>"

    body = [row(cells, "td") for cells in table.rows]
    if table.gap:
        body.insert(table.gap_at, f'<tr><td colspan="{len(sides)}">{table.gap}</td></tr>')
    head = f"<thead>{row(table.heads, 'th')}</thead>"
    return "\n".join(["<table>", head, "<tbody>", *body, "</tbody>", "</table>"])
