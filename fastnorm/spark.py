"""Spark: statistics as one small row a partition, and an Estimator and Model like Spark's StandardScaler."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyspark.ml import Estimator, Model
from pyspark.ml.functions import array_to_vector, vector_to_array
from pyspark.ml.linalg import DenseVector, Vectors
from pyspark.ml.param import Param, Params, TypeConverters
from pyspark.ml.param.shared import HasInputCol, HasInputCols, HasOutputCol, HasOutputCols
from pyspark.ml.util import (
    DefaultParamsReadable,
    DefaultParamsReader,
    DefaultParamsWritable,
    DefaultParamsWriter,
    MLReadable,
    MLReader,
    MLWritable,
    MLWriter,
)
from pyspark.sql import DataFrame
from pyspark.sql.types import ArrayType, DoubleType, StructType

from fastnorm import _batches, _frames, policy
from fastnorm._apply import Affine
from fastnorm._arguments import result_dtype
from fastnorm.moments import Moments
from fastnorm.normalization import Normalization

__all__ = ["StandardScaler", "StandardScalerModel", "moments"]

Floats = NDArray[np.float64]

# Spark's names of the types that are numbers, and NumPy's.
DTYPES = {"boolean": "bool", "tinyint": "int8", "smallint": "int16", "int": "int32", "bigint": "int64"}
DTYPES |= {"float": "float32", "double": "float64"}


def moments(dataset: DataFrame, columns: str | Sequence[str]) -> Moments:
    """Return the moments of a DataFrame: one small row a partition, added up in a tree.

    Since sums are exact, neither partitions nor the order of tasks nor a retry can change a bit.

    Parameters
    ----------
    dataset : pyspark.sql.DataFrame
        Partitioned in any way.
    columns : str or sequence of str
        The name of one column of vectors, each of its entries a feature, or the names of columns of numbers, each a
        feature; their nulls are missing.

    Raises
    ------
    TypeError
        If a column holds something else.
    ValueError
        If there is no such column, or the DataFrame has no rows.
    pyspark.errors.PythonException
        If vectors have several lengths, or Spark's own error if one is null.

    Examples
    --------
    >>> from pyspark.sql import SparkSession
    >>> spark = SparkSession.builder.master("local[2,2]").getOrCreate()
    >>> moments(spark.createDataFrame([(1.0,), (2.0,), (6.0,)], "km double"), ["km"]).mean
    array([3.])
    """
    rows = _numbers(dataset, columns).mapInArrow(_batches.states, "state binary")
    states = rows.rdd.map(lambda row: Moments.from_bytes(row.state))
    found: Moments | None = states.treeAggregate(None, _added, _added)
    if found is None:
        raise ValueError("the DataFrame has no rows; pass at least one")
    return found


def _added(left: Moments | None, right: Moments | None) -> Moments | None:
    return left + right if left is not None and right is not None else left or right


def _numbers(dataset: DataFrame, columns: str | Sequence[str]) -> DataFrame:
    """The columns alone, numbered, a vector as an array; TypeError or ValueError if they cannot be features."""
    names = (columns,) if isinstance(columns, str) else _frames.checked_columns(columns)
    types = dict(dataset.dtypes)
    if missing := [name for name in names if name not in types]:
        raise ValueError(f"the DataFrame has no column {_frames.listed(missing)}; it has {_frames.listed([*types])}")
    if isinstance(columns, str):
        if types[columns] != "vector":
            raise TypeError(
                f"column {columns!r} holds {types[columns]}, but vectors are wanted; pass [{columns!r}] for a column "
                "of numbers, or make vectors with pyspark.ml.functions.array_to_vector"
            )
        return dataset.select(vector_to_array(_quoted(columns)).alias("0"))
    if other := [name for name in names if types[name] not in DTYPES]:
        kinds = ", ".join(sorted({types[name] for name in other}))
        raise TypeError(f"columns are not numeric: {_frames.listed(other)} ({kinds}); cast them, or leave them out")
    return dataset.select(*map(_quoted, names)).toDF(*_numbered(names))


def _quoted(name: str) -> str:
    """The name as Spark's expressions want it, to which a dot means a field."""
    return f"`{name.replace('`', '``')}`"


def _numbered(names: Sequence[str]) -> list[str]:
    """Names for `DataFrame.mapInArrow`, which takes none with dots and none twice."""
    return [str(number) for number in range(len(names))]


def _setter(name: str) -> Any:
    def setter(self: Any, value: Any) -> Any:
        return self._set(**{name: value})

    setter.__doc__ = f"Set ``{name}``; returns the object itself."
    return setter


def _getter(name: str) -> Any:
    def getter(self: Any) -> bool:
        return bool(self.getOrDefault(name))

    getter.__doc__ = f"Return ``{name}``."
    return getter


def _switch(name: str, text: str) -> Any:
    return Param(Params._dummy(), name, text, TypeConverters.toBoolean)


class _Parameters(HasInputCol, HasOutputCol, HasInputCols, HasOutputCols):  # type: ignore[misc]
    """The parameters of the scaler and of its model."""

    withMean = _switch("withMean", "Center data with mean")
    withStd = _switch("withStd", "Scale to unit standard deviation")
    unbiased = _switch("unbiased", "Divide the variance by n - 1, not n")
    getWithMean, getWithStd, getUnbiased = map(_getter, ("withMean", "withStd", "unbiased"))
    setWithMean, setWithStd, setUnbiased = map(_setter, ("withMean", "withStd", "unbiased"))
    setInputCol, setOutputCol, setInputCols, setOutputCols = map(
        _setter, ("inputCol", "outputCol", "inputCols", "outputCols")
    )

    def __init__(self) -> None:
        super().__init__()
        self._setDefault(withMean=False, withStd=True, unbiased=True)

    def _names(self) -> tuple[str | list[str], list[str]]:
        """The columns to learn from (see `moments`) and those to make."""
        if self.isSet(self.inputCol) == self.isSet(self.inputCols):
            raise ValueError("give either inputCol, a column of vectors, or inputCols, columns of numbers")
        if self.isSet(self.inputCol):
            return self.getInputCol(), [self.getOutputCol()]
        outputs = self.getOutputCols() if self.isSet(self.outputCols) else []
        if not len(self.getInputCols()) == len(outputs) == len(set(outputs)):
            raise ValueError(f"outputCols must name one column for each of inputCols, and each once, not {outputs}")
        return self.getInputCols(), self.getOutputCols()


class StandardScaler(Estimator, _Parameters, DefaultParamsReadable, DefaultParamsWritable):  # type: ignore[misc]
    """Standardize features, as Spark's Estimator of this name, with exact statistics.

    Parameters
    ----------
    inputCol, outputCol : str
        A column of vectors, dense or sparse, and that of the results, dense vectors.
    inputCols, outputCols : list of str
        Instead of these: columns of numbers, each a feature, and one result for each.
    withMean : bool
        Subtract the mean; False without it, as in Spark.
    withStd : bool
        Divide by the standard deviation.
    unbiased : bool
        Divide the sum of squares by n - 1, as Spark does, or by n, as everything else in fastnorm does.

    Examples
    --------
    >>> from pyspark.sql import SparkSession
    >>> spark = SparkSession.builder.master("local[2,2]").getOrCreate()
    >>> trips = spark.createDataFrame([(1.0,), (3.0,)], "km double")
    >>> scaler = StandardScaler(inputCols=["km"], outputCols=["z"], withMean=True, unbiased=False)
    >>> model = scaler.fit(trips)
    >>> model.transform(trips).collect()
    [Row(km=1.0, z=-1.0), Row(km=3.0, z=1.0)]
    """

    def __init__(
        self,
        *,
        inputCol: str | None = None,
        outputCol: str | None = None,
        inputCols: list[str] | None = None,
        outputCols: list[str] | None = None,
        withMean: bool = False,
        withStd: bool = True,
        unbiased: bool = True,
    ) -> None:
        super().__init__()
        columns = {"inputCol": inputCol, "outputCol": outputCol, "inputCols": inputCols, "outputCols": outputCols}
        switches = {"withMean": withMean, "withStd": withStd, "unbiased": unbiased}
        self._set(**{name: value for name, value in (columns | switches).items() if value is not None})

    def _fit(self, dataset: DataFrame) -> StandardScalerModel:
        columns, _ = self._names()
        names = None if isinstance(columns, str) else columns
        model = StandardScalerModel(Normalization.from_moments(moments(dataset, columns), columns=names))
        model._resetUid(self.uid)
        fitted: StandardScalerModel = self._copyValues(model)
        return fitted


class StandardScalerModel(Model, _Parameters, MLReadable, MLWritable):  # type: ignore[misc]
    """What a `StandardScaler` has learned; it has the same parameters, which may still be changed.

    Parameters
    ----------
    normalization : fastnorm.Normalization
        The exact state. One with other settings (``nan``, ``inf``, ``constant``) may be given.

    Examples
    --------
    >>> StandardScalerModel(Normalization().adapt([[1.0], [3.0]])).std
    DenseVector([1.4142])
    """

    def __init__(self, normalization: Normalization | None = None) -> None:
        super().__init__()
        self.normalization = normalization

    @property
    def mean(self) -> DenseVector:
        """The mean of each feature."""
        return Vectors.dense(self._adapted().mean)

    @property
    def std(self) -> DenseVector:
        """The standard deviation of each feature, of the convention that ``unbiased`` says."""
        return Vectors.dense(self._adapted().std / self._factor())

    def _adapted(self) -> Normalization:
        if self.normalization is None:
            raise ValueError("this StandardScalerModel has no normalization; fit a StandardScaler, or give it one")
        return self.normalization

    def _factor(self) -> Floats:
        """What a biased standard deviation is divided by."""
        found = self._adapted().moments
        if not self.getUnbiased():
            return np.ones(found.shape)
        count = np.maximum(found.count, 2)  # a single value has no deviation in either convention
        return np.sqrt((count - 1) / count)

    def _affine(self) -> Affine:
        """What is applied to each feature."""
        layer = self._adapted()
        found = policy.of_moments(layer.moments, layer.nan, layer.constant, layer.epsilon)
        affine = Affine(*found[:5])
        if not self.getWithMean():
            zero = np.zeros_like(found.mean)
            affine = affine._replace(mean=zero, low=zero, rest=zero)
        if not self.getWithStd():
            return affine._replace(scale=np.exp2(found.shift))
        return affine._replace(gamma=np.where(layer.moments.constant, 1.0, self._factor()))

    def _transform(self, dataset: DataFrame) -> DataFrame:
        columns, results = self._names()
        if taken := set(results) & set(dataset.columns):
            raise ValueError(f"the DataFrame has columns {_frames.listed(sorted(taken))} already; name other outputs")
        types = [kind for _, kind in _numbers(dataset, columns).dtypes]
        names = _numbered([*dataset.columns, *results])
        table, schema = dataset.toDF(*names[: len(dataset.columns)]), StructType([*dataset.schema])
        made = names[len(dataset.columns) :]
        if isinstance(columns, str):
            table = table.withColumn(made[0], vector_to_array(names[dataset.columns.index(columns)]))
            inputs, kinds = made, [ArrayType(DoubleType())]
        else:
            inputs = [names[dataset.columns.index(name)] for name in columns]
            kinds = ["float" if result_dtype(None, np.dtype(DTYPES[kind])) == "f" else "double" for kind in types]
        for result, kind in zip(results, kinds, strict=True):
            schema.add(result, kind)
        done = table.mapInArrow(partial(_batches.scaled, inputs, made, self._affine()), schema)
        if isinstance(columns, str):
            return done.withColumn(results[0], array_to_vector(_quoted(results[0])))
        return done

    def write(self) -> MLWriter:
        """Return what saves the model: parameters, and the state file of its layer as text."""
        return _Writer(self)

    @classmethod
    def read(cls) -> MLReader:
        """Return what loads a saved model."""
        return _Reader(cls)


class _Writer(DefaultParamsWriter):  # type: ignore[misc]
    """Writes the metadata of a model wherever Spark can write, with the state file of its layer in them."""

    def saveImpl(self, path: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "state.json"
            self.instance._adapted().save(file)
            more = {"normalization": file.read_text("utf-8")}
        DefaultParamsWriter.saveMetadata(self.instance, path, self.sc, extraMetadata=more)


class _Reader(DefaultParamsReader):  # type: ignore[misc]
    def load(self, path: str) -> StandardScalerModel:
        model: StandardScalerModel = super().load(path)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "state.json"
            file.write_text(DefaultParamsReader.loadMetadata(path, self.sc)["normalization"], "utf-8")
            model.normalization = Normalization.load(file)
        return model
