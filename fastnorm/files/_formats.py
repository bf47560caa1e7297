"""The formats, by the suffix of a name: the only place that lists them."""

from __future__ import annotations

from fastnorm.files._place import Place

#: Suffix → format.
SUFFIXES = {
    ".npy": "npy",
    ".npz": "npz",
    ".safetensors": "safetensors",
    ".zarr": "zarr",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".hdf": "hdf5",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".csv": "csv",
    ".tsv": "csv",
    ".csv.gz": "csv",
    ".tsv.gz": "csv",
    ".bin": "raw",
    ".raw": "raw",
    ".dat": "raw",
}
TABLES = frozenset({"parquet", "arrow", "csv"})
ARRAYS = frozenset({"npy", "raw", "safetensors", "zarr", "hdf5"})  # arrays are written as these
KEYED = frozenset({"npz", "safetensors", "zarr", "hdf5"})  # hold arrays with names


def format_of(place: Place) -> str:
    """The format of a file by its name; ValueError if there is none."""
    if place.suffix in SUFFIXES:
        return SUFFIXES[place.suffix]
    if is_store(place):
        return "zarr"
    raise ValueError(f"{place.name} has no suffix that says its format; fastnorm knows {', '.join(SUFFIXES)}")


def format_to(place: Place, *, raw: bool) -> str:
    """The format in which an array is written: that of the name, or raw as it was read."""
    return "raw" if raw and place.suffix not in SUFFIXES else format_of(place)


def is_store(place: Place) -> bool:
    """Whether a folder is one Zarr array or group."""
    if place.suffix == ".zarr":
        return True
    return place.path is not None and any((place.path / name).exists() for name in ("zarr.json", ".zarray", ".zgroup"))
