"""Laws of transform: exact z-scores to the last place."""

import naive
import numpy as np
import pytest
import strategies as arrays
from hypothesis import given
from hypothesis import strategies as st
from places import assert_same_bits, generator
from scores import FEW, assert_z_scores, by_far, by_float, by_magnitude, check_z_scores, shapes

from fastnorm import Normalization


@by_magnitude
@by_float
@FEW
@given(shapes, arrays.seeds, arrays.missing)
def test_z_scores_of_floats_are_exact(magnitude, dtype, shape, seed, missing):
    """Data of any magnitude get their true z-scores, to the last place of the dtype."""
    check_z_scores(arrays.seeded_floats(shape, dtype, magnitude, seed, missing, 0))


@pytest.mark.parametrize("std", [49.0, 93.0, 98.0])
def test_float32_results_do_not_depend_on_byte_order_or_layout(std):
    """Values whose z-score lies between two floats: where they are divided and multiplied, ties part."""
    layer = Normalization().adapt([[-std], [std]])
    between = np.arange(2**24 - 60_000, 2**24) / 2**24 - 2.0**-25
    x = (between * std)[:, None]
    want = layer.transform(x, out=np.empty(x.shape, "f4"))
    for out in (np.empty(x.shape, ">f4"), np.empty((2 * len(x), 3), "f4")[::2, 1:2], np.empty(x.shape[::-1], "f4").T):
        np.testing.assert_array_equal(layer.transform(x, out=out).astype("f4"), want)


@pytest.mark.parametrize("dtype", [*arrays.INTEGERS, np.dtype(bool)], ids=str)
@FEW
@given(shapes, arrays.spreads, arrays.seeds)
def test_z_scores_of_integers_are_exact(dtype, shape, spread, seed):
    """Integers of any width get their true z-scores, though float64 does not hold them all."""
    check_z_scores(arrays.seeded_integers(shape, dtype, spread, seed))


@given(arrays.cases(with_rows=True))
def test_z_scores_are_exact_for_any_array_and_axis(case):
    """Any layout, dtype, shape and kept axes give the z-scores of the oracle."""
    x, axis = case
    if x.size:
        check_z_scores(x, axis)


@given(arrays.tables(), arrays.dtypes, st.data())
def test_z_scores_of_other_data_are_exact(x, dtype, data):
    """Data that the layer has not seen, of another dtype and magnitude, get true z-scores too."""
    if len(x):
        x = x[:, :3]
        other = data.draw(arrays.filled((5, x.shape[1]), dtype))
        check_z_scores(x, other=other)


@FEW
@given(arrays.seeds, st.integers(-1070, 1020))
def test_z_scores_of_far_data_are_exact(seed, power):
    """Rows near the largest double get true z-scores, whatever the spread of the data seen."""
    x = np.ldexp(generator(seed).standard_normal((9, 2)), power)
    check_z_scores(x, other=np.array([[1.7e308, -1.7e308], [-1e308, 1e308], [1e300, 0]]))


@by_far
@pytest.mark.parametrize("layout", ["C", "F", "every second", "big-endian"])
def test_z_scores_far_from_zero_are_exact(x, layout):
    """Times, prices and identifiers keep all digits of their z-scores, in any layout."""
    check_z_scores(arrays.LAYOUTS[layout](x))


@by_far
def test_z_scores_far_from_zero_are_exact_with_affine(x):
    """The trainable pair takes the same z-scores, and leaves them alone at 1 and 0."""
    check_z_scores(x, affine=True)
    plain, scaled = Normalization().adapt(x), Normalization(affine=True).adapt(x)
    np.testing.assert_array_equal(plain.transform(x), scaled.transform(x))


@pytest.mark.parametrize("std", [1e-9, 1e-7, 1e-5, 0])
@pytest.mark.parametrize("epsilon", [1e-7, 1e-3])
def test_the_floor_of_keras_is_divided_by(std, epsilon):
    """With constant="epsilon" the divisor is max(std, epsilon), everything else exact."""
    x = generator().normal(0.3, std, (50, 3))
    y = Normalization(constant="epsilon", epsilon=epsilon).adapt(x).transform(x)
    assert_z_scores(y, x, -1, naive.moments(x), 4, epsilon)


@given(arrays.tables(arrays.float_dtypes), arrays.seeds)
def test_features_do_not_depend_on_each_other(x, seed):
    """A column gets the same bits alone as beside columns of any other magnitude."""
    x = x[:, : 1 + seed % 4]
    if len(x):
        whole = Normalization(inf="omit").adapt(x).transform(x)
        for j in range(x.shape[1]):
            column = x[:, j : j + 1]
            alone = Normalization(inf="omit").adapt(column).transform(column)
            assert_same_bits(alone, whole[:, j : j + 1])


@pytest.mark.parametrize("seen", [arrays.subnormal, arrays.ordinary, arrays.wide])
def test_a_huge_feature_leaves_its_neighbour_alone(seen):
    """Scaling against overflow in one column takes no bit from another."""
    info = np.finfo("f8")
    near = np.ldexp(arrays.ordinary(generator(), (50, 1), info), -1021)
    if seen is not arrays.ordinary:
        near = seen(generator(), (50, 1), info)
    huge = arrays.enormous(generator(), (50, 1), info)
    x = np.hstack([huge, near])
    together = Normalization().adapt(x).transform(x)
    assert_same_bits(Normalization().adapt(near).transform(near), together[:, 1:])
    assert_same_bits(Normalization().adapt(huge).transform(huge), together[:, :1])
