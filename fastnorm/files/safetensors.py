""".safetensors files: a header in JSON and the bytes of the tensors, so that no package is needed."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import IO, Any

import numpy as np

from fastnorm import _layout
from fastnorm.files._arrays import ArrayFile, chosen
from fastnorm.files._errors import border
from fastnorm.files._place import Place, install
from fastnorm.files._stream import Streamed
from fastnorm.files.npy import Mapped, mapped_after

_LENGTH = struct.Struct("<Q")  # of the header
_LONGEST = 1 << 25  # bytes of a header: 100 000 tensors and more
_WORDS = {"F": "f", "I": "i", "U": "u"}
_METADATA = "__metadata__"


def _dtype(word: str) -> np.dtype[Any]:
    """The dtype of a word such as F32."""
    if word == "BF16":
        try:
            return _layout.float_dtype("bfloat16")
        except ImportError as error:
            raise install("ml_dtypes", error) from error
    if word == "BOOL":
        return np.dtype(bool)
    if word[:1] in _WORDS and word[1:] in ("8", "16", "32", "64") and word != "F8":
        return np.dtype(f"<{_WORDS[word[0]]}{int(word[1:]) // 8}")
    raise ValueError(f"dtype {word} is not one that can be normalized")


def _word(dtype: np.dtype[Any]) -> str:
    return "BF16" if dtype.name == "bfloat16" else f"F{dtype.itemsize * 8}"


def _header(file: IO[bytes], size: int) -> tuple[dict[str, Any], int]:
    """What the header says, and where the bytes of the tensors begin."""
    (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
    start = _LENGTH.size + length
    if length > _LONGEST or start > size:
        raise ValueError(f"its header would have {length} bytes")
    header = json.loads(file.read(length))
    end = 0
    for name, entry in sorted(
        ((name, entry) for name, entry in header.items() if name != _METADATA), key=lambda item: item[1]["data_offsets"]
    ):
        first, last = entry["data_offsets"]
        if first != end or last < first:
            raise ValueError(f"the bytes of {name} do not begin where those before it end")
        end = last
    if start + end != size:
        raise ValueError(f"its tensors end at byte {start + end}, but the file has {size}")
    return header, start


def open_safetensors(place: Place, key: str | None, *, writable: bool = False) -> ArrayFile:
    """One tensor of a .safetensors file."""
    file = place.open()
    try:
        with border(place.name, ".safetensors file"):
            header, start = _header(file, place.size())
            key = chosen(place.name, key, [name for name in header if name != _METADATA])
            entry = header[key]
            shape, dtype = tuple(map(int, entry["shape"])), _dtype(entry["dtype"])
            first, last = entry["data_offsets"]
            if math.prod(shape) * dtype.itemsize != last - first:
                raise ValueError(f"{key} has {last - first} bytes, which shape {shape} of {dtype} does not take")
            if place.path is None:
                return Streamed(file, place.name, start + first, shape, dtype, key=key)
            file.close()
            return Mapped(place, start + first, shape, dtype, writable=writable, key=key)
    except BaseException:
        file.close()
        raise


def create_safetensors(path: Path, like: ArrayFile, dtype: np.dtype[Any], key: str, source: Place | None) -> ArrayFile:
    """A new file with one tensor like another; the rest is as in ``source``, a file of this format."""
    header: dict[str, Any] = {}
    start = 0
    if source is not None:
        with source.open() as file:
            header, start = _header(file, source.size())
    old = {name: entry for name, entry in header.items() if name not in (_METADATA, key)}
    new: dict[str, Any] = {name: header[name] for name in (_METADATA,) if name in header}
    end = 0
    for name, entry in old.items():
        first, last = entry["data_offsets"]
        new[name] = entry | {"data_offsets": [end, end + last - first]}
        end += last - first
    size = math.prod(like.shape) * dtype.itemsize
    new[key] = {"dtype": _word(dtype), "shape": list(like.shape), "data_offsets": [end, end + size]}
    text = json.dumps(new).encode()
    text += b" " * (-len(text) % 8)
    with path.open("xb") as out:
        out.write(_LENGTH.pack(len(text)) + text)
        if source is not None:
            with source.open() as file:
                for entry in old.values():
                    _copy(file, out, start + entry["data_offsets"][0], start + entry["data_offsets"][1])
        return mapped_after(out, path, like, dtype)


def _copy(file: IO[bytes], out: IO[bytes], start: int, stop: int) -> None:
    file.seek(start)
    for first in range(start, stop, 1 << 24):
        out.write(file.read(min(1 << 24, stop - first)))
