"""Laws of few values in a process that has not loaded the kernels: exact all the same, and numba is not asked."""

import naive
import numpy as np
import pytest
import strategies as arrays
from checks import assert_exact, assert_same
from hypothesis import assume, given
from processes import run_python

from fastnorm import BatchNormalization, Moments, Normalization, _few

SMALL = """
import sys

class Guard:
    def find_spec(self, name, path=None, target=None):
        if name in ("numba", "llvmlite") and here:
            raise AssertionError(f"{name} is not needed for a small table")

here = sys.meta_path.insert(0, Guard()) is None
import numpy as np
from fastnorm import Moments, Normalization, _few

x = np.random.default_rng(0).standard_normal((500, 9))
layer = Normalization().adapt(x)
layer.save(sys.argv[1])
again = Normalization.load(sys.argv[1])
z = again.transform(x)
print(layer.mean.tobytes() == again.mean.tobytes(), np.abs(again.inverse_transform(z) - x).max() < 1e-12)
print((layer + again).moments == Moments.of(np.concatenate([x, x])), again.transform(x[:1]).tobytes() == z[0].tobytes())
here = False
for _ in range(_few.BUDGET // x.size):
    Moments.of(x)
print("numba" in sys.modules)
"""


@pytest.fixture(autouse=True, scope="module")
def _kernels_are_not_asked():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_few, "without_kernels", lambda values: True)
        yield


@given(arrays.cases())
def test_moments_are_exact(case):
    """Any dtype and layout, NaN and infinities."""
    x, axis = case
    assert_exact(Moments.of(x, axis=axis), naive.moments(x, axis))


@given(arrays.cases())
def test_sums_come_and_go(case):
    """What is added and removed leaves what was there."""
    x, axis = case
    moments = Moments.of(x, axis=axis)
    assert_same(moments, moments + moments - moments)
    assert_exact(
        moments + moments, naive.moments(np.stack([x, x]), [a - x.ndim for a in naive.kept_axes(axis, x.ndim)])
    )


@pytest.mark.parametrize("affine", [False, True])
@given(case=arrays.cases())
def test_scores_are_those_of_the_kernels(affine, case):
    """Forward and back, to the last bit."""
    x, axis = case
    assume(x.size)
    layer = Normalization(axis, affine=affine, inf="omit").adapt(x)
    if affine:
        layer.gamma = np.linspace(0.5, 2, layer.mean.size).reshape(layer.mean.shape)
        layer.beta = 3 - layer.gamma
    z = layer.transform(x)
    back = layer.inverse_transform(z)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_few, "without_kernels", lambda values: False)
        assert layer.transform(x).tobytes() == z.tobytes()
        assert layer.inverse_transform(z).tobytes() == back.tobytes()


def test_a_gamma_without_beta_counts():
    """A layer that scales and does not shift."""
    x = np.array([[1.0, 2], [3, 5], [8, 9]])
    layer, plain = BatchNormalization(center=False), BatchNormalization(center=False)
    plain(x, training=True), layer(x, training=True)
    layer.gamma = [8.0, 64.0]
    assert (8 * plain(x)[:, 0]).tobytes() == layer(x)[:, 0].tobytes()
    assert (64 * plain(x)[:, 1]).tobytes() == layer(x)[:, 1].tobytes()


def test_a_small_table_does_not_load_numba(tmp_path):
    """Adapt, transform, save, load, merge; until there were so many values that kernels are worth it."""
    assert ["True"] * 5 == run_python(SMALL, str(tmp_path / "state.json"))
