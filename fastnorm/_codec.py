"""Moments as bytes and as a dict: one documented form (docs/state.md), checked on the way in."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import numpy as np

from fastnorm import _sums
from fastnorm._counted import Counted
from fastnorm._sums import Integers, Sums

MAGIC = b"fastnorm moments\n"
VERSION = 1
_COUNTS = ("missing", "posinf", "neginf")
_SUMS = ("total", "square", "weight")
_NAMES = {"total": "sum", "square": "sum_of_squares", "weight": "weight"}


def encode(shape: tuple[int, ...], counted: Counted) -> bytes:
    """Return the byte form: magic, length of the header, JSON header, little-endian arrays, SHA-256 of all before."""
    header: dict[str, Any] = {
        "version": VERSION,
        "shape": list(shape),
        "rows": counted.rows,
        "arrays": [],
    }
    body = []
    for name in _COUNTS:
        values: Integers = getattr(counted, name)
        if values.any():
            header["arrays"].append([name, "<i8", 1, 0])
            body.append(values.astype("<i8").tobytes())
    for name in _SUMS:
        sums: Sums | None = getattr(counted, name)
        if sums is not None:
            header["arrays"].append([name, "<u4", len(sums.limbs), sums.exponent])
            body.append(sums.limbs.astype("<u4").tobytes())
    text = json.dumps(header, separators=(",", ":"), sort_keys=True).encode()
    data = MAGIC + len(text).to_bytes(4, "little") + text + b"".join(body)
    return data + hashlib.sha256(data).digest()


def decode(data: bytes) -> tuple[tuple[int, ...], Counted]:
    """Return what `encode` was given; ValueError for anything else."""
    data = bytes(data)
    if not data.startswith(MAGIC):
        raise ValueError("these bytes are not fastnorm moments: pass what Moments.to_bytes() returned")
    at = len(MAGIC) + 4
    if len(data) < at + 32 or hashlib.sha256(data[:-32]).digest() != data[-32:]:
        raise ValueError(
            "these fastnorm moments are damaged or incomplete (checksum mismatch): make or copy them again"
        )
    size = int.from_bytes(data[at - 4 : at], "little")
    header = json.loads(data[at : at + size])
    check_version(header.get("version"))
    shape = tuple(header["shape"])
    features = math.prod(shape)
    found: dict[str, Any] = dict.fromkeys(_COUNTS, None) | {"weight": None}
    at += size
    for name, kind, rows, exponent in header["arrays"]:
        length = features * rows * np.dtype(kind).itemsize
        values = np.frombuffer(data[at : at + length], kind).astype(np.int64).reshape(rows, features)
        at += length
        if kind == "<i8":
            found[name] = values[0]
        else:
            values[-1:] = values[-1:].astype(np.int32)  # the last limb has the sign
            found[name] = Sums(exponent, values)
    for name in _COUNTS:
        if found[name] is None:
            found[name] = np.zeros(features, np.int64)
    return shape, Counted(rows=header["rows"], **found)


def to_dict(shape: tuple[int, ...], counted: Counted) -> dict[str, Any]:
    """Return plain ints, lists and hexadecimal strings."""
    out: dict[str, Any] = {
        "format": "fastnorm moments",
        "version": VERSION,
        "shape": list(shape),
        "rows": counted.rows,
    }
    for name in _COUNTS:
        out[name] = getattr(counted, name).tolist()
    for name in _SUMS:
        sums: Sums | None = getattr(counted, name)
        if sums is not None:
            out[_NAMES[name]] = {
                "exponent": sums.exponent,
                "values": [hex(v) for v in _sums.to_integers(sums)],
            }
    return out


def from_dict(data: dict[str, Any]) -> tuple[tuple[int, ...], Counted]:
    """Return what `to_dict` was given; ValueError for anything else."""
    given: object = data
    if not isinstance(given, dict) or data.get("format") != "fastnorm moments":
        raise ValueError("this is not a dict of fastnorm moments: pass what Moments.to_dict() returned")
    check_version(data.get("version"))
    try:
        shape = tuple(int(n) for n in data["shape"])
        features = math.prod(shape)
        counts = [np.array(data[name], np.int64).reshape(features) for name in _COUNTS]
        sums: list[Sums | None] = []
        for name in _SUMS:
            entry = data[_NAMES[name]] if name != "weight" else data.get("weight")
            if entry is None:
                sums.append(None)
                continue
            values = [int(value, 16) for value in entry["values"]]
            if len(values) != features or entry["exponent"] % 32:
                raise ValueError(f"{_NAMES[name]} has {len(values)} values for {features} features")
            sums.append(_sums.from_integers(entry["exponent"], values))
        return shape, Counted(int(data["rows"]), *counts, *sums)  # type: ignore[arg-type]
    except (KeyError, TypeError, OverflowError, ValueError) as error:
        raise ValueError(f"this dict of fastnorm moments is damaged ({error!r}): make it again") from error


def check_version(version: Any) -> None:
    """Raise ValueError for a version that this fastnorm does not know."""
    if version != VERSION:
        raise ValueError(
            f"this state has version {version!r}, but this fastnorm reads version {VERSION}; "
            "update fastnorm (python -m pip install --upgrade fastnorm-numba)"
        )
