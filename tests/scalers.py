"""Data for scalers, and comparisons of what they say and do."""

import numpy as np

STATISTICS = ("mean_", "var_", "scale_", "n_samples_seen_")


def normal(shape=(50, 4), dtype="float64", seed=0, missing=0.0):
    rng = np.random.default_rng(seed)
    x = (3 * rng.standard_normal(shape) + 5).astype(dtype)
    x[rng.random(shape) < missing] = np.nan
    return x


def bits(scaler, *arrays):
    """Everything that a scaler learned and makes of some arrays, as bytes."""
    learned = [np.asarray(getattr(scaler, name), np.float64) for name in STATISTICS]
    return [(a.dtype, a.tobytes()) for a in (*learned, *(scaler.transform(x) for x in arrays))]


def assert_alike(ours, theirs, x, rtol=1e-9):
    """Both scalers say and do the same, up to rounding."""
    for name in STATISTICS:
        mine, other = getattr(ours, name), getattr(theirs, name)
        assert (mine is None) == (other is None)
        if other is not None:
            np.testing.assert_allclose(mine, other, rtol=rtol, atol=rtol)
    for verb in ("transform", "inverse_transform"):
        mine, other = getattr(ours, verb)(x), getattr(theirs, verb)(x)
        assert (type(other), other.dtype, other.shape) == (type(mine), mine.dtype, mine.shape)
        rounding = 4 * float(np.finfo(other.dtype).eps)
        np.testing.assert_allclose(mine, other, rtol=max(rtol, 20 * rounding), atol=max(rtol, 20 * rounding))
