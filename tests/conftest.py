"""The Hypothesis profile: random everywhere, and every failure prints how to repeat it.

A fixed seed would test the same 100 arrays for ever; instead CI explores, and the printed
`@reproduce_failure` blob repeats a failure on any machine. FASTNORM_EXAMPLES raises the number.
"""

import os
import signal

from browser import CHROMIUM
from hypothesis import HealthCheck, settings
from strategies import UNJITTED

collect_ignore = [] if CHROMIUM else ["test_page_browser.py"]

settings.register_profile(
    "fastnorm",
    deadline=None,  # the first example of a dtype pays for its compilation
    max_examples=int(os.environ.get("FASTNORM_EXAMPLES", "8" if UNJITTED else "100")),
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("fastnorm")

# A shell gives what it runs in the background an ignored SIGINT, which every child inherits: tests of Ctrl-C need it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
