"""State files: one JSON document, exact, versioned, checksummed, written atomically (docs/state.md)."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastnorm import _codec, _disk

FORMAT = "fastnorm state"


def write(path: str | os.PathLike[str], document: dict[str, Any]) -> None:
    """Write ``document`` with format, version and checksum; a crash leaves the earlier file as it was."""
    body = {"format": FORMAT, "version": _codec.VERSION, **document}
    text = json.dumps(body | {"sha256": _digest(body)}, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    target = Path(os.path.realpath(path))  # a link stays a link
    if target.is_symlink():
        raise OSError(errno.ELOOP, "is a link that leads back to itself; name another file", str(path))
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "is a folder; give the name of a file", str(path))
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "is no regular file; give the name of a file", str(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, f"there is no such folder; make it first: {target.parent}", str(path))
    _disk.replace(target, text.encode("utf-8"))


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the document of a state file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged, incomplete, something else or of a newer version.
    """
    data = Path(path).read_bytes()
    try:
        body = json.loads(data.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError):
        if FORMAT.encode() in data[:100]:
            raise ValueError(f"{path} is damaged or incomplete; take a copy of it, or adapt again") from None
        body = None
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise ValueError(f"{path} is not a fastnorm state file; pass a file that `save` of a layer wrote")
    try:
        _codec.check_version(body.get("version"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    try:
        same = body.pop("sha256", None) == _digest(body)
    except ValueError:  # a number beyond float64
        same = False
    if not same:
        raise ValueError(f"{path} is damaged (checksum mismatch); take a copy of it, or adapt again")
    return body


def pack(array: NDArray[np.float64]) -> dict[str, Any]:
    """Return an array of float64 as its shape and base64 of its little-endian bytes."""
    return {
        "shape": list(array.shape),
        "float64": base64.b64encode(array.astype("<f8").tobytes()).decode("ascii"),
    }


def unpack(entry: dict[str, Any]) -> NDArray[np.float64]:
    """Return the array that `pack` was given."""
    data = base64.b64decode(entry["float64"], validate=True)
    return np.frombuffer(data, "<f8").astype(np.float64).reshape(entry["shape"])


def _digest(body: dict[str, Any]) -> str:
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no number that a state holds")
