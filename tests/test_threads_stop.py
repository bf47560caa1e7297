"""Laws of errors and Ctrl-C: nobody works on, no item is left half done."""

import gc
import itertools
import os
import random
import signal
import sys
import threading
import time

import pytest
from pools import Endless, ctrl_c, ctrl_c_from_another_thread, drain, fail, meet
from processes import GUARD

from fastnorm._threads import share, shutdown_threads, uninterrupted

pytestmark = pytest.mark.usefixtures("fresh_pool_and_handler")

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
