"""The commands that read and write data."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastnorm.cli import _options as options
from fastnorm.cli._app import Partly, command
from fastnorm.cli._pending import kept, pending_of, progress, settled, state_beside
from fastnorm.cli._texts import answer, plan, untouched

if TYPE_CHECKING:
    import numpy as np

    from fastnorm.normalization import Normalization


_THREADS = "FASTNORM_NUM_THREADS"
WORTH = 10.0  # seconds of a scan from which on it is worth to go on with it after an error


@command("Example: fastnorm adapt shards/ --columns temp,humid --out train.fastnorm.json")
def adapt(
    sources: options.Sources,
    out: options.OutState,
    reading: options.Reading,
    learning: options.Learning,
    run: options.Run,
    printing: options.Printing,
) -> str | Partly:
    """Learn mean and variance from files, and write them as a state file.

    A scan that is stopped goes on when the same command is given again.
    """
    from fastnorm.files._beside import locked
    from fastnorm.files._destination import check_destination

    check_destination(out, *_local(sources), overwrite=printing.force)
    how, settings = reading.how(), learning.settings()
    if run.dry_run:
        return plan(sources, how, f"adapt, and write the state to {out}", printing)
    with locked(out):  # what is kept beside it belongs to one command
        layer, skipped = _adapted(sources, out, how | settings, run, printing)
        layer.save(out)
    return answer(layer, {"sources": sources, "state": str(out)}, skipped, printing)


@command("Example: fastnorm normalize weather.csv --out normalized.csv --columns temp,humid")
def normalize(
    sources: options.Sources,
    target: options.Target,
    reading: options.Reading,
    learning: options.Learning,
    run: options.Run,
    printing: options.Printing,
    state: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where the state goes.  [beside the result, as .fastnorm.json]"),
    ] = None,
    use: Annotated[
        Path | None, typer.Option("--use", metavar="STATE", help="Apply this state instead of adapting to the data.")
    ] = None,
) -> str | Partly:
    """Adapt to data in files and normalize them, into new files or in place.

    Prints the parameters and the statistics of each feature. Columns of tables that are no features stay as they are. A
    run in place that is stopped, by whatever, goes on when the same command is given again.
    """
    from fastnorm.files._destination import check_destination
    from fastnorm.files._normalize import planned
    from fastnorm.files._open import Reading as FilesReading
    from fastnorm.normalization import Normalization

    path, out = target.path(sources), target.out
    if out is not None and not out.is_dir():  # before anything is read
        check_destination(out, *_local(sources), overwrite=printing.force)
    how, settings = reading.how(), learning.settings()
    if use is None:
        state = state or state_beside(path)
        if target.in_place and not printing.force:
            _check_not_done(sources, state, how)
        check_destination(state, *_local(sources), *([out] if out else []), overwrite=printing.force)
    elif state is not None or learning.given():
        hint = "--state" if state is not None else "--axis, --nan, --inf"
        raise typer.BadParameter("with --use nothing is learned, so this has no meaning", param_hint=hint)
    planned(list(sources), out, FilesReading(**how), overwrite=printing.force)
    given = None if use is None else Normalization.load(use)
    if run.dry_run:
        if target.in_place:
            _changeable(sources, how, run, again=True, dtype=None if given is None else given.dtype)
        return plan(sources, how, f"normalize into {out}" if out else "normalize in place", printing)
    if given is None:
        assert state is not None
        layer, sources, skipped = _learned_and_written(sources, state, target, how, settings, run, printing)
    else:
        layer, skipped = given, options.Skipped()
        _write(layer, sources, target, how, skipped, run, printing)
    files: dict[str, Any] = {"sources": sources, "out": None if out is None else str(out), "state": str(state or use)}
    files["left_out"] = untouched(sources, layer, {name for name, _ in skipped})
    return answer(layer, files, skipped, printing)


@command("Example: fastnorm inverse normalized.csv --state weather.fastnorm.json --out weather-again.csv")
def inverse(
    sources: options.Sources,
    state: Annotated[Path, typer.Option(metavar="STATE", help="The state that the data were normalized with.")],
    target: options.Target,
    reading: options.Reading,
    run: options.Run,
    printing: options.Printing,
) -> str | Partly:
    """Turn normalized data in files back, into new files or in place."""
    from fastnorm.files._normalize import planned
    from fastnorm.files._open import Reading as FilesReading
    from fastnorm.normalization import Normalization

    target.path(sources)
    layer, out, how = Normalization.load(state), target.out, reading.how()
    if run.dry_run:
        planned(list(sources), out, FilesReading(**how), overwrite=printing.force)
        if target.in_place:
            _changeable(sources, how, run, again=True, dtype=layer.dtype)
        return plan(sources, how, f"turn back into {out}" if out else "turn back in place", printing)
    skipped: options.Skipped = []
    _write(layer, sources, target, how, skipped, run, printing, inverse=True)
    files = {"sources": sources, "out": None if out is None else str(out), "state": str(state)}
    return answer(layer, files, skipped, printing)


# What they share.


def _learned_and_written(
    sources: list[str],
    state: Path,
    target: options.Target,
    how: dict[str, Any],
    settings: dict[str, Any],
    run: options.Run,
    printing: options.Printing,
) -> tuple[Normalization, list[str], options.Skipped]:
    """Adapt, normalize, then put the state in its place; the files that were meant, and those that were left out."""
    from fastnorm.files._beside import locked

    skipped: options.Skipped = []
    with locked(state):  # what is kept beside it belongs to one command
        # The data of a run that was stopped are not what they were: what it learned was kept.
        layer = kept(sources, state, how, settings) if target.in_place else None
        if layer is None:
            if target.in_place:  # what is normalized is what is learned from
                sources, skipped = _changeable(sources, how, run, again=target.again)
            layer, bad = _adapted(sources, state, how | settings, run, printing)
            skipped = skipped + bad
            if target.in_place:
                left_out = dict(bad)
                sources = [name for name in sources if name not in left_out]
            layer.save(pending_of(state))
        try:
            _write(layer, sources, target, how, skipped, run, printing)
        except BaseException:
            if not target.in_place or progress(layer, sources, how) <= {"none"}:
                pending_of(state).unlink(missing_ok=True)
            raise
        settled(state)
    return layer, sources, skipped


def _check_not_done(sources: Sequence[str], state: Path, how: dict[str, Any]) -> None:
    """Raise ValueError if the files are what an earlier run made of them."""
    from fastnorm.normalization import Normalization

    if state.is_file() and progress(Normalization.load(state), sources, how) == {"done"}:
        raise ValueError(
            f"{sources[0]} is normalized already, by {state}; `fastnorm inverse` turns it back, and --again --force "
            "normalizes it once more"
        )


def _local(sources: Sequence[str]) -> list[Path]:
    return [Path(source) for source in sources if "://" not in source]


def _adapted(
    sources: Sequence[str], state: Path, how: dict[str, Any], run: options.Run, printing: options.Printing
) -> tuple[Normalization, options.Skipped]:
    from fastnorm.files import adapt_files

    skipped: options.Skipped = []
    scan, start = state.with_name(f".{state.name}.scan"), time.monotonic()
    resumed, bad = scan.exists(), skipped if run.skip_bad else None
    try:
        layer = adapt_files(
            sources, **how, threads=run.threads, checkpoint=scan, skipped=bad, progress=not printing.quiet
        )
    except BaseException:
        if not resumed and time.monotonic() - start < WORTH:
            scan.unlink(missing_ok=True)
        raise
    return layer, skipped


def _changeable(
    sources: Sequence[str], how: dict[str, Any], run: options.Run, *, again: bool, dtype: np.dtype[Any] | None = None
) -> tuple[list[str], options.Skipped]:
    """The files that can be normalized in place, and those that are left out; nothing is written.

    Raises
    ------
    OSError, ValueError
        If one cannot, without --skip-bad, or none can.
    """
    from fastnorm.files._errors import leave_out
    from fastnorm.files._inplace import finished, is_normalized, opened
    from fastnorm.files._open import Reading
    from fastnorm.files._shards import shards

    found, skipped, reading = [], options.Skipped(), Reading(**how)
    places = [shard.place for shard in shards(list(sources))]
    reading.check(places)
    for place in places:
        try:
            with opened(place, reading, dtype):
                if not again and is_normalized(place, reading):
                    raise finished(place.name, "forward")
            found.append(place.name)
        except (OSError, ValueError) as error:
            leave_out(place, error, skipped if run.skip_bad else None)
    if not found:
        raise skipped[0][1]
    return found, skipped


def _write(
    layer: Normalization,
    sources: Sequence[str],
    target: options.Target,
    how: dict[str, Any],
    skipped: options.Skipped,
    run: options.Run,
    printing: options.Printing,
    *,
    inverse: bool = False,
) -> None:
    """Normalize what could be read, or turn it back; new troubles are added to ``skipped``."""
    from fastnorm.files import normalize_files

    known, more = {name for name, _ in skipped}, options.Skipped()
    with _at_most(run.threads):
        normalize_files(
            sources[0] if len(sources) == 1 else sources,
            target.out,
            layer,
            **how,
            inverse=inverse,
            overwrite=printing.force,
            again=target.again,
            skipped=more if run.skip_bad else None,
            progress=not printing.quiet,
        )
    skipped += [(name, error) for name, error in more if name not in known]


@contextmanager
def _at_most(threads: int | None) -> Iterator[None]:
    """Let layers that were loaded use so many threads."""
    before = os.environ.get(_THREADS)
    if threads is not None:
        os.environ[_THREADS] = str(threads)
    try:
        yield
    finally:
        os.environ.pop(_THREADS, None)
        if before is not None:
            os.environ[_THREADS] = before
