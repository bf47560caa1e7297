"""What the commands print: of a layer, of files, of a plan."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fastnorm.cli import _options as options
from fastnorm.cli._app import Partly, in_one_line

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


def answer(
    layer: Normalization, files: dict[str, Any], skipped: options.Skipped, printing: options.Printing
) -> str | Partly:
    """What was done with which files, and what was learned."""
    lines = [f"Left out: {in_one_line(error)}" for _, error in skipped]
    if printing.as_json:
        left = [{"file": name, "error": in_one_line(error)} for name, error in skipped]
        text = json.dumps({**files, "skipped": left, **as_data(layer)}, indent=2)
    elif printing.quiet:
        text = "\n".join(lines)
    else:
        if "left_out" in files:
            lines.append(f"Left as they were: {', '.join(map(shown, files['left_out'])) or 'none'}")
        words = {"out": "Normalized data:   ", "state": "State file:        "}
        lines += [word + files[name] for name, word in words.items() if files.get(name)]
        text = "\n".join([as_text(layer), "", *lines])
    return Partly(text) if skipped else text


def plan(sources: Sequence[str], how: dict[str, Any], what: str, printing: options.Printing) -> str:
    """What would be done with which files."""
    from fastnorm.files._formats import format_of
    from fastnorm.files._open import Reading
    from fastnorm.files._shards import shards

    places = [shard.place for shard in shards(list(sources))]
    Reading(**how).check(places)
    kinds = ["raw" if how["raw"] else format_of(place) for place in places]
    found = [
        {"file": place.name, "format": kind, "bytes": place.size()} for place, kind in zip(places, kinds, strict=True)
    ]
    if printing.as_json:
        return json.dumps({"would": what, "files": found}, indent=2)
    lines = [f"{item['bytes']:>16,} bytes  {item['format']:<12} {item['file']}" for item in found]
    return "\n".join([f"Would {what}:", *lines])


def untouched(sources: Sequence[str], layer: Normalization, bad: set[str]) -> list[str]:
    """The columns of the first table that could be read which are no features."""
    from fastnorm.files._formats import TABLES, format_of
    from fastnorm.files._shards import shards
    from fastnorm.files._tables import open_table

    if layer.feature_names is None:
        return []
    for place in (shard.place for shard in shards(list(sources))):
        if place.name not in bad and format_of(place) in TABLES:
            with open_table(place, layer.feature_names) as table:
                return [name for name in table.names if name not in table.columns]
    return []


def _plain(value: Any) -> Any:
    plain = value.item() if hasattr(value, "item") else value
    return None if plain != plain else plain  # JSON has no NaN


def _statistics(layer: Normalization) -> dict[str, Any]:
    """The statistics of each feature; none where mean and variance were given, not learned."""
    learned = any(parameter.name == "count" for parameter in layer.parameters())
    return layer.statistics() if learned else {}
