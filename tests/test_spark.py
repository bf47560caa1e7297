"""Laws of Spark: the bits of one process, whatever the partitions, the tasks and their fate."""

import os
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pyspark.ml.feature
import pytest
from pyspark import cloudpickle
from pyspark.errors import PythonException
from pyspark.ml import Pipeline, PipelineModel
from pyspark.ml.linalg import DenseVector, Vectors
from pyspark.sql import SparkSession

from fastnorm import Moments, Normalization
from fastnorm.spark import StandardScaler, StandardScalerModel, moments

RNG = np.random.default_rng(5)
X = RNG.lognormal(0.0, 3.0, (120, 3))
ROWS = [(*row, Vectors.dense(row), number) for number, row in enumerate(X.tolist())]
SCHEMA = "a double, b double, c double, v vector, row int"
NAMES = ["a", "b", "c"]
EXPECTED = Moments.of(X)


@pytest.fixture(scope="module")
def spark():
    """Two tasks at a time, each tried twice."""
    settings = {
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "2",
        # Small queries: to plan and compile them takes longer than to run them.
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.sql.codegen.wholeStage": "false",
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    }
    with SparkSession.builder.master("local[2,2]").config(map=settings).getOrCreate() as session:
        session.sparkContext.setLogLevel("OFF")
        cloudpickle.register_pickle_by_value(sys.modules[__name__])  # which workers cannot import
        yield session


@pytest.fixture(scope="module")
def table(spark):
    return spark.createDataFrame(ROWS, ["a", "b", "c", "v", "row"]).coalesce(1).cache()


def partitioned(spark, table, seed):
    """The rows cut at random into partitions, of which some may be empty."""
    rng = np.random.default_rng(seed)
    parts = int(rng.integers(1, 6))
    place = rng.integers(0, parts, len(ROWS)).tolist()
    pairs = table.rdd.map(lambda row: (place[row.row], row)).partitionBy(parts, int)
    return spark.createDataFrame(pairs.values(), table.schema)


@pytest.mark.parametrize("seed", range(10))
def test_any_partitions_give_the_moments_of_the_table(spark, table, seed):
    """Order and partitions leave every bit of the moments, of columns and of vectors."""
    assert EXPECTED == moments(partitioned(spark, table, seed), NAMES if seed % 2 else "v")


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("std", [False, True])
def test_a_model_gives_what_sparks_gives(table, mean, std):
    """Parameters, results, mean and std are Spark's, but for what Spark rounds."""
    settings = {"inputCol": "v", "outputCol": "z", "withMean": mean, "withStd": std}
    theirs = pyspark.ml.feature.StandardScaler(**settings).fit(table)
    ours = StandardScaler(**settings).fit(table)
    np.testing.assert_allclose(theirs.mean.toArray(), ours.mean.toArray(), rtol=1e-14)
    np.testing.assert_allclose(theirs.std.toArray(), ours.std.toArray(), rtol=1e-13)
    want, got = (np.array(model.transform(table).select("z").collect())[:, 0] for model in (theirs, ours))
    np.testing.assert_allclose(want, got, rtol=1e-12, atol=1e-13)


def test_a_biased_model_has_the_bits_of_the_layer(table):
    """With mean, std and `unbiased=False`, vectors and columns are what one process makes of them."""
    expected = Normalization().adapt(X)
    z = expected.transform(X)
    vectors = StandardScaler(inputCol="v", outputCol="z", withMean=True, unbiased=False).fit(table)
    assert DenseVector(expected.std) == vectors.std
    assert z.tobytes() == np.array(vectors.transform(table).select("z").collect())[:, 0].tobytes()
    columns = StandardScaler(inputCols=NAMES, outputCols=["x", "y", "z"], withMean=True, unbiased=False).fit(table)
    done = columns.transform(table)
    assert [*table.columns, "x", "y", "z"] == done.columns
    assert z.tobytes() == np.array(done.select("x", "y", "z").collect()).tobytes()
    assert ROWS == [tuple(row)[:5] for row in done.collect()]
    assert ROWS == [tuple(row) for row in table.collect()]


def test_far_from_zero_the_standard_deviation_is_right(spark):
    """Ten digits of mean leave all digits of the standard deviation, of sparse vectors too."""
    rows = [(Vectors.sparse(2, {0: 1e10 + k % 2}),) for k in range(100)]
    model = StandardScaler(inputCol="v", outputCol="z").fit(spark.createDataFrame(rows, ["v"]))
    assert [(25 / 99) ** 0.5, 0.0] == pytest.approx(model.std.toArray().tolist(), rel=1e-15)


def test_names_may_hold_dots_and_others_stand_twice(spark, table):
    """What Spark's expressions read as a field, or cannot tell apart after a join, is a name like any other."""
    odd = table.toDF("a.b", "x`y", "x`y", "v.w", "row")
    model = StandardScaler(inputCol="v.w", outputCol="z.v", withMean=True, unbiased=False).fit(odd)
    assert EXPECTED == model.normalization.moments
    z = Normalization().fit_transform(X)
    done = model.transform(odd)
    assert [*odd.columns, "z.v"] == done.columns
    assert [(*row, DenseVector(score)) for row, score in zip(ROWS, z, strict=True)] == [*map(tuple, done.collect())]
    columns = StandardScaler(inputCols=["a.b"], outputCols=["z.a"], withMean=True, unbiased=False).fit(odd)
    assert [(*row, score) for row, score in zip(ROWS, z[:, 0].tolist(), strict=True)] == [
        *map(tuple, columns.transform(odd).collect())
    ]


def test_nulls_are_missing_and_small_types_give_floats(spark):
    """A null stays null and does not count; types are those of the layer."""
    rows = [(1, 2, 1.0), (None, 4, 2.0), (3, 6, 6.0)]
    table = spark.createDataFrame(rows, "a smallint, b bigint, c float")
    model = StandardScaler(inputCols=NAMES, outputCols=["x", "y", "z"], withMean=True, unbiased=False).fit(table)
    assert [2.0, 4.0, 3.0] == model.mean.toArray().tolist()
    assert model.normalization.moments == moments(table.repartition(5), NAMES)  # one partition all null, two empty
    done = model.transform(table)
    assert ["float", "double", "float"] == [kind for _, kind in done.dtypes[3:]]
    assert [-1.0, None, 1.0] == [row.x for row in done.collect()]


def test_a_model_is_saved_with_its_exact_state(table, tmp_path):
    """What is loaded has the same parameters and moments, alone and in a Pipeline."""
    model = StandardScaler(inputCol="v", outputCol="z", withMean=True, unbiased=False).fit(table)
    model.save(str(tmp_path / "model"))
    pipeline = Pipeline(stages=[StandardScaler(inputCol="v", outputCol="z")])
    pipeline.fit(table).save(str(tmp_path / "pipeline"))
    twin = StandardScalerModel.load(str(tmp_path / "model"))
    stage = PipelineModel.load(str(tmp_path / "pipeline")).stages[0]
    assert EXPECTED == twin.normalization.moments == stage.normalization.moments
    assert (model.uid, True, False) == (twin.uid, twin.getWithMean(), twin.getUnbiased())
    assert model.transform(table).collect() == twin.transform(table).collect()


def failing_once(folder, batches):
    """A task that dies over its first attempt, with its process, after half the work."""
    for batch in batches:
        yield batch
    for number in batch.column("row").to_pylist()[:1]:
        marker = Path(folder, str(number))
        if not marker.exists():
            marker.touch()
            os._exit(1)


def test_a_task_that_dies_changes_nothing(spark, table, tmp_path):
    """The rows of an attempt that failed are counted once, by the one that succeeds."""
    parts = table.repartition(2)
    dying = parts.mapInArrow(partial(failing_once, str(tmp_path)), parts.schema)
    assert EXPECTED == moments(dying, NAMES)
    assert 2 == len(list(tmp_path.iterdir()))


def test_other_vectors_in_one_partition_are_one_clear_error(spark, table):
    """Lengths are named, within a partition, between partitions and in a transform."""
    odd = spark.createDataFrame([(Vectors.dense([1.0, 2.0]),)], ["v"]).coalesce(1)
    both = table.repartition(2).select("v").union(odd)
    with pytest.raises(PythonException, match=r"vectors of 2 and of 3 entries"):
        moments(both.coalesce(1), "v")
    with pytest.raises((PythonException, ValueError), match=r"features of shape \(3,\) and \(2,\)"):
        moments(both, "v")
    model = StandardScaler(inputCol="v", outputCol="z").fit(table)
    with pytest.raises(PythonException, match="x has 2 features"):
        model.transform(odd).collect()


def test_what_cannot_be_learned_is_refused(spark, table):
    """Before any task runs, an error names the column or the parameter."""
    for arguments, kind, words in [
        (("a",), TypeError, "vectors are wanted"),
        ((["v"],), TypeError, r"not numeric: 'v' \(vector\)"),
        ((["a", "q"],), ValueError, "no column 'q'"),
    ]:
        with pytest.raises(kind, match=words):
            moments(table, *arguments)
    with pytest.raises(ValueError, match="no rows"):
        moments(table.limit(0), NAMES)
    with pytest.raises(ValueError, match=r"infinities .* first in feature 'a'"):
        StandardScaler(inputCols=["a"], outputCols=["z"]).fit(spark.createDataFrame([(float("inf"),)], ["a"]))
    for scaler, words in [
        (StandardScaler(), "either inputCol"),
        (StandardScaler(inputCol="v", inputCols=NAMES), "either inputCol"),
        (StandardScaler(inputCols=NAMES, outputCols=["z"]), "one column for each"),
        (StandardScaler(inputCols=NAMES, outputCols=["z", "z", "y"]), "each once, not"),
    ]:
        with pytest.raises(ValueError, match=words):
            scaler.fit(table)
    with pytest.raises(ValueError, match="has columns 'a' already"):
        StandardScaler(inputCol="v", outputCol="a").fit(table).transform(table)
    with pytest.raises(ValueError, match="fit a StandardScaler"):
        StandardScalerModel().mean  # noqa: B018
