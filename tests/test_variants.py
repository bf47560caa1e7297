"""Equal bits from every way to build the kernels, each in a process of its own."""

import os
import subprocess
import sys

import pytest

DIGESTS = """
import hashlib
import sys
import numpy as np
from fastnorm import Moments, Normalization, _few

_few.without_kernels = lambda values: len(sys.argv) > 1
rng = np.random.default_rng(0)
normal = rng.standard_normal((200, 5))
cases = {
    "normal": normal,
    "offset": 1e9 + normal,
    "wide": np.exp(3 * normal) * np.array([1, 1e-300, 1e300, 5e-324, -1]),
    "missing": np.where(rng.random(normal.shape) < 0.1, np.nan, normal),
    "zeros": np.where(rng.random(normal.shape) < 0.5, 0, normal),
    "narrow": normal.astype(np.float32),
    "half": normal.astype(np.float16),
    "bytes": (normal * 40 + 100).astype(np.uint8),
    "long": (normal * 2.0**60).astype(np.int64),
    "columns": np.asfortranarray(normal),
}
for name, x in cases.items():
    moments = Moments.of(x).to_bytes() + Moments.of(x, weights=np.arange(200) / 7).to_bytes()
    z = Normalization().adapt(x).transform(x)
    print(name, hashlib.sha256(moments).hexdigest(), hashlib.sha256(np.ascontiguousarray(z).tobytes()).hexdigest())
many = Moments.of(rng.standard_normal((3, 300)))
for name in ("mean", "mean_low", "variance", "std"):
    print(name, hashlib.sha256(getattr(many, name).tobytes()).hexdigest())
"""

VARIANTS = {
    "interpreted": {"NUMBA_DISABLE_JIT": "1"},
    "bounds checked": {"NUMBA_BOUNDSCHECK": "1"},
    "a generic processor": {"NUMBA_CPU_NAME": "generic"},
    "not optimised": {"NUMBA_OPT": "0", "FASTNORM_CACHE": "0"},
}


def digests(*arguments, **environment):
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "FASTNORM_"))}
    done = subprocess.run(
        [sys.executable, "-c", DIGESTS, *arguments],
        capture_output=True,
        check=False,
        env=ours | environment,
        text=True,
        timeout=600,
    )
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def expected():
    """The digests of the kernels as they are built for this processor, and lie in the cache."""
    return digests()


@pytest.mark.parametrize("name", VARIANTS)
def test_every_build_of_the_kernels_gives_the_same_bits(name, expected, tmp_path):
    """Moments and z-scores are equal to the last bit, jitted or not, on any processor."""
    assert expected == digests(**{"FASTNORM_CACHE": str(tmp_path)} | VARIANTS[name])


def test_few_values_without_kernels_give_the_same_bits(expected):
    """What Python and NumPy do in their place, before they are loaded, is the same to the last bit."""
    assert expected == digests("few")
