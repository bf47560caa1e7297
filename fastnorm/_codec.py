"""Moments as bytes and as a dict: one documented form (docs/state.md), checked on the way in."""

from __future__ import annotations

import hashlib
import json
import math
from operator import index
from typing import Any

import numpy as np

from fastnorm import _sums
from fastnorm._counted import Counted, as_sums
from fastnorm._sums import Sums

MAGIC = b"fastnorm moments\n"
VERSION = 1
LARGEST = 4096  # of an exponent in bits: weighted squares of float64 lie between 2**-3264 and 2**3136
_COUNTS = ("missing", "posinf", "neginf")
_SUMS = ("total", "square", "weight")
_NAMES = {"total": "sum", "square": "sum_of_squares", "weight": "weight"}


def encode(shape: tuple[int, ...], counted: Counted) -> bytes:
    """Return the byte form: magic, length of the header, JSON header, little-endian arrays, SHA-256 of all before."""
    body = [values.astype("<i8").tobytes() for name in _COUNTS if (values := getattr(counted, name)).any()]
    body += [sums.limbs.astype("<u4").tobytes() for name in _SUMS if (sums := getattr(counted, name)) is not None]
    text = _header(shape, counted)
    data = b"".join((MAGIC, len(text).to_bytes(4, "little"), text, *body))
    return data + hashlib.sha256(data).digest()


def _header(shape: tuple[int, ...], counted: Counted) -> bytes:
    """Return the header of the byte form. Who has checked it has checked the arrays, which then can be no others."""
    arrays: list[list[Any]] = [[name, "<i8", 1, 0] for name in _COUNTS if getattr(counted, name).any()]
    for name in _SUMS:
        sums: Sums | None = getattr(counted, name)
        if sums is not None:
            arrays.append([name, "<u4", len(sums.limbs), sums.exponent])
    header = {"version": VERSION, "shape": list(shape), "rows": counted.rows, "arrays": arrays}
    return json.dumps(header, separators=(",", ":"), sort_keys=True).encode()


def decode(data: bytes) -> tuple[tuple[int, ...], Counted]:
    """Return what `encode` was given; ValueError for anything else."""
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"a {type(data).__name__} holds no moments; pass the bytes that Moments.to_bytes() returned")
    data = bytes(data)
    if not data.startswith(MAGIC):
        raise ValueError("these bytes are not fastnorm moments: pass what Moments.to_bytes() returned")
    at = len(MAGIC) + 4
    if len(data) < at + 32 or hashlib.sha256(memoryview(data)[:-32]).digest() != data[-32:]:
        raise ValueError(
            "these fastnorm moments are damaged or incomplete (checksum mismatch): make or copy them again"
        )
    size = int.from_bytes(data[at - 4 : at], "little")
    try:
        header = dict(json.loads(data[at : at + size]))
    except (ValueError, TypeError, RecursionError):
        raise ValueError("these fastnorm moments have no header of JSON: make them again") from None
    check_version(header.get("version"))
    try:
        shape, counted = _decoded(header, memoryview(data)[at + size : -32])
        same = _header(shape, counted) == data[at : at + size]
    except (KeyError, TypeError, IndexError, AttributeError, OverflowError, ValueError) as error:
        raise ValueError(f"no moments have these fastnorm bytes ({error!r}): make them again") from error
    if not same:
        raise ValueError("no moments have these fastnorm bytes, for equal moments have equal bytes: make them again")
    return shape, counted


def _decoded(header: dict[str, Any], body: memoryview) -> tuple[tuple[int, ...], Counted]:
    """What header and arrays hold; any of several errors if that is nothing."""
    shape = _checked_shape(header["shape"])
    features = math.prod(shape)
    found: dict[str, Any] = dict.fromkeys(_COUNTS, None) | {"weight": None}
    at = 0
    for name, _, rows, exponent in header["arrays"]:
        kind = np.dtype("<i8" if name in _COUNTS else "<u4")
        length = features * index(rows) * kind.itemsize
        values = np.frombuffer(body[at : at + length], kind).astype(np.int64).reshape(rows, features)
        at += length
        if name in _COUNTS:
            found[name] = values[0]
        else:
            values[-1:] = values[-1:].astype(np.int32)  # the last limb has the sign
            found[name] = _sums.canonical(_checked_exponent(exponent), values)
    if at != len(body):
        raise ValueError(f"there are {len(body)} bytes of arrays, not {at}")
    for name in _COUNTS:
        if found[name] is None:
            found[name] = np.zeros(features, np.int64)
    return shape, _checked(Counted(rows=index(header["rows"]), **found))


def _checked_shape(given: Any) -> tuple[int, ...]:
    """Return the shape of the kept axes; ValueError for one that no features have."""
    shape = tuple(map(index, given))
    if min(shape, default=1) < 1:
        raise ValueError(f"no features have the shape {shape}")
    return shape


def _checked_exponent(exponent: Any) -> int:
    """Return the exponent of a sum; ValueError for one that sums of float64 and their squares cannot have."""
    if index(exponent) % 32 or abs(exponent) > LARGEST:
        raise ValueError(f"the exponent of a sum is {exponent}, which is no multiple of 32 up to {LARGEST}")
    return index(exponent)


def _checked(counted: Counted) -> Counted:
    """Return the moments with weights only where they are not the counts; ValueError for rows that nobody counted."""
    if not 0 <= index(counted.rows) < 1 << 63:
        raise ValueError(f"there would be {counted.rows} rows")
    return counted._replace(weight=None) if counted.weight == as_sums(counted.counts) else counted


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
        shape = _checked_shape(data["shape"])
        features = math.prod(shape)
        counts = [np.array([*map(index, data[name])], np.int64).reshape(features) for name in _COUNTS]
        sums: list[Sums | None] = []
        for name in _SUMS:
            if name == "weight" and data.get("weight") is None:
                sums.append(None)
                continue
            entry = data[_NAMES[name]]
            values = [int(value, 16) for value in entry["values"]]
            if len(values) != features:
                raise ValueError(f"{_NAMES[name]} has {len(values)} values for {features} features")
            sums.append(_sums.from_integers(_checked_exponent(entry["exponent"]), values))
        return shape, _checked(Counted(index(data["rows"]), *counts, *sums))  # type: ignore[arg-type]
    except (KeyError, TypeError, OverflowError, ValueError) as error:
        raise ValueError(f"this dict of fastnorm moments is damaged ({error!r}): make it again") from error


def check_version(version: Any) -> None:
    """Raise ValueError for a version that this fastnorm does not know."""
    if version != VERSION:
        raise ValueError(
            f"this state has version {version!r}, but this fastnorm reads version {VERSION}; "
            "update fastnorm (python -m pip install --upgrade fastnorm-numba)"
        )
