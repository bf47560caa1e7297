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
Constant = Literal["center", "epsilon", "raise", "sklearn"]

Floats = NDArray[np.float64]


class Parameters(NamedTuple):
    """What is applied to each feature, flat: ``((x * 2**shift - mean) - low - rest) / scale``; what is reported."""

    mean: Floats
    low: Floats
    rest: Floats
    scale: Floats
    shift: NDArray[np.int64]
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
    scaled = moments._scaled
    variance = moments.variance.reshape(-1).copy()
    mean, std = scaled.mean.copy(), scaled.std.copy()
    if nan == "propagate":
        gone = moments.missing.reshape(-1) > 0
        for values in (mean, variance, std):
            values[gone] = np.nan
    low, rest, shift = scaled.low, scaled.rest, scaled.shift
    still = taken_for_constant(moments, constant)
    if constant == "epsilon":
        floored = (shift > 0) & (epsilon > 0)  # a std so small is never reached: no need for a shift
        plain = moments.std.reshape(-1)
        std = np.where(floored, plain, std)
        mean = np.where(floored & ~np.isnan(mean), moments.mean.reshape(-1), mean)
        low = np.where(floored, moments.mean_low.reshape(-1), low)
        rest = np.where(floored, 0.0, rest)
        shift = np.where(floored, 0, shift)
    return Parameters(mean, low, rest, _scale(std, still, shift, constant, epsilon), shift, variance)


def divisors(moments: Moments, constant: Constant, epsilon: float) -> Floats:
    """Return what each feature is divided by, in its own units: the scale of its parameters without their shift."""
    still = taken_for_constant(moments, constant)
    return _scale(moments.std.reshape(-1), still, np.zeros(still.shape, np.int64), constant, epsilon)


def taken_for_constant(moments: Moments, constant: Constant) -> NDArray[np.bool_]:
    """Return which features are taken for constant: of exact variance 0; by scikit-learn's rule also almost so.

    That rule is the error bound of a variance in two passes (Chan, Golub, LeVeque 1983), here in std, which neither
    under- nor overflows: ``var <= n*eps*var + (n*eps*mean)**2``.
    """
    still = moments.constant.reshape(-1)
    if constant != "sklearn":
        return still
    error = moments.weight.reshape(-1) * np.finfo(np.float64).eps
    mean, std = moments.mean.reshape(-1), moments.std.reshape(-1)
    with np.errstate(over="ignore"):  # sums of weights may be of any size
        return still | (std * np.sqrt(np.maximum(1 - error, 0)) <= error * np.abs(mean))


def of_fixed(mean: Floats, variance: Floats, constant: Constant, epsilon: float) -> Parameters:
    """Return the parameters of a given mean and variance."""
    shift = np.where((np.abs(mean) > 2.0**960) | (variance > 2.0**1000), -4, 0)
    factor = np.exp2(shift)
    scale = _scale(np.sqrt(variance) * factor, variance == 0, shift, constant, epsilon)
    zero = np.zeros_like(mean)
    return Parameters(mean * factor, zero, zero, scale, shift, variance)


def _scale(
    std: Floats, still: NDArray[np.bool_], shift: NDArray[np.int64], constant: Constant, epsilon: float
) -> Floats:
    """What to divide by; ``still`` are the features that are taken for constant."""
    one = np.exp2(shift)
    if constant == "epsilon":
        return np.maximum(std, epsilon * one)
    if constant == "raise" and still.any():
        raise ValueError(
            f"{int(still.sum())} feature(s) are constant (variance 0), first feature {int(still.argmax())}; "
            'drop them, or use constant="center" to only centre them'
        )
    return np.where(still, one, std)
