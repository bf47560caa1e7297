"""What needs a library that is not installed is left out; Keras is told which backend to take."""

import os
from importlib.util import find_spec

_NEED = {
    "keras": ["fastnorm/_keras_batchnorm.py", "tests/test_batchnorm_keras.py"],
    "torch": ["fastnorm/torch.py", "tests/test_batchnorm_torch.py"],
}
collect_ignore = [path for library, paths in _NEED.items() if find_spec(library) is None for path in paths]

if "KERAS_BACKEND" not in os.environ:  # Keras's own NumPy backend wants JAX
    installed = {"numpy": "jax", "torch": "torch", "tensorflow": "tensorflow"}
    os.environ["KERAS_BACKEND"] = next((name for name, library in installed.items() if find_spec(library)), "numpy")
