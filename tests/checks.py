"""Equality of moments: with the oracle, and with each other."""

import naive
import numpy as np

COUNTS = ("count", "missing", "posinf", "neginf")
VALUES = ("weight", "mean", "variance", "std", "mean_low")


def assert_exact(moments, expected):
    """Every field has the bits of the oracle and the shape of the kept axes."""
    assert moments.rows == expected.rows
    for name in COUNTS:
        assert_field(moments, name, expected.counts(name))
    for name in ("weight", "mean", "variance", "mean_low"):
        assert_field(moments, name, expected.array(name))
    assert_field(moments, "std", expected.array("variance", naive.nearest_sqrt))


def assert_field(moments, name, expected):
    field = getattr(moments, name)
    assert np.shape(field) == np.shape(expected), name
    assert np.asarray(field).dtype.kind == expected.dtype.kind, name
    np.testing.assert_array_equal(field, expected, err_msg=name)


def assert_same(left, right):
    """Two Moments are one value: equal, with one hash and one sequence of bytes."""
    assert left == right
    assert hash(left) == hash(right)
    assert left.to_bytes() == right.to_bytes()


def generator(seed=20):
    return np.random.default_rng(seed)
