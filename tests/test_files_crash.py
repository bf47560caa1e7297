"""The laws of "nothing is lost": whatever stops a run, the same call ends in the bytes of an undisturbed one.

FASTNORM_KILLS raises the number of kills at random moments.
"""

import errno
import os
import random
import resource
import shutil
import signal
import tempfile
import time
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from crashes import Disk, Lines, before_each_call, error_of, forked, in_child, interrupt, killed, picks, plant, trees

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
        folder.mkdir()
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
        error = error_of(self.run)
        assert error is None or "is normalized already" in str(error)

    def is_finished(self):
        assert self.want == self.path.read_bytes()
        assert {self.path.name, f".{self.path.name}.fastnorm-done"} == {item.name for item in self.folder.iterdir()}


@pytest.fixture(params=KINDS)
def case(request, folder):
    return Case(folder / "data", request.param)


def test_a_kill_at_any_line_is_made_good_by_the_same_call(case):
    """SIGKILL before each single line of fastnorm/files: what it leaves is what a copy made at that moment holds."""
    moments = trees(case.folder, case.run)
    case.is_finished()
    assert len(moments) > 20
    for moment in moments:
        plant(case.folder, moment)
        case.resume()
        case.is_finished()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a lock file closed by its collection
def test_ctrl_c_at_any_line_is_made_good_by_the_same_call(folder):
    """KeyboardInterrupt at a line (every fifth, others each time): the same call, in the same process, completes."""
    case = Case(folder / "data")
    with Lines(lambda number: None) as lines:
        case.run()
    for line in range(random.randrange(1, 6), lines.count + 1, 5):
        case.reset()
        with pytest.raises(KeyboardInterrupt), Lines(interrupt(line)):
            case.run()
        case.resume()
        case.is_finished()


def test_recover_completes_from_the_journal_alone(case):
    """Killed anywhere, `recover` of the folder leaves the file as it was, or as it shall be, and no journal."""
    for moment in trees(case.folder, case.run):
        plant(case.folder, moment)
        found = recover(case.folder)
        assert found in ([], [str(case.path)])
        assert case.path.read_bytes() in ((case.want,) if found else (case.want, case.original))
        assert [] == recover(case.folder)
        case.resume()
        case.is_finished()


def test_a_roll_back_brings_back_the_file_or_refuses(case):
    """While one region at most has changed, every byte comes back and nothing is left beside the file."""
    answers = set()
    for moment in trees(case.folder, case.run):
        plant(case.folder, moment)
        begun = (case.folder / f".{case.path.name}.fastnorm-journal" / "plan").exists()
        error = error_of(lambda: recover(case.path, roll_back=True))
        if error is not None:
            assert "cannot be brought back" in str(error)
            assert [str(case.path)] == recover(case.path)
            case.is_finished()
        elif begun:
            assert case.original == case.path.read_bytes()
            assert [case.path] == list(case.folder.iterdir())
        assert [] == recover(case.path)
        answers.add("refused" if error else "back" if begun else "nothing")
    assert {"refused", "back", "nothing"} == answers


@pytest.mark.parametrize("roll_back", [False, True])
def test_a_kill_of_the_recovery_is_made_good_as_well(roll_back, case, monkeypatch):
    """A run that ends in a region, then `recover` killed at each of its lines: the same call completes."""

    def write(self, region, values):
        self.array[region][:5] = values[:5]
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(Mapped, "write", write)
        assert isinstance(error_of(case.run), OSError)
    for moment in trees(case.folder, lambda: recover(case.path, roll_back=roll_back)):
        plant(case.folder, moment)
        case.resume()
        case.is_finished()


def test_a_torn_region_is_completed_or_brought_back(case, monkeypatch):
    """A write that ends in the middle of a region, in any region, any number of bytes in."""
    rng = random.Random(3)

    def torn_at(region):
        written = []

        def write(self, part, values):
            old = np.array(self.array[part])
            now, new = (np.ravel(item, order=self.order).view(np.uint8) for item in (old, values))
            cut = rng.randrange(now.size) if len(written) == region else now.size
            now = np.concatenate([new[:cut], now[cut:]]).view(old.dtype)
            self.array[part] = now.reshape(old.shape, order=self.order)
            written.append(part)
            if cut < now.nbytes:
                raise OSError(errno.EIO, "Input/output error")

        return write

    for region, roll_back in product(range(4), (False, True)):
        case.reset()
        with monkeypatch.context() as patch:
            patch.setattr(Mapped, "write", torn_at(region))
            assert "Input/output error; check the disk, then repeat the call: " in str(error_of(case.run))
        if roll_back and region == 0:
            assert [str(case.path)] == recover(case.path, roll_back=True)
            assert case.original == case.path.read_bytes()
        else:
            case.resume()
            case.is_finished()


@pytest.mark.parametrize("seed", range(3))
def test_a_power_cut_at_any_moment_is_made_good(case, seed):
    """What was not synced is lost, kept or torn, name by name and word by word; the same call completes it."""
    disk = Disk(case.folder)
    with before_each_call(disk.watch):
        case.run()
    assert len(disk.moments) > 20
    for number, moment in enumerate(disk.moments):
        for pick in picks(4, (seed << 16) + number):
            disk.left_by(moment, pick)
            case.resume()
            assert case.want == case.path.read_bytes()


def test_a_power_cut_after_a_kill_is_made_good(case):
    """A killed run, whose unsynced bytes its successor finds in memory, and then a power cut at any of its moments."""
    first = Disk(case.folder)
    with before_each_call(first.watch):
        case.run()
    for number, moment in enumerate(first.moments):
        second = first.after_kill(moment)
        with before_each_call(second.watch):
            case.resume()
        for later in random.Random(number).sample(second.moments, min(3, len(second.moments))):
            for pick in picks(1, number):
                second.left_by(later, pick)
                case.resume()
                assert case.want == case.path.read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_kills_at_random_moments_are_made_good(kind, folder, monkeypatch):
    """A process killed again and again at random, until one of its successors ends well."""
    monkeypatch.setattr(_arrays, "REGION", 1 << 17)
    rng = random.Random()
    values = np.random.default_rng(1).normal(size=(60_000, 4)).astype(np.float32)
    layer = Normalization(threads=1).adapt(values)
    path = folder / ("x.bin" if kind == "raw" else "x.npy")
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
        (folder / f".{path.name}.fastnorm-done").unlink()
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
        assert {path.name, f".{path.name}.fastnorm-done"} == {item.name for item in folder.iterdir()}


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
        assert "get the permission to write there, or name another place" in str(error)

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
    """Killed anywhere in six files, the same call leaves the finished ones alone and completes the others."""
    paths, want = many
    folder = paths[0].parent
    moments = trees(folder, lambda: normalize_files(folder, None, LAYER))
    assert want == [path.read_bytes() for path in paths]
    for moment in moments[:: len(moments) // 12]:
        plant(folder, moment)
        unfinished = recover(folder) if want == [path.read_bytes() for path in paths] else True
        if unfinished is True:
            normalize_files(folder, None, LAYER)
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
    case = Case(folder / "data")
    case.run()
    other = Normalization().adapt(VALUES * 2)
    with pytest.raises(ValueError, match="is normalized already"):
        normalize_files(case.path, None, other)
    case.is_finished()
    normalize_files(case.path, None, other, again=True)
    assert np.array_equal(other.transform(LAYER.transform(VALUES)), np.load(case.path))


def test_there_and_back_and_there_again(folder):
    """The other direction is no second time: each call after the other does what it says, and is refused twice."""
    case = Case(folder / "data")
    want = VALUES
    for inverse in (False, True, False):
        normalize_files(case.path, None, LAYER, inverse=inverse)
        want = LAYER.inverse_transform(want) if inverse else LAYER.transform(want)
        assert np.array_equal(want, np.load(case.path))
        with pytest.raises(ValueError, match="turned back already" if inverse else "normalized already"):
            normalize_files(case.path, None, LAYER, inverse=inverse)


def test_new_data_under_an_old_name_are_normalized(folder):
    """A finished file is known by its bytes: other ones under its name are not finished."""
    case = Case(folder / "data")
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
    kept = paths[0].parent.parent / "kept"
    kept.mkdir()
    rng = random.Random(2)

    def scan():
        return adapt_files(rng.sample(paths, 6), threads=1, checkpoint=kept / "scan").moments

    moments = trees(kept, scan)
    assert len(moments) > (20 if every == 0 else 2)
    for moment in moments:
        plant(kept, moment)
        assert want == scan()
        assert not (kept / "scan").exists()


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
    with pytest.raises(ValueError, match=r"0.npy was read by the scan of .*, but is not named now; name the same"):
        adapt_files(paths[1:], checkpoint=kept)
    with pytest.raises(ValueError, match=r"is the checkpoint of another scan .*; remove it to begin anew"):
        adapt_files(paths, axis=None, checkpoint=kept)
    np.save(paths[0], VALUES[1:])
    with pytest.raises(ValueError, match=r"0.npy has changed since .*scan was written; remove that to begin anew"):
        adapt_files(paths, checkpoint=kept)


def test_a_file_that_changes_while_it_is_read_is_an_error(folder, monkeypatch):
    """With a checkpoint, time and size are looked at before and after."""
    case = Case(folder / "data")
    read = Mapped.read

    def spy(self, region):
        os.utime(case.path, ns=(1, region[0].start))
        return read(self, region)

    monkeypatch.setattr(Mapped, "read", spy)
    with pytest.raises(ValueError, match=r"x.npy was changed while it was read"):
        adapt_files(case.path, checkpoint=folder / "scan")


def test_a_checkpoint_that_cannot_be_written_is_an_error_at_once(folder):
    """Not after hours of reading."""
    case = Case(folder / "data")
    with pytest.raises(FileNotFoundError, match="there is no such folder; make it first"):
        adapt_files(case.path, checkpoint=folder / "nowhere" / "scan")
