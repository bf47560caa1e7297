"""The laws of "nothing is lost": whatever kills a run, the same call ends in the bytes of an undisturbed one.

FASTNORM_KILLS raises the number of kills at random moments.
"""

import errno
import os
import random
import signal
from itertools import product

import numpy as np
import pytest
from crashes import Disk, Lines, before_each_call, error_of, interrupt, picks, plant, trees
from inplace import NAMES, STORES, Case, content, read, write
from nursery import Nursery

from fastnorm import Normalization, normalize_files, recover
from fastnorm.files import _arrays
from fastnorm.files.npy import Mapped
from fastnorm.files.zarr import ZarrArray

KILLS = int(os.environ.get("FASTNORM_KILLS", "120"))
LARGE = np.random.default_rng(1).normal(size=(8000, 4)).astype(np.float32)

pytestmark = pytest.mark.usefixtures("no_old_garbage")


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


@pytest.mark.parametrize("case", ["C", "F", "raw", "hdf5", "zarr"], indirect=True)
def test_a_kill_at_any_line_is_made_good_by_the_same_call(case):
    """SIGKILL before each single line of fastnorm/files: what it leaves is what a copy made at that moment holds."""
    moments = trees(case.folder, case.run)
    case.is_finished()
    assert len(moments) > 20
    for moment in moments[random.randrange(3) :: 3] if case.kind in STORES else moments:
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


@pytest.mark.parametrize("case", ["C", "F", "raw", "hdf5"], indirect=True)
def test_recover_completes_from_the_journal_alone(case):
    """Killed anywhere, `recover` of the folder leaves the file as it was, or as it shall be, and no journal."""
    for moment in trees(case.folder, case.run):
        plant(case.folder, moment)
        found = recover(case.folder)
        assert found in ([], [str(case.path)])
        assert content(case.path) in ((case.want,) if found else (case.want, case.original))
        assert [] == recover(case.folder)
        case.resume()
        case.is_finished()


@pytest.mark.parametrize("case", ["C", "F", "raw", "zarr 2"], indirect=True)
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
            assert case.original == content(case.path)
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
            assert case.original == content(case.path)
        else:
            case.resume()
            case.is_finished()


DAMAGE = {  # of one of the two chunks of a region
    "old": lambda old, new: old,
    "gone": lambda old, new: None,
    "empty": lambda old, new: b"",
    "cut": lambda old, new: new[: len(new) // 2],
    "zeros": lambda old, new: new[: len(new) // 2] + bytes(len(new) - len(new) // 2),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("roll_back", [False, True])
@pytest.mark.parametrize("case", STORES, indirect=True)
def test_a_torn_chunk_is_completed_or_brought_back(case, damage, roll_back, monkeypatch):
    """A region of a store of which one chunk is new, and the other whatever a kill or a power cut leaves."""
    real = ZarrArray.write

    def write(self, region, values):
        name = self.array.metadata.encode_chunk_key((region[0].start // self.chunks[0], 0))
        chunk = case.path / name
        old = chunk.read_bytes()
        real(self, region, values)
        left = DAMAGE[damage](old, chunk.read_bytes())
        chunk.unlink() if left is None else chunk.write_bytes(left)
        chunk.with_name(f"{chunk.name}.half.partial").write_bytes(b"half")
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(ZarrArray, "write", write)
        assert "Input/output error" in str(error_of(case.run))
    if roll_back:
        assert [str(case.path)] == recover(case.path, roll_back=True)
        assert case.original == content(case.path)
    case.resume()
    case.is_finished()


@pytest.mark.parametrize("case", ["zarr 2"], indirect=True)
def test_a_power_cut_is_made_good_in_a_store(case):
    """Names of chunks come and go, and what they hold may be lost: one state by chance for each moment."""
    disk = Disk(case.folder)
    with before_each_call(disk.watch):
        case.run()
    assert len(disk.moments) > 20
    for number, moment in enumerate(disk.moments):
        *_, by_chance = picks(1, number)
        disk.left_by(moment, by_chance)
        case.resume()
        assert case.want == content(case.path)


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
            assert case.want == content(case.path)


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
                assert case.want == content(case.path)


@pytest.fixture(scope="module")
def nursery(tmp_path_factory):
    """Children with regions of 16 kB."""
    layer, path = Normalization(threads=1).adapt(LARGE), tmp_path_factory.mktemp("nursery") / "layer.json"
    layer.save(path)
    with Nursery(path, 1 << 14) as found:
        found.layer = layer
        yield found


@pytest.mark.parametrize("kind", NAMES)
def test_kills_at_random_moments_are_made_good(kind, folder, nursery):
    """A process killed again and again at random, until one of its successors ends well."""
    rng = random.Random()
    here = folder / "data"
    here.mkdir()
    path = here / NAMES[kind]
    raw = ("float32", (-1, 4)) if kind == "raw" else None
    write(path, kind, nursery.layer.transform(LARGE))
    want = content(path)
    write(path, kind, LARGE)
    status, length = nursery.run(path, raw)
    assert (0, want) == (status, content(path))

    kills = 0
    while kills < KILLS // len(NAMES):
        (here / f".{path.name}.fastnorm-done").unlink()
        write(path, kind, LARGE)
        status, longest = -signal.SIGKILL, length / 2
        while status == -signal.SIGKILL:
            status, _ = nursery.run(path, raw, rng.random() * longest)
            kills += status == -signal.SIGKILL
            longest *= 1.1  # on a busy machine a run may take longer than it did, and would never end
        if status == 1:  # it was killed after its end
            with pytest.raises(ValueError, match="is normalized already"):
                normalize_files(path, None, nursery.layer, raw=raw)
        np.testing.assert_array_equal(nursery.layer.transform(LARGE), read(path, kind))
        assert want == content(path)
        assert {path.name, f".{path.name}.fastnorm-done"} == {item.name for item in here.iterdir()}
