"""What needs a library that is not installed is left out; Keras is told which backend to take."""

import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

_NEED = {
    "distributed": ["fastnorm/dask/*", "tests/test_dask*.py"],
    "mpi4py": ["tests/test_mpi.py"],
    "pyspark": ["fastnorm/spark.py", "tests/test_spark.py"],
    "ray": ["fastnorm/ray.py", "tests/test_ray.py"],
    "sklearn": [
        "fastnorm/sklearn.py",
        "fastnorm/dask/_scaler.py",
        "tests/test_sklearn*.py",
        "tests/test_dask_scaler.py",
    ],
    "tensorflow": ["fastnorm/keras/*", "tests/test_*keras*.py"],  # without it Keras takes no batches
    "torch": ["fastnorm/torch.py", "tests/test_*_torch.py"],
}
_MISSING = [library for library in _NEED if find_spec(library) is None]
_POSIX = ["tests/test_cli*.py", "tests/test_files*.py"]  # forks, terminals, permissions
# The only list of its kind: one in a folder below would take the place of this one there.
collect_ignore_glob = [pattern for library in _MISSING for pattern in _NEED[library]]
collect_ignore_glob += [] if os.name == "posix" else _POSIX

if "KERAS_BACKEND" not in os.environ:  # Keras reads it once. Its NumPy backend is the quickest to import, and wants JAX
    installed = {"numpy": "jax", "tensorflow": "tensorflow", "torch": "torch"}
    os.environ["KERAS_BACKEND"] = next((name for name, library in installed.items() if find_spec(library)), "numpy")


@pytest.fixture(autouse=True, scope="module")
def ray_ends() -> Iterator[None]:
    """The cluster that an example starts ends with the examples of its module: the next one starts its own."""
    yield
    if "ray" in sys.modules:
        sys.modules["ray"].shutdown()


def pytest_report_header() -> list[str]:
    """Say what is left out."""
    return [f"left out, because it is not installed: {library}" for library in _MISSING]
