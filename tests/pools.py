"""Callers, pools and work for the laws of threads."""

import itertools
import os
import signal
import sys
import threading
import time

from processes import GUARD

from fastnorm._threads import share, shutdown_threads


def stop_all_pools():
    shutdown_threads()
    for thread in pool_threads():  # those of a pool that has grown leave by themselves
        thread.join(GUARD)


def pool_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("fastnorm")]


def meet(parties):
    """Work that goes on only once that many workers are at it, and says which thread ran it."""
    barrier = threading.Barrier(parties)

    def work(claimed):
        barrier.wait(GUARD)
        return threading.get_ident(), list(claimed)

    return work


class Occupied:
    """A block during which `threads` pool threads are busy with another caller's items."""

    def __init__(self, threads):
        self.threads = threads
        self.all_in = threading.Barrier(threads + 2)
        self.go_home = threading.Event()

    def work(self, claimed):
        self.all_in.wait(GUARD)
        self.go_home.wait(GUARD)
        return len(list(claimed))

    def __enter__(self):
        many = range(self.threads + 1)
        self.caller = threading.Thread(target=share, args=(self.work, many, self.threads + 1))
        self.caller.start()
        self.all_in.wait(GUARD)
        return self

    def __exit__(self, *_):
        self.go_home.set()
        self.caller.join(GUARD)


class Endless:
    """Items without an end: only a stopped hand-out lets a worker finish."""

    def __len__(self):
        return sys.maxsize

    def __iter__(self):
        return itertools.count()

    def __contains__(self, item):
        return item in itertools.count()


def drain(claimed):
    deadline = time.monotonic() + GUARD
    for _ in claimed:
        assert time.monotonic() < deadline, "the hand-out never stopped"


def fail(*_):
    raise LookupError("as it should")


def ctrl_c():
    signal.raise_signal(signal.SIGINT)


def ctrl_c_from_another_thread():
    sender = threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT))
    sender.start()
    sender.join(GUARD)


def three_threads_meet(_=None):
    return sorted(item for _, items in share(meet(3), range(3), 3) for item in items)


def in_a_forked_child(check):
    child = os.fork()
    if not child:
        signal.alarm(GUARD)
        try:
            os._exit(0 if check() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
