"""The laws of what can be changed in place: all files are looked at before the first is changed."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from commands import quick
from crashes import error_of, in_child

from fastnorm import Moments, Normalization, adapt_files, normalize_files
from fastnorm.files._beside import locked

X = np.random.default_rng(5).normal(3.0, 2.0, (12, 4))
LAYER = Normalization().adapt(X)


def write(path, fault):
    """A file that can be read, but not be changed in place."""
    match fault:
        case "dtype":
            np.save(path, X.astype("int32"))
        case "hard link":
            np.save(path, X)
            os.link(path, path.with_name(".other"))
        case "read-only":
            np.save(path, X)
            path.chmod(0o444)
        case "features":
            np.save(path, X[:, :3])
        case "another layer":
            np.save(path, X)
            normalize_files(path, None, Normalization().adapt(2 * X))
        case "chunked":
            with h5py.File(path, "w") as file:
                file.create_dataset("x", data=X, chunks=(2, 4))


FAULTS = ["dtype", "hard link", "read-only", "features", "another layer", "chunked"]


@pytest.fixture
def folder(in_memory, monkeypatch):
    """A folder to work in, that anybody may write."""
    monkeypatch.chdir(in_memory)
    Path("in").mkdir()
    for item in (in_memory, Path("in")):
        item.chmod(0o777)
    return in_memory


def first_and(fault):
    """Two files: one that can be changed, and one that cannot."""
    suffix = ".h5" if fault == "chunked" else ".npy"
    good, bad = Path("in/a").with_suffix(suffix), Path("in/b").with_suffix(suffix)
    if fault == "chunked":
        with h5py.File(good, "w") as file:
            file["x"] = X
    else:
        np.save(good, X)
    write(bad, fault)
    for item in Path("in").iterdir():
        os.chown(item, os.geteuid() or 65534, -1)
    return good, bad


def bound(fault, work):
    """Do the work; if it is about permissions, as a user whom they bind."""
    if fault != "read-only" or os.geteuid():
        work()
        return
    Path("warm").mkdir()
    np.save("warm/x.npy", X)
    assert 0 == quick("normalize", "warm", "--in-place")[0]  # imports: another user may not read Python's files

    def child():
        os.setuid(65534)
        work()

    assert 0 == in_child(child)


def content(folder):
    return {item.name: item.read_bytes() for item in Path(folder).iterdir() if item.is_file()}


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_is_changed_if_one_file_cannot_be(folder, fault):
    """The error names that file, though it is the last; left out, the others are done."""
    good, bad = first_and(fault)
    before = content("in")

    def work():
        error = error_of(lambda: normalize_files("in", None, LAYER))
        assert bad.name in str(error)
        assert before == content("in")
        skipped = []
        normalize_files("in", None, LAYER, skipped=skipped)
        assert [str(bad)] == [name for name, _ in skipped]

    bound(fault, work)
    after = content("in")
    assert before[good.name] != after[good.name]
    assert before[bad.name] == after[bad.name]


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "features"])
def test_the_rows_that_are_learned_are_the_rows_that_are_normalized(folder, fault):
    """What --skip-bad leaves out of the change is not learned from either; without it nothing is learned at all."""
    good, bad = first_and(fault)
    if fault == "another layer":
        np.save("in/c.npy", 5 * X)
    learned = [item for item in (good, Path("in/c.npy")) if item.exists()]
    want = adapt_files(learned).moments
    before = content("in")

    def work():
        status, _, errors = quick("normalize", "in", "--in-place", "--state", "s.json")
        assert (1, True) == (status, bad.name in errors), errors
        assert before == content("in")
        assert not list(folder.glob("s.json*"))
        status, output, errors = quick("normalize", "in", "--in-place", "--state", "s.json", "--skip-bad")
        assert (3, "") == (status, errors)
        assert 1 == output.count("Left out: ")
        assert bad.name in output

    bound(fault, work)
    layer = Normalization.load("s.json")
    assert want == layer.moments
    assert before[bad.name] == content("in")[bad.name]
    if fault != "chunked":
        assert np.array_equal(Normalization.from_moments(want).transform(X), np.load(good))


def test_all_that_are_left_out_are_an_error(folder):
    """With nothing to normalize there is nothing to learn, and no state."""
    first_and("another layer")[0].unlink()
    before = content("in")
    status, _, errors = quick("normalize", "in", "--in-place", "--skip-bad", "--state", "s.json")
    assert (1, True) == (status, "b.npy is normalized already" in errors), errors
    assert before == content("in")
    assert not list(folder.glob("*s.json*"))


def test_z_scores_and_data_are_not_learned_from_together(folder):
    """Files that were normalized in place beside others are named; turned back, or alone, they are fine."""
    for name in "abc":
        np.save(f"in/{name}.npy", X)
    normalize_files("in/b.npy", None, LAYER)
    with pytest.raises(ValueError, match=r"^in/b.npy: normalized in place already, and the other files are not"):
        adapt_files("in")
    status, _, errors = quick("adapt", "in", "--out", "s.json")
    assert (1, True) == (status, "`fastnorm inverse`" in errors)
    assert not list(folder.glob("*s.json*"))
    skipped = []
    assert Moments.of(np.vstack([X, X])) == adapt_files("in", skipped=skipped).moments
    assert ["in/b.npy"] == [name for name, _ in skipped]
    assert Moments.of(LAYER.transform(X)) == adapt_files("in/b.npy").moments
    normalize_files("in/b.npy", None, LAYER, inverse=True)
    back = LAYER.inverse_transform(LAYER.transform(X))
    assert Moments.of(np.vstack([X, X, back])) == adapt_files("in").moments


def test_a_damaged_file_is_left_out_when_a_stopped_run_goes_on(folder):
    """The rest is completed by the state that was learned before the stop."""
    good, bad = first_and("dtype")
    bad.write_bytes(b"nonsense")
    np.save("in/c.npy", 2 * X)
    normalize_files(good, None, LAYER)
    LAYER.save(".s.json.pending")
    status, output, errors = quick("normalize", "in", "--in-place", "--skip-bad", "--state", "s.json")
    assert (3, "", 1) == (status, errors, output.count("Left out: in/b.npy is damaged"))
    assert np.array_equal(LAYER.transform(2 * X), np.load("in/c.npy"))
    assert LAYER.moments == Normalization.load("s.json").moments


def test_a_result_that_is_damaged_is_a_bad_file(folder):
    """It is left out, and not taken for an answer."""
    _, bad = first_and("another layer")
    bad.write_bytes(bad.read_bytes()[:-8])
    skipped = []
    assert Moments.of(X) == adapt_files("in", skipped=skipped).moments
    assert [str(bad)] == [name for name, _ in skipped]


def test_what_a_refused_run_learned_is_not_kept(folder):
    """A run in place that never began leaves nothing, so that the next one learns from the data that are there."""
    np.save("i.npy", X.astype("int32"))
    assert 1 == quick("normalize", "i.npy", "--in-place")[0]
    assert {"i.npy"} == set(content("."))
    np.save("i.npy", X + 7)
    assert 0 == quick("normalize", "i.npy", "--in-place")[0]
    np.testing.assert_array_equal(Normalization().adapt(X + 7).transform(X + 7), np.load("i.npy"))


@pytest.mark.parametrize("command", ["normalize", "normalize --use s.json", "inverse --state s.json"])
@pytest.mark.parametrize(
    ("source", "words", "error"),
    [
        ("i.npy", "--in-place", "cannot hold z-scores"),
        ("t.csv", "--in-place", "csv files cannot be changed in place"),
        ("x.npz", "--in-place", "cannot be changed in place"),
        ("x.npy", "--out z.csv", "arrays are written as"),
        ("x.npy", "--out z.npz", "arrays are written as"),
        ("t.csv", "--out z.npy", "tables are written as"),
    ],
)
def test_a_dry_run_refuses_what_the_run_refuses(folder, command, source, words, error):
    """Formats that cannot be changed, or become what the new name says: the same error, and nothing is written."""
    LAYER.save("s.json")
    np.save("x.npy", X)
    np.save("i.npy", X.astype("int32"))
    np.savez("x.npz", X)
    Path("t.csv").write_text("a,b,c,d\n1,2,3,4\n2,3,4,6\n", "utf-8")
    before = content(".")
    found = [quick(*command.split(), source, *words.split(), *more) for more in (["--dry-run"], [])]
    assert found[0] == found[1]
    assert (1, True) == (found[0][0], error in found[0][2]), found
    assert before == content(".")


@pytest.mark.parametrize("words", [["adapt", "--out", "x.fastnorm.json"], ["normalize", "--in-place"]])
def test_two_commands_do_not_make_one_state(folder, words):
    """What one run has learned, and will still need, is not taken away by another that is started beside it."""
    np.save("x.npy", X)
    layer = Normalization().adapt(X)
    layer.save(".x.fastnorm.json.pending")
    with locked(Path("x.fastnorm.json")):
        status, _, errors = quick(words[0], "x.npy", *words[1:])
    assert 1 == status
    assert "x.fastnorm.json: is being written by another process; wait until that has ended" in errors
    assert layer.moments == Normalization.load(".x.fastnorm.json.pending").moments
    assert {"in", "x.npy", ".x.fastnorm.json.pending"} == {path.name for path in folder.iterdir()}
