"""A tiny run of every benchmark: right results, a well-formed file and page; never a time."""

import json
import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from strategies import UNJITTED

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # benchmarks/ is not installed

from benchmarks import checks, limits, run, table  # noqa: E402
from benchmarks.cases import CASES, Target  # noqa: E402
from benchmarks.data import FILL, Data  # noqa: E402

SIZE = 1_000_000
ONE_COLD_COMPILE = "cold compile float64"  # 5 s each; the other differs in nothing but the dtype
TRIED = [case for case in CASES if case.operation != "cold compile" or case.name == ONE_COLD_COMPILE]
if UNJITTED:
    TRIED = [case for case in TRIED if case.name != ONE_COLD_COMPILE]


@pytest.fixture(scope="module")
def results():
    """What a run of all cases writes, after a round trip through JSON."""
    return json.loads(json.dumps(run.run(TRIED, SIZE, 1), allow_nan=False))


def test_names_are_unique():
    """--only and the page tell the cases apart by their names."""
    assert len(CASES) == len({case.name for case in CASES})


def test_every_case_passes_its_check(results):
    """No case computes a wrong result."""
    assert [] == [entry for entry in results["cases"] if "error" in entry]


def test_every_case_has_its_numbers(results):
    """Samples, their spread, GB/s, the limit and the target are those of the case."""
    assert [case.name for case in TRIED] == [entry["name"] for entry in results["cases"]]
    for case, entry in zip(TRIED, results["cases"], strict=True):
        assert 1 == len(entry["samples"])
        assert entry["samples"][0] == entry["seconds"]["median"] > 0
        assert case.moves_memory == ("GB/s" in entry)
        assert case.against == entry.get("limit", {}).get("name")
        if case.against:
            want = entry["limit"]["samples"][0] / entry["samples"][0]
            assert math.isclose(want, entry["ratio"]["median"])
        assert (case.target is not None) == ("target" in entry)
        if case.target:
            reached = entry[case.target.kind]["median"]
            assert case.target.met(reached) == entry["target"]["met"]


def test_the_page_has_a_row_for_every_case(results):
    """Each case stands in one table, with as many cells as its head."""
    page = table.page(results)
    for entry in results["cases"]:
        (row,) = re.findall(rf"^\| {re.escape(entry['name'])} \|.*$", page, re.MULTILINE)
        assert ("**missed**" in row) == (not entry.get("target", {"met": True})["met"])
    for block in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        assert 1 == len({line.count("|") for line in block.splitlines()})
    missed = sum(not entry["target"]["met"] for entry in results["cases"] if "target" in entry)
    assert missed == page.split("\n## ")[0].count("\n- ")


def test_the_command_writes_what_the_page_is_made_of(tmp_path, capsys):
    """`python -m benchmarks --only … --out FILE`, then `python -m benchmarks.table FILE`."""
    file = tmp_path / "new" / "results.json"
    options = ["--bytes", "100000", "--rounds", "3", "--only", "transform into*64, 64"]
    assert 0 == run.main([*options, "--out", str(file)])
    (entry,) = json.loads(file.read_text("utf-8"))["cases"]
    assert 3 == len(entry["samples"]) == len(entry["limit"]["samples"])
    quantiles = [entry["ratio"][key] for key in ("min", "q1", "median", "q3", "max")]
    assert sorted(quantiles) == quantiles
    capsys.readouterr()
    assert 0 == table.main([str(file)])
    assert "\n# Performance\n" in capsys.readouterr().out


def test_a_wrong_result_is_reported_and_not_timed(monkeypatch):
    """A case that fails its check has no samples, and the page says so."""
    case = next(case for case in CASES if case.operation == "moments")
    monkeypatch.setattr(checks, "expected", lambda column, weights=None: (0.5, 0.5))
    results = run.run([case], 10_000, 1)
    (entry,) = results["cases"]
    assert "mean of column 0" in entry["error"]
    assert "samples" not in entry
    assert "**wrong result**" in table.page(results)


def test_the_oracle_knows_what_it_is_asked():
    """Mean and variance of small values, of huge ones, with weights; NaN and inf left out."""
    assert (3.0, 14 / 3) == checks.expected(np.array([1.0, 2.0, 6.0, np.nan, np.inf]))
    assert (1e308, 0.0) == checks.expected(np.full(3, 1e308))
    weighted = checks.expected(np.array([1, 5], np.uint8), np.array([3.0, 1.0]))
    assert (2.0, 3.0) == weighted


def test_a_score_that_is_off_is_found():
    """One wrong element of the sample is enough."""
    x = Data("float32", 4).make(1000)
    scores = checks.Scores(x)
    z = ((x - x.mean(axis=0, dtype="f8")) / x.std(axis=0, dtype="f8")).astype("f4")
    scores.compare(z)
    z[0, 0] += 1e-5
    with pytest.raises(AssertionError, match=r"z-score at \(.*0.*\) is"):
        scores.compare(z)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (12_345, 7)])
def test_the_limits_touch_every_element(shape, order):
    """Reading sums all words, multiplying and copying leave none out."""
    x = Data("float64", shape[1], rows=shape[0], order=order).make(10**6)
    want = sum(map(int, x.ravel("K").view(np.int64))) % 2**64
    assert {want} == {limits.read(x), limits.read(x, threads=1)}
    copied = limits.copy_to_new(x)
    assert np.array_equal(x, copied)
    limits.multiply(x)
    assert np.array_equal(copied * limits.FACTOR, x)


@pytest.mark.parametrize("values", sorted(FILL))
def test_data_are_the_same_each_time(values):
    """An array is a function of its description and size, and fits the size."""
    data = Data("int32" if values == "integers" else "float32", 100_000, values=values)
    x = data.make(SIZE)
    assert SIZE >= x.nbytes > SIZE // 2
    assert 8 <= len(x)
    assert x.tobytes() == data.make(SIZE).tobytes()
    assert x.shape == replace(data, order="F").shape(SIZE)


@pytest.mark.parametrize(("kind", "worse", "better"), [("ratio", 0.5, 0.7), ("GB/s", 0.5, 0.7), ("seconds", 0.7, 0.5)])
def test_a_target_bounds_times_above_and_speeds_below(kind, worse, better):
    """More is better, except of seconds."""
    target = Target(kind, 0.6)
    assert (False, True, True) == tuple(map(target.met, (worse, 0.6, better)))


def test_the_files_of_pytest_benchmark_run():
    """`pytest benchmarks` calls each kernel path, here once and untimed."""
    command = [sys.executable, "-m", "pytest", "-q", "--benchmark-disable", "benchmarks"]
    environment = {**os.environ, "FASTNORM_BENCH_BYTES": "100000", "PYTEST_ADDOPTS": ""}
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider"],
        cwd=ROOT,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
