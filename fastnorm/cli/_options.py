"""Options that several commands have, and what their words mean."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

Sources = Annotated[
    list[str],
    typer.Argument(metavar="SOURCE...", help="Files, folders, patterns, URLs: .npy .parquet .csv .zarr .h5 ..."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
OutState = Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the state goes.")]

Skipped = list[tuple[str, Exception]]


@dataclass(frozen=True)
class Reading:
    """How to read files."""

    columns: Annotated[str | None, typer.Option(metavar="A,B,C", help="The columns of tables.  [every numeric]")] = None
    key: Annotated[str | None, typer.Option(metavar="NAME", help="The array in a file that holds several.")] = None
    raw: Annotated[
        str | None, typer.Option(metavar="DTYPE:SHAPE", help="What a file without a header holds, as float32:-1,9.")
    ] = None

    def how(self) -> dict[str, Any]:
        """The arguments of `adapt_files` and `normalize_files`; words that mean nothing end with status 2."""
        return {"columns": names(self.columns), "key": self.key, "raw": layout(self.raw)}


@dataclass(frozen=True)
class Learning:
    """What is learned of the data."""

    axis: Annotated[
        str | None,
        typer.Option(metavar="AXES", help='Axes of arrays that are kept: -1, or "1,2", or "none".  [default: -1]'),
    ] = None
    nan: Annotated[
        str | None, typer.Option(metavar="WORD", help="Of missing numbers: omit, propagate or raise.  [default: omit]")
    ] = None
    inf: Annotated[
        str | None, typer.Option(metavar="WORD", help="Of infinite numbers: raise or omit.  [default: raise]")
    ] = None

    def settings(self) -> dict[str, Any]:
        """The settings of a `Normalization`."""
        from fastnorm import policy

        found: dict[str, Any] = {"axis": -1 if self.axis is None else axes(self.axis)}
        for name, word, known in (("nan", self.nan, policy.Nan), ("inf", self.inf, policy.Inf)):
            if word not in (None, *get_args(known)):
                listed = ", ".join(get_args(known))
                raise typer.BadParameter(f"{word!r} is not understood; write one of {listed}", param_hint=f"--{name}")
            if word is not None:
                found[name] = word
        return found

    def given(self) -> bool:
        """Whether any of these options was written."""
        return self != Learning()


@dataclass(frozen=True)
class Target:
    """Where results go."""

    out: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="The new file; of several files a folder, which keeps their names."),
    ] = None
    in_place: Annotated[bool, typer.Option("--in-place", help="Change the files themselves; crash-safe.")] = False
    again: Annotated[bool, typer.Option("--again", help="Also files that were normalized in place already.")] = False

    def path(self, sources: Sequence[str]) -> Path:
        """The new file, or the first of those that are changed."""
        if self.in_place == (self.out is not None):
            raise typer.BadParameter("name either a new file with --out, or --in-place", param_hint="--out")
        if self.again and not self.in_place:
            raise typer.BadParameter("it is for files that are changed --in-place", param_hint="--again")
        return self.out if self.out is not None else Path(sources[0])


@dataclass(frozen=True)
class Run:
    """How a command goes about its work, and what it prints."""

    threads: Annotated[int | None, typer.Option(min=1, metavar="N", help="The most threads to use.  [one a CPU]")] = (
        None
    )
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out files that cannot be read, and list them.")
    ] = False
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False


@dataclass(frozen=True)
class Printing:
    """What a command prints, and over what it writes."""

    quiet: Quiet = False
    as_json: AsJson = False
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False


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
    import numpy as np

    dtype, _, shape = text.partition(":")
    cure = "write a dtype and a shape, as float32:-1,9"
    try:
        np.dtype(dtype)
    except (TypeError, ValueError, SyntaxError):
        raise typer.BadParameter(f"{dtype!r} is no dtype; {cure}", param_hint="--raw") from None
    return dtype, _numbers(shape, "--raw", cure)


def _numbers(text: str, option: str, cure: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in text.strip("()[] ").rstrip(",").split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not understood; {cure}", param_hint=option) from None
