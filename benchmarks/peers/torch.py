"""PyTorch on the processor: `torch.var_mean`, and its operators with `out=` or an underscore."""

from __future__ import annotations

from typing import Any

from benchmarks.peers import Call, Given, Peer


def _tensor(x: Any) -> Any:
    import torch

    return torch.from_numpy(x)  # the same memory


def _statistics(x: Any) -> Any:
    import torch

    variance, mean = torch.var_mean(x, dim=0, correction=0)
    return mean, variance


def _fitted(given: Given) -> tuple[Any, Any]:
    mean, variance = _statistics(_tensor(given.x))
    return mean, variance.sqrt()


def fit(given: Given) -> Call:
    x = _tensor(given.table)
    return lambda: _statistics(x)


def transform_in_place(given: Given) -> Call:
    (mean, std), z = _fitted(given), _tensor(given.target)
    return lambda: z.sub_(mean).div_(std)


def transform_into(given: Given) -> Call:
    import torch

    (mean, std), x, z = _fitted(given), _tensor(given.x), _tensor(given.target)
    return lambda: torch.sub(x, mean, out=z).div_(std)


def transform_to_new(given: Given) -> Call:
    (mean, std), x = _fitted(given), _tensor(given.x)
    return lambda: (x - mean).div_(std)


def inverse_in_place(given: Given) -> Call:
    (mean, std), z = _fitted(given), _tensor(given.target)
    return lambda: z.mul_(std).add_(mean)


def fit_transform_in_place(given: Given) -> Call:
    z = _tensor(given.target)

    def run() -> Any:
        mean, variance = _statistics(z)
        return z.sub_(mean).div_(variance.sqrt())

    return run


def fit_transform_to_new(given: Given) -> Call:
    x = _tensor(given.x)

    def run() -> Any:
        mean, variance = _statistics(x)
        return (x - mean).div_(variance.sqrt())

    return run


def transform_rows(given: Given) -> Call:
    (mean, std), z = _fitted(given), _tensor(given.target)
    rows = list(z.split(1))

    def run() -> Any:
        for row in rows:
            row.sub_(mean).div_(std)
        return z

    return run


PEER = Peer(
    "PyTorch",
    ("torch",),
    {
        "fit": fit,
        "transform in place": transform_in_place,
        "transform into": transform_into,
        "transform to new": transform_to_new,
        "inverse in place": inverse_in_place,
        "fit_transform in place": fit_transform_in_place,
        "fit_transform to new": fit_transform_to_new,
        "transform row by row": transform_rows,
    },
    dtypes=("float16", "float32", "float64"),
)
