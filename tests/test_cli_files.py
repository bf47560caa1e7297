"""The laws of the commands that work on files of any format, on states and on journals."""

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from commands import ROOT, files, quick

from fastnorm import Moments, Normalization, _threads
from fastnorm.files.parquet import ParquetWriter

X = np.random.default_rng(3).normal(5.0, 2.0, (1000, 4)).astype("float32")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder to work in, with an array whole and in shards."""
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", X)
    Path("shards").mkdir()
    for number, part in enumerate(np.array_split(X, 5)):
        np.save(f"shards/{number}.npy", part)
    return tmp_path


def ok(*words):
    """What a command that is fine prints."""
    status, output, errors = quick(*words)
    assert (0, "") == (status, errors)
    return output


def test_adapt_writes_the_state_of_all_files(folder):
    """Files, folders and patterns in any order give one state; nothing else is left."""
    for number, words in enumerate((["x.npy"], ["shards"], ["shards/[43]*", "shards/2.npy", "shards/[01].npy"])):
        ok("adapt", *words, "--out", f"{number}.json", "--quiet")
        assert Moments.of(X) == Normalization.load(f"{number}.json").moments
    assert {"x.npy", "shards", "0.json", "1.json", "2.json"} == {path.name for path in folder.iterdir()}


def test_a_state_that_is_a_link_stays_one(folder):
    """The file that it leads to is written, by `adapt` and by `normalize`, and nothing else."""
    Path("far").mkdir()
    Path("s.json").symlink_to("far/state.json")
    for words in (["adapt", "x.npy", "--out"], ["normalize", "x.npy", "--out", "z.npy", "--state"]):
        ok(*words, "s.json", "--quiet", "--force")
        assert Path("s.json").is_symlink()
        assert Moments.of(X) == Normalization.load("far/state.json").moments
        Path("far/state.json").unlink()
    assert {"x.npy", "shards", "z.npy", "s.json", "far"} == {path.name for path in folder.iterdir()}
    assert [] == list(Path("far").iterdir())


def test_axes_are_said_in_words(folder):
    """--axis takes what `Normalization` takes."""
    for text, axis in (("-1", -1), ("0", 0), ("none", None), ("0,1", (0, 1)), ("(1,)", 1)):
        ok("adapt", "x.npy", "--axis", text, "--out", "s.json", "--quiet", "--force")
        assert Moments.of(X, axis) == Normalization.load("s.json").moments


def test_a_file_without_header_is_described(folder):
    """--raw says dtype and shape."""
    X.tofile("x.bin")
    ok("adapt", "x.bin", "--raw", "float32:-1,4", "--out", "s.json", "--quiet")
    assert Moments.of(X) == Normalization.load("s.json").moments


def test_shards_are_normalized_by_one_state_and_turned_back(folder):
    """A folder goes to a folder with the same names; `inverse` goes the other way."""
    ok("normalize", "shards", "--out", "z", "--quiet")
    expected = np.array_split(Normalization().adapt(X).transform(X), 5)
    for number in range(5):
        np.testing.assert_array_equal(expected[number], np.load(f"z/{number}.npy"))
    ok("inverse", "z", "--state", "z.fastnorm.json", "--out", "back", "--quiet")
    layer = Normalization().adapt(X)
    for number in range(5):
        np.testing.assert_array_equal(layer.inverse_transform(expected[number]), np.load(f"back/{number}.npy"))


def test_a_state_is_applied_to_other_data(folder):
    """--use normalizes with what was learned elsewhere, and writes no state."""
    ok("adapt", "shards/0.npy", "--out", "train.json", "--quiet")
    ok("normalize", "x.npy", "--use", "train.json", "--out", "z.npy", "--quiet")
    layer = Normalization().adapt(np.load("shards/0.npy"))
    np.testing.assert_array_equal(layer.transform(X), np.load("z.npy"))
    assert {"x.npy", "shards", "train.json", "z.npy"} == {path.name for path in folder.iterdir()}


def test_in_place_is_done_once(folder):
    """The file itself is normalized, the state lies beside it, and a second run is refused."""
    ok("normalize", "x.npy", "--in-place", "--quiet")
    done = np.load("x.npy")
    np.testing.assert_array_equal(Normalization().adapt(X).transform(X), done)
    before = files_of(folder)
    for words in (["--in-place"], ["--in-place", "--force"]):
        status, _, errors = quick("normalize", "x.npy", *words)
        assert 1 == status
        assert errors.startswith("error: ")
    assert before["x.npy"] == files_of(folder)["x.npy"]
    ok("inverse", "x.npy", "--state", "x.fastnorm.json", "--in-place", "--quiet")
    np.testing.assert_array_equal(Normalization().adapt(X).inverse_transform(done), np.load("x.npy"))


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


SLOW = """
import os, sys, signal
from fastnorm.files import _arrays, _inplace
_arrays.REGION = 1 << 10
from fastnorm.files import npy
write, left = npy.Mapped.write, [int(sys.argv.pop(1))]
def dying(self, region, values):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, region, values)
npy.Mapped.write = dying
from fastnorm.__main__ import main
main()
"""


@pytest.mark.parametrize("moment", [1, 2, 9])
def test_a_killed_run_goes_on_with_the_same_command(folder, moment):
    """What was learned before the kill is applied to the rest, and not what half a file would teach."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = ["normalize", "x.npy", "--in-place", "--quiet"]
    child = [sys.executable, "-c", SLOW, str(moment), *words]
    killed = subprocess.run(child, env=environment, timeout=300, check=False)
    assert -signal.SIGKILL == killed.returncode
    ok(*words)
    np.testing.assert_array_equal(Normalization().adapt(X).transform(X), np.load("x.npy"))
    assert Moments.of(X) == Normalization.load("x.fastnorm.json").moments
    assert {"x.npy", ".x.npy.fastnorm-done", "x.fastnorm.json"} == set(files_of(folder))


STORE = SLOW.replace("npy.Mapped", "zarr.ZarrArray").replace("import npy", "import zarr")


@pytest.mark.parametrize("moment", [1, 3])
def test_a_killed_run_over_stores_goes_on_with_the_same_command(folder, moment):
    """What was learned of a folder of Zarr stores is kept beside it until all of them are done."""
    Path("set").mkdir()
    parts = np.array_split(X, 2)
    for name, part in zip("ab", parts, strict=True):
        zarr.create_array(f"set/{name}.zarr", data=part, chunks=(200, 4))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = ["normalize", "set", "--in-place", "--quiet"]
    child = [sys.executable, "-c", STORE, str(moment), *words]
    killed = subprocess.run(child, env=environment, timeout=300, check=False)
    assert -signal.SIGKILL == killed.returncode
    assert Path(".set.fastnorm.json.pending").exists()
    assert 1 == quick("adapt", "set", "--out", "other.json")[0]
    ok(*words)
    layer = Normalization().adapt(X)
    for name, part in zip("ab", parts, strict=True):
        np.testing.assert_array_equal(layer.transform(part), zarr.open(f"set/{name}.zarr", mode="r")[:])
    assert layer.moments == Normalization.load("set.fastnorm.json").moments
    assert {"x.npy", "set.fastnorm.json"} == set(files_of(folder))


def test_what_was_learned_of_tables_goes_when_they_cannot_be_written(folder, monkeypatch):
    """Parquet files are not changed in place; new ones that were stopped leave no state, and can be made again."""
    Path("tables").mkdir()
    for number, part in enumerate(np.array_split(X, 3)):
        pq.write_table(pa.table(dict(zip("abcd", part.T, strict=True))), f"tables/{number}.parquet")
    before = files_of(folder)
    status, _, errors = quick("normalize", "tables", "--in-place")
    assert (1, True) == (status, "parquet files cannot be changed in place" in errors)
    assert before == files_of(folder)
    written, close = [], ParquetWriter.close

    def stopped(self):
        close(self)
        written.append(1)
        if len(written) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ParquetWriter, "close", stopped)
        status, _, errors = quick("normalize", "tables", "--out", "z")
    assert (130, "interrupted\n") == (status, errors)
    assert before == files_of(folder)
    assert ["0.parquet"] == [path.name for path in Path("z").iterdir()]
    ok("normalize", "tables", "--out", "z", "--force", "--quiet")
    layer, names = Normalization().adapt(X), list("abcd")
    found = [pq.read_table(f"z/{number}.parquet").select(names) for number in range(3)]
    assert layer.transform(X).tobytes() == np.concatenate([np.column_stack(table.columns) for table in found]).tobytes()
    assert layer.moments == Normalization.load("z.fastnorm.json").moments


def test_recover_completes_from_the_journal(folder):
    """`recover` needs nothing but the file; a second time there is nothing to do."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = ["normalize", "x.npy", "--in-place", "--quiet"]
    subprocess.run([sys.executable, "-c", SLOW, "3", *words], env=environment, timeout=300, check=False)
    assert "Completed: " in ok("recover", ".")
    np.testing.assert_array_equal(Normalization().adapt(X).transform(X), np.load("x.npy"))
    assert "There is nothing to recover.\n" == ok("recover", "x.npy")


def test_recover_puts_the_state_in_its_place(folder):
    """After `recover` the state is where the whole command would have written it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = ["normalize", "x.npy", "--in-place", "--quiet"]
    subprocess.run([sys.executable, "-c", SLOW, "3", *words], env=environment, timeout=300, check=False)
    assert "State file: " in ok("recover", "x.npy")
    assert Moments.of(X) == Normalization.load("x.fastnorm.json").moments
    status, _, errors = quick(*words)
    assert (1, True) == (status, "normalized already, by x.fastnorm.json" in errors)


def test_what_a_killed_run_learned_is_for_its_own_data(folder):
    """New data in place of those that `recover` completed are learned from anew; another axis is refused in between."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    words = ["normalize", "x.npy", "--in-place", "--quiet"]
    subprocess.run([sys.executable, "-c", SLOW, "3", *words], env=environment, timeout=300, check=False)
    status, _, errors = quick(*words, "--axis", "none")
    assert (1, True) == (status, "run with axis=-1" in errors)
    pending = Path(".x.fastnorm.json.pending").read_bytes()
    ok("recover", "x.npy")
    Path("x.fastnorm.json").unlink()
    Path(".x.fastnorm.json.pending").write_bytes(pending)
    np.save("x.npy", 3 * X)
    ok(*words)
    np.testing.assert_array_equal(Normalization().adapt(3 * X).transform(3 * X), np.load("x.npy"))


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["adapt", "x.npy", "--out", "x.npy", "--force"], "are one file"),
        (["adapt", "x.npy", "--out", "pipe", "--force"], "neither a file nor a folder"),
        (["normalize", "shards", "--out", "shards/z"], "lies in shards, which is read"),
    ],
)
def test_a_result_does_not_go_where_it_would_do_harm(folder, words, error):
    """Not over what is read, not over what is no file, not into the folder that is read."""
    os.mkfifo("pipe")
    before = np.load("x.npy").tobytes()
    status, _, errors = quick(*words)
    assert (1, True) == (status, error in errors), errors
    assert before == np.load("x.npy").tobytes()
    assert {"x.npy", "shards", "pipe"} == {path.name for path in folder.iterdir()}


def test_states_are_merged_exactly(folder):
    """The sum of the states of the shards is the state of the whole; a state named twice is refused."""
    for number in range(5):
        ok("adapt", f"shards/{number}.npy", "--out", f"{number}.json", "--quiet")
    states = [f"{number}.json" for number in (3, 0, 4, 1, 2)]
    ok("merge", *states, "--out", "all.json", "--quiet")
    assert Moments.of(X) == Normalization.load("all.json").moments
    os.link("0.json", "linked.json")
    for other in ("./0.json", "linked.json"):
        status, _, errors = quick("merge", "0.json", other, "--out", "twice.json")
        assert (1, True) == (status, "counted twice" in errors)
    assert not Path("twice.json").exists()


def test_bad_files_are_left_out_and_listed(folder):
    """--skip-bad goes on without them, lists them, and ends with status 3; without it nothing is written."""
    Path("shards/2.npy").write_bytes(b"nonsense")
    before = files(folder / "shards")
    status, _, errors = quick("normalize", "shards", "--out", "z", "--quiet")
    assert (1, True) == (status, "shards/2.npy is damaged" in errors)
    assert not Path("z").exists()
    assert not list(folder.glob("*.json"))
    status, output, errors = quick("normalize", "shards", "--out", "z", "--skip-bad", "--json")
    assert (3, "") == (status, errors)
    left = json.loads(output)["skipped"]
    assert ["shards/2.npy"] == [item["file"] for item in left]
    assert {"0.npy", "1.npy", "3.npy", "4.npy"} == {path.name for path in Path("z").iterdir()}
    assert before == files(folder / "shards")


@pytest.mark.parametrize(
    "words",
    [
        ["adapt", "shards", "--out", "s.json"],
        ["normalize", "shards", "--out", "z"],
        ["normalize", "shards", "--in-place"],
        ["inverse", "x.npy", "--state", "train.json", "--in-place"],
    ],
)
def test_a_dry_run_changes_nothing(folder, words):
    """--dry-run names what would be read, with formats and sizes, and does nothing."""
    Normalization().adapt(X).save("train.json")
    before = files_of(folder), files(folder / "shards")
    found = json.loads(ok(*words, "--dry-run", "--json"))["files"]
    assert {"npy"} == {item["format"] for item in found}
    assert "Would " in ok(*words, "--dry-run")
    assert before == (files_of(folder), files(folder / "shards"))


@pytest.mark.parametrize(
    "words",
    [
        ["normalize", "x.npy"],
        ["normalize", "x.npy", "--in-place", "--out", "z.npy"],
        ["normalize", "x.npy", "--out", "z.npy", "--use", "s.json", "--state", "t.json"],
        ["adapt", "x.npy"],
        ["adapt", "x.npy", "--out", "s.json", "--axis", "last"],
        ["adapt", "x.npy", "--out", "s.json", "--raw", "float32"],
        ["adapt", "x.npy", "--out", "s.json", "--raw", "flot64:1000,5"],
        ["adapt", "x.npy", "--out", "s.json", "--raw", ",:-1,4"],
        ["report", "s.json", "--data", "x.npy"],
        ["normalize", "x.npy", "--out", "z.npy", "--use", "s.json", "--axis", "0"],
        ["normalize", "x.npy", "--out", "z.npy", "--use", "s.json", "--inf", "omit"],
        ["normalize", "x.npy", "--out", "z.npy", "--again"],
        ["adapt", "x.npy", "--out", "s.json", "--inf", "no"],
    ],
)
def test_words_that_make_no_sense_have_status_2(folder, words):
    """What cannot be meant is refused before anything is read."""
    before = files_of(folder)
    assert 2 == quick(*words)[0]
    assert before == files_of(folder)


def test_the_first_table_that_could_be_read_says_what_is_left_as_it_was(folder):
    """A damaged first shard is left out of that, too."""
    Path("tables").mkdir()
    Path("tables/0.csv").touch()
    Path("tables/1.csv").write_text("x,name\n1,a\n3,b\n")
    for more in ([], ["--use", "z.fastnorm.json", "--force"]):
        status, output, errors = quick("normalize", "tables", "--out", "z", "--skip-bad", "--json", *more)
        assert (3, "") == (status, errors)
        assert ["name"] == json.loads(output)["left_out"]
    assert "x,name\n-1,a\n1,b\n" == Path("z/1.csv").read_text()


def test_words_say_what_missing_and_infinite_numbers_mean(folder):
    """--nan and --inf are the settings of the layer; the errors without them name these options."""
    x = X.copy()
    x[3, 0], x[4, 1] = np.nan, np.inf
    np.save("odd.npy", x)
    status, _, errors = quick("adapt", "odd.npy", "--out", "s.json")
    assert (1, True) == (status, "--inf omit" in errors)
    status, _, errors = quick("adapt", "odd.npy", "--out", "s.json", "--inf", "omit", "--nan", "raise")
    assert (1, True) == (status, "--nan omit" in errors)
    ok("normalize", "odd.npy", "--out", "z.npy", "--inf", "omit", "--nan", "propagate", "--quiet")
    layer = Normalization(inf="omit", nan="propagate").adapt(x)
    np.testing.assert_array_equal(layer.transform(x), np.load("z.npy"))


def test_threads_are_for_layers_from_files_too(folder, monkeypatch):
    """--threads holds for a state that is applied, and for no longer than the command."""
    ok("adapt", "x.npy", "--out", "s.json", "--quiet")
    seen, transform = [], Normalization.transform

    def spy(self, x):
        seen.append(_threads.count())
        return transform(self, x)

    monkeypatch.setattr(Normalization, "transform", spy)
    before = _threads.count()
    ok("normalize", "x.npy", "--use", "s.json", "--out", "z.npy", "--threads", "7", "--quiet")
    assert ({7}, before) == (set(seen), _threads.count())


def test_report_draws_the_data(folder):
    """--html writes one page, which has histograms when the data are named; an existing page needs --force."""
    ok("adapt", "x.npy", "--out", "s.json", "--quiet")
    assert "Report: page.html" in ok("report", "s.json", "--html", "page.html", "--data", "shards", "--data", "x.npy")
    assert "<svg" in Path("page.html").read_text("utf-8")
    status, _, errors = quick("report", "s.json", "--html", "page.html")
    assert (1, True) == (status, "exists already" in errors)


def test_progress_is_shown_on_a_terminal_alone(folder):
    """On a terminal there is a bar with a rate; in a pipe there is none."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"}
    words = [sys.executable, "-m", "fastnorm", "adapt", "x.npy", "--out", "s.json", "--force"]
    piped = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300, check=True)
    assert "" == piped.stderr
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, 100, 0, 0))
    with subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=slave) as process:
        os.close(slave)
        shown = b""
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            try:
                if not (more := os.read(master, 1 << 12)):
                    break
            except OSError:  # the other end is closed
                break
            shown += more
    os.close(master)
    assert 0 == process.returncode
    assert b"B/s" in shown
