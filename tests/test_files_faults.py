"""The laws of in-place work among others: changes by somebody else, a second process, calls of the system that fail."""

import asyncio
import errno
import os
import resource
import signal
import time
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from crashes import before_each_call, error_of, forked, in_child, killed, plant, trees
from inplace import LAYER, SHAPE, VALUES, Case
from zarr.storage import LocalStore

from fastnorm import Normalization, adapt_files, normalize_files, recover
from fastnorm.files import _arrays
from fastnorm.files._inplace import opened, progress_of
from fastnorm.files._open import Reading
from fastnorm.files._place import Place


@pytest.fixture
def folder(in_memory):
    """A folder in memory: thousands of syncs."""
    return in_memory


@pytest.fixture(autouse=True)
def small_regions(monkeypatch):
    """Regions of 240 bytes: ten rows, four regions."""
    monkeypatch.setattr(_arrays, "REGION", 240)


@pytest.fixture(params=["C", "F", "raw"])
def case(request, folder):
    return Case(folder / "data", request.param)


def stop_after(case, regions):
    """Kill a run after so many regions."""
    count = 0

    def act(name, arguments):
        nonlocal count
        count += name == "sync"
        if count > regions:
            killed()

    def work():
        with before_each_call(act):
            case.run()

    assert -signal.SIGKILL == in_child(work)


@pytest.mark.parametrize("place", range(12))
def test_a_change_in_between_is_noticed(place, folder):
    """One bit that somebody else changed, in any region, with the same size and time: refused, and not overwritten."""
    case = Case(folder / "data")
    stop_after(case, 1)
    before = case.path.stat()
    data = bytearray(case.path.read_bytes())
    data[len(data) - SHAPE[0] * SHAPE[1] * 8 + place * 80 + 3] ^= 4
    case.path.write_bytes(data)
    os.utime(case.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    for call in (case.run, lambda: recover(case.path), lambda: recover(case.path, roll_back=True)):
        with pytest.raises(ValueError, match=r"x.npy was changed by something else in the middle of a run"):
            call()
        assert bytes(data) == case.path.read_bytes()


def test_a_change_while_the_run_is_at_work_is_noticed(folder):
    """Bytes that change between the first look at a file and its turn stay, and nothing is written over them."""
    case = Case(folder / "data")

    def act(name, arguments):
        if name == "posix_fallocate":
            with case.path.open("r+b") as file:
                file.seek(-8, os.SEEK_END)
                file.write(b"somebody")

    with before_each_call(act), pytest.raises(ValueError, match="changed by something else"):
        case.run()
    assert case.path.read_bytes().endswith(b"somebody")


def test_another_layer_does_not_go_on_with_the_run(folder):
    """A journal belongs to one layer and direction; others are told so."""
    case = Case(folder / "data")
    stop_after(case, 1)
    other = Normalization().adapt(VALUES[1:])
    for call in (
        lambda: normalize_files(case.path, None, other),
        lambda: normalize_files(case.path, None, LAYER, inverse=True),
        lambda: adapt_files(case.path),
        lambda: normalize_files(case.path, folder / "z.npy", LAYER),
    ):
        with pytest.raises(ValueError, match="in the middle of"):
            call()
    case.run()
    case.is_finished()


def test_two_processes_do_not_write_one_file(folder):
    """While one is at work the second is refused; when the first is killed its successor goes on."""
    case = Case(folder / "data")
    reader, writer = os.pipe()

    def act(name, arguments):
        if name == "sync":
            os.write(writer, b"x")
            time.sleep(60)

    def work():
        with before_each_call(act):
            case.run()

    child = forked(work)
    assert b"x" == os.read(reader, 1)
    try:
        for call in (case.run, lambda: recover(case.path), lambda: recover(case.folder, roll_back=True)):
            with pytest.raises(BlockingIOError, match=r"being written by another process; wait .*x.npy"):
                call()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reader)
        os.close(writer)
    case.run()
    case.is_finished()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_an_error_of_any_call_leaves_a_file_that_can_be_completed(case, number):
    """Each call to the system fails once: the error names a file; the untouched file has nothing beside it."""

    def attempt(failing):
        count = 0

        def act(name, arguments):
            nonlocal count
            count += 1
            if count == failing:
                raise OSError(number, os.strerror(number))

        with before_each_call(act):
            case.run()
        return count

    total = attempt(0)
    for failing in range(1, total + 1):
        case.reset()
        error = error_of(partial(attempt, failing))
        if error is not None:  # that a lock file could not be removed after all was done is one, too
            assert number == error.errno
            assert str(case.folder) in str(error)
            assert ";" in error.strerror
        if case.path.read_bytes() == case.original:
            left = {item.name.rpartition("-")[2] for item in case.folder.iterdir()} - {case.path.name}
            assert left <= {"journal", "lock"}
        case.resume()
        case.is_finished()


def test_a_journal_that_finds_no_room_is_taken_away(folder, tmp_path):
    """A limit on the size of files is a full disk for a process: an error, and nothing lies beside the file."""
    case = Case(folder / "data")

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        assert "repeat the call" in str(error_of(case.run))

    assert 0 == in_child(work)
    assert [case.path] == list(case.folder.iterdir())
    case.run()
    case.is_finished()


@pytest.mark.parametrize("locked", ["x.npy", "."])
def test_what_may_not_be_written_stays_as_it_is(locked, folder):
    """A read-only file, or one in a read-only folder: an error that names it, and nothing beside it."""
    case = Case(folder / "data")
    folder.chmod(0o755)
    for item in (case.folder, case.path):
        os.chown(item, os.geteuid() or 65534, -1)
    (case.folder / locked).chmod(0o555)

    def work():
        if os.geteuid() == 0:
            os.setuid(65534)  # nobody: root may write everywhere
        error = error_of(case.run)
        assert isinstance(error, PermissionError)
        assert "x.npy" in str(error)
        assert "get the permission for it, or name another place" in str(error)

    assert 0 == in_child(work)
    assert case.original == case.path.read_bytes()
    assert [case.path] == list(case.folder.iterdir())


def test_a_new_file_that_finds_no_room_leaves_nothing(folder):
    """What cannot be written whole is not there at all, and neither are folders that were made for it."""
    case = Case(folder / "data")

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
        error = error_of(lambda: normalize_files(case.path, folder / "new" / "deep" / "z.npy", LAYER))
        assert error.errno == errno.EFBIG

    assert 0 == in_child(work)
    assert [case.path] == list(case.folder.iterdir())


WRITTEN = [".npy", ".bin", ".safetensors", ".zarr", ".h5", ".parquet", ".arrow", ".feather", ".csv", ".csv.gz"]


@pytest.mark.parametrize("suffix", WRITTEN)
def test_a_disk_that_is_full_is_an_error_about_the_new_file(tmp_path, suffix):
    """It says where room is needed, in the words of one line; no other file is tried, and nothing is left."""
    x = np.random.default_rng(0).normal(size=(3000, 4))
    layer = Normalization().adapt(x)
    layer.feature_names = list("abcd")
    folder = tmp_path / "in"
    folder.mkdir()
    if WRITTEN.index(suffix) < WRITTEN.index(".parquet"):
        np.save(folder / "x.npy", x)
    else:
        table = pa.table(dict(zip("abcd", x.T, strict=True)))
        pyarrow.parquet.write_table(table, folder / "x.parquet", row_group_size=100)
    (source,) = folder.iterdir()
    out = tmp_path / f"z{suffix}"

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        skipped = []
        error = error_of(lambda: normalize_files(source, out, layer, skipped=skipped))
        assert isinstance(error, OSError)
        assert f"File too large; raise the limit of file sizes (ulimit -f), then repeat the call: {str(out)!r}" in str(
            error
        )
        assert [] == skipped

    assert 0 == in_child(work)
    assert [folder] == list(tmp_path.iterdir())


def test_a_chunk_that_cannot_be_written_ends_the_others(tmp_path, monkeypatch):
    """When the error of a store is raised, none of its chunks is still being written."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(3000, 200)))
    set_chunk, at_work, failed = LocalStore.set, 0, False

    async def set_or_fail(self, key, value):
        nonlocal at_work, failed
        if "c/" in key:
            at_work += 1
            try:
                if not failed:
                    failed = True
                    while at_work < 2:
                        await asyncio.sleep(0)
                    raise OSError(errno.ENOSPC, "No space left on device")
                for _ in range(10_000):
                    await asyncio.sleep(0)
            finally:
                at_work -= 1
        await set_chunk(self, key, value)

    monkeypatch.setattr(_arrays, "REGION", 1 << 25)
    monkeypatch.setattr(LocalStore, "set", set_or_fail)
    layer = adapt_files(tmp_path / "x.npy")
    error = error_of(lambda: normalize_files(tmp_path / "x.npy", tmp_path / "z.zarr", layer))
    assert 0 == at_work
    assert error.errno == errno.ENOSPC
    assert [tmp_path / "x.npy"] == list(tmp_path.iterdir())


def test_a_checkpoint_that_finds_no_room_is_named(folder):
    """The error of a scan says where room is needed: beside its checkpoint."""
    case = Case(folder / "data")

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (50, 50))
        error = error_of(lambda: adapt_files(case.path, checkpoint=folder / "scan"))
        assert f"then repeat the call: {str(folder / 'scan')!r}" in str(error)

    assert 0 == in_child(work)
    assert [case.path.parent] == list(folder.iterdir())


def test_a_journal_that_another_process_begins_is_left_alone(folder):
    """To ask how far a run has come takes nothing away from one that is about to begin."""
    case = Case(folder / "data")
    journal = case.folder / f".{case.path.name}.fastnorm-journal"
    journal.mkdir()
    (journal / "work").write_bytes(b"work")
    with opened(Place.of(case.path), Reading()) as (file, target):
        assert "none" == progress_of(file, target, LAYER)
    assert [journal / "work"] == list(journal.iterdir())


def test_a_new_file_appears_whole_or_not_at_all(folder):
    """Killed before any line, the name of the result is not there, or holds all of it; the same call then completes."""
    case = Case(folder / "data")
    new = case.folder / "new" / "z.npy"

    def run():
        normalize_files(case.path, new, LAYER, overwrite=True)

    for earlier in (None, b"earlier"):
        new.parent.mkdir(exist_ok=True)
        if earlier:
            new.write_bytes(earlier)
        for moment in trees(new.parent, run):
            assert moment.get(Path("z.npy")) in (earlier, case.want)
            plant(new.parent, moment)
            run()
            assert case.want == new.read_bytes()
            assert [new] == list(new.parent.iterdir())
        new.unlink()
