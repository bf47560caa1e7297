"""What is done to an array: what comes out of it, and so how it is checked and timed."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from benchmarks import processes
from benchmarks.checks import ALL
from benchmarks.peers import Call, Given, Peer

Result = Literal["statistics", "scores", "values", "seconds", "bytes"]


class Operation(NamedTuple):
    """What a call returns, how many digits fastnorm must get right, and whether it writes into the scratch array."""

    result: Result
    digits: float = ALL
    writes: bool = False


SINGLE = 7.0  # digits of a result that is rounded to float32

OPERATIONS: dict[str, Operation] = {
    "fit": Operation("statistics"),
    "fit with weights": Operation("statistics"),
    "moments": Operation("statistics"),
    "partial_fit": Operation("statistics"),
    "transform in place": Operation("scores", writes=True),
    "transform into": Operation("scores", writes=True),
    "transform to new": Operation("scores"),
    "inverse in place": Operation("values", writes=True),
    "fit_transform in place": Operation("scores", writes=True),
    "fit, then transform in place": Operation("scores", writes=True),
    "fit_transform to new": Operation("scores"),
    "transform row by row": Operation("scores", writes=True),
    "fit a StandardScaler": Operation("statistics"),
    "adapt a Keras layer": Operation("statistics", SINGLE),
    "save": Operation("statistics"),
    "load": Operation("statistics"),
    "fit .npy": Operation("statistics"),
    "fit .parquet": Operation("statistics"),
    "fit .csv": Operation("statistics"),
    "import": Operation("seconds"),
    "warm process": Operation("seconds"),
    "cold compile": Operation("seconds"),
    "memory to fit": Operation("bytes"),
    "memory to fit .npy": Operation("bytes"),
    "memory to fit .parquet": Operation("bytes"),
    "memory to fit .csv": Operation("bytes"),
    "memory to fit a StandardScaler": Operation("bytes"),
    "memory to adapt a Keras layer": Operation("bytes"),
}

NEEDS = {  # what a library must have for a process of its own to do it
    "warm process": "fit_transform to new",
    "memory to fit": "fit",
    "memory to fit .npy": "fit .npy",
    "memory to fit .parquet": "fit .parquet",
    "memory to fit .csv": "fit .csv",
    "memory to fit a StandardScaler": "fit a StandardScaler",
    "memory to adapt a Keras layer": "adapt a Keras layer",
}
OURS = ("import", "cold compile")


def cannot(peer: Peer, operation: str, *what: Any) -> str | None:
    """Why a peer cannot do a case, or None."""
    if operation in OURS:
        return "is not asked"
    return peer.cannot(NEEDS.get(operation, operation), *what)


def call_of(name: str, peer: Peer, operation: str, given: Given, data: Any, size: int) -> Call:
    """The call that is timed; that of a process returns its measure."""
    dtype = data.dtype
    if operation == "import":
        return processes.import_fastnorm
    if operation == "cold compile":
        return lambda: processes.cold(dtype)
    if operation == "warm process":
        return lambda: processes.warm(name, dtype)
    if operation in NEEDS:
        return lambda: processes.memory(name, NEEDS[operation], data, size)
    return peer.ways[operation](given)
