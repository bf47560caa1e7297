"""What NaN, infinities, constant features and epsilon mean: from moments to the parameters that are applied.

The only place where these questions are answered.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from fastnorm.moments import Moments

Nan = Literal["omit", "propagate", "raise"]
Inf = Literal["raise", "omit"]
Constant = Literal["center", "epsilon", "raise"]

Floats = NDArray[np.float64]


class Parameters(NamedTuple):
    """What is applied to each feature, flat: ``((x - mean) - low) / scale``, and what is reported."""

    mean: Floats
    low: Floats
    scale: Floats
    variance: Floats


def check_word(name: str, value: Any, words: Any) -> Any:
    """Return ``value``, or raise ValueError with the words that are known."""
    known = get_args(words)
    if value not in known:
        raise ValueError(f"{name}={value!r} is unknown; choose one of {', '.join(map(repr, known))}")
    return value


def check_batch(moments: Moments, nan: Nan, inf: Inf) -> None:
    """Raise ValueError for a batch with values that were not asked for."""
    if nan == "raise" and moments.missing.any():
        feature = int(moments.missing.reshape(-1).argmax())
        raise ValueError(
            f"the data hold NaN or masked values ({int(moments.missing.sum())} in all, first in feature {feature}); "
            'clean them, or use nan="omit" to leave them out of the statistics'
        )
    infinite = moments.posinf + moments.neginf
    if inf == "raise" and infinite.any():
        feature = int(infinite.reshape(-1).argmax())
        raise ValueError(
            f"the data hold infinities ({int(infinite.sum())} in all, first in feature {feature}), for which there is "
            'no mean; clean them, or use inf="omit" to leave them out of the statistics'
        )


def of_moments(moments: Moments, nan: Nan, constant: Constant, epsilon: float) -> Parameters:
    """Return the parameters of exact moments."""
    mean, low, variance, std = (
        array.reshape(-1).copy() for array in (moments.mean, moments.mean_low, moments.variance, moments.std)
    )
    if nan == "propagate":
        gone = moments.missing.reshape(-1) > 0
        for values in (mean, low, variance, std):
            values[gone] = np.nan
    return Parameters(mean, low, _scale(std, moments.constant.reshape(-1), constant, epsilon), variance)


def of_fixed(mean: Floats, variance: Floats, constant: Constant, epsilon: float) -> Parameters:
    """Return the parameters of a given mean and variance."""
    return Parameters(
        mean,
        np.zeros_like(mean),
        _scale(np.sqrt(variance), variance == 0, constant, epsilon),
        variance,
    )


def _scale(std: Floats, still: NDArray[np.bool_], constant: Constant, epsilon: float) -> Floats:
    """What to divide by; ``still`` are the features whose exact variance is 0."""
    if constant == "epsilon":
        return np.maximum(std, epsilon)
    if constant == "raise" and still.any():
        raise ValueError(
            f"{int(still.sum())} feature(s) are constant (variance 0), first feature {int(still.argmax())}; "
            'drop them, or use constant="center" to only centre them'
        )
    return np.where(still, 1.0, np.where(std == 0, np.nextafter(0, 1), std))  # a std that underflows is still not 0
