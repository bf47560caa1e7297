"""The commands that read state files and journals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fastnorm.cli import _options as options
from fastnorm.cli._app import command
from fastnorm.cli._pending import settle
from fastnorm.cli._texts import as_data, as_text


@command("Example: fastnorm report normalized.fastnorm.json --html report.html --data weather.csv")
def report(
    state: Annotated[Path, typer.Argument(metavar="STATE", help="A state file.")],
    *,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write one HTML page with a picture of each feature.")
    ] = None,
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="SOURCE", help="The data, for the histograms; may be repeated."),
    ] = None,
    reading: options.Reading,
    printing: options.Printing,
) -> str:
    """Print what a state file holds, or draw it."""
    from fastnorm.normalization import Normalization

    if data and html is None:
        raise typer.BadParameter("the data are for the page; name it with --html", param_hint="--data")
    layer = Normalization.load(state)
    if html is not None:
        from fastnorm.files import write_report
        from fastnorm.files._destination import check_destination

        check_destination(html, state, overwrite=printing.force)
        title = f"Report of {state.name}"
        write_report(layer, html, data or None, title=title, **reading.how(), progress=not printing.quiet)
    if printing.as_json:
        page = {} if html is None else {"html": str(html)}
        return json.dumps({"state": str(state), **page, **as_data(layer)}, indent=2)
    if printing.quiet:
        return ""
    return as_text(layer) if html is None else f"{as_text(layer)}\n\nReport: {html}"


@command("Example: fastnorm merge node-*.fastnorm.json --out all.fastnorm.json")
def merge(
    states: Annotated[list[Path], typer.Argument(metavar="STATE...", help="State files of different rows.")],
    out: options.OutState,
    printing: options.Printing,
) -> str:
    """Add up what several states have learned, each from rows of its own, exactly."""
    from fastnorm.files._destination import check_destination
    from fastnorm.files._place import Place
    from fastnorm.normalization import Normalization

    check_destination(out, *states, overwrite=printing.force)
    if len({Place.of(state).identity() for state in states}) < len(states):
        raise ValueError("a state is named twice, and its rows would be counted twice; name each once")
    layer = Normalization.load(states[0])
    for state in states[1:]:
        try:
            layer.merge(Normalization.load(state))
        except ValueError as error:
            raise ValueError(f"{state}: {error}") from error
    layer.save(out)
    if printing.as_json:
        return json.dumps({"states": list(map(str, states)), "state": str(out), **as_data(layer)}, indent=2)
    return "" if printing.quiet else f"{as_text(layer)}\n\nState file: {out}"


@command("Example: fastnorm recover big.npy")
def recover(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files, or folders with all that is below.")],
    roll_back: Annotated[
        bool, typer.Option("--roll-back", help="Bring back what the file held, where that is still possible.")
    ] = False,
    quiet: options.Quiet = False,
    as_json: options.AsJson = False,
) -> str:
    """Finish what `normalize --in-place` left undone when it was stopped, or take it back.

    The journal beside a file says how: neither state nor options are needed. Files that nothing was stopped in stay as
    they are.
    """
    from fastnorm.files import recover

    found = [name for path in paths for name in recover(path, roll_back=roll_back, progress=not quiet)]
    states = [] if roll_back else settle(found)
    if as_json:
        return json.dumps({"recovered": found, "states": states}, indent=2)
    if quiet:
        return ""
    word = "Rolled back" if roll_back else "Completed"
    lines = [f"{word}: {name}" for name in found] + [f"State file: {name}" for name in states]
    return "\n".join(lines) or "There is nothing to recover."
