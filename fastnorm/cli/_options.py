"""Options that several commands have, and what their words mean."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated, Any

import typer

Sources = Annotated[
    list[str],
    typer.Argument(metavar="SOURCE...", help="Files, folders, patterns, URLs: .npy .parquet .csv .zarr .h5 ..."),
]
Columns = Annotated[str | None, typer.Option(metavar="A,B,C", help="The columns of tables.  [every numeric]")]
Axis = Annotated[
    str, typer.Option(metavar="AXES", help='Axes of arrays that are kept: -1, or "1,2", or "none".  [default: -1]')
]
Key = Annotated[str | None, typer.Option(metavar="NAME", help="The array in a file that holds several.")]
Raw = Annotated[
    str | None, typer.Option(metavar="DTYPE:SHAPE", help="What a file without a header holds, as float32:-1,9.")
]
Threads = Annotated[int | None, typer.Option(min=1, metavar="N", help="The most threads to use.  [one a CPU]")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Force = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out files that cannot be read, and list them.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
InPlace = Annotated[bool, typer.Option("--in-place", help="Change the files themselves; crash-safe.")]
Again = Annotated[bool, typer.Option("--again", help="Also files that were normalized in place already.")]
Out = Annotated[
    Path | None, typer.Option(metavar="PATH", help="The new file; of several files a folder, which keeps their names.")
]
OutState = Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the state goes.")]

Skipped = list[tuple[str, Exception]]


def names(columns: str | None) -> list[str] | None:
    """The names in a line as of a CSV file."""
    return None if columns is None else next(csv.reader([columns], skipinitialspace=True), [])


def axes(text: str) -> int | tuple[int, ...] | None:
    """-1, (1, 2) or None, of their text; wrong words end the command with status 2."""
    if text.strip().lower() == "none":
        return None
    found = _numbers(text, "--axis", "write -1, or 1,2, or none")
    return found[0] if len(found) == 1 else found


def layout(text: str | None) -> tuple[str, tuple[int, ...]] | None:
    """("float32", (-1, 9)) of float32:-1,9; wrong words end the command with status 2."""
    if text is None:
        return None
    dtype, _, shape = text.partition(":")
    return dtype, _numbers(shape, "--raw", "write a dtype and a shape, as float32:-1,9")


def _numbers(text: str, option: str, cure: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.strip("()[] ").rstrip(",").split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not understood; {cure}", param_hint=option) from None


def reading(columns: str | None, axis: str, key: str | None, raw: str | None) -> dict[str, Any]:
    """The arguments of `adapt_files` that say how to read."""
    return {"columns": names(columns), "axis": axes(axis), "key": key, "raw": layout(raw)}
