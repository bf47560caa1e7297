"""The laws of share: every item once, the caller and the pool together."""

import gc
import itertools
import random
import sys
import threading
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pools import Occupied, meet, pool_threads, three_threads_meet
from processes import GUARD, run_python

from fastnorm._threads import share, shutdown_threads

pytestmark = pytest.mark.usefixtures("fresh_pool_and_handler")

FREE_THREADED = not getattr(sys, "_is_gil_enabled", lambda: True)()


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
