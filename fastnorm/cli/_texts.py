"""What the commands print of a layer."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastnorm.normalization import Normalization


def as_text(layer: Normalization) -> str:
    from fastnorm.report import statistics_table

    parts: list[str] = []
    layer.summary(print_fn=parts.append)
    if statistics := _statistics(layer):
        parts.append(f"{len(statistics['feature']):,} features, {layer.count:,} rows")
        parts.append(statistics_table(statistics, limit=1000))
    return "\n\n".join(parts)


def shown(name: str) -> str:
    return name if name and name.isprintable() else repr(name)


def as_data(layer: Normalization) -> dict[str, Any]:
    statistics = _statistics(layer)
    columns = [map(_plain, values) for values in statistics.values()]
    return {
        "rows": layer.count if statistics else None,
        "parameters": [
            {**asdict(parameter), "size": parameter.size, "bytes": parameter.bytes} for parameter in layer.parameters()
        ],
        "features": [dict(zip(statistics, row, strict=True)) for row in zip(*columns, strict=True)],
    }


def _plain(value: Any) -> Any:
    plain = value.item() if hasattr(value, "item") else value
    return None if plain != plain else plain  # JSON has no NaN


def _statistics(layer: Normalization) -> dict[str, Any]:
    """The statistics of each feature; none where mean and variance were given, not learned."""
    learned = any(parameter.name == "count" for parameter in layer.parameters())
    return layer.statistics() if learned else {}
