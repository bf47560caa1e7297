"""Laws of the conversions from and to torch, and of convention="torch", against the real torch."""

import io

import numpy as np
import pytest
import torch
from torch import nn

from fastnorm import BatchNormalization, Normalization, NotAdaptedError
from fastnorm.torch import from_torch, to_torch

MODULES = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
EVERY = pytest.mark.parametrize("dimensions", [1, 2, 3])


def batches(dimensions=1, count=4, seed=0):
    """Batches of 6 to 9 rows of 3 channels on axis 1."""
    rng = np.random.default_rng(seed)
    shape = {1: (3,), 2: (3, 4, 5), 3: (3, 4, 5, 2)}[dimensions]
    return [rng.normal(2, 3, (rows, *shape)).astype(np.float32) for rows in range(6, 6 + count)]


def numpy(tensor):
    return tensor.detach().numpy()


def trained(dimensions=1, **settings):
    """A module with gamma and beta of its own that has seen some batches."""
    module = MODULES[dimensions](3, **settings)
    with torch.no_grad():
        for parameter, values in ((module.weight, [2.0, -0.5, 0.0]), (module.bias, [1.0, 0.0, 10.0])):
            if parameter is not None:
                parameter.copy_(torch.tensor(values))
        for batch in batches(dimensions):
            module(torch.from_numpy(batch))
    return module


def agree(layer, module, x):
    """Same predictions and averages, to the rounding of float32."""
    np.testing.assert_allclose(layer.moving_mean, numpy(module.running_mean), rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(layer.moving_variance, numpy(module.running_var), rtol=2e-6)
    assert layer.num_batches_tracked == module.num_batches_tracked
    was, expected = module.training, numpy(module.eval()(torch.from_numpy(x)))
    module.train(was)
    np.testing.assert_allclose(layer(x), expected, rtol=2e-6, atol=4e-6)


@EVERY
@pytest.mark.parametrize("momentum", [0.1, 0.9, 0.0, 1.0, None])
def test_training_goes_as_in_torch(dimensions, momentum):
    """Over several batches: the output of each, the averages after each, and predictions between them."""
    module = MODULES[dimensions](3, momentum=momentum)
    layer = BatchNormalization(1, momentum, convention="torch")
    for x in batches(dimensions):
        expected = numpy(module(torch.from_numpy(x)))
        np.testing.assert_allclose(layer(x, training=True), expected, rtol=2e-6, atol=4e-6)
        agree(layer, module, x)


def test_the_defaults_are_those_of_torch():
    """momentum 0.1 and eps 1e-5."""
    module, layer = nn.BatchNorm1d(3), BatchNormalization(1, convention="torch")
    assert (module.momentum, module.eps) == (layer.momentum, layer.epsilon)


def test_the_moving_variance_is_unbiased():
    """The column [2, 2, -4] with momentum 1 gives 12, in torch as here; what is normalized with is 8."""
    x = np.array([[2.0], [2.0], [-4.0]], np.float32)
    module, layer = nn.BatchNorm1d(1, momentum=1.0), BatchNormalization(1, 1.0, convention="torch")
    y = numpy(module(torch.from_numpy(x)))
    np.testing.assert_allclose(layer(x, training=True), y, rtol=2e-6)
    assert [12.0] == module.running_var.tolist() == layer.moving_variance.tolist()
    np.testing.assert_allclose(y, x / np.sqrt(8 + 1e-5), rtol=1e-6)
    biased = BatchNormalization(1, 0.0)
    biased(x, training=True)
    assert [8.0] == biased.moving_variance.tolist()


def test_a_single_value_a_channel_is_refused_as_in_torch():
    """Both raise ValueError for a batch of one row, for which there is no unbiased variance."""
    x = np.ones((1, 3), np.float32)
    with pytest.raises(ValueError, match="more than 1 value"):
        nn.BatchNorm1d(3)(torch.from_numpy(x))
    with pytest.raises(ValueError, match="single value"):
        BatchNormalization(1, convention="torch")(x, training=True)


@EVERY
@pytest.mark.parametrize("settings", [{}, {"affine": False}, {"eps": 0.5, "momentum": 0.3}, {"momentum": None}])
def test_from_torch_there_and_back(dimensions, settings):
    """The layer of a module predicts and trains on as the module does, and gives an equal module again."""
    module = trained(dimensions, **settings)
    layer = from_torch(module)
    back = to_torch(layer, dimensions)
    assert type(module) is type(back)
    assert (module.eps, module.momentum, module.affine) == (back.eps, back.momentum, back.affine)
    theirs, ours = module.state_dict(), back.state_dict()
    assert list(theirs) == list(ours)
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)
    for x in batches(dimensions, seed=1):
        agree(layer, module, x)
        layer(x, training=True)
        module(torch.from_numpy(x))


@pytest.mark.parametrize("convention", ["keras", "torch"])
@pytest.mark.parametrize(("center", "scale"), [(True, True), (True, False), (False, True), (False, False)])
def test_to_torch_translates_everything(convention, center, scale):
    """Numbers, epsilon and the meaning of momentum; predictions agree, and what is not there does not train."""
    layer = BatchNormalization(1, 0.75, 1e-2, center, scale, convention=convention)
    for batch in batches():
        layer(batch, training=True)
    module = to_torch(layer)
    assert (0.25 if convention == "keras" else 0.75) == module.momentum
    assert 1e-2 == module.eps
    agree(layer, module, batches()[0])
    trainable = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    assert ({"weight"} if scale else set()) | ({"bias"} if center else set()) == trainable
    assert module.training


def test_a_frozen_layer_gives_a_frozen_module():
    """trainable=False: evaluation mode, and no gradient is asked for."""
    module = to_torch(BatchNormalization(trainable=False).build((None, 3)))
    assert not module.training
    assert not any(parameter.requires_grad for parameter in module.parameters())


def test_an_exported_module_saves_and_loads():
    """Its state_dict is that of a module that torch made."""
    layer = from_torch(trained())
    file = io.BytesIO()
    torch.save(to_torch(layer).state_dict(), file)
    file.seek(0)
    module = nn.BatchNorm1d(3)
    module.load_state_dict(torch.load(file))
    agree(layer, module, batches()[0])


def test_numbers_of_a_converted_layer_are_its_own():
    """Training the one after the conversion leaves the other as it was."""
    module = trained()
    layer = from_torch(module)
    before = module.running_mean.clone(), layer.moving_mean.copy()
    layer(batches()[0], training=True)
    assert torch.equal(before[0], module.running_mean)
    layer = from_torch(module)
    module(torch.from_numpy(batches()[0]))
    assert before[1].tolist() == layer.moving_mean.tolist()


def test_what_cannot_be_converted_says_why():
    """Other modules and layers, untracked statistics, features elsewhere than on axis 1."""
    with pytest.raises(TypeError, match=r"takes a torch\.nn\.BatchNorm1d, 2d or 3d, not Linear"):
        from_torch(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="track_running_stats=True"):
        from_torch(nn.BatchNorm1d(3, track_running_stats=False))
    with pytest.raises(NotAdaptedError, match="call build"):
        to_torch(BatchNormalization(1))
    with pytest.raises(ValueError, match="dimensions must be 1, 2 or 3, not 4"):
        to_torch(BatchNormalization(1).build((None, 3)), 4)
    for axis, dimensions in ((-1, 2), (2, 1)):
        with pytest.raises(ValueError, match=f"this layer has them on axis {axis}"):
            to_torch(BatchNormalization(axis).build((2, 3, 4)), dimensions)
    layer = BatchNormalization().build((None, 1))
    layer.moving_mean = -1e60
    with pytest.raises(ValueError, match=r"moving_mean is too large for torch\.float32"):
        to_torch(layer)
    with pytest.raises(TypeError, match="layer is a Normalization, but torch has modules for BatchNormalization only"):
        to_torch(Normalization())
