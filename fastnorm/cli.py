"""The command line: it translates words, and decides nothing.

A command returns the text to print; `_command` prints it. Exit statuses: 0 fine, 1 an error in
data or files, 2 words that are not understood, 130 Ctrl-C, 141 nobody reads the output any more.
"""

from __future__ import annotations

import csv
import dis
import functools
import json
import os
import sys
import textwrap
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from fastnorm.normalization import Normalization

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def _command(epilog: str) -> Callable[[Callable[..., str]], Callable[..., None]]:
    """Make a command of a function: print what it returns, turn what it raises into a status."""

    def decorate(function: Callable[..., str]) -> Callable[..., None]:
        @app.command(epilog=epilog)
        @functools.wraps(function)
        def command(*args: Any, **options: Any) -> None:
            raise typer.Exit(_status(functools.partial(function, *args, **options)))

        return command

    return decorate


def _status(work: Callable[[], str]) -> int:
    try:
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # ┏ in an ASCII pipe
        if text := work():
            print(text, flush=True)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Python flushes stdout once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if not _is_answer(error):
            raise
        print(f"error: {_in_one_line(error)}", file=sys.stderr)
        return 1
    return 0


def _is_answer(error: Exception) -> bool:
    """Whether the error is fastnorm's word to its user; a bug keeps its traceback.

    An answer comes from the system (no such file, no memory) or from a `raise` in this package.
    """
    if isinstance(error, OSError | MemoryError):
        return True
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None or not isinstance(error, ValueError | TypeError | ImportError):
        return False
    code = last.tb_frame.f_code
    ours = Path(code.co_filename).is_relative_to(Path(__file__).parent)
    return ours and dis.opname[code.co_code[last.tb_lasti]] == "RAISE_VARARGS"


def _in_one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:  # without its number, "[Errno 2]"
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__


# The commands.


@app.callback(invoke_without_command=True)
def fastnorm(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Bring the columns of a table to mean 0 and standard deviation 1, exactly."""
    if version:
        from importlib.metadata import version as installed

        print("fastnorm", installed("fastnorm-numba"))
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


@_command("Example: fastnorm normalize weather.csv --out normalized.csv --columns temp,humid")
def normalize(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A CSV or Parquet file with named columns.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the normalized table goes.")],
    columns: Annotated[
        str | None, typer.Option(metavar="A,B,C", help="The columns to normalize.  [every numeric]")
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where the state goes.  [beside OUT, as .fastnorm.json]"),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="The most threads to use.  [one a CPU]")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
    as_json: AsJson = False,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
) -> str:
    """Normalize the numeric columns of a table.

    Prints the parameters and the statistics of each feature. Writes the table, its other columns
    unchanged, and a state file, which `fastnorm report` and Normalization.load read.
    """
    from fastnorm.files import adapt_files, normalize_files
    from fastnorm.files._destination import check_destination, stem
    from fastnorm.files._place import Place
    from fastnorm.files._staged import staged
    from fastnorm.files._tables import open_table

    state = state or out.with_name(f"{stem(out)}.fastnorm.json")
    check_destination(out, file, overwrite=force)
    check_destination(state, file, out, overwrite=force)
    names = None if columns is None else next(csv.reader([columns]), [])
    layer = adapt_files(file, columns=names, threads=threads)
    with open_table(Place.of(file), layer.feature_names) as table:
        left_out = [name for name in table.names if name not in table.columns]
    with staged(state) as new_state:  # both files or none
        layer.save(new_state)
        normalize_files(file, out, layer, overwrite=force)

    if quiet:
        return ""
    if as_json:
        files = {"file": str(file), "out": str(out), "state": str(state)}
        return json.dumps({**files, "left_out": left_out, **_as_data(layer)}, indent=2)
    lines = [
        f"Left as they were: {', '.join(map(_shown, left_out)) or 'none'}",
        f"Normalized table:  {out}",
        f"State file:        {state}",
    ]
    return "\n".join([_as_text(layer), "", *lines])


@_command("Example: fastnorm report normalized.fastnorm.json")
def report(
    state: Annotated[Path, typer.Argument(metavar="STATE", help="A state file.")],
    as_json: AsJson = False,
) -> str:
    """Print what a state file holds."""
    from fastnorm.normalization import Normalization

    layer = Normalization.load(state)
    if as_json:
        return json.dumps({"state": str(state), **_as_data(layer)}, indent=2)
    return _as_text(layer)


@_command("Example: fastnorm info --json")
def info(as_json: AsJson = False) -> str:
    """Print versions, processor, threads and the kernel cache."""
    facts = _facts()
    if as_json:
        return json.dumps(facts, indent=2)
    lines = [f"{name:<10}{version}" for name, version in facts["versions"].items()]
    cpu, threads, cache = facts["cpu"], facts["threads"], facts["cache"]
    lines.append(f"{'cpu':<10}{cpu['name']}, vectors of {cpu['vector_bytes']} bytes")
    features = textwrap.fill(" ".join(cpu["features"]) or "none", 78)
    lines.append("features" + textwrap.indent(features, " " * 10).removeprefix(" " * 8))
    lines.append(f"{'threads':<10}{threads['count']} ({threads['source']})")
    lines.append(f"{'cache':<10}{cache['folder'] or 'none'} ({cache['note']})")
    return "\n".join([*lines, *(f"warning: {warning}" for warning in facts["warnings"])])


@_command("Example: fastnorm warmup && fastnorm info")
def warmup() -> str:
    """Compile every kernel ahead of its first use."""
    from fastnorm._warmup import warmup

    warmup()
    return "The kernels are compiled."


# What the commands print.


def _as_text(layer: Normalization) -> str:
    from fastnorm.report import statistics_table

    parts: list[str] = []
    layer.summary(print_fn=parts.append)
    if statistics := _statistics(layer):
        parts.append(f"{len(statistics['feature']):,} features, {layer.count:,} rows")
        parts.append(statistics_table(statistics, limit=1000))
    return "\n\n".join(parts)


def _shown(name: str) -> str:
    return name if name and name.isprintable() else repr(name)


def _as_data(layer: Normalization) -> dict[str, Any]:
    statistics = _statistics(layer)
    columns = [map(_as_json, values) for values in statistics.values()]
    return {
        "rows": layer.count if statistics else None,
        "parameters": [
            {**asdict(parameter), "size": parameter.size, "bytes": parameter.bytes} for parameter in layer.parameters()
        ],
        "features": [dict(zip(statistics, row, strict=True)) for row in zip(*columns, strict=True)],
    }


def _as_json(value: Any) -> Any:
    plain = value.item() if hasattr(value, "item") else value
    return None if plain != plain else plain  # JSON has no NaN


def _statistics(layer: Normalization) -> dict[str, Any]:
    """The statistics of each feature; none where mean and variance were given, not learned."""
    learned = any(parameter.name == "count" for parameter in layer.parameters())
    return layer.statistics() if learned else {}


def _facts() -> dict[str, Any]:
    from importlib.metadata import version

    from fastnorm import _jit, _threads
    from fastnorm._kernels import exact

    chosen = os.environ.get("FASTNORM_NUM_THREADS")
    switch = os.environ.get("FASTNORM_CACHE")
    stats = getattr(exact.scan, "stats", None)  # plain Python under NUMBA_DISABLE_JIT has none
    folder = stats.cache_path if stats else None
    if folder:
        note = "writable" if os.access(folder, os.W_OK) else "not writable"
    elif _jit.INTERPRETED:
        note = "kernels are plain Python: NUMBA_DISABLE_JIT is set"
    elif switch == "0":
        note = "switched off: FASTNORM_CACHE is 0"
    else:
        note = "no folder can be written: set FASTNORM_CACHE to one that can"
    packages = {"fastnorm": "fastnorm-numba", "numpy": "numpy", "numba": "numba"}
    return {
        "versions": {
            "python": ".".join(map(str, sys.version_info[:3])),
            **{name: version(package) for name, package in packages.items()},
            "llvmlite": version("llvmlite"),
        },
        "cpu": {
            "name": _jit.cpu_name(),
            "vector_bytes": _jit.vector_bytes(),
            "features": _jit.cpu_features(),
        },
        "threads": {
            "count": _threads.count(),
            "source": "FASTNORM_NUM_THREADS" if chosen else "the CPUs this process may use",
        },
        "cache": {"folder": folder, "switch": switch, "note": note},
        "warnings": _warnings(_jit.cpu_name()),
    }


def _warnings(cpu: str) -> list[str]:
    if cpu == "generic":
        return ["kernels for a generic processor use short vectors; NUMBA_CPU_NAME names another"]
    # numba.core.config: virtual machines report some of these names for processors that have AVX.
    without = {"corei7-avx", "core-avx-i", "sandybridge", "ivybridge", "nocona"}
    if cpu in without and "NUMBA_ENABLE_AVX" not in os.environ:
        return [f"numba uses no AVX on {cpu!r}; if the processor has it, set NUMBA_ENABLE_AVX=1"]
    return []
