"""Laws of Ray Data: the bits of one process, whatever the blocks, the workers and their fate."""

import os
import signal
import sys
import threading
import time
from functools import partial
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
import ray
import ray.data.preprocessors
from ray.data.expressions import col
from ray.data.preprocessor import Preprocessor, PreprocessorNotFittedException

from fastnorm import Moments, Normalization
from fastnorm.ray import FAN_IN, StandardScaler, moments

pytestmark = pytest.mark.filterwarnings("ignore:`fit` has already been called:UserWarning")

RNG = np.random.default_rng(5)
X = RNG.lognormal(0.0, 3.0, (240, 3))
X[RNG.random(X.shape) < 0.05] = np.nan
TABLE = pa.table({"a": X[:, 0], "b": X[:, 1].astype("float32"), "c": RNG.integers(0, 9, 240), "row": range(240)})
NAMES = ["a", "b", "c"]
EXPECTED = Moments.of(TABLE.select(NAMES))


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """Two real worker processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
        ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # which workers cannot import
        ray.data.DataContext.get_current().enable_progress_bars = False
        yield
        ray.shutdown()


def blocks(table, seed):
    """The rows in random order, cut at random into blocks, of which some may be empty."""
    rng = np.random.default_rng(seed)
    table = table.take(rng.permutation(len(table)))
    ends = [0, *np.sort(rng.integers(0, len(table), rng.integers(0, 6))).tolist(), len(table)]
    return [table.slice(start, stop - start) for start, stop in pairwise(ends)]


def table_of(ds):
    """The rows of a dataset, in the order of their numbers."""
    return pa.concat_tables(ray.get(ds.to_arrow_refs())).sort_by("row")


def bits(table, names=NAMES):
    """Columns of an Arrow table, a pandas table or a dict of arrays, as bytes."""
    return [np.asarray(table[name]).tobytes() for name in names]


@pytest.mark.parametrize("seed", range(10))
def test_any_blocks_give_the_moments_of_the_table(seed):
    """Order and blocks leave every bit of the moments."""
    assert EXPECTED == moments(ray.data.from_arrow(blocks(TABLE, seed)), NAMES)


def test_many_blocks_are_added_up_in_a_tree():
    """More blocks than one task adds up, some without rows, some all missing: the moments of the table."""
    table = TABLE.set_column(0, "a", pa.array([None] * 60 + TABLE["a"].to_pylist()[60:], pa.float64()))
    parts = [table.slice(start, 3) for start in range(0, 240, 3)] + [table.slice(0, 0)] * 2
    assert FAN_IN**2 < len(parts)
    ds = ray.data.from_arrow(parts)
    assert Moments.of(table.select(NAMES)) == moments(ds, NAMES)
    assert Moments.of(table.select(NAMES).slice(200)) == moments(ds.filter(expr=col("row") >= 200), NAMES)


def test_statistics_stand_where_ray_has_them():
    """The keys of `stats_` are Ray's, and so are the values, but for rounding; here each is rounded once."""
    full = pa.table({name: np.nan_to_num(TABLE[name].to_numpy()) for name in NAMES})
    ds = ray.data.from_arrow(blocks(full, 1))
    theirs = ray.data.preprocessors.StandardScaler(NAMES).fit(ds).stats_
    ours = StandardScaler(NAMES).fit(ds).stats_
    assert theirs.keys() == ours.keys()
    assert theirs == pytest.approx(ours, rel=1e-6)
    assert Moments.of(full).std.tolist() == [ours[f"std({name})"] for name in NAMES]


def test_a_transform_keeps_rows_and_other_columns():
    """Each row is what one process makes of it; what is no feature goes through."""
    z = table_of(StandardScaler(NAMES).fit_transform(ray.data.from_arrow(blocks(TABLE, 2))))
    expected = Normalization(columns=NAMES).fit_transform(TABLE)
    assert expected.schema == z.schema
    assert bits(expected, TABLE.column_names) == bits(z, TABLE.column_names)


def test_output_columns_stand_beside_the_features():
    """Features stay as they are, and a result may take the place of any column."""
    table = TABLE.append_column("word", TABLE["row"].cast("string"))
    ds = ray.data.from_arrow([table])
    z = table_of(StandardScaler(["a", "b"], ["word", "z"]).fit_transform(ds))
    assert [*table.column_names, "z"] == z.column_names
    assert bits(table) == bits(z)
    assert bits(Normalization(columns=["a", "b"]).fit_transform(table), ["a", "b"]) == bits(z, ["word", "z"])
    with pytest.raises(ValueError, match="output_columns"):
        StandardScaler(["a", "b"], ["z"])


@pytest.mark.parametrize("kind", ["Arrow", "pandas", "dict"])
def test_a_batch_of_any_kind_is_transformed(kind):
    """Arrow, pandas and dicts of arrays give the same numbers, and are left as they are."""
    scaler = StandardScaler(NAMES).fit(ray.data.from_arrow([TABLE]))
    frame = TABLE.to_pandas()
    batch = {"Arrow": TABLE, "pandas": frame, "dict": {name: frame[name].to_numpy() for name in NAMES}}[kind]
    assert bits(Normalization(columns=NAMES).fit_transform(TABLE)) == bits(scaler.transform_batch(batch))
    assert bits(TABLE) == bits(batch)


def test_settings_and_nulls_are_those_of_the_layer():
    """Nulls are missing and stay null; settings go to the layer."""
    table = pa.table({"a": [1, None, 3], "b": [np.inf, 1.0, 3.0]})
    ds = ray.data.from_arrow([table])
    scaler = StandardScaler(["a", "b"], inf="omit").fit(ds)
    assert [2.0, 2.0] == [scaler.stats_["mean(a)"], scaler.stats_["mean(b)"]]
    assert [-1.0, None, 1.0] == scaler.transform_batch(table)["a"].to_pylist()
    with pytest.raises(ValueError, match=r"infinities .* first in feature 'b'"):
        StandardScaler(["a", "b"]).fit(ds)
    with pytest.raises(ValueError, match="inf='keep' is unknown"):
        StandardScaler(["a"], inf="keep")


def test_a_block_of_nulls_alone_has_no_type():
    """As with rows from Python or JSON: its nulls are missing like others, as in Ray."""
    ds = ray.data.from_items([{"a": None, "row": 0}, {"a": 1, "row": 1}, {"a": 3, "row": 2}], override_num_blocks=3)
    scaler = StandardScaler(["a"]).fit(ds)
    theirs = ray.data.preprocessors.StandardScaler(["a"]).fit(ds)
    assert theirs.stats_ == scaler.stats_
    assert [None, -1.0, 1.0] == table_of(scaler.transform(ds))["a"].to_pylist()
    assert [None] == scaler.transform_batch(pa.table({"a": [None]}))["a"].to_pylist()
    assert repr(theirs) == repr(scaler)


def test_a_scaler_goes_through_rays_serialization():
    """What is deserialized has the same bits, and the state is a layer like any other."""
    ds = ray.data.from_arrow([TABLE])
    scaler = StandardScaler(NAMES, constant="raise").fit(ds)
    twin = Preprocessor.deserialize(scaler.serialize())
    assert scaler.stats_ == twin.stats_
    assert EXPECTED == twin.normalization.moments
    assert ("raise", tuple(NAMES)) == (twin.normalization.constant, twin.normalization.feature_names)
    assert bits(scaler.transform_batch(TABLE)) == bits(twin.transform_batch(TABLE))


def test_a_scaler_must_be_fitted():
    """Before it is, there are no statistics and no results, as in Ray."""
    scaler = StandardScaler(NAMES)
    assert {} == scaler.stats_
    assert scaler.normalization is None
    with pytest.raises(PreprocessorNotFittedException):
        scaler.transform(ray.data.from_arrow([TABLE]))
    with pytest.raises(ValueError, match="no rows"):
        scaler.fit(ray.data.from_arrow([TABLE.slice(0, 0)]))
    assert Preprocessor.FitStatus.NOT_FITTED == scaler.fit_status()


def spoiled(how, block):
    """The block with the first row in a form of its own."""
    if block["row"][0].as_py():
        return block
    return block.drop_columns(["b"]) if how == "missing" else block.set_column(1, "b", pa.array(["x"] * len(block)))


@pytest.mark.parametrize(("how", "words"), [("missing", 'Field "b" does not exist'), ("text", "not numeric: 'b'")])
def test_a_block_with_other_columns_is_one_clear_error(how, words):
    """The column is named, and the scaler stays as it was."""
    scaler = StandardScaler(NAMES).fit(ray.data.from_arrow([TABLE]))
    before = scaler.stats_
    ds = ray.data.from_arrow([TABLE, TABLE.slice(1)])
    with pytest.raises(ray.exceptions.RayTaskError, match=words):
        scaler.fit(ds.map_batches(partial(spoiled, how), batch_format="pyarrow", batch_size=None))
    assert before == scaler.stats_
    assert EXPECTED == scaler.normalization.moments


def slowly(folder, block):
    """A block that takes its time and says who works on it, so that a worker can be killed over it."""
    folder.joinpath(f"{os.getpid()}-{time.monotonic_ns()}").touch()
    time.sleep(0.3)
    return block


def test_a_killed_worker_changes_nothing(tmp_path):
    """A worker killed in the middle of the work is replaced, and its blocks are counted once."""
    parts = [TABLE.slice(start, 24) for start in range(0, 240, 24)]
    ds = ray.data.from_arrow(parts).map_batches(partial(slowly, tmp_path), batch_format="pyarrow", batch_size=None)
    found = []
    work = threading.Thread(target=lambda: found.append(moments(ds, NAMES)))
    work.start()
    while len(begun := sorted(tmp_path.iterdir(), key=lambda path: path.name.split("-")[1])) < 3:
        assert work.is_alive()
        time.sleep(0.01)
    os.kill(int(begun[-1].name.split("-")[0]), signal.SIGKILL)
    work.join(timeout=60)
    assert [EXPECTED] == found
    assert len(parts) < len(list(tmp_path.iterdir()))


def threads_of(scaler, block):
    """How many threads a task would take for itself."""
    return {"threads": [scaler._layer.threads]}


def test_a_task_uses_one_thread():
    """Ray runs as many tasks as it has processors, so each computes in its own thread alone."""
    ds = ray.data.from_arrow([TABLE])
    scaler = StandardScaler(NAMES).fit(ds)
    assert [{"threads": 1}] == ds.map_batches(partial(threads_of, scaler), batch_size=None).take_all()
    assert scaler.normalization.threads is None
