"""A tiny run of every benchmark beside every library that is there: right results, a well-formed file and page."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from time import sleep

import naive
import numpy as np
import pytest
from strategies import UNJITTED

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # benchmarks/ is not installed

from benchmarks import checks, engines, limits, measure, peers, plot, run, table  # noqa: E402
from benchmarks.cases import CASES, FIT, Case, Target  # noqa: E402
from benchmarks.data import FILL, Data  # noqa: E402
from benchmarks.operations import OPERATIONS  # noqa: E402
from benchmarks.peers import Given, Peer  # noqa: E402

SIZE = 100_000
ONE_COLD_COMPILE = "cold compile float64, 9 columns"  # 5 s each; the other differs in nothing but the dtype
TRIED = [case for case in CASES if case.operation != "cold compile" or case.name == ONE_COLD_COMPILE]
if UNJITTED:
    TRIED = [case for case in TRIED if case.name != ONE_COLD_COMPILE]
WIDEST = 64
LIGHT = ["numpy"]  # the only peer in processes of their own, which import it, and in cases that differ in width alone
QUICK = [
    case.name
    for case in TRIED
    if OPERATIONS[case.operation].result in ("seconds", "bytes") or case.data.columns > WIDEST
]
# In a process of its own: some libraries warn of every fork that comes after them.
RUN = """
import json, sys
from benchmarks import peers, run
from benchmarks.cases import CASES
names, libraries, size = json.loads(sys.stdin.read())
cases = [case for case in CASES if case.name in names]
there = {name: peer for name, peer in peers.installed().items() if libraries is None or name in libraries}
print(json.dumps(run.run(cases, size, 1, there), allow_nan=False))
"""


def tiny(names, libraries=None):
    words = json.dumps([names, libraries, SIZE])
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", RUN], input=words, cwd=ROOT, env=environment, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def results():
    """What a run of all cases writes, of each library in each kind of case."""
    here = tiny([case.name for case in TRIED if case.name not in QUICK])
    order = [case.name for case in TRIED]
    entries = here["cases"] + tiny(QUICK, LIGHT)["cases"]
    return {**here, "cases": sorted(entries, key=lambda entry: order.index(entry["name"]))}


def test_names_are_unique():
    """--only and the page tell the cases apart by their names."""
    assert len(CASES) == len({case.name for case in CASES})


def test_every_case_passes_its_check(results):
    """No case computes a wrong result, and what promises it is right to the last bit."""
    assert [] == [entry for entry in results["cases"] if "error" in entry]
    for entry in results["cases"]:
        if "digits" in entry:
            assert min(entry["digits"].values()) >= OPERATIONS[entry["operation"]].digits


def test_every_case_has_its_numbers(results):
    """Samples, their spread, GB/s, the limit and the target are those of the case."""
    assert [case.name for case in TRIED] == [entry["name"] for entry in results["cases"]]
    for case, entry in zip(TRIED, results["cases"], strict=True):
        if "skipped" in entry:
            assert "times --bytes" in entry["skipped"]
            continue
        (sample,) = entry["samples"]
        assert sample == entry["memory" if "memory" in entry else "seconds"]["median"] >= 0
        assert case.moves_memory == ("GB/s" in entry)
        assert case.against == entry.get("limit", {}).get("name")
        if case.against:
            assert math.isclose(entry["limit"]["samples"][0] / sample, entry["ratio"]["median"])
        for target in entry["targets"]:
            known = Target(target["kind"], target["bound"])
            assert known in case.targets
            assert known.met(entry[target["kind"]]["median"]) == target["met"]


def test_every_library_takes_part(results):
    """Each that is installed is timed in some case, raises in none, and says why where it does not take part."""
    assert set(peers.installed()) == set(results["peers"])
    entries = {key: [] for key in results["peers"]}
    for case in results["cases"]:
        for key, entry in case.get("peers", {}).items():
            entries[key].append(entry)
            assert 1 == sum(word in entry for word in ("cannot", "wrong", "samples"))
            assert not entry.get("cannot", "").startswith("raises"), (case["name"], key, entry)
    for key, found in entries.items():
        assert any("samples" in entry for entry in found), key


def test_the_page_has_a_row_for_every_case(results):
    """Each case stands in the table of its group, and every table has as many cells in a row as in its head."""
    page = table.page(results)
    for entry in results["cases"]:
        row = re.findall(rf"^\| {re.escape(entry['name'])} \|.*$", page, re.MULTILINE)[0]
        assert ("**missed**" in row) == any(not target["met"] for target in entry.get("targets", ()))
    for block in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        assert 1 == len({line.count("|") for line in block.splitlines()})
    missed = sum(not target["met"] for entry in results["cases"] for target in entry.get("targets", ()))
    assert missed == page.split("## Targets")[1].split("\n## ")[0].count("\n- ")
    for peer in results["peers"].values():
        assert peer["name"] in page


def test_the_pictures_of_the_page_are_drawn(results, tmp_path):
    """Each picture that the page names is a well-formed SVG, the same each time."""
    named = set(re.findall(r"\(images/(.*?)\)", table.page(results)))
    drawn = plot.draw(results, tmp_path)
    assert named == {path.name for path in drawn}
    for path in drawn:
        first = path.read_bytes()
        assert ET.fromstring(first).tag.endswith("svg")
        plot.draw(results, tmp_path)
        assert first == path.read_bytes()


def test_the_command_writes_what_the_page_is_made_of(tmp_path, capsys):
    """`python -m benchmarks --only … --peers … --out FILE`, then `python -m benchmarks.table FILE`."""
    file = tmp_path / "new" / "results.json"
    options = ["--bytes", "100000", "--rounds", "3", "--only", "transform into*64, 64", "--peers", "numpy"]
    assert 0 == run.main([*options, "--out", str(file)])
    (entry,) = json.loads(file.read_text("utf-8"))["cases"]
    assert 3 == len(entry["samples"]) == len(entry["limit"]["samples"]) == len(entry["peers"]["numpy"]["samples"])
    quantiles = [entry["ratio"][key] for key in ("min", "q1", "median", "q3", "max")]
    assert sorted(quantiles) == quantiles
    capsys.readouterr()
    assert 0 == table.main([str(file)])
    assert "\n# Performance\n" in capsys.readouterr().out


def test_ctrl_c_keeps_what_is_done(tmp_path):
    """A run that is interrupted writes the cases before, as any run does."""
    command = [sys.executable, "-m", "benchmarks", "--bytes", "100000", "--rounds", "1", "--peers", "numpy", "--out"]
    run = subprocess.Popen([*command, tmp_path / "some.json"], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    done = [run.stderr.readline() for _ in range(2)]
    run.send_signal(signal.SIGINT)
    rest = run.communicate(timeout=300)[1]
    entries = json.loads((tmp_path / "some.json").read_text("utf-8"))["cases"]
    assert (0, True) == (run.returncode, "stopped" in rest), rest
    assert [case.name for case in CASES[: len(entries)]] == [entry["name"] for entry in entries]
    assert len(done) <= len(entries) < len(CASES)


@pytest.mark.parametrize(
    "options", [["--only", "no such case"], ["--peers", "no_such_library"], ["--rounds", "0"], ["--bytes", "0"]]
)
def test_a_bad_option_is_named(options, capsys):
    """The command line says what is wrong, and what there is."""
    with pytest.raises(SystemExit):
        run.main(options)
    assert options[0].strip("-") in capsys.readouterr().err


def test_a_wrong_result_is_reported_and_not_timed(monkeypatch):
    """A case that fails its check has no samples, and the page says so."""
    case = next(case for case in CASES if case.operation == "moments")
    monkeypatch.setattr(checks, "expected", lambda column, weights=None: (0.5, 0.5))
    results = run.run([case], 10_000, 1, {})
    (entry,) = results["cases"]
    assert "must have 16" in entry["error"]
    assert "samples" not in entry
    assert "**wrong result**" in table.page(results)


LITTLE = Case("little", FIT, "fit", Data("float32", 3))


def peer(statistics):
    return Peer("peer", ("numpy",), {"fit": lambda given: lambda: statistics(given)})


def fitted(given):
    return given.x.mean(axis=0, dtype="f8"), given.x.var(axis=0, dtype="f8")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda mean, var: (mean, var * 1.02),
        lambda mean, var: (mean + 0.02, var),
        lambda mean, var: (mean, var * np.nan),
    ],
)
def test_a_peer_that_is_wrong_is_shown_and_not_timed(wrong):
    """Fewer than two digits, a mean that is a hundredth of a standard deviation off, NaN."""
    results = run.run([LITTLE], 10_000, 1, {"peer": peer(lambda given: wrong(*fitted(given)))})
    (entry,) = results["cases"]
    assert entry["peers"]["peer"]["wrong"]
    assert "samples" not in entry["peers"]["peer"]
    assert "lead" not in entry
    assert "samples" in entry


def test_a_peer_that_raises_says_what():
    """The error of a library is its result, and the others are timed."""
    results = run.run([LITTLE], 10_000, 1, {"peer": peer(lambda given: 1 / 0), "good": peer(fitted)})
    (entry,) = results["cases"]
    assert "raises ZeroDivisionError: division by zero" == entry["peers"]["peer"]["cannot"]
    assert "samples" in entry["peers"]["good"]
    assert "error" not in entry


def test_a_slow_peer_sees_fewer_rows(monkeypatch):
    """Its time is scaled to all rows, and the result says how many it saw."""

    def slow(given):
        sleep(len(given.x) * 1e-4)
        return fitted(given)

    monkeypatch.setattr(measure, "PROBED", 4000)
    results = run.run([replace(LITTLE, cap=0.05)], 24_000, 1, {"peer": peer(slow)})
    entry = results["cases"][0]["peers"]["peer"]
    assert 2000 == results["cases"][0]["shape"][0]
    assert 125 <= entry["rows"] <= 500
    assert entry["samples"][0] >= 0.2


def test_a_peer_says_what_it_cannot():
    """By operation, dtype, NaN, number of columns and kind of table."""
    one = Peer("one", ("numpy",), {"fit": lambda given: fitted}, columns=9)
    assert one.cannot("fit", "float32", 9, False, None) is None
    for what, word in (
        (("load", "float32", 9, False, None), "load"),
        (("fit", "float16", 9, False, None), "float16"),
        (("fit", "float32", 10, False, None), "9 columns"),
        (("fit", "float32", 9, True, None), "NaN"),
        (("fit", "float32", 9, False, "pandas"), "pandas"),
    ):
        assert word in one.cannot(*what)


@pytest.mark.parametrize("values", ["normal", "offset", "missing", "lognormal", "bits"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_oracle_is_exact(values, dtype, weighted):
    """Mean and variance are the nearest doubles to those in Fractions; infinities are left out."""
    x = Data(dtype, 1, rows=300, values=values).make(10**6)
    if values == "bits":
        x = np.where(np.abs(x) > 1e-30, x, 1).astype(dtype)  # what is tiny beside the largest may be lost
    weights = np.random.default_rng(0).uniform(0.5, 2.0, len(x)) if weighted else None
    want = naive.moments(x, weights=weights)
    got = checks.expected(x[:, 0], weights)
    assert (want.array("mean")[0], want.array("variance")[0]) == got


def test_the_oracle_knows_what_it_is_asked():
    """Mean and variance of small values, of huge ones, with weights; NaN and inf left out."""
    assert (3.0, 14 / 3) == checks.expected(np.array([1.0, 2.0, 6.0, np.nan, np.inf]))
    assert (1e308, 0.0) == checks.expected(np.full(3, 1e308))
    assert (2.0, 3.0) == checks.expected(np.array([1, 5], np.uint8), np.array([3.0, 1.0]))


def test_products_and_sums_round_nothing():
    """Dekker's product and the sum by exponents, in Fractions."""
    x, y = np.random.default_rng(0).standard_normal((2, 200)) * 10.0 ** np.arange(-100, 100)
    for a, b, high, low in zip(x, y, *checks.product(x, y), strict=True):
        assert Fraction(a) * Fraction(b) == Fraction(high) + Fraction(low)
    small = x / 1e99
    assert sum(map(Fraction, small)) == checks.exact(small)


def test_digits_are_those_of_the_worst():
    """-log10 of the relative error, all if there is none, none for NaN."""
    want = np.array([1.0, 0.0, np.inf])
    assert 16.0 == checks.digits(want.copy(), want)
    assert 3.0 == checks.digits(np.array([1.001, 1e-5, np.inf]), want)
    assert 0.0 == checks.digits(np.array([np.nan, 0.0, np.inf]), want)


@pytest.mark.parametrize("inverse", [False, True])
def test_a_score_that_is_off_is_found(inverse):
    """One wrong element of the sample is enough."""
    x = Data("float32", 4).make(1000)
    reference = checks.Reference(x)
    mean, std = x.mean(axis=0, dtype="f8"), x.std(axis=0, dtype="f8")
    z = (x * std + mean if inverse else (x - mean) / std).astype("f4")
    reference.compare(z, inverse)
    assert reference.error(z, inverse) < 1e-6
    z[0, 0] += 1e-5
    assert reference.error(z, inverse) > 5e-6
    with pytest.raises(AssertionError, match=r"score at \(0, 0\) is"):
        reference.compare(z, inverse)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (12_345, 7)])
def test_the_limits_touch_every_element(shape, order):
    """Reading sums all words, multiplying and copying leave none out."""
    x = Data("float64", shape[1], rows=shape[0], order=order).make(10**6)
    want = sum(map(int, x.ravel("K").view(np.int64))) % 2**64
    assert {want} == {limits.read(x), limits.read(x, threads=1)}
    copied, streamed = limits.copy_to_new(x), np.empty_like(x)
    limits.stream(x, streamed)
    assert np.array_equal(x, copied)
    assert np.array_equal(x, streamed)
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


def test_images_have_their_pixels():
    """Each row is an image, features last."""
    assert (3, 4, 5, 2) == Data("uint8", 2, pixels=(4, 5), values="integers").make(129).shape


def test_batches_are_all_the_rows():
    """In order, the last one shorter."""
    x = np.arange(10)[:, None]
    assert [4, 4, 2] == [len(batch) for batch in Given(x, batch=4).batches(x)]
    assert np.array_equal(x, np.concatenate(Given(x, batch=4).batches(x)))


@pytest.mark.parametrize(
    ("kind", "worse", "better"),
    [("ratio", 0.5, 0.7), ("lead", 0.5, 0.7), ("GB/s", 0.5, 0.7), ("seconds", 0.7, 0.5), ("memory", 0.7, 0.5)],
)
def test_a_target_bounds_times_above_and_speeds_below(kind, worse, better):
    """More is better, except of seconds and bytes."""
    target = Target(kind, 0.6)
    assert (False, True, True) == tuple(map(target.met, (worse, 0.6, better)))


def test_an_engine_is_a_line_with_the_ratio_of_its_times():
    """fastnorm stands first, whatever the order in the file; digits beyond those of float64 are not shown."""
    values = [("b.own", "fit B", 3.0, 9.96), ("fastnorm.b", "fit B", 2.0, 17.0), ("fastnorm.a", "fit A", 1.0, 15.0)]
    values.append(("a.own", "fit A", 0.25, 12.0))
    report = [
        {"param": library, "group": group, "stats": {"median": time}, "extra_info": {"digits": digits}}
        for library, group, time, digits in values
    ]
    _, _, *lines = engines.table({"benchmarks": report}).splitlines()
    assert ["| A | 1 s | 15 | 0.25 s | 12 | 0.2 |", "| B | 2 s | 15 | 3 s | 9 | 1.5 |"] == lines


def test_the_files_of_pytest_benchmark_run():
    """`pytest benchmarks` calls each kernel path, here once and untimed; clusters have tests of their own."""
    clusters = "--ignore=benchmarks/test_engines_speed.py"
    command = [sys.executable, "-m", "pytest", "-q", "--benchmark-disable", "benchmarks", clusters]
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
