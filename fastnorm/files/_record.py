"""What was normalized in place: digests of the result, in a file beside it, so that it is known by its bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastnorm import state
from fastnorm._disk import sync_folder
from fastnorm.files._arrays import ArrayFile, Region
from fastnorm.files._beside import beside
from fastnorm.files._journal import Journal, digest


def about(file: ArrayFile) -> dict[str, Any]:
    """What tells arrays of one file from each other."""
    return {"shape": list(file.shape), "dtype": str(file.dtype), "order": file.order}


def spans(parts: list[Region]) -> list[list[list[int]]]:
    """Regions, ready for JSON."""
    return [[[span.start, span.stop] for span in part] for part in parts]


def parts_of(document: dict[str, Any]) -> list[Region]:
    """The regions of a plan or a record."""
    return [tuple(slice(*span) for span in part) for part in document["regions"]]


def digests(file: ArrayFile, parts: list[Region]) -> list[str]:
    """The digest of each region, as it is now."""
    found = []
    for part in parts:
        found.append(digest(file.read(part)))
        file.done(part)
    return found


def record_of(target: Path, file: ArrayFile) -> dict[str, Any] | None:
    """What was noted when the present bytes of ``file`` were written; None if they are no result."""
    for record in _records(target):
        if about(file).items() <= record.items() and digests(file, parts_of(record)) == record["new"]:
            return record
    return None


def others(target: Path, direction: str, layer: Any) -> bool:
    """Whether other layers have finished a file in this direction: its present bytes, or earlier ones."""
    return any(record["direction"] == direction and record["layer"] != layer for record in _records(target))


def note(target: Path, journal: Journal) -> None:
    """Note the result of a run, in place of the result that it began with; on the disk when this returns."""
    plan = journal.plan
    entry = {name: value for name, value in plan.items() if name in _KEPT} | {"new": journal.all_new()}
    past = [record for record in _records(target) if record != entry and not _began_with(plan, record)]
    new = journal.folder / "done"  # what a kill leaves half written goes with the journal
    state.write(new, {"class": "Done", "records": [*past, entry]})
    new.replace(beside(target, "done"))
    sync_folder(target.parent)


_KEPT = ("shape", "dtype", "order", "regions", "direction", "layer")


def _began_with(plan: dict[str, Any], record: dict[str, Any]) -> bool:
    same = all(plan[name] == record[name] for name in ("shape", "dtype", "order", "regions"))
    return same and plan["old"] == record["new"]


def _records(target: Path) -> list[dict[str, Any]]:
    path = beside(target, "done")
    return list(state.read(path)["records"]) if path.exists() else []
