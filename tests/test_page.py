"""The report as an HTML page: what it counts, what it says, and that names cannot harm it."""

import math
import re
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastnorm.files._histograms as module
from fastnorm import Moments, Normalization, NotAdaptedError, write_report
from fastnorm.files._histograms import histograms
from fastnorm.page import BINS, BINS_A_STD, Feature, Histogram, flags, page

WEATHER = Path(__file__).parents[1] / "docs/data/weather.csv"
NUMBERS = st.sampled_from([-1e300, -3.0, -1.0, 0.0, 0.5, 1.0, 2.0, 100.0, 1e300, math.nan, math.inf, -math.inf])
TABLES = st.integers(1, 4).flatmap(
    lambda columns: st.lists(st.lists(NUMBERS, min_size=columns, max_size=columns), min_size=1, max_size=40)
)


def everything(histogram):
    """All values that a histogram knows of."""
    return sum(histogram.bins) + histogram.below + histogram.above + histogram.missing + histogram.infinite


def flat(histogram):
    return [histogram.below, *histogram.bins, histogram.above, histogram.missing, histogram.infinite]


def exact_slot(x, mean, variance):
    """Where a value is counted: floor(4 (x - mean) / std) in whole numbers, from 0 (below) to 33 (above)."""
    if variance == 0:
        return 17 if x == mean else 0 if x < mean else 33
    difference = BINS_A_STD * (Fraction(x) - mean)
    square = difference**2 / variance
    steps = math.isqrt(math.floor(square))
    if difference < 0:
        steps = -steps - (steps**2 != square)
    return min(max(steps + BINS // 2 + 1, 0), BINS + 1)


@pytest.fixture(scope="module")
def weather():
    return np.genfromtxt(WEATHER, delimiter=",", skip_header=1, usecols=range(1, 14))


# The counts.


def test_the_counts_of_the_weather_are_exact(weather):
    """Each value is in the bin of its exact z-score, whatever rounding does."""
    exact = naive.moments(weather)
    for column, moments, found in zip(
        weather.T, exact.features, histograms(Normalization().adapt(weather), weather), strict=True
    ):
        want = [0] * (BINS + 2)
        for value, times in zip(*np.unique(column[~np.isnan(column)], return_counts=True), strict=True):
            want[exact_slot(float(value), moments.mean, moments.variance)] += int(times)
        assert [*want, moments.missing, 0] == flat(found)


@given(TABLES)
def test_bins_are_intervals_of_the_z_scores(rows):
    """Every value is counted once, in the bin that NumPy finds for what `transform` makes of it."""
    x = np.array(rows)
    layer = Normalization(inf="omit", dtype="float64").adapt(x)
    edges = np.arange(-BINS // 2, BINS // 2 + 1) / BINS_A_STD
    for column, z, constant, found in zip(x.T, layer(x).T, layer.moments.constant, histograms(layer, x), strict=True):
        finite = np.isfinite(column)
        assert (np.isnan(column).sum(), np.isinf(column).sum()) == (found.missing, found.infinite)
        if not finite.any():
            assert not sum(flat(found)[:-2])
        elif constant:
            assert [0] * 17 + [finite.sum()] + [0] * 16 == flat(found)[:-2]
        else:
            places = np.searchsorted(edges, z[finite], side="right")
            assert np.bincount(places, minlength=BINS + 2).tolist() == flat(found)[:-2]


@pytest.mark.parametrize("block", [1, 100, 4096])
@pytest.mark.parametrize("threads", [1, 3])
def test_the_counts_do_not_depend_on_blocks_or_threads(weather, monkeypatch, block, threads):
    """However the data are cut, the counts are the same; with them all rows are accounted for."""
    x = weather[:500]
    want = histograms(Normalization().adapt(x), x)
    monkeypatch.setattr(module, "BLOCK", block)
    assert want == histograms(Normalization(threads=threads).adapt(x), x)
    assert {500} == set(map(everything, want))


def test_files_in_parts_count_as_one_array(weather, tmp_path):
    """Files of any lengths, named one by one or by their folder, give the counts of their rows in one array."""
    layer = Normalization().adapt(weather)
    for name, part in zip("abc", np.split(weather, [7, 11_000]), strict=True):
        np.save(tmp_path / f"{name}.npy", part)
    want = histograms(layer, weather)
    assert want == histograms(layer, tmp_path)
    assert want == histograms(layer, [tmp_path / f"{name}.npy" for name in "cab"])


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8", "uint8", "int64", ">f8"])
def test_the_counts_do_not_depend_on_the_dtype(dtype):
    """The same numbers stored in another dtype are in the same bins."""
    x = np.random.default_rng(0).integers(0, 100, (300, 5))
    want = histograms(Normalization().adapt(x), x.astype(np.float64))
    assert want == histograms(Normalization().adapt(x), x.astype(dtype))


@pytest.mark.parametrize("axis", [0, (0, 2), (1, 2), None, ()])
def test_the_counts_follow_the_axes(axis):
    """With any kept axes the features are those of the same data as a table, in any layout."""
    x = np.random.default_rng(0).normal(size=(4, 5, 6))
    table, _, _ = naive.as_table(x, axis)
    want = histograms(Normalization().adapt(table), table)
    assert want == histograms(Normalization(axis).adapt(x), x)
    assert want == histograms(Normalization(axis).adapt(x), np.asfortranarray(x))


def test_masked_values_are_missing():
    """A mask counts as NaN does, for whole numbers too."""
    x = np.ma.array([[1, 5], [2, 6], [3, 7]], mask=[[0, 0], [1, 0], [0, 0]])
    first, second = histograms(Normalization().adapt(x), x)
    assert (1, 2) == (first.missing, sum(first.bins))
    assert (0, 3) == (second.missing, sum(second.bins))


def test_other_data_than_those_of_a_constant_feature_lie_outside():
    """What differs from the one value that was learned is below or above it, by however little."""
    layer = Normalization().adapt([[1.0], [1.0]])
    [found] = histograms(layer, [[1.0], [np.nextafter(1, 0)], [1.5], [-1e300], [np.inf]])
    assert (1, 2, 1, 1) == (found.bins[BINS // 2], found.below, found.above, found.infinite)


def test_data_that_do_not_fit_are_refused(tmp_path):
    """The error says both numbers of features, and in which file."""
    layer = Normalization().adapt([[1.0, 2.0]])
    with pytest.raises(ValueError, match="x has 3 features"):
        histograms(layer, np.ones((0, 3)))
    np.save(tmp_path / "x.npy", np.ones((2, 3)))
    with pytest.raises(ValueError, match=r"x\.npy: x has 3 features"):
        histograms(layer, tmp_path / "x.npy")
    with pytest.raises(FileNotFoundError, match=r"y\.npy"):
        histograms(layer, str(tmp_path / "y.npy"))


# The flags.

PLAIN = Feature("x", 100, 0, 0, 5.0, 2.0, False)
TAILS = Histogram([0] * 15 + [9937] + [0] * 16, 30, 33, 0, 0)


@pytest.mark.parametrize(
    ("feature", "words"),
    [
        (PLAIN, []),
        (PLAIN._replace(values=0, missing=9, mean=math.nan, std=math.nan), ["empty", "missing"]),
        (PLAIN._replace(values=0, infinite=9, mean=math.nan, std=math.nan), ["empty", "infinite"]),
        (PLAIN._replace(std=0.0, constant=True), ["constant"]),
        (PLAIN._replace(mean=0.0, std=0.0, constant=True), ["constant"]),
        (PLAIN._replace(missing=100), []),
        (PLAIN._replace(missing=101), ["missing"]),
        (PLAIN._replace(infinite=1), ["infinite"]),
        (PLAIN._replace(mean=-2e6), []),
        (PLAIN._replace(mean=-2.000001e6), ["narrow"]),
        (PLAIN._replace(histogram=TAILS), []),
        (PLAIN._replace(histogram=TAILS._replace(below=31)), ["tails"]),
        (PLAIN._replace(mean=1e-6, std=0.9999991), ["normalized"]),
        (PLAIN._replace(mean=2e-6, std=1.0), []),
        (PLAIN._replace(mean=0.0, std=1.000002), []),
    ],
)
def test_a_rule_holds_exactly_beyond_its_number(feature, words):
    """Each rule on both sides of the number that it names."""
    assert words == [rule.word for rule in flags(feature)]


def test_few_values_of_a_normal_distribution_lie_outside():
    """The rule on tails is 100 times what erfc says of a normal distribution, to the two digits that it names."""
    assert "0.63" == f"{100 * 100 * math.erfc(4 / math.sqrt(2)):.2f}"


# The page.

VOID = {"meta", "input", "br"}


class Reader(HTMLParser):
    """Balanced tags, their attributes, and the text of each element of interest."""

    def __init__(self, text):
        super().__init__()
        self.open, self.attributes, self.names, self.words = [], [], [], []
        self.feed(text)
        self.close()
        assert [] == self.open

    def handle_starttag(self, tag, attributes):
        self.attributes += [(tag, name, value) for name, value in attributes]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "h3":
            self.names.append("")

    def handle_startendtag(self, tag, attributes):
        self.attributes += [(tag, name, value) for name, value in attributes]

    def handle_endtag(self, tag):
        assert tag == self.open.pop()

    def handle_data(self, data):
        if "h3" in self.open:
            self.names[-1] += data
        elif "style" not in self.open and "script" not in self.open:
            self.words.append(data)


def written(*features, title="demo"):
    return "".join(page(title, ["a note"], {"rows": "9"}, "<p>layer</p>", features))


HOSTILE = [
    "<script>alert(1)</script>",
    "\"' onload=x",
    "--><style>",
    "]]>",
    "&lt;",
    "עברית \u202e abc",
    "a\nb\0",
    "x" * 5000,
]


@given(st.lists(st.text() | st.sampled_from(HOSTILE), max_size=4), st.text() | st.sampled_from(HOSTILE))
def test_names_stay_text(names, title):
    """No name opens a tag or an attribute; printable names read as they are, and none turns the line around."""
    plain = written(*[PLAIN] * len(names))
    text = written(*[PLAIN._replace(name=name, histogram=TAILS) for name in names], title=title)
    found = Reader(text)
    assert len(names) == len(found.names)
    for name, shown in zip(names, found.names, strict=True):
        assert shown.isprintable()
        if name.isprintable():
            assert name == shown
    assert not [a for a in found.attributes if a[1].startswith("on")]
    assert plain.count("<script") == text.count("<script") == 1
    text.encode("utf-8")


def test_the_page_needs_nothing_but_itself():
    """It names no other place, and its policy forbids all that is not in it."""
    text = written(PLAIN, PLAIN._replace(histogram=TAILS))
    links = [value for _, name, value in Reader(text).attributes if name in ("src", "href", "action", "data")]
    assert links
    assert all(link.startswith("#") for link in links)
    assert not re.search(r"https?:|url\(|@import|srcset", text)
    assert "content=\"default-src 'none';" in text


@given(st.lists(st.integers(0, 10**18), min_size=BINS, max_size=BINS))
def test_the_bars_are_the_counts(bins):
    """Heights are proportional to counts, rounded up to whole units, so that only an empty bin has none."""
    text = written(PLAIN._replace(histogram=Histogram(bins, 0, 0, 0, 0)))
    path = re.search(r'class="bars" d="M84 72(.*?)V72z"', text)[1]
    heights, height = [], 0
    for step, size in re.findall(r"([vh])(-?\d+)", path):
        height -= int(size) * (step == "v")
        heights += [height] * (step == "h")
    assert [math.ceil(Fraction(72 * n, max(*bins, 1))) for n in bins] == heights


def test_numbers_are_said_in_words():
    """A reader of the screen hears the shape, the ends, and what is missing."""
    feature = PLAIN._replace(values=64, missing=36, histogram=Histogram([2] * 32, 0, 0, 36, 0))
    text = written(feature, feature._replace(std=0.0, constant=True))
    labels = [value for _, name, value in Reader(text).attributes if name == "aria-label"]
    assert "to 4: 12.5, 12.5, 12.5, 12.5, 12.5, 12.5, 12.5, 12.5. 0 values below, 0 above." in labels[0]
    assert labels[1] == "64 equal values, 0 below, 0 above"
    assert "36 (36.00 %)" in Reader(text).words


@pytest.mark.parametrize(
    ("mean", "std", "labels"),
    [
        (0.0, 1.0, ["−4", "0", "4"]),
        (1e9, 1.0, ["999999996", "1000000000", "1000000004"]),
        (-1510.0, 400.0, ["−3110", "−1510", "90"]),
        (1e308, 1e-300, ["1e+308"] * 3),
    ],
)
def test_the_values_on_the_axis_differ_where_they_can(mean, std, labels):
    """A small spread around a large mean gets the digits that it takes."""
    text = written(PLAIN._replace(mean=mean, std=std, histogram=TAILS))
    assert labels == re.findall(r'<text class="mid"[^>]*>([^<]*)</text>', text)


# The file.


def test_without_data_the_page_has_numbers_alone(weather, tmp_path):
    """Flags and statistics come from the state; the page says what pictures need."""
    path = tmp_path / "report.html"
    write_report(Normalization().adapt(weather), path)
    text = path.read_text("utf-8")
    assert len(weather.T) == len(Reader(text).names)
    assert "they need the data" in text
    assert "<svg" not in text
    assert "2 of 13 features are flagged" in text  # year is constant, wind_gust mostly missing


def test_other_data_are_called_by_their_name(weather, tmp_path):
    """Pictures of data that the layer has not learned from say so; of its own they do not."""
    layer, path = Normalization().adapt(weather), tmp_path / "report.html"
    for data, said in ((weather, False), (weather[:100], True)):
        write_report(layer, path, data)
        assert said == ("other data than the numbers" in path.read_text("utf-8"))


@pytest.mark.parametrize(
    ("layer", "data", "error", "words"),
    [
        (Normalization(), None, NotAdaptedError, "has not seen any data"),
        (Normalization(mean=0, variance=1), None, ValueError, "fixed mean and variance"),
        (Normalization().adapt([[1.0]]), [[1.0, 2.0]], ValueError, "x has 2 features"),
        (Moments.of([[1.0]]), None, TypeError, "takes a Normalization, not Moments"),
    ],
)
def test_an_error_leaves_the_earlier_page(tmp_path, layer, data, error, words):
    """The page is replaced as a whole or not at all."""
    path = tmp_path / "report.html"
    path.write_text("earlier")
    with pytest.raises(error, match=words):
        write_report(layer, path, data)
    assert ["report.html"] == [file.name for file in tmp_path.iterdir()]
    assert "earlier" == path.read_text()


@settings(max_examples=10)
@given(TABLES)
def test_any_layer_has_a_page(tmp_path_factory, rows):
    """No data that a layer can learn from break the page."""
    path = tmp_path_factory.getbasetemp() / "any.html"
    layer = Normalization(inf="omit", affine=True).adapt(rows)
    write_report(layer, path, rows)
    assert len(rows[0]) == len(Reader(path.read_text("utf-8")).names)
