"""The commands that read and write data."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastnorm.cli import _options as options
from fastnorm.cli._app import AsJson, Partly, command, in_one_line
from fastnorm.cli._pending import kept, pending_of, progress, state_beside
from fastnorm.cli._texts import as_data, as_text, shown

if TYPE_CHECKING:
    from fastnorm.normalization import Normalization


WORTH = 10.0  # seconds of a scan from which on it is worth to go on with it after an error


@command("Example: fastnorm adapt shards/ --columns temp,humid --out train.fastnorm.json")
def adapt(
    sources: options.Sources,
    out: options.OutState,
    columns: options.Columns = None,
    axis: options.Axis = "-1",
    key: options.Key = None,
    raw: options.Raw = None,
    threads: options.Threads = None,
    skip_bad: options.SkipBad = False,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    as_json: AsJson = False,
    force: options.Force = False,
) -> str | Partly:
    """Learn mean and variance from files, and write them as a state file.

    A scan that is stopped goes on when the same command is given again.
    """
    from fastnorm.files._destination import check_destination

    check_destination(out, *_local(sources), overwrite=force)
    how = options.reading(columns, axis, key, raw)
    if dry_run:
        return _plan(sources, f"adapt, and write the state to {out}", as_json)
    layer, skipped = _adapted(sources, out, how, threads, skip_bad, quiet)
    layer.save(out)
    return _answer(layer, {"sources": sources, "state": str(out)}, skipped, quiet, as_json)


@command("Example: fastnorm normalize weather.csv --out normalized.csv --columns temp,humid")
def normalize(
    sources: options.Sources,
    out: options.Out = None,
    in_place: options.InPlace = False,
    columns: options.Columns = None,
    axis: options.Axis = "-1",
    key: options.Key = None,
    raw: options.Raw = None,
    state: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where the state goes.  [beside the result, as .fastnorm.json]"),
    ] = None,
    use: Annotated[
        Path | None, typer.Option("--use", metavar="STATE", help="Apply this state instead of adapting to the data.")
    ] = None,
    again: options.Again = False,
    threads: options.Threads = None,
    skip_bad: options.SkipBad = False,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    as_json: AsJson = False,
    force: options.Force = False,
) -> str | Partly:
    """Adapt to data in files and normalize them, into new files or in place.

    Prints the parameters and the statistics of each feature. Columns of tables that are no features stay as they are. A
    run in place that is stopped, by whatever, goes on when the same command is given again.
    """
    from fastnorm.files._destination import check_destination
    from fastnorm.normalization import Normalization

    target = _target(sources, out, in_place)
    if out is not None and not out.is_dir():  # before anything is read
        check_destination(out, *_local(sources), overwrite=force)
    how = options.reading(columns, axis, key, raw)
    if use is None:
        state = state or state_beside(target)
        if in_place and not force:
            _check_not_done(sources, state, how)
        check_destination(state, *_local(sources), *([out] if out else []), overwrite=force)
    elif state is not None:
        raise typer.BadParameter("with --use nothing is learned, so there is no state to write", param_hint="--state")
    if dry_run:
        return _plan(sources, f"normalize into {out}" if out else "normalize in place", as_json)
    skipped: options.Skipped = []
    if use is not None:
        layer = Normalization.load(use)
    else:
        assert state is not None
        layer, skipped = _learned(sources, state, how, threads, skip_bad, quiet, in_place)
    how.pop("axis")
    bad = {name for name, _ in skipped}
    try:
        _write(layer, sources, out, how, skipped if skip_bad else None, bad, quiet, overwrite=force, again=again)
    except BaseException:
        if state is not None and (not in_place or progress(layer, sources, how) <= {"none"}):
            pending_of(state).unlink(missing_ok=True)
        raise
    if state is not None:
        pending_of(state).replace(state)
    files: dict[str, Any] = {"sources": sources, "out": None if out is None else str(out), "state": str(state or use)}
    files["left_out"] = _untouched(sources, layer)
    return _answer(layer, files, skipped, quiet, as_json)


@command("Example: fastnorm inverse normalized.csv --state weather.fastnorm.json --out weather-again.csv")
def inverse(
    sources: options.Sources,
    state: Annotated[Path, typer.Option(metavar="STATE", help="The state that the data were normalized with.")],
    out: options.Out = None,
    in_place: options.InPlace = False,
    columns: options.Columns = None,
    key: options.Key = None,
    raw: options.Raw = None,
    again: options.Again = False,
    skip_bad: options.SkipBad = False,
    dry_run: options.DryRun = False,
    quiet: options.Quiet = False,
    as_json: AsJson = False,
    force: options.Force = False,
) -> str | Partly:
    """Turn normalized data in files back, into new files or in place."""
    from fastnorm.normalization import Normalization

    _target(sources, out, in_place)
    layer = Normalization.load(state)
    if dry_run:
        return _plan(sources, f"turn back into {out}" if out else "turn back in place", as_json)
    how = {"columns": options.names(columns), "key": key, "raw": options.layout(raw)}
    skipped: options.Skipped = []
    bad = skipped if skip_bad else None
    _write(layer, sources, out, how, bad, set(), quiet, overwrite=force, again=again, inverse=True)
    files = {"sources": sources, "out": None if out is None else str(out), "state": str(state)}
    return _answer(layer, files, skipped, quiet, as_json)


# What they share.


def _target(sources: Sequence[str], out: Path | None, in_place: bool) -> Path:
    """Where the result goes."""
    if in_place == (out is not None):
        raise typer.BadParameter("name either a new file with --out, or --in-place", param_hint="--out")
    return out if out is not None else Path(sources[0])


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
    sources: Sequence[str], state: Path, how: dict[str, Any], threads: int | None, skip_bad: bool, quiet: bool
) -> tuple[Normalization, options.Skipped]:
    from fastnorm.files import adapt_files

    skipped: options.Skipped = []
    scan, start = state.with_name(f".{state.name}.scan"), time.monotonic()
    resumed, bad = scan.exists(), skipped if skip_bad else None
    try:
        layer = adapt_files(sources, **how, threads=threads, checkpoint=scan, skipped=bad, progress=not quiet)
    except BaseException:
        if not resumed and time.monotonic() - start < WORTH:
            scan.unlink(missing_ok=True)
        raise
    return layer, skipped


def _learned(
    sources: Sequence[str],
    state: Path,
    how: dict[str, Any],
    threads: int | None,
    skip_bad: bool,
    quiet: bool,
    in_place: bool,
) -> tuple[Normalization, options.Skipped]:
    """The layer of these data, kept beside the state until all is written."""
    if in_place and (stopped := kept(sources, state, how)) is not None:  # the data are not what they were
        return stopped, []
    layer, skipped = _adapted(sources, state, how, threads, skip_bad, quiet)
    layer.save(pending_of(state))
    return layer, skipped


def _write(
    layer: Normalization,
    sources: Sequence[str],
    out: Path | None,
    how: dict[str, Any],
    skipped: options.Skipped | None,
    bad: set[str],
    quiet: bool,
    **rest: Any,
) -> None:
    """Normalize what could be read; new troubles are added to ``skipped``."""
    from fastnorm.files import normalize_files

    more: options.Skipped | None = None if skipped is None else []
    source = sources[0] if len(sources) == 1 else sources
    normalize_files(source, out, layer, **how, skipped=more, progress=not quiet, **rest)
    if skipped is not None and more is not None:
        skipped += [(name, error) for name, error in more if name not in bad]


def _plan(sources: Sequence[str], what: str, as_json: bool) -> str:
    """What would be done with which files."""
    from fastnorm.files._formats import format_of
    from fastnorm.files._shards import shards

    found = [
        {"file": shard.place.name, "format": format_of(shard.place), "bytes": shard.place.size()}
        for shard in shards(list(sources))
    ]
    if as_json:
        return json.dumps({"would": what, "files": found}, indent=2)
    lines = [f"{item['bytes']:>16,} bytes  {item['format']:<12} {item['file']}" for item in found]
    return "\n".join([f"Would {what}:", *lines])


def _untouched(sources: Sequence[str], layer: Normalization) -> list[str]:
    """The columns of the first table that are no features."""
    from fastnorm.files._formats import TABLES, format_of
    from fastnorm.files._shards import shards
    from fastnorm.files._tables import open_table

    place = shards(list(sources))[0].place
    if layer.feature_names is None or format_of(place) not in TABLES:
        return []
    with open_table(place, layer.feature_names) as table:
        return [name for name in table.names if name not in table.columns]


def _answer(
    layer: Normalization, files: dict[str, Any], skipped: options.Skipped, quiet: bool, as_json: bool
) -> str | Partly:
    lines = [f"Left out: {in_one_line(error)}" for _, error in skipped]
    if as_json:
        left = [{"file": name, "error": in_one_line(error)} for name, error in skipped]
        text = json.dumps({**files, "skipped": left, **as_data(layer)}, indent=2)
    elif quiet:
        text = "\n".join(lines)
    else:
        if "left_out" in files:
            lines.append(f"Left as they were: {', '.join(map(shown, files['left_out'])) or 'none'}")
        words = {"out": "Normalized data:   ", "state": "State file:        "}
        lines += [word + files[name] for name, word in words.items() if files.get(name)]
        text = "\n".join([as_text(layer), "", *lines])
    return Partly(text) if skipped else text
