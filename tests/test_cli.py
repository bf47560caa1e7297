"""The laws of the command line, most of them seen from outside: real files, real processes."""

import csv
import json
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import naive
import numpy as np
import pyarrow
import pyarrow.csv
import pytest
from commands import ROOT, files, fine, quick, run, start
from pyarrow import parquet

from fastnorm import Normalization, report
from fastnorm.cli import _app

WEATHER = ROOT / "docs" / "data" / "weather.csv"
SMALL = "name,x,y\na,1,10\nb,3,\n"


def columns_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    return dict(zip(head, zip(*rows, strict=True), strict=True))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, with a small table."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.csv").write_text(SMALL)
    return tmp_path


# The main job on the real table, read by Python's csv module and computed in Fractions


@pytest.fixture(scope="module")
def weather(tmp_path_factory):
    """The weather table and what one run of `fastnorm normalize` made of it."""
    folder = tmp_path_factory.mktemp("weather")
    out, state = folder / "normalized.csv", folder / "normalized.fastnorm.json"
    output = fine("normalize", WEATHER, "--out", out)
    assert {out.name, state.name} == set(files(folder))
    return {"old": columns_of(WEATHER), "new": columns_of(out), "state": state, "output": output}


@pytest.fixture(scope="module")
def exact(weather):
    """The exact moments of every numeric column."""
    columns = {name: cells for name, cells in weather["old"].items() if name != "origin"}
    values = np.array([[float(cell or "nan") for cell in cells] for cells in columns.values()])
    return dict(zip(columns, naive.moments(values.T).features, strict=True))


def test_the_report_holds_the_exact_statistics(weather, exact):
    """Count, missing, mean and std in the state are those of exact rational arithmetic."""
    data = json.loads(fine("report", weather["state"], "--json"))
    assert 26115 == data["rows"]
    assert [
        {
            "feature": name,
            "count": feature.count,
            "missing": feature.missing,
            "mean": naive.nearest(feature.mean),
            "std": naive.nearest_sqrt(feature.variance),
        }
        for name, feature in exact.items()
    ] == data["features"]
    assert [13, 13, 1] == [parameter["size"] for parameter in data["parameters"]]


def test_every_number_of_the_table_is_its_z_score(weather, exact):
    """Each cell is (x − mean) / std to 4 ulp, 0 in the constant column, and empty where x is."""
    for name, feature in exact.items():
        std = Fraction(naive.nearest_sqrt(feature.variance)) or 1
        pairs = set(zip(weather["old"][name], weather["new"][name], strict=True))
        for x, z in pairs:
            if x == "":
                assert z == ""
                continue
            want = (Fraction(float(x)) - feature.mean) / std
            error = abs(Fraction(float(z)) - want)
            assert error <= 4 * Fraction(float(np.spacing(abs(float(want))))), (name, x, z)


def test_text_columns_and_the_order_of_columns_stay(weather):
    """The airport of every row and the first line of the file are unchanged, and named."""
    assert weather["old"]["origin"] == weather["new"]["origin"]
    assert list(weather["old"]) == list(weather["new"])
    assert "Left as they were: origin\n" in weather["output"]


def test_the_main_job_says_what_it_did(weather):
    """The output is the parameters, the statistics, and where everything was written."""
    output = weather["output"]
    assert "│ normalization (Normalization)   │ (None, 13)             │            27 │" in output
    assert "13 features, 26,115 rows\n" in output
    assert "wind_gust    5,337   20,778     25.4871    5.9544\n" in output
    assert f"State file:        {weather['state']}\n" in output


def test_report_repeats_what_normalize_printed(weather):
    """`fastnorm report` prints the same tables from the state file alone."""
    tables, _ = weather["output"].split("\n\nLeft as they were")
    assert tables + "\n" == fine("report", weather["state"])


def test_the_state_file_is_the_layer(weather):
    """Python loads the state with the names, and gets back what was read."""
    layer = Normalization.load(weather["state"])
    assert layer.feature_names == tuple(name for name in weather["old"] if name != "origin")
    cells = [[float(cell or "nan") for cell in weather["old"][name]] for name in layer.feature_names]
    assert layer.moments == Normalization().adapt(np.array(cells).T).moments


# Options


def test_columns_chooses_and_names_may_hold_commas(folder):
    """Only the columns that are named change; quotes protect a comma in a name."""
    (folder / "t.csv").write_text('"a, b",c,d\n1,5,x\n3,6,y\n')
    assert 0 == quick("normalize", "t.csv", "--out", "o.csv", "--columns", '"a, b"')[0]
    assert '"a, b",c,d\n-1,5,x\n1,6,y\n' == (folder / "o.csv").read_text()


def test_state_says_where_the_state_goes(folder):
    """`--state` names the file, and without it the state lies beside the table."""
    assert 0 == quick("normalize", "small.csv", "--out", "o.csv", "--state", "s.json")[0]
    assert {"small.csv", "o.csv", "s.json"} == set(files(folder))


def test_the_result_does_not_depend_on_threads_or_format(folder):
    """One thread or two, CSV or Parquet: the same state, byte for byte."""
    formats = [("small.csv", "o.parquet", "1"), ("o.parquet", "o.tsv.gz", "2")]
    parquet.write_table(pyarrow.csv.read_csv("small.csv"), "o.parquet")
    for index, (file, out, threads) in enumerate(formats):
        words = ["--state", f"{index}.json", "--threads", threads, "--force"]
        out = folder / "out" / out
        out.parent.mkdir(exist_ok=True)
        assert 0 == quick("normalize", file, "--out", out, *words)[0]
    assert (folder / "0.json").read_bytes() == (folder / "1.json").read_bytes()


def test_json_is_all_there_is_and_quiet_is_nothing(folder):
    """Machines get one JSON document, with null for a mean that does not exist."""
    (folder / "t.csv").write_text("a,b,c\n1,,x\n3,,y\n")
    words = ["normalize", "t.csv", "--out", "o.csv", "--columns", "a,b"]
    status, output, _ = quick(*words, "--json")
    data = json.loads(output)
    assert 0 == status
    assert {
        "sources": ["t.csv"],
        "out": "o.csv",
        "state": "o.fastnorm.json",
        "left_out": ["c"],
        "skipped": [],
        "rows": 2,
        "features": [
            {"feature": "a", "count": 2, "missing": 0, "mean": 2.0, "std": 1.0},
            {"feature": "b", "count": 0, "missing": 2, "mean": None, "std": None},
        ],
    } == {key: value for key, value in data.items() if key != "parameters"}
    assert (0, "", "") == quick(*words, "--force", "--quiet")


def test_a_state_with_a_given_mean_can_be_reported(folder):
    """A layer that learned nothing has a table without parameters, and no statistics."""
    Normalization(mean=[1.0], variance=[4.0]).save("fixed.json")
    status, output, _ = quick("report", "fixed.json")
    assert (0, " Non-trainable params: 0 (0.00 B)") == (status, output.splitlines()[-1])
    data = json.loads(quick("report", "fixed.json", "--json")[1])
    assert {"state": "fixed.json", "rows": None, "parameters": [], "features": []} == data


# Errors


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["normalize", "none.csv", "--out", "o.csv"], "none.csv: there is no such file or folder"),
        (["normalize", "small.csv", "--out", "o.xls"], "o.xls has no suffix that says its format"),
        (["normalize", "small.csv", "--out", "small.csv", "--force"], "are one file"),
        (["normalize", "small.csv", "--out", "o.csv", "--state", "o.csv"], "are one file"),
        (["normalize", "small.csv", "--out", "old.csv"], "old.csv exists already; choose another"),
        (["normalize", "small.csv", "--out", "no/o.csv"], "no such folder: no; create it first"),
        (["normalize", "small.csv", "--out", "o.csv", "--columns", "z"], "has no column 'z'; it"),
        (["normalize", "small.csv", "--out", "o.csv", "--columns", ""], "columns must name at least one column"),
        (["normalize", "broken.csv", "--out", "o.csv"], "broken.csv is damaged, or no CSV"),
        (["normalize", "inf.csv", "--out", "o.csv"], "infinities"),
        (["report", "none.json"], "none.json: No such file or directory"),
        (["report", "small.csv"], "small.csv is not a fastnorm state file"),
    ],
)
def test_an_error_is_one_line_and_changes_nothing(words, error, folder):
    """Status 1, one line that begins with "error: ", and no file is made or changed."""
    (folder / "old.csv").write_text("precious")
    (folder / "broken.csv").write_text("a,b\n1\n")
    (folder / "inf.csv").write_text("a\n1\ninf\n")
    before = files(folder)
    status, output, errors = quick(*words)
    assert (1, "") == (status, output)
    assert errors.startswith("error: ")
    assert errors.index("\n") == len(errors) - 1
    assert error in errors
    assert before == files(folder)


def test_an_error_of_a_process_is_the_same(folder):
    """Seen from outside, an error has status 1 and no traceback."""
    status, output, errors = run("normalize", "none.csv", "--out", "o.csv")
    assert (1, "", "error: none.csv: there is no such file or folder\n") == (status, output, errors)


def test_a_table_that_cannot_be_written_leaves_no_state(folder):
    """Table and state appear both or not at all."""
    parquet.write_table(pyarrow.table({"a": [1, 2], "tags": [["x"], []]}), "t.parquet")
    before = files(folder)
    status, _, errors = quick("normalize", "t.parquet", "--out", "o.csv")
    assert 1 == status
    assert "CSV cannot hold column 'tags'" in errors
    assert before == files(folder)


@pytest.mark.parametrize(
    "words",
    [
        ["normalise"],
        ["normalize"],
        ["normalize", "small.csv"],
        ["normalize", "small.csv", "--out", "o.csv", "--threads", "0"],
        ["report", "--html"],
    ],
)
def test_words_that_are_not_understood_have_status_2(words, folder):
    """A usage error is told apart from an error in the data."""
    status, output, errors = quick(*words)
    assert (2, "") == (status, output)
    assert "Error: " in errors


def test_a_bug_keeps_its_traceback():
    """Only words that fastnorm chose become one line; an accident is shown whole."""
    with pytest.raises(TypeError, match="has no len"):
        _app._status(lambda: report.statistics_table({"feature": 5}))
    with pytest.raises(ValueError, match="invalid literal"):
        _app._status(lambda: str(int("x")))


@pytest.mark.parametrize(
    ("library", "words", "error"),
    [
        ("typer", ["info"], "error: the command line is built with typer; install it with: "),
        ("pyarrow", ["normalize", "small.csv", "--out", "o.csv"], "error: tables are read with "),
    ],
)
def test_a_missing_library_is_one_line(library, words, error, folder):
    """Without the extra, the command says what to install."""
    hide = f"import sys; sys.modules[{library!r}] = None; sys.argv[1:] = {words!r}"
    code = f"{hide}; from fastnorm.__main__ import main; main()"
    result = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=300)
    assert (1, "") == (result.returncode, result.stdout)
    assert result.stderr.startswith(error)
    assert "python -m pip install 'fastnorm-numba[" in result.stderr
    assert "[cli]" in result.stderr
    assert {"small.csv"} == set(files(folder))


# A process among others


def test_a_reader_that_leaves_is_no_error(folder):
    """`fastnorm report STATE | head -0` is quiet."""
    Normalization().adapt(np.eye(2)).save("s.json")
    process = start("report", "s.json")
    process.stdout.close()
    assert "" == process.stderr.read()
    process.stderr.close()
    assert 141 == process.wait(timeout=300)


def test_ctrl_c_has_status_130_and_leaves_nothing(folder):
    """An interrupt while the table is read leaves no file behind and shows no traceback."""
    Path("large.csv").write_text("a,b\n" + "1.5,2.5\n3,4\n" * 2_000_000)
    process = start("normalize", "large.csv", "--out", "o.csv")
    while process.poll() is None and 2 == len(list(folder.iterdir())):  # until the output is begun
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    assert (130, "interrupted\n") == (process.returncode, errors)
    assert {"small.csv", "large.csv"} == {path.name for path in folder.iterdir()}


def test_a_terminal_without_box_characters_gets_others(folder):
    """An output that cannot show ┏ is no reason to fail."""
    Normalization().adapt(np.eye(2)).save("s.json")
    output = fine("report", "s.json", PYTHONUTF8="0", PYTHONIOENCODING="ascii")
    assert "? normalization (Normalization)   ? (None, 2)" in output


# The other commands


def test_version_and_help(folder):
    """Alone, the command says what it can do; --version agrees with the distribution."""
    import fastnorm

    assert f"fastnorm {fastnorm.__version__}\n" == fine("--version")
    overview = fine()
    assert fine("--help") == overview
    for command in ("normalize", "report", "info", "warmup"):
        assert f"  {command} " in overview
        assert "Example: fastnorm " in quick(command, "--help")[1]


def test_help_and_version_load_neither_numba_nor_pyarrow():
    """What only prints words does not wait for the libraries."""
    code = "import sys, fastnorm.cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert set() == {"numba", "pyarrow", "numpy"} & set(loaded.stdout.split())


def test_info_shows_the_processor_the_threads_and_the_cache(tmp_path):
    """Settings that change them are named."""
    text = fine("info", FASTNORM_NUM_THREADS="3", FASTNORM_CACHE=str(tmp_path))
    assert f"numpy     {np.__version__}\n" in text
    assert "threads   3 (FASTNORM_NUM_THREADS)\n" in text
    assert f"cache     {tmp_path}" in text
    data = json.loads(fine("info", "--json", FASTNORM_NUM_THREADS=None, FASTNORM_CACHE="0"))
    assert "the CPUs this process may use" == data["threads"]["source"]
    assert None is data["cache"]["folder"]
    assert "switched off: FASTNORM_CACHE is 0" == data["cache"]["note"]


@pytest.mark.parametrize(
    ("cpu", "words"),
    [
        ("generic", "warning: kernels for a generic processor use short vectors"),
        ("nocona", "warning: numba uses no AVX on 'nocona'; if the processor has it, set NUMBA_EN"),
    ],
)
def test_info_warns_of_a_processor_that_is_held_back(cpu, words):
    """A name for which numba leaves out AVX is pointed out, with the cure."""
    assert words in fine("info", NUMBA_CPU_NAME=cpu, NUMBA_ENABLE_AVX=None)


def test_a_wrong_number_of_threads_in_the_environment_is_one_line():
    """A setting that cannot be read is an error that names the variable."""
    status, _, errors = run("info", FASTNORM_NUM_THREADS="many")
    assert 1 == status
    assert errors.startswith("error: the environment variable FASTNORM_NUM_THREADS is 'many'")


def test_warmup_calls_the_library(monkeypatch):
    """`fastnorm warmup` is fastnorm.warmup()."""
    calls = []
    monkeypatch.setattr("fastnorm._warmup.warmup", lambda: calls.append(1))
    assert (0, "The kernels are compiled.\n", "") == quick("warmup")
    assert [1] == calls
