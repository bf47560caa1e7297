"""Where a result may go."""

from __future__ import annotations

from pathlib import Path

from fastnorm.files._formats import ARRAYS, TABLES, format_of, format_to
from fastnorm.files._place import Place


def stem(path: Path) -> str:
    """The name of a table's file without the suffix that says its format.

    >>> stem(Path("out/weather.csv.gz"))
    'weather'
    """
    place = Place.of(path)
    if format_of(place) not in TABLES:
        raise ValueError(f"{path} is no name of a table; choose one that ends with .csv, .parquet or .arrow")
    return path.name[: -len(place.suffix)]


def check_becomes(place: Place, target: Path, *, raw: bool) -> None:
    """Raise ValueError unless a file can be written in the format that the name of ``target`` says."""
    new = Place.of(target)
    if not raw and format_of(place) in TABLES:
        if format_of(new) not in TABLES:
            raise ValueError(
                f"{target}: tables are written as Parquet, Arrow or CSV; choose one of .parquet, .arrow, .csv"
            )
    elif format_to(new, raw=raw) not in ARRAYS:
        raise ValueError(f"{target}: arrays are written as .npy, raw, .safetensors, .zarr or .h5; choose one of these")


def check_destination(path: Path, *taken: Path, overwrite: bool = False) -> None:
    """Raise OSError unless a file may be written at `path`, ValueError if it is one of `taken`.

    Without `overwrite` there must be no such file yet. A link to one of `taken` is that file.
    """
    for other in taken:
        if path.resolve() == other.resolve() or (path.exists() and other.exists() and path.samefile(other)):
            raise ValueError(f"{path} and {other} are one file; give each a name of its own")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no such folder: {path.parent}; create it first")
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is neither a file nor a folder; name a file")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already; choose another name, or --force to replace it")
