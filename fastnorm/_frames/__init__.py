"""Tables of pandas, polars and Arrow, column by column: what they hold is never copied as a whole.

Each library is asked in its own words, in a file of its own that is imported when such a table comes. A layer between
them would cost more for each column than reading it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from typing import Any

import numpy as np

from fastnorm._frames.frame import Frame, listed

__all__ = ["Frame", "check_names", "checked_columns", "is_table", "listed", "names_of", "taken"]


def is_table(x: Any) -> bool:
    """Whether ``x`` is a table or a column of one, by its type alone."""
    kind = type(x)
    if kind is np.ndarray:
        return False
    words = ("__arrow_c_stream__", "__arrow_c_array__", "iloc")  # pandas 2 has columns without the first two
    return isinstance(x, Frame) or any(hasattr(kind, word) for word in words)


def taken(x: Any, columns: Sequence[str] | None = None, names: Sequence[str] | None = None, known: bool = False) -> Any:
    """Return a table as a `Frame` of its ``columns`` (all without), anything else as it is.

    Raises ValueError if its columns are not called ``names``, where both have names; or if one has none, features are
    ``known`` and the other has numbers in another order. TypeError for columns that are not numeric.
    """
    if not is_table(x):
        return x
    frame = x if isinstance(x, Frame) else _framed(x, columns)
    if frame is None:
        return x
    check_names(frame.names, names)
    if known and (frame.names is None) != (names is None):
        _check_order(frame.names, names)
    return frame


def checked_columns(columns: Iterable[str]) -> tuple[str, ...]:
    """Return the names of columns as a tuple; TypeError or ValueError if they cannot be chosen by."""
    given = (columns,) if isinstance(columns, str) else tuple(columns)
    if isinstance(columns, (str, Set)) or not all(isinstance(name, str) for name in given):
        raise TypeError(f"columns must be a list of names, each a string, not {columns!r}")
    if not given or len(set(given)) < len(given):
        raise ValueError(f"columns must name at least one column and each of them once, not {columns!r}")
    return given


def names_of(x: Any) -> tuple[str, ...] | None:
    """The names of the features of a `Frame`; None for anything else."""
    return x.names if isinstance(x, Frame) else None


def check_names(got: Sequence[str] | None, want: Sequence[str] | None, what: str = "x") -> None:
    """Raise ValueError that lists what is missing, extra or in another place; None are names that nobody knows."""
    if got is None or want is None or tuple(got) == tuple(want):
        return
    have, wanted = set(got), set(want)
    lists = {
        "missing": [name for name in want if name not in have],
        "extra": [name for name in got if name not in wanted],
        "reordered": [mine for mine, other in zip(got, want, strict=False) if mine != other],
    }
    if lists["missing"] or lists["extra"]:
        del lists["reordered"]
    raise ValueError(
        f"{what} does not have the columns that were learned, in their order: "
        f"{'; '.join(f'{word} {listed(names)}' for word, names in lists.items() if names)}; pass those of "
        "layer.feature_names, or make the layer with columns=[...], which picks them from any table"
    )


def _check_order(got: Sequence[str] | None, want: Sequence[str] | None) -> None:
    """Raise ValueError for columns 2, 0, 1 where the others have no names, and are 0, 1, 2."""
    numbers = [str(place) for place in range(len(got or want or ()))]
    if set(numbers) == set(got or want or ()):
        check_names(got or numbers, want or numbers)


def _framed(x: Any, columns: Sequence[str] | None) -> Frame | None:
    libraries = {base.__module__.partition(".")[0] for base in type(x).__mro__}
    if "pandas" in libraries:
        from fastnorm._frames.pandas import Pandas

        return Pandas(x, columns)
    if "polars" in libraries:
        from fastnorm._frames.polars import Polars

        return Polars(x, columns)
    if "pyarrow" in libraries:
        from fastnorm._frames.arrow import Arrow

        return Arrow(x, columns)
    if hasattr(x, "__arrow_c_stream__"):
        return _of_stream(x, columns)
    return None


def _of_stream(x: Any, columns: Sequence[str] | None) -> Frame:
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        if error.name != "pyarrow":
            raise
        cure = "python -m pip install pyarrow"
        raise ImportError(f"a {type(x).__name__} is read with pyarrow; install it with: {cure}") from error
    from fastnorm._frames.arrow import Arrow

    try:
        return Arrow(pyarrow.table(x), columns)
    except pyarrow.ArrowInvalid as error:
        raise TypeError(f"x is a stream of Arrow arrays that is no table ({error}); pass a table") from error
