"""The Hypothesis profile: random everywhere, and every failure prints how to repeat it.

A fixed seed would test the same 100 arrays for ever; instead CI explores, and the printed
`@reproduce_failure` blob repeats a failure on any machine. FASTNORM_EXAMPLES raises the number.
"""

import faulthandler
import gc
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import pytest
from browser import CHROMIUM
from hypothesis import HealthCheck, settings
from pools import stop_all_pools
from processes import GUARD
from strategies import UNJITTED

import fastnorm._kernels.limbs  # noqa: F401  # few values are for the kernels, too, but in test_few
from fastnorm import _apply, _reduce

for room in (_apply, _reduce):  # small arrays are for threads, too
    room.LEAST, room.SMALL = 1 << 12, 1 << 15

pytest.register_assert_rewrite("checks", "places", "scores", "states")

collect_ignore = [] if CHROMIUM else ["test_page_browser.py"]

settings.register_profile(
    "fastnorm",
    deadline=None,  # the first example of a dtype pays for its compilation
    max_examples=int(os.environ.get("FASTNORM_EXAMPLES", "8" if UNJITTED else "100")),
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("fastnorm")


def pytest_configure(config):
    config.addinivalue_line("markers", "posix: about forks or permission bits, collected where a system has them")


def pytest_collection_modifyitems(items):
    """What a system does not have is no test there: it is not collected, instead of being skipped."""
    if os.name != "posix":
        items[:] = [item for item in items if item.get_closest_marker("posix") is None]


# A shell gives what it runs in the background an ignored SIGINT, which every child inherits: tests of Ctrl-C need it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def eager_threads():
    """Switch threads a thousand times as often, so that races show."""
    earlier = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(earlier)


@pytest.fixture
def fresh_pool_and_handler(monkeypatch):
    """No thread of earlier tests; a hang becomes a failure, and Ctrl-C works as before."""
    monkeypatch.delenv("FASTNORM_NUM_THREADS", raising=False)
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)  # Spark leaves one of its own
    stop_all_pools()
    faulthandler.dump_traceback_later(3 * GUARD, exit=True)  # rather than hang for ever
    yield
    faulthandler.cancel_dump_traceback_later()
    signal.signal(signal.SIGINT, earlier)
    stop_all_pools()


@pytest.fixture
def in_memory(tmp_path):
    """A folder in memory where there is one, for thousands of files and syncs."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    path = Path(tempfile.mkdtemp(dir=memory))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def no_old_garbage():
    """Objects of other tests are not looked at by the collector, which a law of many small steps calls often."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
