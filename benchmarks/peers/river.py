"""river: `StandardScaler.learn_many` with a DataFrame, `learn_one` with a row."""

from __future__ import annotations

from typing import Any

from benchmarks.peers import Call, Given, Peer


def _frame(x: Any) -> Any:
    import pandas

    return pandas.DataFrame(x, columns=[f"c{i}" for i in range(x.shape[-1])], copy=False)


def _statistics(scaler: Any, names: list[str]) -> Any:
    return [scaler.means[name] for name in names], [scaler.vars[name] for name in names]


def fit(given: Given) -> Call:
    """All batches, or all rows as one batch."""
    from river.preprocessing import StandardScaler

    frames = [_frame(batch) for batch in given.batches(given.table)]
    names = list(frames[0].columns)
    rows = [frame.to_dict("records")[0] for frame in frames] if given.batch == 1 else None

    def run() -> Any:
        scaler = StandardScaler()
        if rows is not None:
            for row in rows:
                scaler.learn_one(row)
        else:
            for frame in frames:
                scaler.learn_many(frame)
        return _statistics(scaler, names)

    return run


def transform_to_new(given: Given) -> Call:
    from river.preprocessing import StandardScaler

    frame, scaler = _frame(given.x), StandardScaler()
    scaler.learn_many(frame)
    return lambda: scaler.transform_many(frame)


PEER = Peer(
    "river",
    ("river",),
    {"fit": fit, "partial_fit": fit, "transform to new": transform_to_new},
    dtypes=("float32", "float64", "int32", "uint8"),
    columns=10_000,
    note="Its DataFrames are made before the time starts",
)
