"""Laws of StandardScaler on tensors of torch."""

import os

from processes import run_python


def test_arrays_of_other_libraries_are_scikit_learns():
    """With array_api_dispatch a tensor gives tensors, by scikit-learn's code; without, an array as any array-like."""
    printed = run_python(
        """
        import numpy as np, sklearn, torch
        from fastnorm.sklearn import StandardScaler
        x = torch.tensor([[1.0], [3.0]], dtype=torch.float64)
        scaler = StandardScaler().partial_fit(x.numpy())
        print(type(scaler.transform(x)).__name__)
        with sklearn.config_context(array_api_dispatch=True):
            z = scaler.fit(x).partial_fit(x).transform(x)
            print(type(z).__name__, type(scaler.mean_).__name__, *z.flatten().tolist())
            print(*scaler.inverse_transform(z).flatten().tolist())
        print(*scaler.transform(x.numpy()).ravel())
        """,
        environment=os.environ | {"SCIPY_ARRAY_API": "1"},
        timeout=300,
    )
    assert ["ndarray", "Tensor", "Tensor", "-1.0", "1.0", "1.0", "3.0", "-1.0", "1.0"] == printed
