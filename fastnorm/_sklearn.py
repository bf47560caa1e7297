"""What scikit-learn asks of a scaler beside its numbers: checks, callbacks, arrays of other libraries."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn import get_config
from sklearn.utils._array_api import _is_numpy_namespace, get_namespace

FLOATS = [np.float64, np.float32, np.float16]  # what keeps its dtype; what is in neither list becomes the first
INTEGERS = [np.bool_, *(np.dtype(f"{kind}{size}").type for kind in "iu" for size in (1, 2, 4, 8))]


def checks(X: Any, sparse: Any) -> dict[str, Any]:
    """What scikit-learn is to check: all but infinities, which it would look for in a pass of its own."""
    dtypes = FLOATS if issparse(X) else FLOATS + INTEGERS
    return {"accept_sparse": sparse, "dtype": dtypes, "ensure_all_finite": False}


def is_foreign(X: Any) -> bool:
    """Whether scikit-learn is to work with arrays of another library (``array_api_dispatch``): its own code does."""
    return bool(get_config()["array_api_dispatch"]) and not _is_numpy_namespace(get_namespace(X)[0])


@contextlib.contextmanager
def announced(scaler: Any, X: Any, y: Any, sample_weight: Any) -> Iterator[None]:
    """Tell the callbacks of scikit-learn, which it has since 1.9, that the scaler is fitted."""
    if not hasattr(scaler, "_init_callback_context"):
        yield
        return
    context = scaler._init_callback_context()
    task = {"estimator": scaler, "X": X, "y": y, "metadata": {"sample_weight": sample_weight}}
    context.call_on_fit_task_begin(**task)
    yield
    context.call_on_fit_task_end(**task, reconstruction_attributes={})
