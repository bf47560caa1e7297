"""The cases, as data: what is done to which array, beside which limit and which libraries, with which targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from benchmarks.data import Data
from fastnorm import _threads

BYTES = 512_000_000  # of an array; no power of two, whose strides would share a few cache sets

FIT, OTHER, APPLY, BATCHES = "Fit", "Fit, other data", "Transform", "Rows and batches"
DROP_IN, THREADS, STORED, WHOLE = "Drop-ins", "Threads", "Files", "Processes"
ROWS = "From a hundred values to a thousand million"

Limit = Literal[
    "read",
    "in place",
    "copy",
    "copy to new",
    "read + in place",
    "read + copy to new",
    "fit, then transform in place",  # the same by fastnorm in two calls
    "N(0, 1)",  # the same operation on normal data of the same shape
    "in memory",  # a fit to the array that the file holds
    "read .parquet",  # what pyarrow takes to unpack the file
    "read .csv",
    "import numpy, numba",
]
Kind = Literal["ratio", "lead", "GB/s", "seconds", "memory"]


class Target(NamedTuple):
    """At least a ratio to the limit, a lead over the fastest peer or GB/s; at most so many seconds or bytes."""

    kind: Kind
    bound: float

    def met(self, value: float) -> bool:
        return value <= self.bound if self.kind in ("seconds", "memory") else value >= self.bound


@dataclass(frozen=True)
class Case:
    """One line of the results; ``against`` names the limit that runs in turn with it."""

    name: str
    group: str
    operation: str
    data: Data
    against: Limit | None = "read"
    targets: tuple[Target, ...] = ()
    threads: int | None = None
    rounds: int | None = None  # at most so many
    batch: int | None = None  # rows in one call
    peers: tuple[str, ...] | None = None  # modules in benchmarks/peers; all that can by default
    cap: float = 0.3  # seconds for one call of a peer, which gets fewer rows if it takes longer
    headline: str | None = None  # its column in the summary

    @property
    def moves_memory(self) -> bool:
        """Whether GB/s mean anything."""
        return self.against not in (None, "import numpy, numba") and self.batch != 1


def at_least(ratio: float, lead: float | None = None) -> tuple[Target, ...]:
    return (Target("ratio", ratio), *([Target("lead", lead)] if lead else []))


def under(seconds: float) -> tuple[Target, ...]:
    return (Target("seconds", seconds),)


def words(data: Data) -> str:
    """What a reader must know of an array."""
    columns = f"{data.columns:_} column{'s' * (data.columns > 1)}".replace("_", " ")
    if data.pixels:
        columns = f"images of {' × '.join(map(str, (*data.pixels, data.columns)))}"
    known = {"missing": "1 % NaN", "lognormal": "log-normal σ = 3", "offset": "N(100 000, 1)", "bits": "any bits"}
    parts = [data.dtype, columns, "column-major" * (data.order == "F"), known.get(data.values, "")]
    return ", ".join(filter(None, [*parts, data.table and f"DataFrame of {data.table}"]))


Make = Callable[..., Case]


def maker(group: str) -> Make:
    """A case of this group, whose name follows from the rest."""

    def case(operation: str, data: Data, note: str = "", **settings: object) -> Case:
        name = ", ".join(filter(None, [f"{operation} {words(data)}", note]))
        return Case(name, group, operation, data, **settings)  # type: ignore[arg-type]

    return case


FLOATS = ("float32", "float64")
COLUMNS = (64, 256, 1024, 10_000)
MANY = 100_000
ARRAYS = ("jax", "keras", "numbagg", "numpy", "onedal", "sklearn", "torch")  # a table has not so many columns
WIDE = Data("float64", 64, values="lognormal")
MILLION = Data("float32", 1_000_000, rows=100)
IMAGES = Data("uint8", 3, values="integers", pixels=(224, 224))
FULL = 10.0  # seconds: enough for every peer to see the whole array

fit, other, apply = maker(FIT), maker(OTHER), maker(APPLY)

FITS = [
    *(fit("fit", Data(f, 64), targets=at_least(0.85, 1.5), headline=f"fit {f}", cap=FULL) for f in FLOATS),
    *(fit("fit", Data(f, n), targets=at_least(0.85, 1.5)) for f in FLOATS for n in COLUMNS if n > 64),
    *(fit("fit", Data(f, n, order="F"), targets=at_least(0.85, 1.5)) for f in FLOATS for n in COLUMNS),
    *(fit("fit", Data(f, MANY, order=order), targets=at_least(0.6), peers=ARRAYS) for f in FLOATS for order in "CF"),
    *(fit("fit", Data(f, n), targets=at_least(0.7)) for f in FLOATS for n in (1, 9)),
    fit("fit", MILLION, "100 rows", targets=at_least(0.7)),
    # Beside it the sums alone: the statistics of so many columns take a time of their own.
    fit("moments", MILLION, "100 rows", peers=()),
]
OTHER_FITS = [
    other("fit", Data("float16", 64), targets=at_least(0.4)),
    other("fit", IMAGES, targets=at_least(0.7)),
    other("fit", Data("int32", 64, values="integers"), targets=at_least(0.7)),
    *(other("fit", Data(f, 64, values="missing"), targets=at_least(0.7)) for f in FLOATS),
    *(other("fit", Data(f, 64, values="lognormal"), targets=at_least(0.4)) for f in FLOATS),
    other("fit", WIDE, "beside N(0, 1)", against="N(0, 1)", peers=(), targets=at_least(0.5)),
    other("fit", Data("float32", 64, values="offset"), targets=at_least(0.85, 1.5), headline="N(100 000, 1)"),
    other("fit", Data("float64", 64, values="offset"), targets=at_least(0.85, 1.5)),
    other("moments", Data("float64", 64, values="bits"), targets=(Target("GB/s", 0.2),), peers=()),
    *(other("fit with weights", Data(f, 64), targets=at_least(0.15)) for f in FLOATS),
    *(other("fit", Data("float64", 64, table=table)) for table in ("pandas", "polars")),
]
PLAIN = [Data(f, 64) for f in FLOATS]
IN_PLACE = [*PLAIN, Data("float32", 9), Data("float64", 1024), Data("float32", 64, order="F")]
TRANSFORMS = [
    *(apply("transform in place", x, against="in place", targets=at_least(0.95)) for x in IN_PLACE),
    *(apply("transform into", x, against="copy", targets=at_least(0.9)) for x in PLAIN),
    apply("transform to new", PLAIN[0], against="copy to new", headline="transform float32"),
    apply("transform to new", PLAIN[1], against="copy to new"),
    *(apply("inverse in place", x, against="in place", targets=at_least(0.95)) for x in PLAIN),
    *(
        apply("fit_transform in place", x, against="fit, then transform in place", targets=at_least(1 / 1.1))
        for x in PLAIN
    ),
    *(apply("fit_transform to new", x, against="read + copy to new") for x in PLAIN),
]

SMALL = Data("float64", 9, rows=1000)
STREAMING = ("onedal", "river", "sklearn")  # go on with what they have learned; Keras begins anew
rows = maker(BATCHES)
LATENCY = [
    rows("transform row by row", SMALL, "one row", against=None, targets=under(3e-6), batch=1),
    rows("partial_fit", SMALL, "one row", against=None, targets=under(10e-6), batch=1, peers=STREAMING),
    *(rows("partial_fit", x, "1 000 rows at a time", batch=1000) for x in PLAIN),
]

drop_in = maker(DROP_IN)
TEN = (Target("lead", 10.0),)
SCALERS = [
    *(drop_in("fit a StandardScaler", Data("float32", n), peers=("sklearn",), targets=TEN, cap=FULL) for n in (9, 64)),
    *(drop_in("adapt a Keras layer", Data("float32", n), peers=("keras",), targets=TEN, cap=FULL) for n in (1, 9, 64)),
    *(
        drop_in(operation, Data("float32", 9), against=None, peers=peers, targets=(Target("memory", 16e6),), rounds=1)
        for operation, peers in (
            ("memory to fit", None),
            ("memory to fit a StandardScaler", ("sklearn",)),
            ("memory to adapt a Keras layer", ("keras",)),
        )
    ),
]

threads = maker(THREADS)
COUNTS = sorted({*(2**i for i in range(1, 8) if 2**i < _threads.count()), _threads.count()} - {1})
BY_THREADS = [
    *(threads("fit", x, "1 thread", threads=1, peers=(), targets=at_least(0.7)) for x in PLAIN),
    *(threads("fit", x, f"{n} threads", threads=n, peers=()) for x in PLAIN for n in COUNTS),
    *(
        threads("transform in place", x, f"{n} thread{'s' * (n > 1)}", against="in place", threads=n, peers=())
        for x in PLAIN
        for n in (1, *COUNTS)
    ),
]

FEW = ("numpy", "sklearn", "torch", "polars")


def by_rows(power: int) -> Case:
    """A fit to 10**power values; the largest array leaves no room for copies of it."""
    data, peers = Data("float32", 10, rows=10 ** (power - 1)), FEW if power < 9 else ()
    return maker(ROWS)("fit", data, f"10^{power} values", peers=peers)


BY_ROWS = [by_rows(power) for power in range(2, 10)]

stored = maker(STORED)
TABLE = Data("float64", 32)
FILES = [
    stored("fit .npy", TABLE, against="in memory", targets=at_least(0.8)),
    stored("fit .parquet", TABLE, against="read .parquet", targets=at_least(0.9), cap=FULL),
    stored("fit .csv", TABLE, against="read .csv", rounds=3),
    *(
        stored(f"memory to fit {suffix}", TABLE, against=None, peers=("sklearn", "polars", "duckdb"), rounds=1)
        for suffix in (".npy", ".parquet", ".csv")
    ),
]

process = maker(WHOLE)
FEATURES = Data("float32", 1_000_000, rows=8)
WARM = {"against": "import numpy, numba", "targets": under(0.6), "headline": "process"}
PROCESSES = [
    process("save", FEATURES, against=None),
    process("load", FEATURES, against=None),
    process("import", SMALL, "beyond NumPy's own", against=None, targets=under(0.03)),
    process("warm process", SMALL, "import, fit_transform", rounds=3, **WARM),
    *(process("cold compile", Data(f, 9, rows=50), against=None, targets=under(3), rounds=3) for f in FLOATS),
]

CASES = [*FITS, *OTHER_FITS, *TRANSFORMS, *LATENCY, *SCALERS, *BY_THREADS, *BY_ROWS, *FILES, *PROCESSES]
