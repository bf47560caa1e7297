"""Normalize an array where it lies, with a journal."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastnorm import state
from fastnorm.files._arrays import ArrayFile, Region, regions
from fastnorm.files._journal import Journal, digest, journal_of, marker_of, originals
from fastnorm.files._progress import Progress
from fastnorm.normalization import Normalization

Direction = Literal["forward", "inverse"]


def in_place(
    file: ArrayFile, target: Path, layer: Normalization, direction: Direction, again: bool, bar: Progress
) -> None:
    """Transform ``file``, which lies at ``target``; go on where an earlier run was stopped.

    Raises
    ------
    ValueError
        If the file is normalized already (unless ``again``), has changed since a run was stopped, or cannot hold the
        result.
    """
    if file.dtype != result_dtype(layer.dtype, file.dtype):
        raise ValueError(f"{target} holds {file.dtype}, which cannot hold z-scores; name another file for the result")
    parts = list(regions(file, layer.axis))
    plan: dict[str, Any] = {
        "shape": list(file.shape),
        "dtype": file.dtype.str,
        "order": file.order,
        "regions": len(parts),
        "layer": fingerprint(layer),
        "direction": direction,
    }
    journal = Journal.resume(journal_of(target))
    if journal is None:
        original = list(originals(file, parts))
        if not again:
            _check_not_done(target, plan, original)
        journal = Journal.begin(journal_of(target), plan | {"original": original})
    else:
        if {name: journal.plan.get(name) for name in plan} != plan:
            raise ValueError(
                f"{target} is in the middle of another run ({journal.folder.name}); finish that with the command that "
                "began it, or with `fastnorm recover`"
            )
        _check_unchanged(file, target, parts, layer, direction, journal)
        bar.add(sum(file.read(part).nbytes for part in parts[: len(journal.finished)]))
    for index in range(len(journal.finished), len(parts)):
        _one(file, parts[index], index, layer, direction, journal)
        bar.add(file.read(parts[index]).nbytes)
        file.done(parts[index])
    state.write(marker_of(target), _marker(plan, journal.finished))
    journal.remove()


def _one(
    file: ArrayFile, part: Region, index: int, layer: Normalization, direction: Direction, journal: Journal
) -> None:
    values = file.read(part)
    saved = journal.original(index, values.shape, values.dtype)
    if saved is None:
        journal.save_original(index, values)
        saved = np.array(values)
    new = transformed(layer, saved, direction)
    file.write(part, new)
    file.sync()
    journal.finish(digest(new))


def transformed(
    layer: Normalization, values: NDArray[Any], direction: Direction, dtype: np.dtype[Any] | None = None
) -> NDArray[Any]:
    """The values as the layer makes them, in the dtype and byte order of a file (by default their own)."""
    call = layer.transform if direction == "forward" else layer.inverse_transform
    result: NDArray[Any] = call(values)
    return result.astype(values.dtype if dtype is None else dtype, copy=False)


def _check_unchanged(
    file: ArrayFile, target: Path, parts: list[Region], layer: Normalization, direction: Direction, journal: Journal
) -> None:
    done = len(journal.finished)
    expected = [*journal.finished, *journal.plan["original"][done:]]
    for index, (part, want) in enumerate(zip(parts, expected, strict=True)):
        values = file.read(part)
        if digest(values) != want and not (index == done and _is_between(values, index, layer, direction, journal)):
            raise ValueError(
                f"{target} was changed by something else after a run was stopped (region {index} of {len(parts)}); "
                f"nothing was written. Bring it back from a copy, or remove {journal.folder} to keep it as it is"
            )
        file.done(part)


def _is_between(values: NDArray[Any], index: int, layer: Normalization, direction: Direction, journal: Journal) -> bool:
    """Whether the region in work holds, byte by byte, what it held or what it shall hold."""
    saved = journal.original(index, values.shape, values.dtype)
    if saved is None:
        return False
    now, old, new = (
        np.ascontiguousarray(item).reshape(-1).view(np.uint8)
        for item in (values, saved, transformed(layer, saved, direction))
    )
    return bool(((now == old) | (now == new)).all())


def fingerprint(layer: Normalization) -> str:
    """What tells a layer from others that transform otherwise."""
    document = {name: value for name, value in layer._document().items()}
    weights = [values.tobytes().hex() for name in layer._trainable_names for values in (getattr(layer, name),)]
    return hashlib.sha256(repr((sorted(document.items(), key=str), weights)).encode()).hexdigest()


def _marker(plan: dict[str, Any], digests: list[str]) -> dict[str, Any]:
    return {"class": "Marker", "direction": plan["direction"], "layer": plan["layer"], "digests": digests}


def _check_not_done(target: Path, plan: dict[str, Any], now: list[str]) -> None:
    marker = marker_of(target)
    if not marker.exists():
        return
    found = state.read(marker)
    if found.get("digests") == now and found.get("direction") == plan["direction"]:
        word = "normalized" if plan["direction"] == "forward" else "turned back"
        raise ValueError(f"{target} is {word} already; to do it once more all the same, pass again=True (--again)")
