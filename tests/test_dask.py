"""Laws of Dask collections: the bits of one process, whatever the chunks, the workers and their fate."""

import os
import signal
import time
from functools import partial

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from dask.distributed import Client, LocalCluster
from hypothesis import given
from hypothesis import strategies as st

import fastnorm
from fastnorm import Moments, _threads
from fastnorm._threads import count
from fastnorm.dask import Normalization, moments
from fastnorm.dask._layer import _plain

RNG = np.random.default_rng(5)
X = RNG.lognormal(0.0, 3.0, (240, 6, 5)).astype("float32")
X[RNG.random(X.shape) < 0.01] = np.nan
TABLE = pd.DataFrame(X[:, :, 0].astype("float64"), columns=list("abcdef"), index=np.arange(240) * 2)
PLAIN = fastnorm.Normalization
AXES = [-1, 0, 1, None, (1, 2), (0, 2), (0, 1, 2)]


@pytest.fixture(scope="module")
def client():
    """Two real worker processes."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 10}),
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client


def threads_of_a_task(x):
    Moments.of(x)
    os.environ["FASTNORM_NUM_THREADS"] = "3"
    try:
        return _threads._pool._executor, count(2), count()
    finally:
        del os.environ["FASTNORM_NUM_THREADS"]


def test_a_task_has_one_thread_unless_told_otherwise(client):
    """A user's own task starts no threads by itself; the argument and the variable say more. The client has all."""
    assert 1 == client.submit(count, pure=False).result()
    assert (None, 2, 3) == client.submit(threads_of_a_task, np.ones((100_000, 9))).result()
    assert _threads.available() == count()


@st.composite
def chunked(draw):
    """``X`` cut anywhere along each of its axes."""

    def cut(length):
        ends = [*sorted(draw(st.sets(st.integers(1, length - 1), max_size=4))), length]
        return tuple(int(n) for n in np.diff([0, *ends]))

    return da.from_array(X, chunks=tuple(map(cut, X.shape)))


@given(chunked(), st.sampled_from(AXES))
def test_any_chunks_give_the_moments_of_the_array(x, axis):
    """Chunks along rows, features or both leave every bit of the moments."""
    assert Moments.of(X, axis) == moments(x, axis).compute(scheduler="sync")


@given(chunked(), st.sampled_from(AXES), st.booleans())
def test_a_transform_keeps_chunks_and_bits(x, axis, invert):
    """The lazy result has the chunks and the dtype of its input, and the bits of the array's."""
    layer = Normalization(axis, invert=invert, affine=True).adapt(X)
    layer.gamma = 1 + np.arange(layer.mean.size).reshape(layer.mean.shape)
    plain = fastnorm.Normalization.__new__(fastnorm.Normalization)
    plain.__setstate__(layer.__getstate__())
    for mine, other in ((layer.transform, plain.transform), (layer.inverse_transform, plain.inverse_transform)):
        z = mine(x)
        assert x.chunks == z.chunks
        assert np.dtype("float32") == z.dtype == z._meta.dtype
        assert other(X).tobytes() == z.compute(scheduler="sync").tobytes()


@given(chunked(), st.integers(0, 2**32 - 1))
def test_weights_are_chunked_as_they_like(x, seed):
    """Weights of their own chunks are those of the rows."""
    weights = np.random.default_rng(seed).integers(0, 4, X.shape[:2])
    expected = Moments.of(X, -1, weights)
    assert expected == moments(x, -1, da.from_array(weights, chunks=50)).compute(scheduler="sync")
    assert expected == moments(x, -1, weights).compute(scheduler="sync")


def test_lengths_of_chunks_need_not_be_known():
    """Rows that are chosen lazily are learned from and transformed."""
    x = da.from_array(X[:, :, 0], chunks=(50, 6))
    some = x[x[:, 0] > 1.0]
    known = X[:, :, 0][X[:, 0, 0] > 1.0]
    layer = Normalization().adapt(some)
    assert Moments.of(known) == layer.moments
    assert layer.transform(known).tobytes() == layer.transform(some).compute().tobytes()


def test_only_small_values_travel():
    """The graph holds a task a chunk, and additions of at most eight: nothing joins chunks of data."""
    x = da.ones((1000, 4), chunks=(10, 4))
    graph = dict(moments(x).dask)
    names = [str(key if isinstance(key, str) else key[0]) for key in graph]
    assert 100 == sum(name.startswith("moments-chunk-") for name in names)
    assert 13 + 2 + 1 == sum(name.startswith("moments-sum-") for name in names)


def test_names_of_tasks_depend_on_the_data_alone():
    """The same question has the same key, so that Dask computes it once; another has another."""
    x, y = (da.from_array(X, chunks=(100, 6, 5)) for _ in range(2))
    assert moments(x).key == moments(y).key
    assert moments(x).key != moments(x, axis=1).key
    layer, twin = Normalization().adapt(X), Normalization().adapt(X[::-1])
    assert layer.transform(x).name == twin.transform(y).name
    assert layer.transform(x).name != Normalization().adapt(X[:-1]).transform(x).name


def test_the_graph_of_many_chunks_is_one_layer():
    """Dask takes a millisecond for a layer, so that one for each of 100 000 chunks would take minutes."""
    x = da.ones((1000, 40), chunks=(10, 10))
    assert 400 < len(moments(x).dask)
    assert 2 == len(moments(x).dask.layers)  # with that of its input
    assert 2 == len(moments(dd.from_pandas(TABLE, 9)).dask.layers)


def test_tasks_are_of_the_class_that_dask_itself_uses():
    """It is had from a module that Dask does not call public: when Dask makes others, or offers it, look there."""
    ours, theirs = (dict(graph.dask) for graph in (moments(da.ones(2)), da.ones(2) + 1))
    assert {type(task) for task in theirs.values()} == {type(task) for task in ours.values()}
    assert not hasattr(dask, "Task")


@pytest.mark.parametrize("shape", [(), (1,), (5,), (6, 1), (1, 5), (6, 5)])
@given(x=chunked(), affine=st.booleans())
def test_fixed_statistics_are_broadcast_to_any_chunks(shape, x, affine):
    """Statistics of fewer axes, or repeated along one, are those of each chunk of features."""
    values = np.random.default_rng(0).random(shape) + 1
    layer, plain = (kind((1, 2), mean=values, variance=values, affine=affine) for kind in (Normalization, PLAIN))
    if affine:
        layer.gamma = plain.gamma = values * 2
    assert plain.transform(X).tobytes() == layer.transform(x).compute(scheduler="sync").tobytes()


def test_chunks_without_features_are_nothing():
    """Choosing features leaves chunks with none: the others are learned from and transformed."""
    x = da.from_array(X[:, :, 0], chunks=(50, 2))[:, da.from_array(np.arange(6) > 3, chunks=2)].compute_chunk_sizes()
    assert (0, 0, 2) == x.chunks[1]
    layer = Normalization().adapt(x)
    assert Moments.of(X[:, 4:, 0]) == layer.moments
    assert PLAIN().fit_transform(X[:, 4:, 0]).tobytes() == layer.transform(x).compute().tobytes()
    with pytest.raises(ValueError, match="zero features"):
        Normalization().adapt(x[:, :0])


def test_the_input_of_a_transform_does_not_change():
    """A chunk that lies in memory is left as it is."""
    source = np.ones((10, 2))
    layer = Normalization().adapt(np.array([[0.0, 0.0], [4.0, 4.0]]))
    assert -0.5 == layer.transform(da.from_array(source, chunks=(5, 2))).compute()[0, 0]
    assert (source == 1).all()


@pytest.mark.parametrize("partitions", [1, 3, 7])
def test_a_dataframe_is_the_table_of_its_partitions(partitions):
    """Moments, names, index, divisions and dtypes are those of the pandas table."""
    frame = dd.from_pandas(TABLE.assign(g=range(240)), npartitions=partitions)
    layer = Normalization().adapt(frame)
    plain = fastnorm.Normalization().adapt(TABLE.assign(g=range(240)))
    assert plain.moments == layer.moments
    assert ("a", "b", "c", "d", "e", "f", "g") == layer.feature_names
    z = layer.transform(frame)
    assert frame.divisions == z.divisions
    pd.testing.assert_frame_equal(plain.transform(TABLE.assign(g=range(240))), z.compute(), check_exact=True)
    pd.testing.assert_frame_equal(
        plain.inverse_transform(plain.transform(TABLE.assign(g=range(240)))),
        layer.inverse_transform(z).compute(),
        check_exact=True,
    )


def test_columns_choose_the_features_of_a_dataframe():
    """Columns that are not chosen, even text, go through as they are."""
    table = TABLE.assign(word="x")
    frame = dd.from_pandas(table, npartitions=3)
    layer = Normalization(columns=["c", "a"]).adapt(frame)
    assert Moments.of(table[["c", "a"]]) == layer.moments
    z = layer.transform(frame).compute()
    assert list(table.columns) == list(z.columns)
    pd.testing.assert_frame_equal(frame.compute()[["b", "word"]], z[["b", "word"]])


def test_only_the_columns_that_are_chosen_are_read():
    """A source that can leave columns out is asked to; columns that are not there are an error at once."""
    asked = []

    def read(_, columns=None):
        asked.append(columns)
        return TABLE if columns is None else TABLE[columns]

    frame = dd.from_map(read, [0], meta=TABLE[:0])
    assert Moments.of(TABLE[["c", "a"]]) == moments(frame, columns=["c", "a"]).compute(scheduler="sync")
    assert [["a", "c"]] == [sorted(columns) for columns in asked]
    with pytest.raises(ValueError, match="no column 'q'; it has 'a'"):
        moments(frame, columns=["q"])
    with pytest.raises(TypeError, match="not numeric: 'word'"):
        moments(frame.assign(word="x"))


def test_names_are_those_of_the_table():
    """Numbers are no names, errors name columns, and data that cannot be learned from leave names as they were."""
    numbered = dd.from_pandas(pd.DataFrame(TABLE.to_numpy()), npartitions=2)
    assert PLAIN().adapt(TABLE.to_numpy()).feature_names == Normalization().adapt(numbered).feature_names
    frame = dd.from_pandas(TABLE, npartitions=2)
    with pytest.raises(ValueError, match="first in feature 'c'"):
        Normalization().adapt(frame.assign(c=np.inf))
    layer = Normalization().adapt(frame)
    other = frame.rename(columns=str.upper)
    with pytest.raises(ValueError, match="missing 'B'"):
        layer.adapt([other, other[["A"]]])
    assert ("a", "b", "c", "d", "e", "f") == layer.feature_names
    assert ("A", "B", "C", "D", "E", "F") == layer.adapt([other, other]).feature_names


def test_a_partition_with_other_columns_is_one_clear_error():
    """A column that one partition lacks is named, and the layer stays as it was."""
    parts = [TABLE[:100], TABLE[100:200].drop(columns="d"), TABLE[200:]]
    frame = dd.from_delayed([dask.delayed(part) for part in parts], meta=TABLE[:0], verify_meta=False)
    layer = Normalization().adapt(TABLE)
    with pytest.raises(ValueError, match="'d'"):
        layer.update(frame)
    assert Moments.of(TABLE) == layer.moments
    with pytest.raises(ValueError, match="missing 'f'"):
        layer.transform(dd.from_pandas(TABLE.drop(columns="f"), npartitions=2))


@pytest.mark.parametrize("dtype", ["float16", ">f8", "int8", "uint64", "bool"])
def test_any_dtype_gives_what_the_array_gives(dtype):
    """Moments, and results with their dtype, known before they are computed."""
    x = np.nan_to_num(X[:, :, 0]).clip(0, 200).astype(dtype)
    layer, plain = Normalization().adapt(da.from_array(x, chunks=(50, 4))), fastnorm.Normalization().adapt(x)
    assert plain.moments == layer.moments
    z = layer.transform(da.from_array(x, chunks=(70, 6)))
    assert plain.transform(x).dtype == z.dtype == z.compute().dtype
    assert plain.transform(x).tobytes() == z.compute().tobytes()


def test_a_masked_array_stays_masked():
    """What is masked is missing, and the lazy result says what kind of array comes."""
    mask = RNG.random(X.shape) < 0.2
    masked = np.ma.array(X, mask=mask)
    x = da.from_array(masked, chunks=(50, 4, 5))
    layer, plain = Normalization().adapt(x), fastnorm.Normalization().adapt(masked)
    assert plain.moments == layer.moments
    z = layer.transform(x)
    assert type(z._meta) is type(z.compute()) is np.ma.MaskedArray
    np.testing.assert_array_equal(mask, z.compute().mask)
    np.testing.assert_array_equal(plain.transform(masked).compressed(), z.compute().compressed())


@pytest.mark.parametrize("dtype", ["Float64", "Int64", "double[pyarrow]", "int64[pyarrow]"])
def test_nullable_columns_stay_what_they_are(dtype):
    """Nulls are missing and stay; dtypes and the index are those of the table in memory."""
    table = (TABLE.fillna(0) * 10).round().astype("int64").astype(dtype).mask(TABLE > 50)
    table.index = pd.date_range("2026", periods=len(table), name="day")
    frame = dd.from_pandas(table, npartitions=5)
    layer, plain = Normalization().adapt(frame), fastnorm.Normalization().adapt(table)
    assert plain.moments == layer.moments
    z = layer.transform(frame)
    assert plain.transform(table).dtypes.tolist() == z.dtypes.tolist()
    pd.testing.assert_frame_equal(plain.transform(table), z.compute(), check_exact=True)


def test_partitions_may_be_empty_or_all_missing():
    """Rows that a filter leaves none of, and NaN throughout, are nothing to learn from."""
    table = TABLE.copy()
    table.iloc[40:80] = np.nan
    frame = dd.from_pandas(table, npartitions=6)
    some = frame.map_partitions(lambda part: part[(part.index < 150) | (part.index > 400)])
    expected = table[(table.index < 150) | (table.index > 400)]
    layer = Normalization().adapt(some)
    assert Moments.of(expected) == layer.moments
    pd.testing.assert_frame_equal(
        fastnorm.Normalization().adapt(expected).transform(expected), layer.transform(some).compute(), check_exact=True
    )
    with pytest.raises(ValueError, match="no rows"):
        layer.adapt(frame[frame["a"] > 1e300])
    assert Moments.of(expected) == layer.moments


def test_what_is_no_collection_is_refused():
    """`moments` wants arrays or DataFrames of Dask, and transforms have no destination."""
    with pytest.raises(TypeError, match="array or a DataFrame of Dask"):
        moments(X)
    with pytest.raises(TypeError, match="x is a Delayed"):
        moments(dask.delayed(X))
    with pytest.raises(TypeError, match="weights go with arrays"):
        moments(dd.from_pandas(TABLE, npartitions=2), weights=np.ones(240))
    layer = Normalization().adapt(TABLE.to_numpy())
    with pytest.raises(TypeError, match="lazy"):
        layer.transform(da.ones((4, 6)), out=np.empty((4, 6)))
    with pytest.raises(ValueError, match="5 features"):
        layer.transform(da.ones((4, 5)))
    x = da.ones((4, 6), chunks=3)
    with pytest.raises(ValueError, match="compute_chunk_sizes"):
        layer.transform(x[:, x[0] > 0])
    with pytest.raises(ValueError, match=r"weights have shape \(5,\), but x has rows of shape \(4,\)"):
        moments(x, weights=np.ones(5))
    with pytest.raises(TypeError, match="x is an array"):
        Normalization(columns=["a"]).adapt(x)


def test_ten_partitionings_on_a_cluster_give_the_same_bits(client):
    """Worker processes, any chunks: the moments of one process."""
    expected = Moments.of(X)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        cuts = [np.sort(rng.choice(np.arange(1, n), size=rng.integers(0, 4), replace=False)) for n in X.shape]
        chunks = tuple(tuple(int(size) for size in np.diff([0, *cut, n])) for cut, n in zip(cuts, X.shape, strict=True))
        layer = Normalization().adapt(da.from_array(X, chunks=chunks))
        assert expected == layer.moments


def test_what_workers_hold_is_learned_from(client):
    """Arrays and tables that were persisted stay where they are, and give the same bits."""
    x, frame = da.from_array(X, chunks=(50, 4, 5)).persist(), dd.from_pandas(TABLE, npartitions=3).persist()
    assert Moments.of(X) == Normalization().adapt(x).moments
    assert Moments.of(TABLE) == Normalization().adapt(frame).moments
    assert Moments.of(TABLE[["a"]]) == Normalization(columns=["a"]).adapt(frame["a"]).moments


def waiting(folder, block):
    """A block that says who works on it; the third and later ones wait until a worker was killed."""
    (folder / f"{time.monotonic_ns()}-{os.getpid()}").touch()
    while len(list(folder.iterdir())) >= 3 and not (folder / "killed").exists():
        time.sleep(0.01)
    return block


def test_a_killed_worker_changes_nothing(client, tmp_path):
    """A worker killed in the middle of the work is replaced, and its chunks are counted once."""
    x = da.from_array(X, chunks=(12, 6, 5))
    future = client.compute(moments(x.map_blocks(partial(waiting, tmp_path), meta=x._meta)))
    while len(begun := sorted(path.name for path in tmp_path.iterdir())) < 3:
        time.sleep(0.01)
    victim = int(begun[-1].split("-")[1])
    os.kill(victim, signal.SIGKILL)
    (tmp_path / "killed").touch()
    assert Moments.of(X) == future.result(timeout=60)
    assert victim not in client.run(os.getpid).values()
    assert x.npartitions + 1 < len(list(tmp_path.iterdir()))


def threads_used(block):
    """How many threads fastnorm would start in a task, were it not told otherwise."""
    layer = _plain(Normalization().adapt(block))
    return np.array([[layer.threads]])


def test_a_task_uses_one_thread(client):
    """Dask runs as many tasks as it has threads, so each computes in its own alone."""
    x = da.ones((4, 2), chunks=(2, 2))
    assert [[1], [1]] == x.map_blocks(threads_used, dtype=int, chunks=(1, 1)).compute().tolist()


@pytest.mark.parametrize("verb", ["adapt", "update"])
def test_a_second_small_batch_is_not_computed_as_an_array(verb):
    """Only its moments are: what a collection holds is never in memory as a whole, and names of columns are checked."""
    frame = dd.from_pandas(pd.DataFrame({"a": [1.0], "b": [3.0]}), npartitions=1)  # one row is in any order
    layer = Normalization().adapt(frame)
    with pytest.raises(ValueError, match="reordered 'b', 'a'"):
        layer.update(frame[["b", "a"]]) if verb == "update" else layer.adapt(iter([frame, frame[["b", "a"]]]))
    assert 1 == layer.count
