"""Batch normalization from and to torch."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from fastnorm.batchnorm import BatchNormalization

_MODULES = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_NAMES = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


def from_torch(module: nn.Module) -> BatchNormalization:
    """Return the layer that computes what a ``torch.nn.BatchNorm1d``, ``2d`` or ``3d`` computes.

    It has ``axis=1`` and ``convention="torch"``: parameters, averages, epsilon, momentum and the number of batches
    are those of the module. The layer has ``training=`` in each call where the module has a mode.

    Raises
    ------
    TypeError
        If ``module`` is another module.
    ValueError
        If it does not track running statistics.

    Examples
    --------
    >>> module = nn.BatchNorm1d(3, momentum=None)
    >>> layer = from_torch(module)
    >>> layer.epsilon, layer.momentum, layer.moving_variance
    (1e-05, None, array([1., 1., 1.]))
    """
    if not isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
        raise TypeError(f"from_torch takes a torch.nn.BatchNorm1d, 2d or 3d, not {type(module).__name__}")
    if module.running_mean is None:
        raise ValueError("this module has no running statistics; make it with track_running_stats=True")
    spatial = [None] * {nn.BatchNorm2d: 2, nn.BatchNorm3d: 3}.get(type(module), 0)
    layer = BatchNormalization(
        1,
        module.momentum,
        module.eps,
        center=module.bias is not None,
        scale=module.weight is not None,
        convention="torch",
    ).build((None, module.num_features, *spatial))
    for name, theirs in _NAMES.items():
        if (values := getattr(module, theirs)) is not None:
            setattr(layer, name, values.detach().cpu().double().numpy())
    layer.num_batches_tracked = int(module.num_batches_tracked or 0)
    return layer


def to_torch(layer: BatchNormalization, dimensions: Literal[1, 2, 3] = 1) -> nn.Module:
    """Return the ``torch.nn.BatchNorm1d``, or with ``dimensions`` 2 or 3 the ``2d`` or ``3d``, that a layer is.

    torch rounds to its default dtype and has the features on axis 1; the momentum is written as torch means it. Where
    the layer has only one of gamma and beta, the other does not require a gradient. Frozen layers give frozen modules
    in evaluation mode; others are in training mode, as torch makes them. A module trains on unbiased variances,
    whatever the layer did.

    Raises
    ------
    NotAdaptedError
        If the layer has no parameters yet.
    TypeError
        If it is no BatchNormalization.
    ValueError
        If the features are not on axis 1, or the numbers are too large for torch's default dtype.

    Examples
    --------
    >>> module = to_torch(BatchNormalization(momentum=0.9).build((None, 3)))
    >>> module
    BatchNorm1d(3, eps=0.001, momentum=0.1, affine=True, ...track_running_stats=True)
    """
    if not isinstance(layer, BatchNormalization):
        raise TypeError(
            f"layer is a {type(layer).__name__}, but torch has modules for BatchNormalization only; pass one"
        )
    if dimensions not in _MODULES:
        raise ValueError(f"dimensions must be 1, 2 or 3, not {dimensions!r}")
    if layer.axis != 1 and (layer.axis, dimensions) != (-1, 1):
        raise ValueError(
            f"torch has the features on axis 1, but this layer has them on axis {layer.axis}; "
            "set the weights of a BatchNormalization(axis=1) and move the axis of the data"
        )
    affine = layer.scale or layer.center
    momentum = layer.momentum_of("torch")
    module = _MODULES[dimensions](layer.moving_mean.size, eps=layer.epsilon, momentum=momentum, affine=affine)
    has = {"gamma": layer.scale, "beta": layer.center}
    with torch.no_grad():
        for name, theirs in _NAMES.items():
            if has.get(name, True):
                weight = getattr(module, theirs).copy_(torch.tensor(getattr(layer, name)))
                if not torch.isfinite(weight).all():
                    raise ValueError(
                        f"{name} is too large for {weight.dtype}, torch's default dtype; set it to torch.float64"
                    )
            elif affine:
                getattr(module, theirs).requires_grad_(False)
        assert module.num_batches_tracked is not None
        module.num_batches_tracked.fill_(layer.num_batches_tracked)
    return module if layer.trainable else module.eval().requires_grad_(False)
