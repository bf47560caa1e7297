"""The laws of "nothing is lost": whatever stops a run, the same call ends in the bytes of an undisturbed one.

FASTNORM_KILLS raises the number of kills at random moments.
"""

import errno
import multiprocessing
import os
import random
import resource
import shutil
import signal
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from crashes import CALLS, Disk, Lines, before_each_call, in_child, interrupt, killed, picks

from fastnorm import Normalization, adapt_files, normalize_files, recover
from fastnorm.files import _arrays, _checkpoint
from fastnorm.files.npy import Mapped

KILLS = int(os.environ.get("FASTNORM_KILLS", "120"))
SHAPE = (40, 3)
VALUES = np.random.default_rng(7).normal(3.0, 2.0, SHAPE)
LAYER = Normalization(threads=1).adapt(VALUES)
KINDS = ("C", "F", "raw")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills need fork")


@pytest.fixture
def folder(tmp_path):
    """A folder in memory where there is one: thousands of syncs."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    path = Path(tempfile.mkdtemp(dir=memory))
    yield path
    shutil.rmtree(path)


@pytest.fixture(autouse=True)
def small_regions(monkeypatch):
    """Regions of 240 bytes: ten rows, four regions."""
    monkeypatch.setattr(_arrays, "REGION", 240)


class Case:
    """A data set of one file, the call that normalizes it in place, and what it shall hold then."""

    def __init__(self, folder, kind="C"):
        self.folder, self.kind = folder, kind
        self.path = folder / ("x.bin" if kind == "raw" else "x.npy")
        self.raw = ("float64", (-1, 3)) if kind == "raw" else None
        self.write(LAYER.transform(VALUES))
        self.want = self.path.read_bytes()
        self.write(VALUES)
        self.original = self.path.read_bytes()

    def write(self, values):
        if self.kind == "raw":
            self.path.write_bytes(values.tobytes())
        else:
            np.save(self.path, np.asarray(values, order=self.kind))

    def reset(self):
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        self.path.write_bytes(self.original)

    def run(self):
        normalize_files(self.path, None, LAYER, raw=self.raw)

    def resume(self):
        """Repeat the call until nothing is left to do; where it had come to its end, that is said."""
        try:
            self.run()
        except ValueError as error:
            assert "is normalized already" in str(error)

    def is_finished(self):
        assert self.want == self.path.read_bytes()
        assert {self.path.name, f".{self.path.name}.fastnorm-done"} == {item.name for item in self.folder.iterdir()}


@pytest.fixture(params=KINDS)
def case(request, folder):
    return Case(folder / "data" if (folder / "data").mkdir() is None else folder, request.param)


def lines_of(work):
    with Lines() as lines:
        work()
    return lines.count


def test_a_kill_at_any_line_is_made_good_by_the_same_call(case):
    """SIGKILL before each single line of fastnorm/files, between two of which a system call may have come through."""
    total = lines_of(case.run)
    for line in range(1, total + 1):
        case.reset()

        def work():
            with Lines(line, killed):
                case.run()

        assert -signal.SIGKILL == in_child(work)
        case.resume()
        case.is_finished()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a lock file closed by its collection
def test_ctrl_c_at_any_line_is_made_good_by_the_same_call(folder):
    """KeyboardInterrupt at each line leaves a file that the same call, in the same process, completes."""
    case = Case(folder)
    total = lines_of(case.run)
    for line in range(1, total + 1):
        case.reset()
        with pytest.raises(KeyboardInterrupt), Lines(line, interrupt):
            case.run()
        case.resume()
        case.is_finished()


def test_recover_completes_from_the_journal_alone(case):
    """Killed before any line, `recover` of the folder leaves the file as it was, or as it shall be."""
    total = lines_of(case.run)
    for line in range(1, total + 1, 3):
        case.reset()

        def work():
            with Lines(line, killed):
                case.run()

        in_child(work)
        found = recover(case.folder)
        assert found in ([], [str(case.path)])
        assert case.path.read_bytes() in ((case.want,) if found else (case.want, case.original))
        case.resume()
        case.is_finished()


def test_a_roll_back_brings_back_the_file_or_refuses(folder):
    """While one region at most has changed, every byte comes back and nothing is left beside the file."""
    case = Case(folder)
    total = lines_of(case.run)
    answers = set()
    for line in range(1, total + 1):
        case.reset()

        def work():
            with Lines(line, killed):
                case.run()

        in_child(work)
        try:
            found = recover(case.path, roll_back=True)
        except ValueError as error:
            assert "cannot be brought back" in str(error)
            answers.add("refused")
            recover(case.path)
            case.is_finished()
        else:
            answers.add("back" if found else "nothing")
            if found:
                assert case.original == case.path.read_bytes()
                assert [case.path] == list(case.folder.iterdir())
            assert [] == recover(case.path)
    assert {"refused", "back", "nothing"} == answers


def test_a_kill_of_the_recovery_is_made_good_as_well(folder):
    """A run killed in a region, then `recover` killed at each of its lines: the next one completes."""
    case = Case(folder)

    def torn_write(self, region, values):
        self.array[region][: len(values) // 2] = values[: len(values) // 2]
        killed()

    def first():
        Mapped.write = torn_write
        case.run()

    in_child(first)
    torn = {item: item.read_bytes() for item in case.folder.rglob("*") if item.is_file()}
    total = lines_of(lambda: recover(case.path))
    case.is_finished()
    for line in range(1, total + 1, 2):
        case.reset()
        for path, data in torn.items():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)

        def work():
            with Lines(line, killed):
                recover(case.path)

        assert -signal.SIGKILL == in_child(work)
        case.resume()
        case.is_finished()


def test_a_torn_region_is_completed_or_brought_back(case, monkeypatch):
    """A write that ends in the middle of a region, in any region, any number of bytes in."""
    rng = random.Random(3)
    for region in range(4):
        for roll_back in (False, True):
            case.reset()
            count = 0

            def write(self, part, values):
                nonlocal count
                whole = np.array(self.array[part])
                flat, new = (np.asarray(item, order=self.order).reshape(-1, order="A") for item in (whole, values))
                cut = rng.randrange(flat.nbytes) if count == region else flat.nbytes
                flat.view(np.uint8)[:cut] = new.view(np.uint8)[:cut]
                self.array[part] = flat.reshape(whole.shape, order=self.order)
                count += 1
                if count > region:
                    raise OSError(errno.EIO, "Input/output error")

            with monkeypatch.context() as patch:
                patch.setattr(Mapped, "write", write)
                with pytest.raises(OSError, match="Input/output error; check the disk, then repeat the call: .*x"):
                    case.run()
            if roll_back and region == 0:
                assert [str(case.path)] == recover(case.path, roll_back=True)
                assert case.original == case.path.read_bytes()
            else:
                case.resume()
                case.is_finished()


@pytest.mark.parametrize("seed", range(3))
def test_a_power_cut_at_any_moment_is_made_good(case, seed):
    """What was not synced is lost, kept or torn, name by name and word by word; the same call completes all the same."""
    disk = Disk(case.folder)
    with before_each_call(disk.watch):
        case.run()
    assert len(disk.moments) > 20
    for number, moment in enumerate(disk.moments):
        for pick in picks(4, (seed << 16) + number):
            disk.left_by(moment, pick)
            case.resume()
            assert case.want == case.path.read_bytes()


def test_a_power_cut_after_a_kill_is_made_good(folder):
    """A killed run, whose unsynced bytes its successor found in memory, and then a power cut."""
    case = Case(folder)
    total = lines_of(case.run)
    for line in range(1, total + 1, 7):
        case.reset()
        disk = Disk(case.folder)

        def stop():
            raise _Stop

        with before_each_call(disk.watch):
            try:
                with Lines(line, stop):
                    case.run()
            except _Stop:
                pass
            case.resume()
        chance = random.Random(line)
        for moment in disk.moments:
            pick = next(iter(picks(1, line))) if chance.random() < 0.3 else list(picks(1, chance.random()))[2]
            disk.left_by(moment, pick)
            case.resume()
            assert case.want == case.path.read_bytes()


class _Stop(BaseException):
    """A kill that keeps the process, for the tests to look at what it left."""


@pytest.mark.parametrize("kind", KINDS)
def test_kills_at_random_moments_are_made_good(kind, tmp_path, monkeypatch):
    """A process killed again and again at random, on a real disk, until one of its successors ends well."""
    monkeypatch.setattr(_arrays, "REGION", 1 << 17)
    rng = random.Random()
    values = np.random.default_rng(1).normal(size=(60_000, 4)).astype(np.float32)
    layer = Normalization(threads=1).adapt(values)
    path = tmp_path / ("x.bin" if kind == "raw" else "x.npy")
    raw = ("float32", (-1, 4)) if kind == "raw" else None

    def write(data):
        data.tofile(path) if raw else np.save(path, np.asarray(data, order=kind))

    write(layer.transform(values))
    want = path.read_bytes()
    write(values)
    start = time.perf_counter()
    assert 0 == in_child(lambda: normalize_files(path, None, layer, raw=raw))
    length = time.perf_counter() - start
    assert want == path.read_bytes()

    kills = 0
    while kills < KILLS // len(KINDS):
        (tmp_path / f".{path.name}.fastnorm-done").unlink()
        write(values)
        for _ in range(1000):
            status = in_child(lambda: normalize_files(path, None, layer, raw=raw), rng.random() * length / 2)
            if status != -signal.SIGKILL:
                break
            kills += 1
        if status == 1:  # it was killed after its end
            with pytest.raises(ValueError, match="is normalized already"):
                normalize_files(path, None, layer, raw=raw)
        assert want == path.read_bytes()
        assert {path.name, f".{path.name}.fastnorm-done"} == {item.name for item in tmp_path.iterdir()}


# ---------------------------------------------------------------------------------------------- somebody else


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
    case = Case(folder)
    stop_after(case, 1)
    before = case.path.stat()
    data = bytearray(case.path.read_bytes())
    data[len(data) - SHAPE[0] * SHAPE[1] * 8 + place * 80 + 3] ^= 4
    case.path.write_bytes(data)
    os.utime(case.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    for call in (case.run, lambda: recover(case.path), lambda: recover(case.path, roll_back=True)):
        with pytest.raises(ValueError, match="x.npy was changed by something else in the middle of a run"):
            call()
        assert bytes(data) == case.path.read_bytes()


def test_a_change_while_the_run_is_at_work_is_noticed(folder):
    """Bytes that change between the first look at a file and its turn stay, and nothing is written over them."""
    case = Case(folder)

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
    case = Case(folder)
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
    case = Case(folder)
    ready = multiprocessing.get_context("fork").Event() if False else None
    reader, writer = os.pipe()

    def act(name, arguments):
        if name == "sync":
            os.write(writer, b"x")
            time.sleep(60)

    child = os.fork()
    if child == 0:
        with before_each_call(act):
            case.run()
        os._exit(0)
    assert b"x" == os.read(reader, 1)
    try:
        for call in (case.run, lambda: recover(case.path), lambda: recover(case.folder, roll_back=True)):
            with pytest.raises(BlockingIOError, match="being written by another process; wait .*x.npy"):
                call()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reader)
        os.close(writer)
    assert ready is None
    case.run()
    case.is_finished()


# ---------------------------------------------------------------------------------------------------- faults


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
        try:
            attempt(failing)
        except OSError as error:
            assert number == error.errno
            assert str(case.folder) in str(error)
            assert ";" in error.strerror
        if case.path.read_bytes() == case.original:
            left = {item.name.rpartition("-")[2] for item in case.folder.iterdir()} - {case.path.name}
            assert left <= {"journal", "lock"}
        case.resume()
        case.is_finished()


def test_a_journal_that_finds_no_room_is_taken_away(folder, tmp_path):
    """A limit on the size of files (a full disk, for a process): the error says so, and nothing lies beside the file."""
    case = Case(folder)

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        try:
            case.run()
        except OSError as error:
            assert error.errno == errno.EFBIG
            assert "repeat the call" in str(error)
        else:
            os._exit(9)

    assert 0 == in_child(work)
    assert [case.path] == list(case.folder.iterdir())
    case.run()
    case.is_finished()


def test_a_new_file_that_finds_no_room_leaves_nothing(folder):
    """What cannot be written whole is not there at all, and neither are folders that were made for it."""
    case = Case(folder)

    def work():
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
        try:
            normalize_files(case.path, folder / "new" / "deep" / "z.npy", LAYER)
        except OSError as error:
            assert error.errno == errno.EFBIG
        else:
            os._exit(9)

    assert 0 == in_child(work)
    assert [case.path] == list(case.folder.iterdir())


def test_a_new_file_appears_whole_or_not_at_all(folder):
    """Killed before any line, the name of the result is not there, or holds all of it; the same call then completes."""
    case = Case(folder)
    new = case.folder / "new" / "z.npy"

    def run():
        normalize_files(case.path, new, LAYER, overwrite=True)

    total = lines_of(run)
    for line in range(1, total + 1):
        shutil.rmtree(new.parent)
        new.parent.mkdir()
        if line % 2:
            new.write_bytes(b"earlier")

        def work():
            with Lines(line, killed):
                run()

        in_child(work)
        assert (new.read_bytes() if new.exists() else None) in (b"earlier" if line % 2 else None, case.want)
        run()
        assert case.want == new.read_bytes()
        assert [new] == list(new.parent.iterdir())


# ------------------------------------------------------------------------------------------------ many files


@pytest.fixture
def many(folder):
    """Six files, the call that normalizes them, and what they shall hold."""
    paths = [folder / "set" / f"{number}.npy" for number in range(6)]
    paths[0].parent.mkdir()
    want = []
    for number, path in enumerate(paths):
        np.save(path, LAYER.transform(VALUES + number))
        want.append(path.read_bytes())
        np.save(path, VALUES + number)
    return paths, want


def test_a_call_over_many_files_goes_on_after_a_kill(many):
    """Killed in the middle of six files, the same call leaves the finished ones alone and completes the others."""
    paths, want = many
    originals = [path.read_bytes() for path in paths]
    total = lines_of(lambda: normalize_files(paths[0].parent, None, LAYER))
    assert want == [path.read_bytes() for path in paths]
    for line in range(1, total + 1, 41):
        for path, data in zip(paths, originals, strict=True):
            for item in path.parent.glob(f".{path.name}*"):
                shutil.rmtree(item) if item.is_dir() else item.unlink()
            path.write_bytes(data)

        def work():
            with Lines(line, killed):
                normalize_files(paths[0].parent, None, LAYER)

        in_child(work)
        if [path.read_bytes() for path in paths] != want:
            normalize_files(paths[0].parent, None, LAYER)
        else:
            recover(paths[0].parent)
        assert want == [path.read_bytes() for path in paths]


def test_a_second_call_over_finished_files_is_refused(many):
    """Where this layer has finished every file there is nothing to do, and that is said; a new file is normalized."""
    paths, want = many
    normalize_files(paths[:5], None, LAYER)
    with pytest.raises(ValueError, match=r"0.npy and .*1.npy and .*2.npy and 2 more is normalized already"):
        normalize_files(paths[:5], None, LAYER)
    normalize_files(paths, None, LAYER)
    assert want == [path.read_bytes() for path in paths]
    with pytest.raises(ValueError, match="one file at a time"):
        normalize_files(paths, None, LAYER, again=True)


def test_a_file_finished_by_another_layer_is_refused(folder):
    """Normalizing z-scores with other statistics is damage too, unless it is asked for."""
    case = Case(folder)
    case.run()
    other = Normalization().adapt(VALUES * 2)
    with pytest.raises(ValueError, match="is normalized already"):
        normalize_files(case.path, None, other)
    case.is_finished()
    normalize_files(case.path, None, other, again=True)
    assert np.array_equal(other.transform(LAYER.transform(VALUES)), np.load(case.path))


def test_there_and_back_and_there_again(folder):
    """The other direction is no second time: each call after the other does what it says, and is refused twice."""
    case = Case(folder)
    want = VALUES
    for inverse in (False, True, False):
        normalize_files(case.path, None, LAYER, inverse=inverse)
        want = LAYER.inverse_transform(want) if inverse else LAYER.transform(want)
        assert np.array_equal(want, np.load(case.path))
        with pytest.raises(ValueError, match="turned back already" if inverse else "normalized already"):
            normalize_files(case.path, None, LAYER, inverse=inverse)


def test_new_data_under_an_old_name_are_normalized(folder):
    """A finished file is known by its bytes: other ones under its name are not finished."""
    case = Case(folder)
    case.run()
    case.path.write_bytes(case.original)
    case.run()
    case.is_finished()


# ------------------------------------------------------------------------------------------------ checkpoints


@pytest.mark.parametrize("every", [0.0, 1e9])
def test_a_killed_scan_goes_on(many, every, monkeypatch):
    """Killed at any line, with any order of files, a scan with a checkpoint ends in the same bits."""
    paths, _ = many
    monkeypatch.setattr(_checkpoint, "EVERY", every)
    want = adapt_files(paths, threads=1).moments
    kept = paths[0].parent / "scan"
    rng = random.Random(2)

    def scan():
        return adapt_files(rng.sample(paths, 6), threads=1, checkpoint=kept).moments

    total = lines_of(scan)
    for line in range(1, total + 1, 29):
        kept.unlink(missing_ok=True)

        def work():
            with Lines(line, killed):
                scan()

        for _ in range(2):
            in_child(work)
        assert want == scan()
        assert not kept.exists()


def test_a_scan_goes_on_within_a_file(folder, monkeypatch):
    """Rows that were read before a kill are not read again, and files may have been added."""
    monkeypatch.setattr(_checkpoint, "EVERY", 0.0)
    np.save(folder / "b.npy", VALUES)
    kept = folder / "scan"
    seen = []
    read = Mapped.read

    def stop_at(limit):
        def spy(self, region):
            seen.append((Path(self.name).name, region[0].start))
            if len(seen) > limit:
                raise KeyboardInterrupt
            return read(self, region)

        return spy

    with monkeypatch.context() as patch:
        patch.setattr(Mapped, "read", stop_at(2))
        with pytest.raises(KeyboardInterrupt):
            adapt_files(folder / "b.npy", checkpoint=kept)
    assert [("b.npy", 0), ("b.npy", 10), ("b.npy", 20)] == seen
    seen.clear()
    np.save(folder / "a.npy", VALUES[:5] * 3)
    with monkeypatch.context() as patch:
        patch.setattr(Mapped, "read", stop_at(99))
        layer = adapt_files([folder / "a.npy", folder / "b.npy"], checkpoint=kept)
    assert [("b.npy", 20), ("b.npy", 30), ("a.npy", 0)] == seen
    assert Normalization().adapt(np.concatenate([VALUES, VALUES[:5] * 3])).moments == layer.moments


def stopped_scan(paths, kept):
    """A scan that is interrupted after two files."""

    def act(name, arguments):
        if name == "replace" and len(paths) > 2 and act.count > 12:
            raise KeyboardInterrupt
        act.count += name == "replace"

    act.count = 0
    with before_each_call(act), pytest.raises(KeyboardInterrupt):
        adapt_files(paths, checkpoint=kept)


def test_a_scan_does_not_go_on_with_other_data(many, monkeypatch):
    """A file that changed, or is gone from the list, and another question are errors that say what to do."""
    paths, _ = many
    monkeypatch.setattr(_checkpoint, "EVERY", 0.0)
    kept = paths[0].parent / "scan"
    stopped_scan(paths, kept)
    with pytest.raises(ValueError, match="0.npy was read by the scan of .*, but is not named now; name the same"):
        adapt_files(paths[1:], checkpoint=kept)
    with pytest.raises(ValueError, match="is the checkpoint of another scan .*; remove it to begin anew"):
        adapt_files(paths, axis=None, checkpoint=kept)
    np.save(paths[0], VALUES[1:])
    with pytest.raises(ValueError, match="0.npy has changed since .*scan was written; remove that to begin anew"):
        adapt_files(paths, checkpoint=kept)


def test_a_file_that_changes_while_it_is_read_is_an_error(folder, monkeypatch):
    """With a checkpoint, time and size are looked at before and after."""
    case = Case(folder)
    read = Mapped.read

    def spy(self, region):
        os.utime(case.path, ns=(1, region[0].start))
        return read(self, region)

    monkeypatch.setattr(Mapped, "read", spy)
    with pytest.raises(ValueError, match="x.npy was changed while it was read"):
        adapt_files(case.path, checkpoint=folder / "scan")


def test_a_checkpoint_that_cannot_be_written_is_an_error_at_once(folder):
    """Not after hours of reading."""
    case = Case(folder)
    with pytest.raises(FileNotFoundError, match="there is no such folder; make it first"):
        adapt_files(case.path, checkpoint=folder / "nowhere" / "scan")


def test_every_watched_call_exists():
    """The list of calls is what the code uses."""
    assert all(callable(getattr(owner, name)) for owner, name in CALLS)
