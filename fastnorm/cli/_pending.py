"""The state of a run in place while it goes on: what was learned before the data changed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastnorm.normalization import Normalization


def pending_of(state: Path) -> Path:
    """Where the state lies while the data are written: a run that is stopped does not adapt once more."""
    state = Path(os.path.realpath(state))
    return state.with_name(f".{state.name}.pending")


def settled(state: Path) -> None:
    """The data are written: put the state in its place, of which a link stays a link."""
    pending_of(state).replace(os.path.realpath(state))


def state_beside(target: Path) -> Path:
    """Where the state of a result goes, unless it is said."""
    from fastnorm.files._place import Place

    suffix = Place.of(target).suffix
    stem = target.name[: -len(suffix)] if suffix else target.name
    return target.with_name(f"{stem}.fastnorm.json")


def progress(layer: Normalization, sources: Sequence[str], how: dict[str, Any]) -> set[str]:
    """How far this very layer has normalized files in place: words among "none", "begun", "done"."""
    from fastnorm.files._formats import TABLES, format_of
    from fastnorm.files._inplace import progress_of
    from fastnorm.files._open import Reading, open_array
    from fastnorm.files._shards import shards

    found, reading = set(), Reading(how.get("key"), None, how.get("raw"))
    for shard in shards(list(sources)):
        if shard.place.path is None or (reading.raw is None and format_of(shard.place) in TABLES):
            found.add("none")
            continue
        try:
            with open_array(shard.place, reading) as file:
                found.add(progress_of(file, shard.place.path, layer))
        except (OSError, ValueError):  # one that cannot be read has not begun
            found.add("none")
    return found


def kept(sources: Sequence[str], state: Path, how: dict[str, Any], settings: dict[str, Any]) -> Normalization | None:
    """The layer of a run in place of these files that was stopped; what such a run left that never began goes.

    Raises
    ------
    ValueError
        If that run was told other settings.
    """
    from fastnorm.normalization import Normalization

    pending = pending_of(state)
    if not pending.exists():
        return None
    layer = Normalization.load(pending)
    if progress(layer, sources, how) <= {"none"}:
        pending.unlink()
        return None
    for name, value in settings.items():
        if value != (before := getattr(layer, name)):
            raise ValueError(
                f"{sources[0]} is in the middle of a run with {name}={before!r}; finish that with the same command"
            )
    return layer


def settle(recovered: Sequence[str]) -> list[str]:
    """Put the states in place that belong to files which `recover` has completed, if all of their files are done."""
    from fastnorm.normalization import Normalization

    found = []
    for source in dict.fromkeys(name for path in map(Path, recovered) for name in (path, path.parent)):
        state = state_beside(source)
        if not (pending := pending_of(state)).exists() or state.exists():
            continue
        if progress(Normalization.load(pending), [str(source)], {}) == {"done"}:
            settled(state)
            found.append(str(state))
    return found
