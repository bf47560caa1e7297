"""Features as an HTML page, written piece by piece."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from fastnorm.page._features import BINS, BINS_A_STD, RULES, Feature, Histogram, Rule, flags
from fastnorm.report import _plain

# The picture of a feature, in units of about a pixel: a gap, the bins, a gap; values outside stand in the gaps.
LEFT, WIDTH, HEIGHT, GAP = 84, 9, 72, 12
RIGHT = LEFT + BINS * WIDTH
CENTER = (LEFT + RIGHT) // 2


def page(
    title: str, notes: Sequence[str], facts: Mapping[str, str], layer: str, features: Sequence[Feature]
) -> Iterator[str]:
    """Yield the parts of a page that needs nothing but itself; names may hold anything.

    Parameters
    ----------
    title : str
        The heading.
    notes : sequence of str
        What a reader should know first.
    facts : mapping of str to str
        What was read, and with which settings.
    layer : str
        HTML of the layer and its parameters (`fastnorm.report.html`).
    features : sequence of Feature
        One picture and one set of numbers each.

    Examples
    --------
    >>> parts = list(page("demo", [], {}, "", [Feature("<a>", 2, 0, 0, 1.5, 0.5, False)]))
    >>> sum("<bdi>&lt;a&gt;</bdi>" in part for part in parts)
    1
    """
    found = [flags(feature) for feature in features]
    script = _text("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    heading = escape(_plain(title))
    yield (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="color-scheme" '
        f'content="light dark">\n<title>{heading}</title>\n<style>\n{_text("page.css")}</style>\n</head>\n<body>\n'
        f"<header>\n<h1><bdi>{heading}</bdi></h1>\n"
    )
    yield "".join(f'<p class="note">{escape(note)}</p>\n' for note in notes)
    yield "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items()) + "</dl>\n"
    yield f"</header>\n<main>\n<details open><summary>Layer and parameters</summary>\n{layer}\n</details>\n"
    yield from _overview(found)
    if any(feature.histogram for feature in features):
        yield _LEGEND
    yield f'<ul id="features" data-scale="{LEFT} {WIDTH} {BINS} {BINS_A_STD}">\n'
    for feature, rules in zip(features, found, strict=True):
        yield _card(feature, rules)
    yield f"</ul>\n</main>\n<script>{script}</script>\n</body>\n</html>\n"


def _text(name: str) -> str:
    return Path(__file__).with_name(name).read_text("utf-8")


def _overview(found: Sequence[Sequence[Rule]]) -> Iterator[str]:
    """How many features each rule holds for, and what chooses among them."""
    numbers = {rule: sum(rule in rules for rules in found) for rule in RULES}
    flagged = sum(map(bool, found))
    yield f'<section aria-labelledby="flags">\n<h2 id="flags">{flagged:,} of {len(found):,} features are flagged</h2>\n'
    rows = (
        f'<tr><th scope="row"><a class="flag" href="#flag={rule.word}">{rule.label}</a></th>'
        f"<td>{n:,}</td><td>{rule.meaning}</td></tr>\n"
        for rule, n in numbers.items()
        if n
    )
    heads = '<th scope="col">flag</th><th scope="col">features</th><th scope="col">rule</th>'
    if flagged:
        yield f'<table class="rules"><thead><tr>{heads}</tr></thead>\n<tbody>\n{"".join(rows)}</tbody></table>\n'
    yield (
        '</section>\n<form id="choose" role="search"><label>Search <input type="search" name="q" autocomplete="off" '
        'spellcheck="false"></label>\n<label>Show <select name="flag"><option value="">all features</option>'
        '<option value="any">only flagged</option>'
    )
    yield "".join(f'<option value="{rule.word}">{rule.label}</option>' for rule, n in numbers.items() if n)
    yield f'</select></label>\n<output aria-live="polite">{len(found):,} of {len(found):,} features</output></form>\n'


_LEGEND = (
    '<p class="legend">Each picture is a feature before and after: to standardize moves and scales the axis and leaves '
    "the shape. The upper axis has z-scores, standard deviations from the mean; the lower one the values themselves. "
    f"A bar is 1/{BINS_A_STD} of a standard deviation wide; values outside mean ± 4 std are the bars set apart "
    "at both ends.</p>\n"
    '<svg width="0" height="0" class="shared" aria-hidden="true"><defs><g id="axis">'
    f'<path d="M{LEFT} {HEIGHT + 1.5}h{BINS * WIDTH}'
    + "".join(f"M{LEFT + k * 8 * WIDTH} {HEIGHT + 2}v4" for k in range(5))
    + f'"/><text x="0" y="{HEIGHT + 16}">z-scores</text><text x="0" y="{HEIGHT + 30}">values</text><g class="mid">'
    + "".join(
        f'<text x="{LEFT + k * 8 * WIDTH}" y="{HEIGHT + 16}">{label}</text>'
        for k, label in enumerate(("−4", "−2", "0", "2", "4"))
    )
    + "</g></g></defs></svg>\n"
)


def _card(feature: Feature, rules: Sequence[Rule]) -> str:
    words = f' data-flags="{" ".join(rule.word for rule in rules)}"' if rules else ""
    parts = [f"<li{words}><h3><bdi>{escape(_plain(feature.name))}</bdi></h3>"]
    if rules:
        parts.append('<p class="flags">' + " ".join(f'<b class="flag">{rule.label}</b>' for rule in rules) + "</p>")
    histogram = feature.histogram if feature.values else None
    if histogram is not None:
        parts.append(_picture(feature, histogram))
    parts.append(_numbers(feature, histogram))
    if histogram is not None and not feature.constant:
        parts.append("<details><summary>counts</summary></details>")
    return "".join([*parts, "</li>\n"])


def _numbers(feature: Feature, histogram: Histogram | None) -> str:
    rows = feature.values + feature.missing + feature.infinite
    entries = {
        "mean": f"{feature.mean:.{_digits(feature, 6)}g}" if feature.values else "–",
        "std": f"{feature.std:.6g}" if feature.values else "–",
        "count": f"{feature.values:,}",
        "missing": _share(feature.missing, rows),
    }
    if feature.infinite:
        entries["infinite"] = _share(feature.infinite, rows)
    if histogram is not None:
        entries["outside ±4 std"] = _share(histogram.below + histogram.above, _total(histogram))
    text = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in entries.items())
    if not feature.missing:
        return f"<dl>{text}</dl>"
    width = f"{100 * feature.missing / rows:.3g}%"
    return f'<dl>{text}</dl><div class="share" aria-hidden="true"><i style="width:{width}"></i></div>'


def _total(histogram: Histogram) -> int:
    return sum(histogram.bins) + histogram.below + histogram.above


def _share(part: int, whole: int) -> str:
    """A number and its share; only 0 is said to be 0 %, only all 100 %."""
    if not part:
        return "0"
    percent = 100 * part / whole
    text = "<0.01" if percent < 0.01 else f"{min(percent, 99.99):.2f}" if part < whole else "100"
    return f"{part:,} ({escape(text)} %)"


def _picture(feature: Feature, histogram: Histogram) -> str:
    most = max(*histogram.bins, histogram.below, histogram.above, 1)
    spoken = escape(_spoken(histogram))
    numbers = " ".join(map(str, (histogram.below, *histogram.bins, histogram.above)))
    outside = "".join(
        f"M{x} {HEIGHT}v-{_height(n, most)}h{WIDTH}V{HEIGHT}z"
        for x, n in ((LEFT - GAP - WIDTH, histogram.below), (RIGHT + GAP, histogram.above))
        if n
    )
    if feature.constant:
        n = sum(histogram.bins)
        bars = f"M{CENTER - WIDTH} {HEIGHT}v-{_height(n, most)}h{2 * WIDTH}V{HEIGHT}z" if n else ""
        places = f'<text class="mid" x="{CENTER}" y="{HEIGHT + 16}">{_plainly(feature.mean, 12)}</text>'
        spoken = escape(f"{n:,} equal values, {histogram.below:,} below, {histogram.above:,} above")
        return _svg(spoken, "", bars, outside, places)
    axis = '<use href="#axis"/>'
    return _svg(spoken, f' data-counts="{numbers}"', _bars(histogram.bins, most), outside, axis + _axis(feature))


def _svg(spoken: str, data: str, bars: str, outside: str, rest: str) -> str:
    outside = f'<path class="out" d="{outside}"/>' if outside else ""
    box = f"0 0 {RIGHT + LEFT // 2} {HEIGHT + 34}"
    return (
        f'<svg viewBox="{box}" role="img" aria-label="{spoken}"{data}><path class="bars" d="{bars}"/>{outside}{rest}'
        "</svg>"
    )


def _height(n: int, most: int) -> int:
    """A height that is 0 for 0 alone, in whole numbers: counts may be beyond what a float holds."""
    return -(-n * HEIGHT // most)


def _bars(bins: Sequence[int], most: int) -> str:
    """The outline of the bars as one path."""
    path, last = [f"M{LEFT} {HEIGHT}"], 0
    for n in bins:
        height = _height(n, most)
        if height != last:
            path.append(f"v{last - height}")
        path.append(f"h{WIDTH}")
        last = height
    return "".join([*path, f"V{HEIGHT}z"])


def _axis(feature: Feature) -> str:
    """What the ends and the middle of the axis are in the values' own units."""
    reach = BINS // 2 / BINS_A_STD * feature.std
    digits = _digits(feature, 3)
    return "".join(
        f'<text class="mid" x="{x}" y="{HEIGHT + 30}">{_plainly(value, digits)}</text>'
        for x, value in ((LEFT, feature.mean - reach), (CENTER, feature.mean), (RIGHT, feature.mean + reach))
    )


def _digits(feature: Feature, least: int) -> int:
    """Significant digits that tell values apart that lie some standard deviations from each other."""
    ratio = abs(feature.mean) / feature.std if feature.std else 1.0
    return max(least, 3 + math.ceil(min(9.0, math.log10(max(1.0, ratio / 4)))))


def _plainly(value: float, digits: int) -> str:
    """Rounded to so many digits, with an exponent only where a number is very large or small."""
    return f"{float(f'{value:.{digits}g}'):.12g}".replace("-", "−")


def _spoken(histogram: Histogram) -> str:
    """The picture in words."""
    total = max(1, _total(histogram))
    std = [sum(histogram.bins[k : k + BINS_A_STD]) for k in range(0, BINS, BINS_A_STD)]
    shares = ", ".join(f"{100 * n / total:.3g}" for n in std)
    return (
        f"Histogram. Percent of the values in each standard deviation from -4 to 4: {shares}. "
        f"{histogram.below:,} values below, {histogram.above:,} above."
    )
