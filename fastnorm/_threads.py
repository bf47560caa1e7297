"""The worker pool: sizes itself, survives fork, runs nested calls inline.

`share` sets the calling thread and a few pool threads to one collection of items. The caller can
always finish alone, so no call ever waits for a pool thread to be free.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal takes 20 times as long, for its enums
import os
import sys
import threading
from functools import cache
from operator import index, length_hint

TYPE_CHECKING = False  # the one in typing would add 12 ms to the import
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path
    from types import FrameType
    from typing import Any, TypeVar

    T = TypeVar("T")
    R = TypeVar("R")

__all__ = ["available", "count", "share", "shutdown_threads", "uninterrupted"]

_VARIABLE = "FASTNORM_NUM_THREADS"


def count(threads: int | None = None) -> int:
    """How many workers to use: `threads`, else FASTNORM_NUM_THREADS, else 1 in a task of Dask, else `available()`.

    Raises TypeError or ValueError unless it is a whole number of at least 1. An empty variable
    counts as unset; it is read at each call (1 µs).
    """
    if threads is not None:
        return _checked(threads)
    text = os.environ.get(_VARIABLE)
    return _parsed(text) if text else 1 if _is_task_of_dask() else available()


def _is_task_of_dask() -> bool:
    """Whether a worker of Dask runs this: on each of its threads a task, so that BLAS too has one thread there."""
    if (worker := sys.modules.get("distributed.worker")) is None:
        return False
    try:
        worker.get_worker()
    except (ValueError, AttributeError):  # there is none; or another thread is importing it
        return False
    return True


def _checked(threads: int) -> int:
    cure = "pass 1 or more, or None to use every CPU this process may run on"
    try:
        number = None if isinstance(threads, bool) else index(threads)
    except TypeError:
        number = None
    if number is None:
        got = f"{threads!r}, a {type(threads).__name__}"
        raise TypeError(f"threads is {got}, but must be a whole number; {cure}")
    if number < 1:
        raise ValueError(f"threads is {number}, but must be at least 1; {cure}")
    return number


def _parsed(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise ValueError(
            f"the environment variable {_VARIABLE} is {text!r}, but must be a whole number of at "
            "least 1; set it to one, or unset it to use every CPU this process may run on"
        )
    return number


@cache
def available(root: str = "/") -> int:
    """How many CPUs this process may use: its affinity within the cgroup quota below `root`."""
    return max(1, min([_affinity(), *_quotas(root)]))


def _affinity() -> int:
    if sys.version_info >= (3, 13):
        return os.process_cpu_count() or 1
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(root: str) -> Iterator[int]:
    """The CPU quotas of this process's cgroup and of every cgroup above it, rounded up."""
    from pathlib import Path

    for line in _read(Path(root, "proc/self/cgroup")).splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        if not controllers:  # version 2
            mounts, names = {"", "unified"}, ["cpu.max"]
        elif "cpu" in controllers.split(","):
            mounts, names = {"cpu", controllers}, ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
        else:
            continue
        # In a container the path is often the host's, and only the mount point itself exists.
        steps = [step for step in path.split("/") if step not in ("", "..")]
        for mount in mounts:
            for depth in range(len(steps) + 1):
                folder = Path(root, "sys/fs/cgroup", mount, *steps[:depth])
                yield from _quota(" ".join(_read(folder / name) for name in names))


def _quota(text: str) -> list[int]:
    try:
        microseconds, period = map(int, text.split())
    except ValueError:  # no such file, or "max": no limit
        return []
    return [-(-microseconds // period)] if microseconds > 0 and period > 0 else []


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def share(work: Callable[[Iterator[T]], R], items: Iterable[T], threads: int) -> list[R]:
    """Call `work(claimed)` in up to `threads` threads, this one among them, and list the results.

    Each item comes out of exactly one worker's `claimed`; `work` must take items until there are
    none. A thread that comes when the items have run out does not run `work` at all, so there may
    be fewer results than `threads`, in any order, but at least one. One thread, one item, or a call
    from inside `work` runs inline.

    When a worker raises, the hand-out stops, the others finish the item they have, and the first
    exception is raised here. A Ctrl-C does the same, between two items of the calling thread. Once
    `share` has returned or raised, no worker touches the data.
    """
    helpers = min(threads, length_hint(items, threads)) - 1
    if helpers < 1 or _here.working:
        return [work(iter(items))]
    job = _Job(work, items)
    with uninterrupted() as ctrl_c:
        try:
            _pool.invite(job, helpers)
            job.join_in(_deliver_between(job, ctrl_c))
        finally:
            results = job.finish()
        return results


def _deliver_between(claimed: Iterator[Any], ctrl_c: uninterrupted) -> Iterator[Any]:
    for item in claimed:
        yield item
        ctrl_c.deliver()


class _Here(threading.local):
    working = False


_here = _Here()


class _Job:
    """One call of `share`: the items nobody has claimed, and what came of the others.

    It counts its workers itself, for a Future will not do: `submit` may raise with the task queued
    and no Future returned, and a cancelled task holds on to the data until a thread is free.
    """

    def __init__(self, work: Callable[[Iterator[Any]], Any], items: Iterable[Any]) -> None:
        self._lock = threading.RLock()
        self._left = threading.Condition(self._lock)
        self._open = True
        self._work: Any = work
        self._items = iter(items)
        self._running = 0
        self._results: list[Any] = []
        self._failure: BaseException | None = None

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        with self._lock:
            for item in self._items:
                return item
            self._open = False
            raise StopIteration

    def join_in(self, claimed: Iterator[Any] | None = None) -> None:
        """Be one of the workers, unless nothing is left to do."""
        with self._lock:
            if not self._open:
                return
            self._running += 1
        _here.working = True
        try:
            self._results.append(self._work(self if claimed is None else claimed))
        except BaseException as error:
            self._fail(error)
        finally:
            _here.working = False
            with self._lock:
                self._running -= 1
                self._left.notify()

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            self._open, self._items = False, iter(())
            if self._failure is None or not isinstance(error, Exception):
                self._failure = error  # even as the second one: a Ctrl-C is never swallowed

    def finish(self) -> list[Any]:
        """Let nobody join any more, wait until all have left, return the results or raise."""
        with self._lock:
            self._open = False
            while self._running:
                try:
                    self._left.wait()
                except BaseException as error:  # from a signal's handler, SIGALRM's for one
                    self._fail(error)
            results, failure = self._results, self._failure
            # The pool may hold this job for a while yet, and must not hold the caller's data.
            self._work, self._items, self._results, self._failure = None, iter(()), [], None
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # its traceback holds this frame: a cycle, with the data in it
        return results


class _Pool:
    """The threads of this process, started on first use."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start afresh, as a forked child must: no thread lives there, and the lock may be held."""
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None
        self._size = 0

    def invite(self, job: _Job, helpers: int) -> None:
        """Ask as many threads to join in; those that are busy until the job is over never do."""
        try:
            from concurrent.futures import ThreadPoolExecutor  # 30 ms, for it imports logging

            with self._lock:
                if self._executor is None or self._size < helpers:
                    if self._executor is not None:
                        self._executor.shutdown(wait=False)  # it still does what it has queued
                    self._executor = ThreadPoolExecutor(helpers, thread_name_prefix="fastnorm")
                    self._size = helpers
                for _ in range(helpers):
                    self._executor.submit(job.join_in)
        except RuntimeError:  # no thread to be had: the system's limit, or the interpreter's end
            pass

    def shutdown(self) -> None:
        with self._lock:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=not _here.working)  # a worker would wait for itself


_pool = _Pool()


def shutdown_threads() -> None:
    """Stop the worker threads when their work is done; the next call that needs some starts anew.

    Worth calling before a fork: Python 3.12 and newer warn about one while threads live.
    """
    _pool.shutdown()


def _after_fork() -> None:
    _pool.forget()
    available.cache_clear()  # a server may pin its children to a CPU each


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class uninterrupted:
    """A block that Ctrl-C does not leave half done: the handler of SIGINT is called after it.

    Does nothing outside the main thread, or where the handler is not a Python callable.
    """

    def __init__(self) -> None:
        self._inside = True
        self._earlier: Callable[[int, FrameType | None], Any] | None = None
        self._caught: tuple[int, FrameType | None] | None = None

    def __enter__(self) -> uninterrupted:
        earlier = _signal.getsignal(_signal.SIGINT)
        if callable(earlier):
            self._earlier = earlier
            try:
                _signal.signal(_signal.SIGINT, self)
            except ValueError:  # not the main thread
                self._earlier = None
        return self

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """Be the handler of SIGINT, inside the block or where someone saved and restored it."""
        self._caught = signum, frame
        if not self._inside:
            self.deliver()

    def deliver(self) -> None:
        """Let a Ctrl-C that came in so far take effect now."""
        caught, self._caught = self._caught, None
        if caught is not None and self._earlier is not None:
            self._earlier(*caught)

    def __exit__(self, *_: object) -> None:
        if _signal.getsignal(_signal.SIGINT) is self:
            _signal.signal(_signal.SIGINT, self._earlier)
        self._inside = False
        self.deliver()
