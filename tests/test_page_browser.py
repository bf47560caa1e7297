"""The report page in a real Chromium. Left out where there is none (conftest.py)."""

import base64
import hashlib
import re

import numpy as np
import pytest
from browser import DARK, dom_of, open_page, screenshot

from fastnorm import Normalization, write_report


@pytest.fixture(scope="module")
def data():
    """Data with a constant feature, one with missing values and ordinary ones."""
    x = np.random.default_rng(0).normal(5, 2, (400, 40))
    x[:, 3] = 7
    x[:300, 4] = np.nan
    return x


@pytest.fixture(scope="module")
def report(data, tmp_path_factory):
    layer = Normalization().adapt(data)
    layer.feature_names = ["<b>Größe</b>", *(f"feature {index}" for index in range(1, 40))]
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report(layer, path, data)
    return path


def shown(dom):
    """The names on the cards that are not hidden."""
    cards = re.findall(r"<li\b([^>]*)><h3><bdi>(.*?)</bdi>", dom)
    return [name for attributes, name in cards if "hidden" not in attributes]


def with_script(report, code):
    """A copy of the page with a script that its policy allows, run after its own."""
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    text = report.read_text("utf-8").replace("script-src ", f"script-src 'sha256-{digest}' ")
    path = report.with_name("scripted.html")
    path.write_text(text.replace("</body>", f"<script>{code}</script></body>"), "utf-8")
    return path


def test_every_feature_has_a_card(report):
    """Without a filter all cards are shown, in the order of the features."""
    dom = dom_of(report)
    assert ["&lt;b&gt;Größe&lt;/b&gt;", *(f"feature {index}" for index in range(1, 40))] == shown(dom)
    assert ">40 of 40 features</output>" in dom


@pytest.mark.parametrize(
    ("address", "names"),
    [
        ("#q=feature 3", ["feature 3", *(f"feature {index}" for index in range(30, 40))]),
        ("#q=GRÖSSE", []),
        ("#q=GRÖßE", ["&lt;b&gt;Größe&lt;/b&gt;"]),
        ("#flag=any", ["feature 3", "feature 4"]),
        ("#flag=constant", ["feature 3"]),
        ("#flag=missing&q=3", []),
    ],
)
def test_the_address_chooses_features(report, address, names):
    """Search and filter are in the address, so that a choice can be passed on."""
    dom = dom_of(report, address)
    assert names == shown(dom)
    assert f">{len(names)} of 40 features</output>" in dom


def test_typing_chooses_features(report):
    """What is typed filters at once and goes into the address."""
    code = """
    document.forms[0].q.value = "feature 12";
    document.forms[0].dispatchEvent(new Event("input"));
    document.title = location.hash;
    """
    dom = dom_of(with_script(report, code))
    assert ["feature 12"] == shown(dom)
    assert "<title>#q=feature+12</title>" in dom


def test_the_counts_of_a_feature_open_as_a_table(report, data):
    """The table has a row for each bin and for what lies outside; its numbers add up to all values."""
    dom = dom_of(with_script(report, 'document.querySelector("li details").open = true;'))
    rows = re.findall(r'<th scope="row">([^<]*)</th><td>([\d,]+)</td></tr>', dom[dom.index("<ul ") :])
    assert ["below −4", "−4 to −3.75", "0 to 0.25", "4 and above"] == [rows[place][0] for place in (0, 1, 17, 33)]
    assert (34, len(data)) == (len(rows), sum(int(n.replace(",", "")) for _, n in rows))


def test_the_pointer_reads_a_bin(report, data):
    """Over the bar that begins at the mean, the tip says its number of values."""
    code = """
    const svg = document.querySelector("svg[data-counts]");
    const box = svg.querySelector("use").getBoundingClientRect();
    const point = new DOMPoint(84 + 16.5 * 9, 40).matrixTransform(svg.getScreenCTM());
    svg.dispatchEvent(new PointerEvent("pointermove", {bubbles: true, clientX: point.x, clientY: point.y}));
    """
    z = (data[:, 0] - data[:, 0].mean()) / data[:, 0].std()
    dom = dom_of(with_script(report, code))
    assert f">z 0 to 0.25: {((z >= 0) & (z < 0.25)).sum()} values</div>" in dom


def test_a_script_that_is_not_the_pages_own_does_not_run(report):
    """If a name ever got through as HTML, the page's policy would still stop it."""
    path = report.with_name("foreign.html")
    text = report.read_text("utf-8").replace("</body>", "<script>document.title = 'foreign'</script></body>")
    path.write_text(text, "utf-8")
    dom, console = open_page(path, "--dump-dom")
    assert "<title>Normalization report</title>" in dom
    assert ["Content Security Policy" in line for line in console] == [True]


def test_the_page_can_be_seen_in_light_and_dark(report):
    """Neither picture is blank, and the one is light where the other is dark."""
    light, dark = screenshot(report)[..., :3], screenshot(report, DARK)[..., :3]
    for picture in (light, dark):
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50
    assert light.mean() > 200
    assert dark.mean() < 60


def test_thousands_of_features_open(tmp_path):
    """5,000 features make a page of less than 10 MB, of which the browser shows every card and takes a filter."""
    x = np.random.default_rng(0).normal(size=(100, 5000))
    layer = Normalization().adapt(x)
    path = tmp_path / "large.html"
    write_report(layer, path, x)
    assert path.stat().st_size < 10_000_000
    assert ["4999"] == shown(dom_of(path, "#q=4999"))
