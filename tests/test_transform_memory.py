"""Laws of what a transform takes: no second array, and all or nothing at a Ctrl-C."""

import itertools
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc

import numpy as np
import pytest
import strategies as arrays
from places import DIRECTIONS, column_major, every_nth, generator, plainly, rows_apart
from processes import GUARD

from fastnorm import Normalization

# Memory

LARGE = 50_000 if arrays.UNJITTED else 64 << 20  # bytes
SCRATCH = 8 << 20  # far from the size of the data, enough for a tile of each worker


def peak(function, *arguments, **options):
    tracemalloc.start()
    try:
        function(*arguments, **options)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def large(place, dtype):
    rows = LARGE // 9 // np.dtype(dtype).itemsize
    values = np.resize(generator().standard_normal(9 * 997), (rows, 9)).astype(dtype)
    space = np.empty((rows + 8, 9 + 5), dtype)
    if place is every_nth:
        space = np.empty((2 * rows, 18), dtype)
        view = space[::2, ::2]
    else:
        view = place(space.reshape(-1).view(np.uint8), (rows, 9), np.dtype(dtype))
    view[...] = values
    return view


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("place", [plainly, column_major, rows_apart, every_nth])
@pytest.mark.parametrize("dtype", ["f4", "f2"])
def test_in_place_takes_no_second_array(place, dtype, direction):
    """Working in place, or into an array that is there, takes scratch memory for a tile alone."""
    x = large(place, dtype)
    layer = Normalization().adapt(x[:1000])
    apply = getattr(layer, direction)
    apply(x[:10], out=x[:10])
    assert peak(apply, x, out=x) < SCRATCH


@pytest.mark.parametrize("place", [plainly, rows_apart])
def test_another_layout_is_filled_without_a_copy(place):
    """Neither x nor out is copied when they lie differently in memory."""
    x = large(place, "f4")
    layer = Normalization().adapt(x[:1000])
    layer.transform(x[:10])
    out = np.empty(x.shape, "f4", order="F")
    assert peak(layer.transform, x, out=out) < SCRATCH
    assert peak(layer.transform, x) < x.nbytes + SCRATCH


# Ctrl-C


VICTIM = """
    import random, signal, sys, time
    import numpy as np
    from fastnorm import Normalization

    rows, layout = int(sys.argv[1]), sys.argv[2]
    base = np.resize(np.random.default_rng(0).normal(3, 2, 99_991), (rows, 9)).astype("f4")
    x = np.empty((rows, 9), "f4", order="F" if layout == "F" else "C")
    if layout == "rows apart":
        x = np.empty((2 * rows, 9), "f4")[::2]
    if layout == "every second":
        x = np.empty((2 * rows, 18), "f4")[::2, ::2]
    layer = Normalization().adapt(base)
    whole = layer.transform(base)
    x[...] = base
    start = time.perf_counter()
    layer.transform(x, out=x)
    print(time.perf_counter() - start, flush=True)
    while True:
        x[...] = base
        inside = raised = True
        try:
            sys.stdout.write("go\\n")
            sys.stdout.flush()
            layer.transform(x, out=x)
            inside = False
            for _ in range(2000):  # a worker thread may take the signal: it does not end a sleep
                time.sleep(0.01)
            raised = False
        except KeyboardInterrupt:
            pass
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        state = "whole" if (x == whole).all() else "untouched" if (x == base).all() else "half"
        print(state, inside, raised, flush=True)
        if sys.stdin.readline() == "stop\\n":
            break
        signal.signal(signal.SIGINT, signal.default_int_handler)
"""


@pytest.mark.parametrize("layout", ["C", "F", "rows apart", "every second"])
def test_ctrl_c_leaves_an_array_whole_or_untouched(layout):
    """A Ctrl-C at any moment is raised, but no transform in place is left half done."""
    rows = 2_000 if arrays.UNJITTED else 1_000_000
    command = [sys.executable, "-c", textwrap.dedent(VICTIM), str(rows), layout]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    hits = 0
    with subprocess.Popen(command, **pipes) as child:
        watchdog = threading.Timer(GUARD, child.kill)
        watchdog.start()
        try:
            duration = float(child.stdout.readline())
            for tries in itertools.count(1):
                assert child.stdout.readline() == "go\n"
                time.sleep(random.uniform(0, duration))
                child.send_signal(signal.SIGINT)
                state, inside, raised = child.stdout.readline().split()
                assert (state, raised) in [("whole", "True"), ("untouched", "True")]
                hits += (state, inside) == ("whole", "True")
                done = hits >= 4 or tries >= 60
                child.stdin.write("stop\n" if done else "again\n")
                child.stdin.flush()
                if done:
                    break
            assert child.wait(GUARD) == 0
        finally:
            watchdog.cancel()
            child.kill()
    assert hits, "no signal came during the transform"
