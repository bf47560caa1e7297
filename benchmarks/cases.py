"""The cases, as data: what is done to which array, beside which limit, with which target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from benchmarks.data import Data

BYTES = 512_000_000  # of an array; no power of two, whose strides would share a few cache sets

FIT, OTHER, APPLY = "Fit", "Fit, other data", "Transform"
SMALL, WHOLE = "One row", "Files and processes"

Limit = Literal[
    "read",
    "read, one thread",
    "in place",
    "copy",
    "copy to new",
    "read + in place",
    "N(0, 1)",  # the same operation on normal data of the same shape
    "import numpy, numba",
]


class Target(NamedTuple):
    """At least a ratio or GB/s, at most so many seconds."""

    kind: Literal["ratio", "GB/s", "seconds"]
    bound: float

    def met(self, value: float) -> bool:
        return value <= self.bound if self.kind == "seconds" else value >= self.bound


@dataclass(frozen=True)
class Case:
    """One line of the results; ``against`` names the limit that runs in turn with it."""

    name: str
    group: str
    operation: str
    data: Data
    against: Limit | None = "read"
    target: Target | None = None
    threads: int | None = None
    rounds: int | None = None  # at most so many

    @property
    def moves_memory(self) -> bool:
        """Whether GB/s mean anything."""
        return self.against not in (None, "import numpy, numba")


def at_least(ratio: float) -> Target:
    return Target("ratio", ratio)


def under(seconds: float) -> Target:
    return Target("seconds", seconds)


def case(  # the name follows from the rest
    operation: str,
    data: Data,
    note: str = "",
    *,
    group: str = FIT,
    against: Limit = "read",
    target: Target | None = None,
    threads: int | None = None,
) -> Case:
    columns = f"{data.columns:_} column{'s' * (data.columns > 1)}".replace("_", " ")
    words = [f"{operation} {data.dtype}", columns]
    words += [word for word in ("column-major" * (data.order == "F"), note) if word]
    return Case(", ".join(words), group, operation, data, against, target, threads)


FLOATS = ("float32", "float64")
MILLION = Data("float32", 1_000_000, rows=100)
WIDE = Data("float64", 64, values="lognormal")
BITS = Data("float64", 64, values="bits")

FITS = [
    *(case("fit", Data(f, n), target=at_least(0.6)) for f in FLOATS for n in (64, 256, 1024, 1, 9)),
    *(case("fit", Data(f, 64, order="F"), target=at_least(0.6)) for f in FLOATS),
    *(case("fit", Data(f, 100_000), target=at_least(0.6)) for f in FLOATS),
    # Beside them the sums alone: the statistics of so many columns take a time of their own.
    *(case("moments", Data(f, 100_000)) for f in FLOATS),
    *(case(operation, MILLION, "100 rows") for operation in ("fit", "moments")),
    *(case("fit", Data(f, 64), "one thread", against="read, one thread", threads=1) for f in FLOATS),
]
OTHER_FITS = [
    case("fit", Data("float16", 64), group=OTHER),
    *(case("fit", Data(i, 64, values="integers"), group=OTHER) for i in ("uint8", "int32")),
    *(case("fit", Data(f, 64, values="missing"), "1 % NaN", group=OTHER) for f in FLOATS),
    *(case("fit", Data(f, 64, values="lognormal"), "log-normal σ = 3", group=OTHER) for f in FLOATS),
    case(
        "fit",
        WIDE,
        "log-normal σ = 3, beside N(0, 1)",
        group=OTHER,
        against="N(0, 1)",
        target=at_least(0.5),
    ),
    case("moments", BITS, "random bit patterns", group=OTHER, target=Target("GB/s", 0.2)),
    *(case("fit with weights", Data(f, 64), group=OTHER) for f in FLOATS),
]
PLAIN = [Data(f, 64) for f in FLOATS]
IN_PLACE = [*PLAIN, Data("float32", 9), Data("float64", 1024), Data("float32", 64, order="F")]
TRANSFORMS = [
    *(case("transform in place", x, group=APPLY, against="in place", target=at_least(0.9)) for x in IN_PLACE),
    *(case("transform into", x, group=APPLY, against="copy") for x in PLAIN),
    *(case("transform to new", x, group=APPLY, against="copy to new") for x in PLAIN),
    *(case("fit_transform in place", x, group=APPLY, against="read + in place") for x in PLAIN),
]

ROWS = Data("float64", 9, rows=50)
FEATURES = Data("float32", 1_000_000, rows=8)
TIMES = [
    Case("transform(x, out=x), (1, 9)", SMALL, "transform one row", ROWS, None, under(5e-6)),
    Case("update(x), (1, 9)", SMALL, "update one row", ROWS, None, under(20e-6)),
    Case("save 1 000 000 features", WHOLE, "save", FEATURES, None),
    Case("load 1 000 000 features", WHOLE, "load", FEATURES, None),
    Case(
        "warm process: import, adapt, transform",
        WHOLE,
        "warm process",
        ROWS,
        "import numpy, numba",
        under(0.8),
    ),
    *(
        Case(
            f"cold compile {f}",
            WHOLE,
            "cold compile",
            Data(f, 9, rows=50),
            None,
            under(5),
            rounds=3,
        )
        for f in ("float64", "float32")
    ),
]

CASES = [*FITS, *OTHER_FITS, *TRANSFORMS, *TIMES]
