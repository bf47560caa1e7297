"""Laws of forked children: each has a pool of its own."""

import itertools
import multiprocessing
import threading

import pytest
from pools import Occupied, in_a_forked_child, meet, three_threads_meet
from processes import GUARD, run_python

from fastnorm import _threads
from fastnorm._threads import share

pytestmark = pytest.mark.usefixtures("fresh_pool_and_handler")


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
