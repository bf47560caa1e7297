"""The laws of fastnorm._threads, with real threads, forks, signals and files."""

import faulthandler
import gc
import itertools
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import GUARD, run_python

from fastnorm import _threads
from fastnorm._threads import available, count, share, shutdown_threads, uninterrupted

FREE_THREADED = not getattr(sys, "_is_gil_enabled", lambda: True)()
VARIABLE = "FASTNORM_NUM_THREADS"


@pytest.fixture
def eager_threads():
    """Switch threads a thousand times as often, so that races show."""
    earlier = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(earlier)


@pytest.fixture(autouse=True)
def fresh_pool_and_handler(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    earlier = signal.getsignal(signal.SIGINT)
    stop_all_pools()
    faulthandler.dump_traceback_later(3 * GUARD, exit=True)  # rather than hang for ever
    yield
    faulthandler.cancel_dump_traceback_later()
    signal.signal(signal.SIGINT, earlier)
    stop_all_pools()


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


# count


@pytest.mark.parametrize("variable", ["3", "nonsense"])
def test_an_explicit_number_of_threads_wins(monkeypatch, variable):
    """The variable is not even looked at when the caller says a number."""
    monkeypatch.setenv(VARIABLE, variable)
    assert 5 == count(5)


def test_the_variable_wins_over_the_machine_at_each_call(monkeypatch):
    """Setting FASTNORM_NUM_THREADS takes effect at once, and so does unsetting it."""
    for number in (available() + 1, available() + 2):
        monkeypatch.setenv(VARIABLE, str(number))
        assert number == count()
    monkeypatch.setenv(VARIABLE, "")
    assert available() == count()
    monkeypatch.delenv(VARIABLE)
    assert available() == count()


@pytest.mark.parametrize("text", ["0", "-2", "two", "2.5", " "])
def test_a_bad_variable_is_named_with_its_value(monkeypatch, text):
    """The error says which variable, what it holds, what it must be and how to cure it."""
    monkeypatch.setenv(VARIABLE, text)
    words = f"{VARIABLE} is {text!r}, but must be a whole number of at least 1; .*unset it"
    with pytest.raises(ValueError, match=words):
        count()


@pytest.mark.parametrize("number", [0, -1])
def test_fewer_than_one_thread_is_an_error(number):
    """The error says what was got, what is wanted and the cure."""
    with pytest.raises(ValueError, match=f"threads is {number}, .* at least 1; pass 1 or more"):
        count(number)


@pytest.mark.parametrize("thing", [True, False, 2.0, "2", [2]])
def test_threads_is_a_whole_number(thing):
    """A bool, a float, a text or a list is no number of threads, and the error shows it."""
    kind = type(thing).__name__
    with pytest.raises(TypeError, match=rf"threads is .*, a {kind}, .* whole number; pass 1"):
        count(thing)


def test_the_machine_gives_no_more_than_the_affinity_mask():
    """A process pinned to one CPU uses one worker, whatever the machine has."""
    code = """
        import os
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
            from fastnorm._threads import count
            print(count())
        else:
            print(1)
    """
    assert ["1"] == run_python(code)
    assert 1 <= available() <= os.cpu_count()


V1 = "5:cpuset:/else\n4:cpu,cpuacct:/a/b\n0::/ignored\n"
V2 = "0::/a/b\n"


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, errors="surrogateescape")


def quota_files(folder, quota, period=100_000):
    return {
        f"{folder}/cpu.cfs_quota_us": f"{quota}\n",
        f"{folder}/cpu.cfs_period_us": f"{period}\n",
    }


@pytest.mark.parametrize(
    ("own", "files", "cpus"),
    [
        (V2, {"a/b/cpu.max": "200000 100000\n"}, 2),
        (V2, {"a/b/cpu.max": "200001 100000\n"}, 3),
        (V2, {"a/b/cpu.max": "1000 100000\n"}, 1),
        (V2, {"a/b/cpu.max": "75000 50000\n"}, 2),
        (V2, {"a/b/cpu.max": "max 100000\n"}, None),
        (V2, {"a/b/cpu.max": "700000 100000\n", "a/cpu.max": "300000 100000\n"}, 3),
        (V2, {"a/b/cpu.max": "300000 100000\n", "a/cpu.max": "700000 100000\n"}, 3),
        (V2, {"a/b/cpu.max": "max 100000\n", "cpu.max": "500000 100000\n"}, 5),
        (V2, {"a/c/cpu.max": "100000 100000\n"}, None),
        (V2, {"unified/a/cpu.max": "400000 100000\n"}, 4),
        ("0::/\n", {"cpu.max": "400000 100000\n"}, 4),
        ("0::/../../a\n", {"a/cpu.max": "400000 100000\n"}, 4),
        ("0::/host/pod7\n", {"cpu.max": "600000 100000\n"}, 6),
        (V1, quota_files("cpu/a/b", 250_000), 3),
        (V1, quota_files("cpu,cpuacct/a/b", 250_000), 3),
        (V1, quota_files("cpu/a/b", -1) | quota_files("cpu/a", 400_000), 4),
        (V1, quota_files("cpu", 400_000, 200_000), 2),
        (V1, quota_files("cpu/a/b", -1), None),
        (V1, quota_files("cpu/else", 100_000), None),
        (V1, quota_files("cpuset/else", 100_000), None),
        (V2, {"a/b/cpu.max": "nonsense\n"}, None),
        (V2, {"a/b/cpu.max": "100000 0\n"}, None),
        (V2, {"a/b/cpu.max": "\udcff\udcfe"}, None),
        ("nonsense\n\n", {}, None),
        (V1 + V2, {}, None),
    ],
)
def test_the_smallest_quota_on_the_way_up_counts(tmp_path, own, files, cpus):
    """Both versions of the files are read, from the own group up; an unreadable one is no limit."""
    write(tmp_path / "proc/self/cgroup", own)
    for name, text in files.items():
        write(tmp_path / "sys/fs/cgroup" / name, text)
    free = available(str(tmp_path / "nothing"))
    assert cpus == min(_threads._quotas(str(tmp_path)), default=None)
    assert min(free, cpus or free) == available(str(tmp_path))


def test_import_stays_light():
    """Importing the room loads neither numpy nor the slow half of the standard library."""
    code = """
        import sys
        from fastnorm import _threads
        print(*{"numpy", "numba", "logging", "concurrent.futures", "signal"} & set(sys.modules))
    """
    assert [] == run_python(code)


# share


@given(items=st.lists(st.integers()), threads=st.integers(1, 7))
def test_every_item_is_handed_out_exactly_once(items, threads):
    """The claimed items of all workers together are the items, for any number of threads."""
    results = share(list, items, threads)
    assert sorted(items) == sorted(itertools.chain.from_iterable(results))
    assert 1 <= len(results) <= max(1, min(threads, len(items)))


@pytest.mark.usefixtures("eager_threads")
def test_claims_from_many_threads_never_collide():
    """A hundred thousand claims by eight workers hand out each number once."""

    class Numbers:
        def __len__(self):
            return 100_000

        def __iter__(self):  # a generator: entered by two threads at once it fails
            for number in range(100_000):
                yield abs(number)

    results = share(list, Numbers(), 8)
    assert list(range(100_000)) == sorted(itertools.chain.from_iterable(results))


@pytest.mark.parametrize("threads", [2, 5, 3])
def test_the_caller_and_the_pool_work_at_the_same_time(threads):
    """As many different threads as asked for meet in `work`, the calling one among them."""
    share(list, range(2), 2)  # a smaller pool is there already: it grows
    idents = [ident for ident, _ in share(meet(threads), range(threads), threads)]
    assert threads == len(set(idents))
    assert threading.get_ident() in idents


@pytest.mark.parametrize(("items", "threads"), [(range(100), 1), ([7], 8), ([], 8)])
def test_little_work_starts_no_thread(items, threads):
    """One thread, one item or none runs in the caller, and no pool comes to be."""
    (result,) = share(meet(1), items, threads)
    assert (threading.get_ident(), list(items)) == result
    assert [] == pool_threads()


def test_a_call_inside_work_runs_inline():
    """In the caller and in the pool's threads alike, a nested call asks for no more threads."""
    inner = meet(1)
    outer = meet(3)

    def work(claimed):
        ident, _ = outer(claimed)
        return [(ident, list(range(9)))] == share(inner, range(9), 9)

    assert [True] * 3 == share(work, range(3), 3)
    assert 2 == len(pool_threads())
    assert 3 == len(share(meet(3), range(3), 3)), "afterwards the caller has helpers again"


def test_a_busy_pool_leaves_the_caller_to_itself():
    """When every pool thread is busy the caller does all items alone, at once."""
    with Occupied(2):
        assert [(threading.get_ident(), list(range(9)))] == share(meet(1), range(9), 3)


def test_a_thread_that_finds_no_item_left_does_not_work():
    """Who comes while the last items are being finished is not even counted."""

    def work(claimed):
        items = list(claimed)
        occupied.go_home.set()
        # The pool's only thread gets to this call by way of ours.
        other = threading.Thread(target=share, args=(meet(2), range(2), 2))
        other.start()
        other.join(GUARD)
        return items

    with Occupied(1) as occupied:
        assert [[0, 1]] == share(work, range(2), 2)


def test_a_worker_that_came_too_late_holds_no_data():
    """What a busy pool never got round to keeps neither the work nor items nor results alive."""

    class Data:
        def work(self, claimed):
            return [self, *claimed]

        def __len__(self):
            return 3

        def __iter__(self):
            return map(self.__getattribute__, ["__len__"] * 3)

    with Occupied(2):
        data = Data()
        share(data.work, data, 3)
        alive = weakref.ref(data)
        del data
        gc.collect()
        assert alive() is None


@pytest.mark.usefixtures("eager_threads")
def test_workers_that_left_hold_no_data():
    """Once `share` has returned, no thread of the pool holds on to what it worked on."""

    class Data:
        def work(self, claimed):
            barrier.wait(GUARD)
            return [self, *claimed]

    for _ in range(200):
        barrier = threading.Barrier(3)
        data = Data()
        share(data.work, [data, data, data], 3)
        alive = weakref.ref(data)
        del data
        if FREE_THREADED:  # where another thread's last reference is counted later
            gc.collect()
        assert alive() is None


def test_many_callers_at_once_all_get_their_own_items():
    """Sixteen threads that share nested work for a while neither hang nor mix their items."""

    def inner(claimed):
        return sum(share(sum, list(claimed), 4))

    def caller(number):
        for size in range(20):
            items = [number * 1000 + item for item in range(size)]
            ok.append(sum(items) == sum(share(inner, items, 1 + size % 5)))

    ok = []
    callers = [threading.Thread(target=caller, args=(number,)) for number in range(16)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join(GUARD)
    assert [True] * 320 == ok


def test_callers_survive_a_pool_that_is_shut_down_under_them():
    """Shutting down and growing the pool again and again changes no result of running calls."""

    def caller():
        while not done.is_set():
            ok.append(45 == sum(share(sum, range(10), random.randint(2, 6))))

    ok = []
    done = threading.Event()
    callers = [threading.Thread(target=caller) for _ in range(4)]
    for thread in callers:
        thread.start()
    for _ in range(100):
        shutdown_threads()
    done.set()
    for thread in callers:
        thread.join(GUARD)
    assert {True} == set(ok)


def test_without_any_thread_to_be_had_the_caller_works_alone():
    """A system that refuses new threads costs speed, not the result."""
    shutdown_threads()
    usual = threading.stack_size(2**55)  # no machine has the room
    try:
        with pytest.raises(RuntimeError):
            threading.Thread(target=print).start()
        assert [45] == share(sum, range(10), 4)
    finally:
        threading.stack_size(usual)
    shutdown_threads()
    assert 3 == len(share(meet(3), range(3), 3))


def test_the_interpreters_last_breath_is_no_error():
    """In an atexit function, where no thread can start any more, the caller works alone."""
    code = """
        import atexit
        from fastnorm._threads import share
        atexit.register(lambda: print(sum(share(sum, range(10), 4))))
        share(sum, range({}), 4)
    """
    for items in (0, 10):  # without and with a pool before
        assert ["45"] == run_python(code.format(items))


# what a worker raises


@pytest.mark.parametrize("guilty", ["caller", "pool thread"])
def test_an_error_in_one_worker_stops_all_and_is_raised(guilty):
    """Whoever raises, the others are handed no further item, and the caller gets the error."""
    me = threading.get_ident()
    barrier = threading.Barrier(3)

    def work(claimed):
        barrier.wait(GUARD)
        mine = (threading.get_ident() == me) == (guilty == "caller")
        if mine and raised_once.acquire(blocking=False):
            next(claimed)
            raise LookupError("three")
        drain(claimed)

    raised_once = threading.Lock()
    with pytest.raises(LookupError, match="three"):
        share(work, Endless(), 3)
    assert 3 == len(share(meet(3), range(3), 3)), "the pool works on"


@pytest.mark.parametrize(("second", "raised"), [(OSError, LookupError), (KeyboardInterrupt, KeyboardInterrupt)])
def test_the_first_of_several_errors_is_raised(second, raised):
    """An error raised while another one is on its way does not replace it, but Ctrl-C does."""
    me = threading.get_ident()
    barrier = threading.Barrier(2)

    def work(claimed):
        barrier.wait(GUARD)
        if threading.get_ident() != me:
            raise LookupError
        drain(claimed)  # ends when the first error has stopped the hand-out
        raise second

    with pytest.raises(raised):
        share(work, Endless(), 2)


def test_an_error_in_the_items_themselves_is_raised():
    """Items that fail half-way stop every worker."""

    class Broken(Endless):
        def __iter__(self):
            yield from range(10)
            raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        share(drain, Broken(), 3)


def test_an_error_lets_go_of_the_data():
    """After the error is dropped the data are free, without the garbage collector's help."""

    class Data(list):
        pass

    def attempt():
        data = Data()
        with pytest.raises(LookupError):
            share(lambda claimed: fail(data, claimed), range(9), 3)

    gc.collect()
    gc.disable()
    try:
        attempt()
        shutdown_threads()
        gc.set_debug(gc.DEBUG_SAVEALL)  # keeps what only the collector could free
        gc.collect()
        assert [] == [thing for thing in gc.garbage if isinstance(thing, Data)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def fail(*_):
    raise LookupError("as it should")


class Slow:
    """Work whose pool thread is still busy with its item when the caller's worker stops."""

    def __init__(self, stop):
        self.me = threading.get_ident()
        self.stop = stop
        self.stopping = threading.Event()
        self.inside = threading.Barrier(2)
        self.finished = False

    def __call__(self, claimed):
        if threading.get_ident() == self.me:
            next(claimed)
            self.inside.wait(GUARD)
            self.stopping.set()
            self.stop()
            drain(claimed)
        else:
            next(claimed)
            self.inside.wait(GUARD)
            self.stopping.wait(GUARD)
            for _ in range(300_000):  # long enough that who does not wait is caught
                pass
            self.finished = True
            drain(claimed)


def test_nobody_works_on_after_an_error():
    """The error is raised only when the last worker has put its item down."""
    work = Slow(fail)
    with pytest.raises(LookupError, match="as it should"):
        share(work, Endless(), 2)
    assert work.finished


def ctrl_c():
    signal.raise_signal(signal.SIGINT)


def ctrl_c_from_another_thread():
    sender = threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGINT))
    sender.start()
    sender.join(GUARD)


@pytest.mark.parametrize("press", [ctrl_c, ctrl_c_from_another_thread])
def test_ctrl_c_stops_the_hand_out_and_nobody_works_on(press):
    """The interrupt is raised in the caller once every worker has put its item down."""
    work = Slow(press)
    with pytest.raises(KeyboardInterrupt) as caught:
        share(work, Endless(), 2)
    assert caught.value.__context__ is None, "and no error came before it"
    assert work.finished
    assert signal.default_int_handler is signal.getsignal(signal.SIGINT)
    assert 3 == len(share(meet(3), range(3), 3)), "the pool works on"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_caller_waits_lets_the_last_worker_finish(number):
    """Whatever handler raises while the caller waits for a pool thread, the caller waits on."""
    me = threading.get_ident()
    barrier = threading.Barrier(2)
    finished = []

    def raising(signum, frame):
        raise InterruptedError(signum)

    def caller_waits():
        frame, names = sys._current_frames()[me], set()
        while frame:
            names.add(frame.f_code.co_name)
            frame = frame.f_back
        return {"finish", "wait"} <= names

    def work(claimed):
        next(claimed)
        barrier.wait(GUARD)
        if threading.get_ident() != me:
            deadline = time.monotonic() + GUARD
            while not caller_waits():
                assert time.monotonic() < deadline
            os.kill(os.getpid(), number)
            for _ in range(300_000):
                pass
            finished.append(True)

    earlier = signal.signal(number, raising)
    try:
        with pytest.raises(InterruptedError):
            share(work, range(2), 2)
    finally:
        signal.signal(number, earlier)
    assert [True] == finished


@pytest.mark.usefixtures("eager_threads")
def test_ctrl_c_at_any_moment_leaves_no_item_half_done():
    """Wherever the interrupt strikes, every item handed out is finished when `share` raises."""

    def handler(signum, frame):
        nonlocal armed
        if armed:
            armed = False
            raise InterruptedError

    def work(claimed):
        for item in claimed:
            begun.append(item)
            started.set()
            for _ in range(100):
                pass
            finished.append(item)

    def press():
        while started.wait(GUARD) and not over:
            started.clear()
            for _ in range(random.randrange(3000)):
                pass
            os.kill(os.getpid(), signal.SIGINT)

    started, over, armed = threading.Event(), False, False
    signal.signal(signal.SIGINT, handler)
    presser = threading.Thread(target=press)
    presser.start()
    for _ in range(200):
        begun, finished = [], []
        try:
            armed = True
            share(work, range(100), 3)
            armed = False
        except InterruptedError:
            pass
        assert sorted(begun) == sorted(finished)
    over = True
    started.set()
    presser.join(GUARD)


def test_a_handler_that_does_not_raise_costs_no_item():
    """A program that only notes Ctrl-C gets all its results, and its note."""
    notes = []
    signal.signal(signal.SIGINT, lambda *call: notes.append(call[0]))

    def work(claimed):
        items = [next(claimed)]
        barrier.wait(GUARD)
        if threading.get_ident() == me:
            ctrl_c()
        return items + list(claimed)

    me = threading.get_ident()
    barrier = threading.Barrier(2)
    results = share(work, range(100), 2)
    assert list(range(100)) == sorted(itertools.chain.from_iterable(results))
    assert [signal.SIGINT] == notes


# fork


def three_threads_meet(_=None):
    return sorted(item for _, items in share(meet(3), range(3), 3) for item in items)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_makes_its_own_pool():
    """After a fork out of a used pool, the child's calls have helpers again, to a normal exit."""
    code = """
        import os, signal, sys, threading
        from fastnorm._threads import share, shutdown_threads

        def meet(claimed):
            barrier.wait(60)
            return list(claimed)

        for generation in range(3):
            barrier = threading.Barrier(3)
            assert 3 == len(share(meet, range(3), 3))
            child = os.fork()
            if child:
                sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            signal.alarm(60)
        barrier = threading.Barrier(3)
        assert 3 == len(share(meet, range(3), 3))
        shutdown_threads()
        print("grandchild")
    """
    assert ["grandchild"] == run_python(code)


def in_a_forked_child(check):
    child = os.fork()
    if not child:
        signal.alarm(GUARD)
        try:
            os._exit(0 if check() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_in_the_midst_of_others_work_is_safe():
    """Neither a busy pool nor a lock that another thread holds reaches the child."""
    three_threads_meet()
    held, release = threading.Event(), threading.Event()

    def hold():
        with _threads._pool._lock:
            held.set()
            release.wait(GUARD)

    with Occupied(2):
        holder = threading.Thread(target=hold)
        holder.start()
        held.wait(GUARD)
        try:
            assert 0 == in_a_forked_child(lambda: [0, 1, 2] == three_threads_meet())
        finally:
            release.set()
            holder.join(GUARD)
    assert [0, 1, 2] == three_threads_meet(), "and the parent's pool is as it was"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_from_a_worker_thread_is_safe():
    """A child forked by a pool thread inside `work` runs nested calls inline, as its parent did."""

    def work(claimed):
        _, items = outer(claimed)
        return [in_a_forked_child(lambda: [3] == share(sum, range(3), 3)) for _ in items]

    outer = meet(2)
    assert [0] * 4 == list(itertools.chain.from_iterable(share(work, range(4), 2)))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_multiprocessing_children_make_their_own_pool():
    """The workers of a forking process pool, as DataLoader's, share work after the parent did."""
    three_threads_meet()
    with multiprocessing.get_context("fork").Pool(2) as processes:
        assert [[0, 1, 2]] * 4 == processes.map_async(three_threads_meet, range(4)).get(GUARD)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_counts_its_cpus_itself(tmp_path):
    """A child that moved to another cgroup or CPU mask after the fork sees its own limits."""
    write(tmp_path / "proc/self/cgroup", V2)
    before = available(str(tmp_path))
    write(tmp_path / "sys/fs/cgroup/cpu.max", "100000 100000")
    assert before == available(str(tmp_path)), "counted once"
    assert 0 == in_a_forked_child(lambda: available(str(tmp_path)) == 1)


# shutdown_threads


def test_shutdown_threads_leaves_none_and_the_next_call_starts_anew():
    """No thread of the pool lives after the call, twice is fine, and sharing goes on."""
    for _ in range(2):
        assert [0, 1, 2] == three_threads_meet()
        assert 2 == len(pool_threads())
        shutdown_threads()
        shutdown_threads()
        assert [] == pool_threads()


def test_shutdown_threads_inside_work_does_not_wait_for_itself():
    """A worker may stop the pool it runs in; the job is still done."""

    def work(claimed):
        barrier.wait(GUARD)
        if threading.get_ident() != me:
            shutdown_threads()
        return len(list(claimed))

    me = threading.get_ident()
    barrier = threading.Barrier(3)
    assert 9 == sum(share(work, range(9), 3))
    assert [0, 1, 2] == three_threads_meet()


# uninterrupted


def test_ctrl_c_waits_for_the_end_of_the_block():
    """The interrupt comes after the last statement of the block, once, not in the midst."""
    steps = []

    def block():
        with uninterrupted():
            ctrl_c()
            ctrl_c_from_another_thread()
            steps.append("last statement")
        steps.append("after the block")

    with pytest.raises(KeyboardInterrupt):
        block()
    assert ["last statement"] == steps
    assert signal.default_int_handler is signal.getsignal(signal.SIGINT)


def test_ctrl_c_is_delivered_when_the_block_raises():
    """The interrupt is raised with the block's own error as its context."""

    def block():
        with uninterrupted():
            ctrl_c()
            fail()

    with pytest.raises(KeyboardInterrupt) as caught:
        block()
    assert LookupError is type(caught.value.__context__)


def test_the_earlier_handler_gets_the_signal_and_its_frame():
    """A handler of the program's own is called once, as Python would have called it."""
    calls = []
    signal.signal(signal.SIGINT, lambda signum, frame: calls.append((signum, frame)))
    with uninterrupted():
        ctrl_c()
        ctrl_c()
        assert [] == calls
    ((signum, frame),) = calls
    assert signal.SIGINT == signum
    assert frame.f_code.co_name == "ctrl_c"


def test_without_ctrl_c_a_block_leaves_no_trace():
    """The handler is the earlier one again, after a block that ended or raised."""
    with uninterrupted():
        pass
    with pytest.raises(LookupError), uninterrupted():
        fail()
    assert signal.default_int_handler is signal.getsignal(signal.SIGINT)


def test_nested_blocks_deliver_after_the_outermost():
    """Neither the end of an inner block nor a hand-out inside the outer one is interrupted."""
    me = threading.get_ident()
    steps = []

    def work(claimed):
        if threading.get_ident() == me:
            ctrl_c()
        return list(claimed)

    def block():
        with uninterrupted():
            with uninterrupted():
                ctrl_c()
            steps.append("inner block")
            steps.append(sorted(itertools.chain.from_iterable(share(work, range(9), 2))))

    with pytest.raises(KeyboardInterrupt):
        block()
    assert ["inner block", list(range(9))] == steps


def test_in_other_threads_a_block_does_nothing():
    """Only the main thread handles signals: elsewhere the handler stays as it is."""

    def block():
        with uninterrupted():
            seen.append(signal.getsignal(signal.SIGINT))

    seen = []
    thread = threading.Thread(target=block)
    thread.start()
    thread.join(GUARD)
    assert [signal.default_int_handler] == seen


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
def test_a_handler_that_is_not_pythons_stays(handler):
    """Where Ctrl-C is ignored or kills the process, it does so inside the block too."""
    signal.signal(signal.SIGINT, handler)
    with uninterrupted():
        assert handler is signal.getsignal(signal.SIGINT)
    assert handler is signal.getsignal(signal.SIGINT)


def test_a_handler_set_inside_the_block_stays():
    """The end of the block puts nothing back over a handler that the block itself has set."""

    def mine(signum, frame):
        pass

    def block():
        with uninterrupted():
            ctrl_c()
            signal.signal(signal.SIGINT, mine)

    with pytest.raises(KeyboardInterrupt):
        block()
    assert mine is signal.getsignal(signal.SIGINT)


def test_a_handler_saved_inside_the_block_and_put_back_later_still_works():
    """Who saves the handler inside and restores it outside gets the earlier one's effect."""
    with uninterrupted():
        saved = signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGINT, saved)
    with pytest.raises(KeyboardInterrupt):
        ctrl_c()
