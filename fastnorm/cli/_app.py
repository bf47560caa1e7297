"""The frame of the command line: commands, what they print, and their exit statuses."""

from __future__ import annotations

import dis
import functools
import inspect
import os
import re
import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_type_hints

import typer

app = typer.Typer(
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Partly(NamedTuple):
    """What to print after work that left something out: the exit status is 3."""

    text: str


def command(epilog: str) -> Callable[[Callable[..., str | Partly]], Callable[..., None]]:
    """Make a command of a function: print what it returns, turn what it raises into a status.

    A parameter whose type is a dataclass stands for the options that are its fields.
    """

    def decorate(function: Callable[..., str | Partly]) -> Callable[..., None]:
        groups: dict[str, Any] = {name: kind for name, kind in get_type_hints(function).items() if is_dataclass(kind)}

        def command(**words: Any) -> None:
            given = {name: kind(**{f.name: words.pop(f.name) for f in fields(kind)}) for name, kind in groups.items()}
            raise typer.Exit(_status(functools.partial(function, **words, **given)))

        found: list[inspect.Parameter] = []
        for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
            options = inspect.signature(groups[name], eval_str=True).parameters if name in groups else {name: parameter}
            found += [option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in options.values()]
        command.__name__, command.__doc__ = function.__name__, function.__doc__
        command.__signature__ = inspect.Signature(found)  # type: ignore[attr-defined]
        app.command(epilog=epilog)(command)
        return command

    return decorate


def _status(work: Callable[[], str | Partly]) -> int:
    try:
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # ┏ in an ASCII pipe
        answer = work()
        text = answer.text if isinstance(answer, Partly) else answer
        if text:
            print(text, flush=True)
        return 3 if isinstance(answer, Partly) else 0
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
        print(f"error: {in_one_line(error)}", file=sys.stderr)
        return 1


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
    ours = Path(code.co_filename).is_relative_to(Path(__file__).parents[1])
    return ours and dis.opname[code.co_code[last.tb_lasti]] == "RAISE_VARARGS"


_BOTH = re.compile(r"\b\w+=\w* \((--[\w-]+( \w+)?)\)")  # columns= (--columns), as a message for Python and words has it
_SETTING = re.compile(r'\b(nan|inf)="(\w+)"')


def in_one_line(error: Exception) -> str:
    """The text of an error, with the command's own options, without line breaks and the number of a system error."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = " ".join(str(error).split()) or type(error).__name__
    return _SETTING.sub(r"--\1 \2", _BOTH.sub(r"\1", text))


@app.callback(invoke_without_command=True)
def fastnorm(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Bring the features of data in files to mean 0 and standard deviation 1, exactly.

    Exit statuses: 0 done; 1 an error in data or files; 2 words that are not understood; 3 done, but --skip-bad left
    files out; 130 Ctrl-C; 141 nobody reads the output any more.
    """
    if version:
        from importlib.metadata import version as installed

        print("fastnorm", installed("fastnorm-numba"))
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
