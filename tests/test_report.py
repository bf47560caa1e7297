"""The laws of fastnorm.report; KERAS_ONE was printed by Keras 3.15.1, NINE adds our own table."""

import math
import re
import shutil
import unicodedata
from os import terminal_size
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastnorm.report import Parameter, html, statistics_html, statistics_table, summary

LAYER = "normalization (Normalization)"

NINE = """\
Model: "m"
┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━┓
┃ Layer (type)                    ┃ Output Shape           ┃       Param # ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━┩
│ normalization (Normalization)   │ (None, 9)              │            19 │
└─────────────────────────────────┴────────────────────────┴───────────────┘
┏━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━┳━━━━━━━━━━━━┳━━━━━━━━━━━━━━━┓
┃ Parameter     ┃ Shape           ┃ Dtype     ┃ Trainable  ┃       Param # ┃
┡━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━╇━━━━━━━━━━━━╇━━━━━━━━━━━━━━━┩
│ mean          │ (9,)            │ float64   │     N      │             9 │
│ variance      │ (9,)            │ float64   │     N      │             9 │
│ count         │ ()              │ int64     │     N      │             1 │
└───────────────┴─────────────────┴───────────┴────────────┴───────────────┘
 Total params: 19 (152.00 B)
 Trainable params: 0 (0.00 B)
 Non-trainable params: 19 (152.00 B)"""

# Sequential([Input((1,)), Normalization()], name="m").summary(line_length=60); the count is int32.
KERAS_ONE = """\
Model: "m"
┏━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━┓
┃ Layer (type)             ┃ Output Shape      ┃   Param # ┃
┡━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━┩
│ normalization            │ (None, 1)         │         3 │
│ (Normalization)          │                   │           │
└──────────────────────────┴───────────────────┴───────────┘
 Total params: 3 (12.00 B)
 Trainable params: 0 (0.00 B)
 Non-trainable params: 3 (12.00 B)"""

NAMES = st.text(max_size=120)
SHAPES = st.lists(st.integers(0, 10**9), max_size=4).map(tuple)
PARAMETERS = st.lists(
    st.builds(Parameter, NAMES, SHAPES, st.sampled_from(["float64", "int64"]), st.booleans()),
    max_size=5,
)


def normalization(n, *, affine=False, floats="float64", ints="int64"):
    """The parameters of a Normalization layer of n features."""
    learned = [Parameter("mean", (n,), floats, False), Parameter("variance", (n,), floats, False)]
    pair = [Parameter("gamma", (n,), floats, True), Parameter("beta", (n,), floats, True)] if affine else []
    return [*learned, Parameter("count", (), ints, False), *pair]


def footer(text):
    """The last three lines."""
    return text.split("\n")[-3:]


def cells(text):
    """The places a text takes in a terminal, for text without combining marks."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


@pytest.mark.parametrize(("n", "count"), [(1, 3), (9, 19), (1_000_000, 2_000_001)])
def test_a_normalization_has_two_parameters_a_feature_and_the_count(n, count):
    """Keras counts 3 for one feature and 19 for nine, none of them trainable."""
    total, trainable, frozen = footer(summary("m", LAYER, (None, n), normalization(n)))
    assert total.startswith(f" Total params: {count:,} (")
    assert trainable == " Trainable params: 0 (0.00 B)"
    assert frozen == total.replace("Total", "Non-trainable")


def test_the_affine_pair_adds_two_trainable_parameters_a_feature():
    """With gamma and beta, nine features have 18 trainable parameters more."""
    expected = [
        " Total params: 37 (296.00 B)",
        " Trainable params: 18 (144.00 B)",
        " Non-trainable params: 19 (152.00 B)",
    ]
    assert expected == footer(summary("m", LAYER, (None, 9), normalization(9, affine=True)))


@pytest.mark.parametrize(("floats", "ints", "size"), [("float32", "int64", "80.00 B"), ("float32", "int32", "76.00 B")])
def test_bytes_follow_the_dtypes(floats, ints, size):
    """Keras shows 80 bytes for nine float32 features and an int64 count, 76 for int32."""
    text = summary("m", LAYER, (None, 9), normalization(9, floats=floats, ints=ints))
    assert f" Total params: 19 ({size})" == footer(text)[0]


def test_a_layer_with_fixed_statistics_has_no_parameters():
    """Without parameters the counts are 0 and there is no second table."""
    text = summary("m", LAYER, (None, 2), [])
    assert "Parameter" not in text
    assert footer(text)[:2] == [" Total params: 0 (0.00 B)", " Trainable params: 0 (0.00 B)"]


def test_nine_features_read_as_the_golden_table():
    """The whole report of nine features, to the letter."""
    assert summary("m", LAYER, (None, 9), normalization(9), width=76) == NINE


def test_the_layer_table_and_the_footer_are_those_of_keras():
    """Without the table of parameters, what is left is what Keras 3.15.1 prints."""
    one = normalization(1, floats="float32", ints="int32")
    text = summary("m", LAYER, (None, 1), one, width=60)
    assert re.sub("┘\n┏.*┘", "┘", text, flags=re.DOTALL) == KERAS_ONE


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0.00 B"),
        (1023, "1023.00 B"),
        (1024, "1.00 KB"),
        (24_570, "23.99 KB"),
        (2**20, "1.00 MB"),
        (2**30, "1.00 GB"),
        (2**40, "1.00 TB"),
        (2**50, "1.00 PB"),
        (2**60, "1024.00 PB"),
    ],
)
def test_memory_is_told_in_steps_of_1024(size, text):
    """The unit grows at 1024 of the one before and PB is the last."""
    report = summary("m", LAYER, (None,), [Parameter("x", (size,), "int8", True)])
    assert f" Total params: {size:,} ({text})" == footer(report)[0]


@pytest.mark.parametrize(("columns", "width"), [(80, 76), (92, 88), (300, 88)])
def test_the_width_follows_the_terminal_up_to_88(monkeypatch, columns, width):
    """The default width is four less than the terminal, and 88 at most."""
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: terminal_size((columns, 24)))
    text = summary("m", LAYER, (None, 9), normalization(9))
    assert summary("m", LAYER, (None, 9), normalization(9), width=width) == text
    assert width == len(text.split("\n")[1])


@given(NAMES, NAMES, SHAPES, PARAMETERS, st.integers(-10, 200))
def test_a_summary_is_well_formed_for_any_content(title, layer, shape, parameters, width):
    """Both tables have one width, each count stands whole, and no line ends in a space."""
    lines = summary(title, layer, shape, parameters, width).split("\n")
    tables = lines[1:-3]
    assert all(line[0] in "┏┃┡│└" and line[-1] in "┓┃┩│┘" for line in tables)
    [drawn] = {cells(line) for line in tables if line[0] in "┏└"}
    assert drawn >= width
    assert all(line == line.rstrip() for line in lines)
    last = [line.removesuffix(" │").rsplit(" ", 1)[-1] for line in tables if line[0] == "│"]
    sizes = [p.size for p in parameters]
    assert [f"{size:,}" for size in (sum(sizes), *sizes)] == [text for text in last if text]


@given(st.text("abc 特征_", max_size=90), st.integers(40, 120))
def test_wide_letters_keep_the_frame_straight(name, width):
    """A CJK letter counts as two cells, so the bars stand below each other."""
    text = summary("m", name, (None, 9), [Parameter(name, (9,), "float64", True)], width)
    assert len({cells(line) for line in text.split("\n")[1:-3]}) == 1


@given(PARAMETERS)
def test_size_is_the_product_of_the_shape(parameters):
    """A scalar has one element; bytes are elements times the item size."""
    for p in parameters:
        assert math.prod(p.shape) == p.size
        assert 8 * p.size == p.bytes


def test_a_numpy_shape_reads_as_plain_numbers():
    """Numpy integers are printed without their type and counted without overflow."""
    shape = (np.int32(2**20), np.int32(2**20))
    text = summary("m", LAYER, shape, [Parameter("x", shape, "int64", False)])
    assert text.count("(1048576, 1048576)") == 1
    assert " Total params: 1,099,511,627,776 (8.00 TB)" in text


@given(NAMES, NAMES, PARAMETERS)
def test_html_is_well_formed_and_says_what_the_text_says(title, layer, parameters):
    """Any name gives markup that parses, with the names back in it and the footer of the text."""
    statistics = {"feature": [title], "mean": [0.5]}
    root = ET.fromstring(html(title, layer, (None, 9), parameters, statistics))
    text = summary(title, layer, (None, 9), parameters)
    assert text.split("\n")[0] == root.findtext("p/strong")
    assert [line.strip() for line in footer(text)] == list(root.findall("p")[1].itertext())
    rows = [row for table in root.findall("table")[1:-1] for row in table.findall("tbody/tr")]
    assert [f"{p.size:,}" for p in parameters] == [row[-1].text for row in rows]


def test_html_escapes_and_sets_no_colour():
    """A name cannot become markup, and the theme of the page decides every colour."""
    markup = html("<b>", "<script>", (None, 1), [Parameter('"&', (), "int64", True)], {"<i>": ["<u>"]})
    assert not re.search("<(b|script|i|u)>", markup)
    assert not re.search("color|background|#[0-9a-f]{3}", markup)


def test_statistics_align_numbers_right_and_text_left():
    """Integers have commas, floats 6 digits, None is empty, and no line ends in a space."""
    columns = {
        "feature": ["month", "dep_delay", "温度"],
        "count": np.array([336_776, 328_521, 0]),
        "mean": [6.548509980, -12.639070257, None],
        "std": np.array([3.4e-9, 1e300, np.nan]),
        "note": ["", "late", ""],
    }
    expected = """\
feature      count      mean      std  note
month      336,776   6.54851  3.4e-09
dep_delay  328,521  -12.6391   1e+300  late
温度             0                nan"""
    assert expected == statistics_table(columns)


def test_a_million_features_show_their_first_and_last():
    """Of more features than the limit, the middle is one line that says how many there are."""
    columns = {"feature": range(1_000_000), "mean": np.zeros(1_000_000)}
    lines = statistics_table(columns).split("\n")
    assert len(lines) == 62
    assert lines[31] == "… 999,940 more features …"
    assert lines[30].split() == ["29", "0"]
    assert lines[32].split() == ["999,970", "0"]
    assert "… 999,940 more features …" in statistics_html(columns)


@given(st.integers(0, 40), st.integers(0, 12))
def test_the_limit_shows_that_many_features(n, limit):
    """The shown features are min(n, limit), in order, from both ends."""
    lines = statistics_table({"i": range(n)}, limit).split("\n")[1:]
    shown = [int(line) for line in lines if line.strip().isdigit()]
    gap = [line for line in lines if line.startswith("…")]
    first, last = (min(n, limit) + 1) // 2, min(n, limit) // 2
    said = f"… {n - limit} more feature{'s' if n - limit > 1 else ''} …"
    assert [*range(first), *range(n - last, n)] == shown
    assert ([said] if n > limit else []) == gap


@given(st.lists(st.tuples(NAMES, st.integers() | st.floats() | NAMES | st.none()), max_size=8), NAMES)
def test_any_statistics_give_one_line_a_feature(rows, head):
    """No name breaks a line, in the text or in the HTML."""
    columns = {head: [name for name, _ in rows], f"{head}2": [value for _, value in rows]}
    lines = statistics_table(columns).split("\n")
    assert len(rows) + 1 == len(lines)
    assert all(line == line.rstrip() for line in lines)
    assert len(rows) == len(ET.fromstring(statistics_html(columns)).findall("tbody/tr"))


def test_a_long_name_is_cut_in_text_and_whole_in_html():
    """A question as a column name does not push the numbers out of sight."""
    columns = {"feature": ["q" * 300, "温" * 300, "q" * 48], "mean": [1.0, 2.0, 3.0]}
    lines = statistics_table(columns).split("\n")
    assert [line.split()[0] for line in lines[1:]] == ["q" * 47 + "…", "温" * 23 + "…", "q" * 48]
    assert {54} == {cells(line) for line in lines}
    assert "q" * 300 in statistics_html(columns)


@pytest.mark.parametrize("write", [statistics_table, statistics_html])
def test_statistics_that_cannot_be_drawn_are_refused(write):
    """The error names the columns and their lengths, or the limit."""
    with pytest.raises(ValueError, match=r"differ in length: \{'a': 1, 'b': 2\}; pass one value"):
        write({"a": [1], "b": [1, 2]})
    with pytest.raises(ValueError, match="limit is -1, but it wants 0 rows or more"):
        write({"a": [1]}, limit=-1)


def test_no_columns_make_an_empty_text():
    """Nothing in, nothing out."""
    assert statistics_table({}) == ""
