"""Laws of torch's tensors and data loaders, beside Keras itself; left out where torch is not installed."""

import keras
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import fastnorm
from fastnorm.keras import Normalization, adapt

X = torch.from_numpy(np.random.default_rng(0).normal(50, 3, (100, 4)).astype(np.float32))

FORMS = {
    "plain": X,
    "records its gradient": X.clone().requires_grad_(),
    "is computed from one that does": X.clone().requires_grad_() * 1,
    "not contiguous": X.t().contiguous().t(),
    "every other row": torch.stack([X, X], dim=1).reshape(200, 4)[::2],
    "a parameter": torch.nn.Parameter(X),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("kind", [fastnorm.Normalization, Normalization])
def test_tensors_come_in_and_arrays_go_out(kind, name):
    """A tensor is what its numbers are, whatever it remembers and however it lies; it does not change."""
    x = FORMS[name]
    recorded = x.requires_grad
    layer = kind().adapt(x)
    assert fastnorm.Moments.of(X.numpy()) == layer.moments
    assert layer.moments == kind().adapt([x[:40], x[40:]]).moments
    z = layer(x)
    assert isinstance(z, np.ndarray)
    np.testing.assert_array_equal(layer(X.numpy()), z)
    assert recorded == x.requires_grad


def test_the_memory_of_a_tensor_is_a_destination():
    """tensor.numpy() shares its memory, so that a tensor can be normalized in place."""
    x = X.clone()
    layer = Normalization().adapt(x)
    layer.transform(x, out=x.numpy())
    np.testing.assert_array_equal(layer(X), x.numpy())


@pytest.mark.parametrize("extra", [(), (torch.zeros(100),), (torch.zeros(100), torch.ones(100))])
def test_a_data_loader_gives_the_bits_of_the_whole(extra):
    """Alone, with targets, with targets and weights; Keras takes tuples of it, to its rounding."""
    loader = DataLoader(TensorDataset(X, *extra), batch_size=32)
    assert fastnorm.Moments.of(X) == Normalization().adapt(loader).moments
    ours = adapt(keras.layers.Normalization(), loader)
    theirs = keras.layers.Normalization()
    theirs.adapt(tuple(batch) for batch in loader)
    np.testing.assert_allclose(np.asarray(ours.adapt_mean), np.asarray(theirs.adapt_mean), rtol=1e-5)
    np.testing.assert_allclose(np.asarray(ours.adapt_variance), np.asarray(theirs.adapt_variance), rtol=1e-4)


def test_a_data_loader_of_a_tensor_gives_tensors():
    """Batches that are no tuples, in a random order."""
    loader = DataLoader(X, batch_size=32, shuffle=True)
    assert fastnorm.Moments.of(X) == Normalization().adapt(loader).moments


def test_bfloat16_is_read_bit_by_bit():
    """torch does not give it to NumPy; its values are those of the same tensor in float32."""
    rounded = X.bfloat16()
    assert fastnorm.Moments.of(rounded) == fastnorm.Moments.of(rounded.float().numpy())
    z = fastnorm.Normalization().adapt(rounded).transform(rounded)
    assert z.dtype.name == "bfloat16"
