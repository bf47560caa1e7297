"""Code in a process of its own, for laws on exits, forks and settings."""

import os
import subprocess
import sys
import textwrap

GUARD = 60  # seconds until a hang becomes a failure; no law depends on it


def run_python(code, *arguments, cwd=None, environment=None, timeout=GUARD):
    """Run code that ends well and says nothing to stderr; return the words that it prints."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        check=False,
        cwd=cwd,
        env=os.environ if environment is None else environment,
        text=True,
        timeout=timeout,
    )
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout.split()
