"""Laws of fastnorm.sklearn.StandardScaler on sparse matrices: those of the dense array, and never a dense array."""

import tracemalloc
import warnings

import naive
import numpy as np
import pytest
import scipy.sparse
import strategies as arrays
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler as Theirs

from fastnorm import Moments, _sparse
from fastnorm.sklearn import StandardScaler

FORMATS = ("csr", "csc")
OTHERS = ("bsr", "coo", "dia", "dok", "lil")
KINDS = (scipy.sparse.csr_array, scipy.sparse.csc_array, scipy.sparse.csr_matrix, scipy.sparse.csc_matrix)


def scattered(shape=(40, 5), dtype="float64", seed=0, share=0.3, missing=0.0):
    """A dense array of mostly zeros."""
    rng = np.random.default_rng(seed)
    x = (3 * rng.standard_normal(shape) + 5).astype(dtype)
    x[rng.random(shape) > share] = 0
    if missing:
        x[rng.random(shape) < missing] = np.nan
    return x


def sparse_tables():
    """Tables of float32 and float64 of any magnitude, with zeros put in."""
    tables = arrays.tables(arrays.float_dtypes.filter(lambda dtype: dtype.itemsize >= 4))
    return st.builds(
        lambda x, seed: np.where(np.random.default_rng(seed).random(x.shape) < 0.5, x, x.dtype.type(0)),
        tables,
        arrays.seeds,
    )


def fitted(x, **options):
    return StandardScaler(with_mean=False).fit(x, **options)


# Sums


@given(sparse_tables(), st.sampled_from(KINDS))
def test_sparse_sums_are_those_of_the_dense_array(x, kind):
    """CSR and CSC give every bit of the moments of the dense array, which are those of fractions."""
    assume(len(x) and not np.isinf(x).any())
    scaler, exact = fitted(kind(x)), naive.moments(x)
    assert Moments.of(x) == scaler._moments
    assert exact.array("mean").tobytes() == scaler.mean_.tobytes()
    assert exact.array("variance").tobytes() == scaler.var_.tobytes()


@given(st.integers(0, 1 << 32), st.sampled_from(["f4", "f8"]), st.sampled_from(KINDS))
def test_long_columns_have_exact_sums(seed, dtype, kind):
    """Blocks of a column give every bit, with values at the edge of what a block can slice, and beyond it."""
    rng = np.random.default_rng(seed)
    info = np.finfo(dtype)
    lowest, highest = info.minexp - info.nmant, info.maxexp - (1 if dtype == "f4" else 25)
    centre, spread = rng.integers(lowest, highest), rng.choice((0, 3, 20, 60))
    exponents = np.clip(centre - rng.integers(0, spread + 1, (300, 3)), lowest, highest)
    fractions = 1 + rng.choice((0, info.eps, 0.5, 1 - info.eps), exponents.shape)
    x = (np.ldexp(fractions, exponents) * rng.choice([-1, 1], exponents.shape)).astype(dtype)
    x[rng.random(x.shape) < rng.choice((0, 0.5))] = 0
    x[rng.random(x.shape) < rng.choice((0, 0.02))] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # divisors of columns at the ends of float64
        moments = fitted(kind(x))._moments
    exact = naive.moments(x)
    assert exact.array("mean").tobytes() == moments.mean.tobytes()
    assert exact.array("variance").tobytes() == moments.variance.tobytes()
    assert Moments.of(x) == moments


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_column_of_any_magnitude_has_limbs(dtype, sign):
    """Each power of two is summed where there is room for it: a column for each of them."""
    info = np.finfo(dtype)
    x = sign * np.ldexp(np.array([[1.25], [1.5], [1.75]]), np.arange(info.minexp, info.maxexp)).astype(dtype)
    found = _sparse.count(scipy.sparse.csc_array(x), None, None)
    assert Moments.of(x) == Moments._make(x.shape[1:], found)


@given(sparse_tables(), st.sampled_from(KINDS), st.data())
def test_weighted_sparse_sums_are_those_of_the_dense_array(x, kind, data):
    """A weight counts for the zeros of its row too, and not for its NaN."""
    assume(len(x) and not np.isinf(x).any())
    weights = data.draw(arrays.weights((len(x),)))
    assume(weights.any())
    scaler = fitted(kind(x), sample_weight=weights)
    assert fitted(x, sample_weight=weights)._moments == scaler._moments
    exact = naive.moments(x, weights=weights.astype(float))
    assert exact.array("mean").tobytes() == scaler.mean_.tobytes()
    assert (exact.array("weight") == scaler.n_samples_seen_).all()


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("weighted", [False, True])
def test_chunks_and_threads_do_not_matter(form, weighted):
    """Many stored values, taken by two workers in chunks, give the bits of one worker and of any partial_fit."""
    rows = 300 if arrays.UNJITTED else 90_000
    x = scattered((rows, 4), missing=0.01)
    weights = np.random.default_rng(0).random(rows) if weighted else None
    sparse = scipy.sparse.csr_array(x).asformat(form)
    whole = StandardScaler(with_mean=False, threads=2).fit(sparse, sample_weight=weights)
    parts = StandardScaler(with_mean=False, threads=1)
    for index in np.array_split(np.arange(rows), 3):
        part = scipy.sparse.csr_array(x[index]).asformat(form)
        parts.partial_fit(part, sample_weight=None if weights is None else weights[index])
    assert fitted(x, sample_weight=weights)._moments == whole._moments == parts._moments


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("index", ["int32", "int64"])
def test_any_form_of_the_indices_is_the_same_matrix(form, index):
    """64-bit indices, unsorted ones, empty rows and columns, stored zeros and values in two parts change nothing."""
    x = scattered((6, 4))
    x[2], x[:, 1] = 0, 0
    dense = fitted(x)
    sparse = scipy.sparse.coo_array(x)
    rows, columns = np.concatenate([sparse.coords, sparse.coords, [[5], [1]]], axis=1).astype(index)
    values = np.concatenate([sparse.data / 4, sparse.data * 3 / 4, [0.0]])
    order = np.lexsort((-columns, rows) if form == "csr" else (-rows, columns))
    major, minor = (rows, columns) if form == "csr" else (columns, rows)
    size = x.shape[0] if form == "csr" else x.shape[1]
    pointers = np.searchsorted(major[order], np.arange(size + 1)).astype(index)
    kind = scipy.sparse.csr_array if form == "csr" else scipy.sparse.csc_array
    parts = kind((values[order], minor[order], pointers), x.shape)
    stored = parts.nnz
    scaler = fitted(parts)
    np.testing.assert_allclose(scaler.var_, dense.var_, rtol=1e-15)
    assert stored == parts.nnz
    np.testing.assert_allclose(scaler.transform(parts).toarray(), dense.transform(x), rtol=1e-15)


def test_whole_weights_are_repeated_rows():
    """A row of weight n counts n times."""
    x, n = scattered(missing=0.1), np.random.default_rng(0).integers(0, 4, 40)
    repeated = fitted(scipy.sparse.csr_array(np.repeat(x, n, axis=0)))
    for kind in KINDS:
        scaler = fitted(kind(x), sample_weight=n)
        assert repeated.var_.tobytes() == scaler.var_.tobytes()
        assert repeated.n_samples_seen_.tolist() == scaler.n_samples_seen_.tolist()


@pytest.mark.parametrize("with_std", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int8", "bool"])
@pytest.mark.parametrize("kind", KINDS)
def test_sparse_agrees_with_scikit_learn(kind, dtype, with_std):
    """The same attributes, types and dtypes come out, and the same numbers up to rounding."""
    x = kind(scattered(dtype=dtype))
    ours, theirs = (scaler(with_mean=False, with_std=with_std).fit(x) for scaler in (StandardScaler, Theirs))
    for name in ("mean_", "var_", "scale_", "n_samples_seen_"):
        mine, other = getattr(ours, name), getattr(theirs, name)
        assert (mine is None) == (other is None)
        assert mine is None or np.allclose(mine, other, rtol=1e-5)
    for verb in ("transform", "inverse_transform"):
        mine, other = getattr(ours, verb)(x), getattr(theirs, verb)(x)
        assert (type(other), other.dtype) == (type(mine), mine.dtype)
        np.testing.assert_allclose(mine.toarray(), other.toarray(), rtol=1e-5)


def test_a_batch_of_nan_poisons_nothing():
    """A batch without values leaves mean and variance as they are, whatever comes first."""
    good, empty = scipy.sparse.csr_array([[1.0], [3.0]]), scipy.sparse.csr_array([[np.nan]])
    for batches in ((good, empty), (empty, good)):
        scaler = StandardScaler(with_mean=False)
        for batch in batches:
            scaler.partial_fit(batch)
        assert ([2.0], [1.0], 2) == (scaler.mean_.tolist(), scaler.var_.tolist(), scaler.n_samples_seen_)


def test_far_values_are_summed_exactly():
    """A variance of values around 1e20 is that of the differences."""
    x = scipy.sparse.csc_array(np.array([[1e20], [1e20 + 2**15], [1e20 - 2**15]]))
    for chunk in (1, 3):
        scaler = StandardScaler(with_mean=False)
        for start in range(0, 3, chunk):
            scaler.partial_fit(x[start : start + chunk])
        assert [2 * 2**30 / 3] == scaler.var_.tolist()


# Scaling


@given(sparse_tables(), st.sampled_from(KINDS[::2]))
def test_sparse_scaling_has_the_bits_of_dense_scaling(x, kind):
    """transform and its inverse give what they give of the dense array, and leave the matrix as it was."""
    assume(len(x) and not np.isinf(x).any())
    scaler = fitted(x)
    for verb in ("transform", "inverse_transform"):
        sparse = kind(x)
        stored = sparse.data.tobytes()
        result = getattr(scaler, verb)(sparse)
        assert stored == sparse.data.tobytes()
        assert type(sparse) is type(result)
        np.testing.assert_array_equal(getattr(scaler, verb)(x), result.toarray())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_copy_false_works_in_place(dtype):
    """The very CSR matrix comes back with the bits of a copy; a CSC matrix is converted."""
    x = scipy.sparse.csr_array(scattered(dtype=dtype))
    scaler = StandardScaler(with_mean=False, copy=False).fit(x)
    for verb in ("transform", "inverse_transform"):
        wanted = getattr(scaler, verb)(x, copy=True)
        memory = x.data
        result = getattr(scaler, verb)(x)
        assert np.shares_memory(memory, result.data)
        assert wanted.data.tobytes() == memory.tobytes()
        assert "csr" == getattr(scaler, verb)(x.tocsc()).format


@pytest.mark.parametrize("form", [*FORMATS, *OTHERS])
def test_every_format_is_taken(form):
    """Formats that are not compressed are converted, with the same result and no warning of ours."""
    x = scattered(missing=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scipy.sparse.SparseEfficiencyWarning)
        sparse = scipy.sparse.csr_array(x).asformat(form)
    z = StandardScaler(with_mean=False).fit_transform(sparse)
    np.testing.assert_array_equal(fitted(x).transform(x), z.toarray())


def test_nothing_is_ever_dense():
    """A matrix of 100 000 by 100 000 with few values takes memory for its columns alone."""
    size = 100_000 if not arrays.UNJITTED else 1000
    place = np.arange(100)
    x = scipy.sparse.csr_array((np.ones(100), (place, place)), shape=(size, size))
    fitted(x[:10])
    tracemalloc.start()
    try:
        z = fitted(x).transform(x)
        assert tracemalloc.get_traced_memory()[1] < 1e9
    finally:
        tracemalloc.stop()
    assert 100 == z.nnz


# Errors


@pytest.mark.parametrize("kind", KINDS)
def test_sparse_matrices_are_not_centred(kind):
    """with_mean=True is refused by every verb, in scikit-learn's words."""
    x = kind(scattered())
    with pytest.raises(ValueError, match="Cannot center sparse matrices: pass `with_mean=False` instead"):
        StandardScaler().fit(x)
    scaler = StandardScaler().fit(x.toarray())
    with pytest.raises(ValueError, match="Cannot center sparse matrices: pass `with_mean=False` instead"):
        scaler.transform(x)
    with pytest.raises(ValueError, match="Cannot uncenter sparse matrices: pass `with_mean=False` instead"):
        scaler.inverse_transform(x)


@pytest.mark.parametrize("kind", KINDS)
def test_an_infinity_is_refused_by_every_verb(kind):
    """It is named, and neither the scaler nor the matrix change."""
    x = scattered()
    scaler = StandardScaler(with_mean=False, copy=False).fit(x)
    before = scaler._moments
    x[3, 1] = -np.inf
    sparse = kind(x)
    for verb in ("fit", "partial_fit", "transform", "inverse_transform"):
        with pytest.raises(ValueError, match="Input X contains infinity"):
            getattr(scaler, verb)(sparse)
        np.testing.assert_array_equal(x, sparse.toarray())
    assert before is scaler._moments
