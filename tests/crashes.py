"""Ways to stop a program: at a line, at a call, by the system, and what a power cut leaves of its files."""

import os
import random
import shutil
import signal
import sys
import threading
import time
import traceback
import warnings
from contextlib import contextmanager
from pathlib import Path

import fastnorm
from fastnorm.files.npy import Mapped
from fastnorm.files.zarr import ZarrArray

WATCHED = tuple(str(Path(fastnorm.__file__).parent / name) for name in ("files", "state.py", "_disk.py"))


class Lines:
    """Calls ``act(number)`` before each line that runs of what works on files."""

    def __init__(self, act):
        self.count, self.act = 0, act

    def __enter__(self):
        self._before = sys.gettrace()
        sys.settrace(self._frame)
        return self

    def __exit__(self, *error):
        sys.settrace(self._before)

    def _frame(self, frame, _event, _argument):
        return self._line if frame.f_code.co_filename.startswith(WATCHED) else None

    def _line(self, _frame, event, _argument):
        if event == "line":
            self.count += 1
            self.act(self.count)
        return self._line


def tree(root):
    """The folders (None) and files below a folder, with what they hold."""
    while True:
        items = sorted(root.rglob("*"))
        try:
            return {item.relative_to(root): None if item.is_dir() else item.read_bytes() for item in items}
        except FileNotFoundError:  # a thread of Zarr's renamed it in between
            continue


def plant(root, found):
    """Make a folder what `tree` saw."""
    shutil.rmtree(root)
    root.mkdir()
    for name, data in found.items():
        if data is None:
            (root / name).mkdir()
        else:
            (root / name).write_bytes(data)


def trees(root, work):
    """What a kill would leave of a folder, for a kill before each line of `work`: each state once, in order."""
    found = [tree(root)]

    def look(number):
        if (now := tree(root)) != found[-1]:
            found.append(now)

    with Lines(look):
        work()
    look(0)
    return found


def interrupt(line):
    """An action for `Lines`: Ctrl-C at a line."""

    def act(number):
        if number == line:
            raise KeyboardInterrupt

    return act


def error_of(call):
    """What a call raises, or None."""
    try:
        call()
    except Exception as error:
        return error
    return None


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def forked(work):
    """The number of a process that does `work` and ends."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads: fastnorm's survive it
        child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)


def in_child(work, delay=None):
    """Do `work` in another process, killed after `delay` seconds if that is given; its exit status."""
    child = forked(work)
    if delay is not None:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


#: What changes names on a disk or waits for it.
CALLS = [(os, name) for name in ("fsync", "replace", "rename", "unlink", "mkdir", "rmdir", "posix_fallocate")]
CALLS += [(Mapped, "write"), (Mapped, "sync"), (ZarrArray, "write")]


@contextmanager
def before_each_call(act):
    """Call ``act(name, arguments)`` before each call that changes the disk."""
    saved = [(owner, name, getattr(owner, name)) for owner, name in CALLS]

    def watched(name, call):
        def run(*arguments, **options):
            act(name, arguments)
            return call(*arguments, **options)

        return run

    for owner, name, call in saved:
        setattr(owner, name, watched(name, call))
    try:
        yield
    finally:
        for owner, name, call in saved:
            setattr(owner, name, call)


class _Inode:
    """The bytes of a file: what programs see, and what is surely on the disk."""

    def __init__(self, durable):
        self.durable = self.now = durable


class Disk:
    """A folder, of which each file and each name is on the disk only when it was synced (the harshest POSIX allows).

    `moments` are all states that a power cut could meet: call `left_by` to have the folder as it would be afterwards.
    """

    def __init__(self, root):
        self.root, self.moments, self._live, self._names = root, [], {}, {}
        self._lock = threading.Lock()  # chunks of a store are written in threads
        self._look()
        for inode in self._live.values():
            inode.durable = inode.now
        self._names = {folder: dict(names) for folder, names in self._seen.items()}

    def _look(self):
        """Take in what programs see now."""
        live, self._seen = {}, {}
        for folder, folders, files in os.walk(self.root):
            names = self._seen[os.path.relpath(folder, self.root)] = dict.fromkeys(folders)
            for name in files:
                path = Path(folder, name)
                inode = self._live.get(path.stat().st_ino) or _Inode(b"")
                inode.now = path.read_bytes()
                live[path.stat().st_ino] = names[name] = inode
        self._live = live

    def watch(self, name, arguments):
        """Note the moment before a call; let the call sync what it syncs."""
        with self._lock:
            self._watch(name, arguments)

    def _watch(self, name, arguments):
        self._look()
        data = {inode: (inode.durable, inode.now) for inode in self._inodes()}
        names = {
            folder: (dict(self._names.get(folder, {})), dict(self._seen.get(folder, {})))
            for folder in {*self._names, *self._seen}
        }
        self.moments.append((names, data))
        if name == "fsync":
            self._synced(os.fstat(arguments[0]).st_ino)
        elif name == "sync":
            self._synced(Path(arguments[0].name).stat().st_ino)

    def _inodes(self):
        tables = [*self._names.values(), *self._seen.values()]
        return {inode for names in tables for inode in names.values() if inode is not None}

    def _synced(self, number):
        if number in self._live:
            self._live[number].durable = self._live[number].now
        for folder, names in self._seen.items():
            if (self.root / folder).stat().st_ino == number:
                self._names[folder] = dict(names)

    def left_by(self, moment, pick):
        """Make the folder what a power cut leaves: ``pick(unsynced, seen)`` says which part of each got to the disk."""
        names, data = moment
        shutil.rmtree(self.root)
        self.root.mkdir()
        for folder in sorted(names, key=len):
            if not (self.root / folder).is_dir():
                continue
            durable, seen = names[folder]
            for name in sorted({*durable, *seen}):
                entry = pick(*(table.get(name, "gone") for table in (durable, seen)))
                if entry is None:
                    (self.root / folder / name).mkdir()
                elif entry != "gone":
                    (self.root / folder / name).write_bytes(torn(*data[entry], pick))

    def after_kill(self, moment):
        """The folder as programs saw it at a moment, of which the disk has what it had."""
        self.left_by(moment, lambda durable, now: now)
        names, data = moment
        disk = Disk(self.root)
        twins = {inode: _Inode(durable) for inode, (durable, _) in data.items()}
        for folder, (_, seen) in names.items():
            for name, inode in seen.items():
                if inode is not None:
                    twins[inode] = disk._seen[folder][name]
                    twins[inode].durable = data[inode][0]
        disk._names = {
            folder: {name: inode and twins[inode] for name, inode in durable.items()}
            for folder, (durable, _) in names.items()
        }
        return disk


def torn(durable, now, pick):
    """Bytes of which some got to the disk and some did not."""
    size = len(pick(durable, now))
    both = [part.ljust(size, b"\0") for part in (durable, now)]
    return b"".join(pick(*(part[first : first + 8] for part in both)) for first in range(0, size, 8))[:size]


def picks(rounds, seed):
    """Only what was synced; all that was written; and by chance."""
    chance = random.Random(seed)
    yield lambda durable, now: durable
    yield lambda durable, now: now
    for _ in range(rounds):
        yield lambda durable, now: chance.choice((durable, now))
