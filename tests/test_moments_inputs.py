"""Laws of what Moments are made of, as arrays and as bytes, and how they refuse the rest."""

import copy
import json
import math
import operator
import pickle

import naive
import numpy as np
import pytest
import strategies as arrays
from checks import COUNTS, VALUES, assert_exact, assert_same, generator
from hypothesis import given
from hypothesis import strategies as st

from fastnorm import Moments, Normalization, _scan, _tiles
from fastnorm._reduce import GROUP, WIDE
from fastnorm._tiles import RUN, RUNS

SHAPES = r"(?i)feature|shape"
DAMAGE = r"(?i)damage|truncat|checksum|corrupt|short|not "


@given(arrays.cases(), st.sampled_from([0, 0.3, 1]), arrays.seeds)
def test_masked_values_are_missing(case, share, seed):
    """A masked element is missing whatever lies under the mask, in any dtype."""
    x, axis = case
    masked = np.ma.array(x, mask=generator(seed).random(x.shape) < share)
    assert_exact(Moments.of(masked, axis=axis), naive.moments(masked, axis))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "?", "i1", "i2", "i4", "u8"])
@pytest.mark.parametrize(("shape", "axis"), [((RUN + 13, RUNS + 1), -1), ((2, RUNS, RUN), (0, 1)), ((RUNS, RUN), 0)])
def test_features_that_lie_one_after_the_other_are_exact(dtype, shape, axis):
    """Column-major tables and the like, each feature of a magnitude of its own, some with NaN and infinities."""
    rng = generator(len(shape))
    x = rng.normal(size=shape) * 4.0 ** rng.integers(-5, 5, shape[axis] if axis == -1 else (*shape[:-1], 1))
    if dtype in ("f2", "f4", "f8"):
        x[rng.random(shape) < 0.002] = np.nan
        x.reshape(-1)[:: 3 * RUN + 1] = -np.inf
    x = (x if dtype[0] in "fi" else abs(x)).astype(dtype, order="F" if axis == -1 else "C")
    assert_exact(Moments.of(x, axis=axis), naive.moments(x, axis))
    assert_same(Moments.of(x, axis=axis), Moments.of(x, axis=axis, threads=3))


@pytest.mark.parametrize(("dtype", "rows"), [("f4", RUN + 13), ("f8", RUN), ("i2", RUN + 1)])
def test_many_features_that_lie_one_after_the_other_are_exact(dtype, rows):
    """Each worker has features of its own, in groups, and the sums of one know nothing of its neighbour's."""
    features = WIDE + 77
    x = generator(rows).normal(size=(rows, features)) * np.exp2(np.arange(features) % 13)
    if dtype != "i2":
        x[3, ::5], x[rows - 1, 7::GROUP] = np.nan, np.inf
    x = x.astype(dtype, order="F")
    assert_exact(Moments.of(x), naive.moments(x))
    assert_same(Moments.of(x), Moments.of(x, threads=1))


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8"])
@pytest.mark.parametrize("bits", [12, 18])
def test_rows_far_apart_are_exact(dtype, bits):
    """A few columns of a wide table; blocks have fewer rows the further these lie apart."""
    x = np.zeros((41, 1 << bits), dtype)
    x[:, 3:70] = generator(bits).normal(size=(41, 67)) * 1000
    assert_exact(Moments.of(x[:, 3:70]), naive.moments(x[:, 3:70]))


@pytest.mark.parametrize(("rows", "dtype", "reach"), [(3, "f4", 60), (67, "f4", 60), (5, "f8", 500), (3, "i8", 30)])
def test_features_that_lie_side_by_side_are_exact(rows, dtype, reach):
    """Far more columns than rows, whose magnitudes rise from left to right: sums need other limbs here and there."""
    features = WIDE + 77
    x = generator(rows).normal(size=(rows, features)) * np.exp2(np.linspace(-reach, reach, features))
    x[:, GROUP + 3] = -abs(x[:, GROUP + 3])  # the sign of a sum below the limbs of others
    x[:, 5], x[:, ::1000] = -1, 0
    x = x.astype(dtype)
    if dtype != "i8":
        x[0, 3::GROUP], x[1, -1] = np.nan, np.inf
    assert_exact(Moments.of(x), naive.moments(x))
    assert_same(Moments.of(x), Moments.of(x, threads=1))
    assert not Moments.of(np.zeros_like(x)).std.any()


def test_there_may_be_more_threads_than_features():
    """Each worker has a column, or none."""
    x = generator().normal(size=(40, WIDE))
    assert_same(Moments.of(x, threads=1), Moments.of(x, threads=2000))


def test_a_masked_array_without_a_mask_is_an_array():
    """`nomask` hides nothing."""
    x = generator().normal(size=(9, 3))
    assert_same(Moments.of(x), Moments.of(np.ma.array(x)))


@given(arrays.tables(st.sampled_from([np.dtype("f8"), np.dtype("i8"), np.dtype(bool)])))
def test_lists_and_array_likes_are_arrays(x):
    """Nested lists and objects with `__array__` mean the array they hold."""

    class ArrayLike:
        def __array__(self, dtype=None, copy=None):
            return np.asarray(x, dtype)

    few = x[:20]
    expected = Moments.of(few)
    if len(few):  # an empty list has no columns
        assert_same(expected, Moments.of(few.tolist()))
    assert_same(Moments.of(x), Moments.of(ArrayLike()))


def test_a_memory_mapped_file_is_an_array(tmp_path):
    """Data on disk have the moments of the same data in memory, in either byte order."""
    for dtype in ("<f8", ">f4", "<i2"):
        x = (100 * generator().normal(size=(500, 4))).astype(dtype)
        np.save(tmp_path / "x.npy", x)
        mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
        assert_same(Moments.of(x), Moments.of(mapped))


@pytest.mark.parametrize(
    ("axis", "shape"),
    [
        (-1, (4,)),
        (0, (2,)),
        ((0, -1), (2, 4)),
        ((2, 1), (3, 4)),
        (None, ()),
        ((0, 1, 2), (2, 3, 4)),
    ],
)
def test_fields_have_the_shape_of_the_kept_axes(axis, shape):
    """`axis` names the axes that stay, in the order of the array; None keeps none."""
    moments = Moments.of(np.ones((2, 3, 4)), axis=axis)
    for name in (*COUNTS, *VALUES):
        assert np.shape(getattr(moments, name)) == shape
    assert moments.rows == 24 // math.prod(shape)


@given(arrays.cases())
def test_the_input_is_left_alone(case):
    """Reading the moments writes nothing, and later writes to the input do not reach them."""
    x, axis = case
    before = x.tobytes()
    moments = Moments.of(x, axis=axis)
    state = moments.to_bytes()
    assert x.tobytes() == before
    if x.flags.writeable:
        x[...] = 1
    assert moments.to_bytes() == state


NUMBERS = np.ones((5, 3))


@pytest.mark.parametrize("dtype", [*"?bHilQefd", ">f8", "bfloat16"])
def test_a_single_number_is_one_value_of_one_feature(dtype):
    """With axis=None, a number, an array of no axes and an array of one value are the same; weights too."""
    number = np.array(1, dtype)
    assert Moments.of([1.0], None) == Moments.of(number, None) == Moments.of(number, ())
    assert Moments.of([1.0], None, [2.0]) == Moments.of(number, None, 2.0)
    layer = Normalization(None, mean=3.0, variance=4.0)
    for z, want in ((layer(number), -1.0), (layer.inverse_transform(number), 5.0)):
        assert ((), want) == (z.shape, float(z))


@pytest.mark.parametrize(
    ("x", "options", "words"),
    [
        pytest.param(np.array(3.0), {}, "0-d|scalar|dimension", id="0-d"),
        pytest.param(3.0, {}, "0-d|scalar|dimension", id="number"),
        pytest.param(np.ones((5, 0)), {}, "feature", id="no features"),
        pytest.param(np.ones((0, 3)), {"axis": 0}, "feature", id="no kept features"),
        pytest.param(np.ones((5, 3), "c16"), {}, "complex", id="complex"),
        pytest.param(np.array([["a", None]], object), {}, "object", id="object"),
        pytest.param(np.array([["a", "b"]]), {}, "str|<U1|text", id="strings"),
        pytest.param(np.array([[b"a", b"b"]]), {}, "bytes|S1|text", id="bytes"),
        pytest.param(np.ones((5, 3), "M8[s]"), {}, "datetime", id="datetime"),
        pytest.param(np.ones((5, 3), "m8[s]"), {}, "timedelta", id="timedelta"),
        pytest.param(np.ones((5, 3), "g"), {}, "longdouble|float128|long double", id="longdouble"),
        pytest.param(NUMBERS, {"axis": 2}, "axis", id="axis too large"),
        pytest.param(NUMBERS, {"axis": -3}, "axis", id="axis too small"),
        pytest.param(NUMBERS, {"axis": (0, 5)}, "axis", id="one of the axes too large"),
        pytest.param(NUMBERS, {"axis": (1, 1)}, "axis", id="axis repeated"),
        pytest.param(NUMBERS, {"axis": (1, -1)}, "axis", id="axis repeated, other sign"),
        pytest.param(NUMBERS, {"axis": "last"}, "axis", id="axis a word"),
        pytest.param(NUMBERS, {"axis": 0.5}, "axis", id="axis a fraction"),
        pytest.param(NUMBERS, {"weights": [1, 1, -1, 1, 1]}, "weight", id="negative weight"),
        pytest.param(NUMBERS, {"weights": [1, 1, math.nan, 1, 1]}, "weight", id="NaN weight"),
        pytest.param(NUMBERS, {"weights": [1, 1, math.inf, 1, 1]}, "weight", id="infinite weight"),
        pytest.param(NUMBERS, {"weights": np.ones(4)}, "weight", id="too few weights"),
        pytest.param(NUMBERS, {"weights": np.ones(3)}, "weight", id="weights of the columns"),
        pytest.param(NUMBERS, {"weights": np.ones((5, 1))}, "weight", id="2-D weights"),
        pytest.param(NUMBERS, {"weights": np.ones((5, 3))}, "weight", id="a weight per element"),
        pytest.param(NUMBERS, {"weights": 1.0}, "weight", id="one weight"),
        pytest.param(NUMBERS, {"weights": ["a"] * 5}, "weight", id="weights of text"),
        pytest.param(NUMBERS, {"weights": np.ones(5, "c16")}, "weight", id="complex weights"),
        pytest.param(np.ones((2, 3, 4)), {"weights": np.ones(2)}, "weight", id="weights of an axis"),
        pytest.param(np.ones((2, 3, 4)), {"weights": np.ones(6)}, "weight", id="flat weights"),
    ],
)
def test_bad_input_is_named(x, options, words):
    """The error says which argument was wrong."""
    with pytest.raises((ValueError, TypeError), match=f"(?i){words}"):
        Moments.of(x, **options)


@pytest.mark.parametrize("merge", [operator.add, operator.sub])
def test_moments_of_other_features_do_not_merge(merge):
    """Merging needs the same features, and a Moments on both sides."""
    with pytest.raises(ValueError, match=SHAPES):
        merge(Moments.of(np.ones((5, 3))), Moments.of(np.ones((5, 2))))
    with pytest.raises(ValueError, match=SHAPES):
        merge(Moments.of(np.ones((5, 3))), Moments.of(np.ones((5, 1, 3)), axis=(1, 2)))
    with pytest.raises(TypeError):
        merge(Moments.of(NUMBERS), 1)


# Values


@given(arrays.weighted_cases())
def test_every_round_trip_gives_an_equal_value(case):
    """Bytes, a dict through JSON, pickle and copy keep every bit."""
    x, axis, weights = case
    for moments in (Moments.of(x, axis=axis), Moments.of(x, axis=axis, weights=weights)):
        assert_same(moments, Moments.from_bytes(moments.to_bytes()))
        assert_same(moments, Moments.from_dict(json.loads(json.dumps(moments.to_dict()))))
        assert_same(moments, pickle.loads(pickle.dumps(moments)))
        assert_same(moments, copy.deepcopy(moments))


@given(arrays.cases())
def test_a_round_trip_keeps_every_field(case):
    """What is read back has the moments of the data, and merges like them."""
    x, axis = case
    moments = Moments.of(x, axis=axis)
    read = Moments.from_bytes(moments.to_bytes())
    assert_exact(read, naive.moments(x, axis))
    assert_same(moments + moments, read + moments)


def test_damaged_bytes_are_an_error():
    """Every truncation, every flipped bit and foreign bytes are noticed."""
    state = Moments.of(generator().normal(size=(9, 2))).to_bytes()
    damaged = [state[:length] for length in range(len(state))]
    for place in range(len(state)):
        for bit in range(8):
            flipped = bytearray(state)
            flipped[place] ^= 1 << bit
            damaged.append(bytes(flipped))
    for blob in (*damaged, state + b"\0", state + state, b"PK\3\4", bytes(len(state))):
        with pytest.raises(ValueError, match=DAMAGE):
            Moments.from_bytes(blob)


@given(arrays.cases(), st.data())
def test_a_changed_byte_is_an_error(case, data):
    """The checksum covers states of every dtype and shape."""
    x, axis = case
    state = bytearray(Moments.of(x, axis=axis).to_bytes())
    state[data.draw(st.integers(0, len(state) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match=DAMAGE):
        Moments.from_bytes(bytes(state))


def test_moments_cannot_be_changed():
    """Attributes cannot be set or deleted, and the arrays they give are read-only."""
    moments = Moments.of(generator().normal(size=(9, 2)))
    for name in ("rows", *COUNTS, *VALUES, "something_new"):
        with pytest.raises(AttributeError):
            setattr(moments, name, 1)
    for name in (*COUNTS, *VALUES):
        with pytest.raises(ValueError, match="read-only"):
            getattr(moments, name)[0] = 1
        with pytest.raises(AttributeError):
            delattr(moments, name)


def test_moments_compare_with_anything():
    """Another type is unequal, not an error."""
    assert Moments.of(NUMBERS) != 1
    assert Moments.of(NUMBERS) != Moments.of(np.ones((5, 2)))
    assert len({Moments.of(NUMBERS), Moments.of(NUMBERS + 0), Moments.of(NUMBERS + 1)}) == 2


@pytest.mark.parametrize("dtype", ["u1", "f2", "f4", "f8"])
def test_narrow_rows_are_laid_side_by_side(dtype):
    """Whole rows of up to 32 columns, of any dtype, fill a vector together."""
    dtype = np.dtype(dtype)
    for n in range(1, 33):
        whole = _tiles.Tile(0, 1, 0, 10_000, n, n, n, 0)
        first, *_ = _tiles.split(whole, dtype.itemsize, _scan.LANES, 1 << 20, _scan.fold_of(dtype))
        assert (n, 0) == (first.period, first.lanes % n)
        assert first.lanes * dtype.itemsize >= 64
