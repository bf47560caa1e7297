"""Laws of layers in many threads and processes."""

import functools
import pickle
import sys
import threading

import numpy as np
import pytest
import strategies as arrays
from layers import WHOLE, generator, table
from processes import GUARD, run_python

from fastnorm import Normalization

# Threads and processes


@pytest.fixture
def eager_threads():
    """Switch threads a thousand times as often, so that races show."""
    earlier = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(earlier)


def in_threads(*functions):
    """Run all at once and raise the first error of any."""
    start, failures = threading.Barrier(len(functions)), []

    def run(function):
        try:
            start.wait(GUARD)
            function()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(f,), daemon=True) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(GUARD)
        assert not thread.is_alive(), "a thread hangs"
    for error in failures:
        raise error


@pytest.mark.parametrize("dtypes", [("f8",), ("f4", "f8"), ("f8", "i8", "f4", "f2")], ids=str)
@pytest.mark.parametrize("before", [0, 5])
def test_updates_from_many_threads_lose_nothing(eager_threads, dtypes, before):
    """Whatever the order, in the end each row has been added once, and forgotten ones are gone."""
    layer = Normalization()
    if before:
        layer.adapt(table(before))
    batches = [
        [(10 * table(1 + i % 3, seed=100 * t + i)).astype(dtypes[i % len(dtypes)]) for i in range(30)] for t in range(6)
    ]

    def learn(mine):
        for i, batch in enumerate(mine):
            layer.update(batch)
            if i % 7 == 6:
                layer.forget(mine[i - 3])
            elif i % 5 == 4:
                layer.merge(Normalization().adapt(mine[i - 3]))

    def look():
        for _ in range(20):
            if before:
                assert layer.transform(WHOLE).shape == (12, 3)
                assert np.isfinite(layer.mean).all()
                pickle.dumps(layer)

    in_threads(*(functools.partial(learn, mine) for mine in batches), look)
    expected = Normalization()
    if before:
        expected.adapt(table(before))
    for mine in batches:
        for i, batch in enumerate(mine):
            expected.update(batch)
            if i % 7 == 6:
                expected.forget(mine[i - 3])
            elif i % 5 == 4:
                expected.update(mine[i - 3])
    assert expected.moments == layer.moments
    assert expected.transform(WHOLE).tobytes() == layer.transform(WHOLE).tobytes()


def test_transforms_from_many_threads_do_not_meet(eager_threads):
    """One layer serves many threads at once, each with its own data, in place or not."""
    rows = 50 if arrays.UNJITTED else 20_000
    x = generator().normal(3, 2, (rows, 5))
    layer = Normalization().adapt(x)
    whole = layer.transform(x)

    def serve(seed):
        for i in range(8):
            rows = generator(seed + i).integers(0, len(x), 1 + 500 * (i % 3) if i % 4 else len(x))
            mine = x[rows]
            np.testing.assert_array_equal(whole[rows], layer.transform(mine))
            layer.transform(mine, out=mine)
            np.testing.assert_array_equal(whole[rows], mine)

    in_threads(*(functools.partial(serve, 100 * t) for t in range(6)))


def test_a_result_comes_from_one_state(eager_threads):
    """A transform while another thread adapts gives the old or the new result, never a mixture."""
    data = [np.array([[0.0, 0.0], [2.0, 2.0]]), np.array([[10.0, 10.0], [30.0, 30.0]])]
    layer = Normalization().adapt(data[0])
    valid = [Normalization().adapt(x).transform([[4.0, 4.0]]).tolist() for x in data]
    done = threading.Event()

    def learn():
        try:
            for i in range(200):
                layer.adapt(data[i % 2])
        finally:
            done.set()

    def use():
        while not done.is_set():
            assert layer.transform([[4.0, 4.0]]).tolist() in valid
            row = np.array([[4.0, 4.0]])
            layer.transform(row, out=row)
            assert row.tolist() in valid

    in_threads(learn, use, use)


FORKS = """
    import os, signal, threading, time
    import numpy as np
    from fastnorm import Moments, Normalization

    rows, width = {rows}, {width}
    x = np.random.default_rng(0).normal(3, 2, (rows, width))
    layer = Normalization(threads=2).adapt(x)
    expected = layer.transform(x)
    stop = threading.Event()

    def keep_learning():
        while not stop.is_set():
            busy.update(x, weights=np.ones(rows))

    busy = Normalization(threads=2).adapt(x).update(x, weights=np.ones(rows)).update(x)
    busy.moments  # all is compiled: numba itself does not survive a fork while it compiles
    thread = threading.Thread(target=keep_learning, daemon=True)
    if {busy}:
        thread.start()
    for _ in range({forks}):
        time.sleep(0.003)
        child = os.fork()
        if not child:
            signal.alarm(5)  # a deadlock ends by this signal
            good = (layer.transform(x) == expected).all()
            good &= layer.update(x).moments == Moments.of(x) + Moments.of(x)
            seen = busy.moments.rows
            good &= busy.update(x).moments.rows == seen + rows
            os._exit(0 if good else 1)
        status = os.waitpid(child, 0)[1]
        print(status)
        if status:
            break
    stop.set()
"""


@pytest.mark.posix
@pytest.mark.parametrize("busy", [False, True])
def test_a_layer_works_on_after_a_fork(busy):
    """A forked child goes on with a layer, even with one that was learning at that moment."""
    rows, width = (20, 30) if arrays.UNJITTED else (600, 1000)
    forks = 10 if busy else 2
    code = FORKS.format(rows=rows, width=width, busy=busy, forks=forks)
    assert ["0"] * forks == run_python(code)
