"""The laws of many files: a call over all of them, and a scan with a checkpoint, go on where they were stopped."""

import os
import random
from pathlib import Path

import numpy as np
import pytest
from crashes import before_each_call, plant, trees
from inplace import LAYER, VALUES, Case

from fastnorm import Normalization, adapt_files, normalize_files, recover
from fastnorm.files import _arrays, _checkpoint
from fastnorm.files.npy import Mapped


@pytest.fixture
def folder(in_memory):
    """A folder in memory: thousands of syncs."""
    return in_memory


@pytest.fixture(autouse=True)
def small_regions(monkeypatch):
    """Regions of 240 bytes: ten rows, four regions."""
    monkeypatch.setattr(_arrays, "REGION", 240)
    monkeypatch.setattr(_arrays, "VIEWED", 1)


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
