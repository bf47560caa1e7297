"""Laws of `adapt`: any form of data gives the same, and what is refused leaves the layer as it was."""

import functools

import ml_dtypes
import naive
import numpy as np
import pytest
import strategies as arrays
from hypothesis import given
from hypothesis import strategies as st
from layers import HALVES, PAIRS, SEEN, WHOLE, Loader, Tensor, assert_unchanged, generator, state, table
from processes import run_python

from fastnorm import Moments, Normalization

BATCHES = {
    "array": WHOLE,
    "Fortran order": np.asfortranarray(WHOLE),
    "nested list": WHOLE.tolist(),
    "array-like": Tensor(WHOLE),
    "list of batches": list(HALVES),
    "tuple of batches": HALVES,
    "list of rows": list(WHOLE),
    "generator of batches": HALVES,
    "generator of lists": tuple(half.tolist() for half in HALVES),
    "generator of array-likes": tuple(map(Tensor, HALVES)),
    "generator of (x, y)": PAIRS,
    "generator of [x, y]": [list(pair) for pair in PAIRS],
    "generator of (x, y, weight)": [(x, y, y) for x, y in PAIRS],
    "generator of array-like (x, y)": [(Tensor(x), Tensor(y)) for x, y in PAIRS],
    "generator of single rows": WHOLE,
    "list of (x, y)": PAIRS,
    "tuple of (x, y)": tuple(PAIRS),
    "list of array-likes": list(map(Tensor, HALVES)),
    "loader": Loader(*HALVES),
    "loader of (x, y)": Loader(*PAIRS),
    "batches with an empty one": [WHOLE[:5], WHOLE[:0], WHOLE[5:]],
    "batches in other layouts": [np.asfortranarray(HALVES[0]), HALVES[1].astype(">f8")],
}


@pytest.mark.parametrize("name", BATCHES)
def test_adapt_learns_the_same_from_any_form_of_data(name):
    """An array, a list, array-likes and any iterable of batches give equal Moments."""
    data = BATCHES[name]
    if name.startswith("generator"):
        data = (batch for batch in data)
    layer = Normalization()
    assert layer.adapt(data) is layer
    assert layer.moments == Moments.of(WHOLE)
    assert layer.count == 12


@given(arrays.cases(with_rows=True), st.data())
def test_any_chunking_learns_the_same(case, data):
    """Batches cut anywhere along a reduced axis give the moments and results of the whole."""
    x, axis = case
    if not x.size:
        return
    along = data.draw(st.sampled_from(naive.reduced_axes(axis, x.ndim)))
    parts = arrays.pieces(x, data.draw(arrays.cuts(x.shape[along])), along)
    whole = Normalization(axis, inf="omit").adapt(x)
    by_adapt = Normalization(axis, inf="omit").adapt(iter(parts))
    by_update, by_merge = Normalization(axis, inf="omit"), Normalization(axis, inf="omit")
    for part in parts:
        by_update.update(part)
        by_merge += Normalization(axis, inf="omit").update(part)
    assert whole.moments == Moments.of(x, axis=axis)
    for layer in (by_adapt, by_update, by_merge):
        assert state(whole) == state(layer)
        assert whole.transform(x).tobytes() == layer.transform(x).tobytes()


@given(arrays.tables(arrays.float_dtypes), st.data())
def test_rows_that_come_one_by_one_are_learned_exactly(x, data):
    """A stream of single rows, read out at any moment, is always what has been seen so far."""
    some = x[:12, :4]
    if not len(some):
        return
    layer = Normalization(inf="omit").update(some[:1])
    for i in range(1, len(some)):
        layer.update(some[i : i + 1])
        if data.draw(st.booleans()):
            assert layer.moments == Moments.of(some[: i + 1])
            layer.transform(some[:1])
    assert layer.moments == Moments.of(some)
    if len(some) > 1:
        assert layer.forget(some[:1]).moments == Moments.of(some[1:])


@pytest.mark.parametrize("dtype", [">f8", ">f4", "f4", "f8", "f2", "i8", "?", "bfloat16"])
def test_small_batches_of_any_dtype_are_added(dtype):
    """A few rows of any dtype and layout, after others, are added exactly."""
    dtype = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    x = (3 * table(4)).astype(dtype)
    for layout in arrays.LAYOUTS.values():
        layer = Normalization().adapt(WHOLE).update(WHOLE[:2])
        layer.update(layout(x))
        layer.update(WHOLE.astype("f4"))
        parts = (WHOLE, WHOLE[:2], x, WHOLE.astype("f4"))
        assert layer.moments == functools.reduce(Moments.__add__, map(Moments.of, parts))


@pytest.mark.parametrize("width", [1, 63, 64, 65, 255, 256, 257, 800, 4000])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_row_of_any_width_is_added(width, dtype):
    """A stream of single rows is exact for one feature as for thousands."""
    x = generator().standard_normal((5, width)).astype(dtype)
    layer = Normalization().adapt(x[:2])
    for row in x[2:]:
        layer.update(row[None])
    assert layer.moments == Moments.of(x)


def test_adapt_starts_over():
    """What was learned before leaves no trace, whatever its features were."""
    layer = Normalization().adapt(table(7, 4)).update(table(3, 4))
    layer.transform(table(3, 4))
    layer.adapt(WHOLE)
    assert state(Normalization().adapt(WHOLE)) == state(layer)
    np.testing.assert_array_equal(Normalization().adapt(WHOLE)(WHOLE), layer(WHOLE))


def broken_stream():
    yield WHOLE
    raise ConnectionError("the stream broke")


REFUSED = {
    "other features among the batches": ([WHOLE, table(3, 4)], "3.*4|4.*3"),
    "inf": (np.array([[1.0, 2, np.inf]]), "(?i)inf"),
    "inf in a later batch": ([WHOLE, np.array([[1.0, 2, -np.inf]])], "(?i)inf"),
    "complex": (WHOLE + 1j, "complex"),
    "complex in a later batch": ([WHOLE, WHOLE + 1j], "complex"),
    "object": (np.array([[1, None, "a"]], object), "object"),
    "strings": (np.array([["a", "b", "c"]]), "(?i)<U1|str|numeric"),
    "bytes": (np.array([[b"a", b"b", b"c"]]), "(?i)S1|bytes|numeric"),
    "datetimes": (np.ones((2, 3), "M8[s]"), "datetime"),
    "timedeltas": (np.ones((2, 3), "m8[s]"), "timedelta"),
    "longdouble": (WHOLE.astype("g"), "longdouble|float128"),
    "0-d": (np.array(3.0), "0-d"),
    "number": (3.0, "0-d"),
    "no features": (np.ones((5, 0)), "(?i)feature"),
    "a text": ("numbers", "(?i)str|<U|numeric"),
    "None": (None, "(?i)object|None"),
    "a dict": ({"a": WHOLE}, "(?i)dict|`.shape`|array"),
    "batches that are dicts": (({"a": WHOLE} for _ in range(2)), "dict.*a"),
    "batches that are numbers": ((42 for _ in range(2)), r"\.shape"),
    "an empty generator": (iter([]), "(?i)empty"),
    "an empty list": ([], "(?i)empty|feature"),
    "a broken stream": (broken_stream(), "the stream broke"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_failed_adapt_leaves_the_layer_as_it_was(name):
    """Bad data, even in a late batch, are named, and every bit of the layer stays."""
    data, words = REFUSED[name]
    layer = Normalization().adapt(table(9)).update(table(1, seed=5))
    before, z = state(layer), layer.transform(WHOLE)
    with pytest.raises((ValueError, TypeError, ConnectionError), match=words):
        layer.adapt(data)
    assert_unchanged(layer, before)
    np.testing.assert_array_equal(z, layer.transform(WHOLE))


def test_a_failed_first_adapt_leaves_a_layer_that_has_seen_nothing():
    """There is no half-adapted layer."""
    layer = Normalization()
    with pytest.raises(ValueError, match=r"(?i)inf"):
        layer.adapt([WHOLE, WHOLE * np.inf])
    with pytest.raises(ValueError, match=SEEN):
        layer.transform(WHOLE)
    assert layer.adapt(table(3, 5)).moments == Moments.of(table(3, 5))


@pytest.mark.parametrize("verb", ["update", "forget", "transform", "inverse_transform", "adapt"])
@pytest.mark.parametrize(
    "name",
    ["complex", "object", "strings", "bytes", "datetimes", "timedeltas", "longdouble", "0-d"],
)
def test_what_is_no_table_of_numbers_is_refused(verb, name):
    """The error names the dtype and says what to do; the layer stays as it was."""
    x, words = REFUSED[name]
    layer = Normalization().adapt(WHOLE)
    before = state(layer)
    with pytest.raises((ValueError, TypeError), match=words) as error:
        getattr(layer, verb)(x)
    assert "; " in str(error.value), "the error says no cure"
    assert_unchanged(layer, before)


@pytest.mark.parametrize("verb", ["adapt", "update", "forget", "transform", "inverse_transform"])
def test_zero_features_are_refused(verb):
    """A table without columns is an error, not an empty result."""
    layer = Normalization().adapt(WHOLE)
    with pytest.raises(ValueError, match=r"(?i)feature|column"):
        getattr(layer, verb)(np.ones((5, 0)))


@pytest.mark.parametrize("verb", ["transform", "inverse_transform"])
def test_zero_features_are_refused_by_fixed_statistics(verb):
    """A fixed scalar fits any number of features but none."""
    with pytest.raises(ValueError, match=r"(?i)feature|column"):
        getattr(Normalization(mean=0, variance=1), verb)(np.ones((5, 0)))


@pytest.mark.parametrize(
    ("verb", "shape", "cure"),
    [
        ("adapt", "(2, 10**15)", "pass fewer columns"),
        ("update", "(2, 10**15)", "pass fewer columns"),
        ("transform", "(2, 10**15)", "pass the same columns"),
        ("transform", "(10**15, 2)", "pass out=x"),
    ],
)
def test_a_memory_request_without_bounds_is_an_error(verb, shape, cure):
    """A quadrillion features, or rows of a result, fail at once, name the cure and change nothing."""
    code = f"""
        import resource
        import numpy as np
        from fastnorm import Normalization

        layer = Normalization()
        if "{verb}" == "transform":
            layer.adapt(np.ones((3, 2)))
        before = layer.__getstate__()
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        try:
            layer.{verb}(np.broadcast_to(np.float32(1), {shape}))
        except (MemoryError, ValueError) as error:
            print(error)
        assert before == layer.__getstate__()
    """
    assert cure in " ".join(run_python(code, timeout=10))
