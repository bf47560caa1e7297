"""A layer and its data as an HTML page in a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import DTypeLike

from fastnorm import report
from fastnorm.files._histograms import histograms
from fastnorm.files._staged import staged
from fastnorm.normalization import Normalization
from fastnorm.page import Feature, Histogram, page


def write_report(
    layer: Normalization,
    path: str | os.PathLike[str],
    data: Any = None,
    *,
    title: str = "Normalization report",
    columns: Sequence[str] | None = None,
    key: str | None = None,
    raw: tuple[DTypeLike, tuple[int, ...]] | None = None,
    progress: bool = False,
) -> None:
    """Write what a layer has learned as one HTML page, with a picture of each feature if the data are given.

    The page needs nothing but itself: no network, no other file. It is complete or not there.

    Parameters
    ----------
    layer : fastnorm.Normalization
        An adapted layer.
    path : path
        Where the page goes; a file that exists is replaced.
    data : array_like, or path, URL or iterable of them, optional
        The data, in memory or in files, which are read once. Without them the page has numbers and no histograms.
    title : str
        The heading.
    columns, key, raw, progress
        As for `adapt_files`; by default the columns of tables are those that the layer has names of.

    Raises
    ------
    NotAdaptedError
        If the layer has not seen data.
    ValueError, TypeError
        If it has a fixed mean and variance, or the data do not fit it.
    OSError
        If a file cannot be read, or the page not written; an earlier page is then as it was.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from fastnorm import write_report
    >>> path = pathlib.Path(tempfile.mkdtemp(), "report.html")
    >>> x = [[1.0, 7.0], [3.0, 7.0]]
    >>> write_report(Normalization().adapt(x), path, x)
    >>> "1 of 2 features are flagged" in path.read_text("utf-8")
    True
    """
    if not isinstance(layer, Normalization):
        raise TypeError(f"write_report takes a Normalization, not {type(layer).__name__}")
    moments, statistics = layer.moments, layer.statistics()
    infinite = (moments.posinf + moments.neginf).reshape(-1)
    found: Sequence[Histogram | None] = [None] * infinite.size
    if data is not None:
        found = histograms(layer, data, columns=columns, key=key, raw=raw, progress=progress)
    columns_of_features = (
        statistics["feature"],
        moments.count.reshape(-1).tolist(),
        moments.missing.reshape(-1).tolist(),
        infinite.tolist(),
        moments.mean.reshape(-1).tolist(),
        moments.std.reshape(-1).tolist(),
        moments.constant.reshape(-1).tolist(),
        found,
    )
    features = [Feature(*values) for values in zip(*columns_of_features, strict=True)]
    facts = {"rows": f"{layer.count:,}", "features": f"{len(features):,}", "settings": _settings(layer)}
    table = layer._show(report.html, layer.parameters())
    with staged(Path(path)) as new, new.open("x", encoding="utf-8", newline="\n") as file:
        file.writelines(page(title, _notes(layer, features), facts, table, features))


def _settings(layer: Normalization) -> str:
    return ", ".join(f"{name}={getattr(layer, name)!r}" for name in ("axis", "nan", "inf", "constant", "affine"))


def _notes(layer: Normalization, features: Sequence[Feature]) -> list[str]:
    drawn = [(feature, feature.histogram) for feature in features if feature.histogram is not None]
    if not drawn:
        return ["There are no histograms: they need the data. Pass them as data=..., or --data in the command line."]
    notes = []
    if any(
        (f.values and f.values != sum(h.bins) + h.below + h.above) or (f.missing, f.infinite) != (h.missing, h.infinite)
        for f, h in drawn
    ):
        notes.append(
            "The pictures are of other data than the numbers: what was counted now is not what the layer has learned "
            "from."
        )
    if layer.affine:
        notes.append("The z-scores are without gamma and beta.")
    return notes
