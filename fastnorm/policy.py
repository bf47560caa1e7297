"""What NaN, infinities, constant features and epsilon mean: from moments to the parameters that are applied.

The only place where these questions are answered.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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


def check_epsilon(epsilon: float) -> float:
    """Return ``epsilon``, or raise ValueError: below 1e-300 its use would not be exact."""
    try:
        value = float(epsilon)
    except (TypeError, ValueError, OverflowError) as error:
        raise type(error)(f"epsilon must be 0 or a finite number >= 1e-300, not {epsilon!r}") from None
    if value != 0 and not 1e-300 <= value < math.inf:
        raise ValueError(f"epsilon must be 0 or a finite number >= 1e-300, not {epsilon!r}")
    return value


def check_batch(moments: Moments, nan: Nan, inf: Inf, names: Sequence[str] | None = None) -> None:
    """Raise ValueError for a batch with values that were not asked for; ``names`` are those of the features."""
    if nan == "raise" and moments.missing.any():
        feature = _first(moments.missing, names)
        raise ValueError(
            f"the data hold NaN or masked values ({int(moments.missing.sum())} in all, first in feature {feature}); "
            'clean them, or use nan="omit" to leave them out of the statistics'
        )
    infinite = moments.posinf + moments.neginf
    if inf == "raise" and infinite.any():
        feature = _first(infinite, names)
        raise ValueError(
            f"the data hold infinities ({int(infinite.sum())} in all, first in feature {feature}), for which there is "
            'no mean; clean them, or use inf="omit" to leave them out of the statistics'
        )


def _first(counts: NDArray[Any], names: Sequence[str] | None) -> str:
    """The first feature that has some, by its name or number."""
    feature = int((counts.reshape(-1) > 0).argmax())
    return str(feature) if names is None else repr(names[feature])


def of_moments(
    moments: Moments, nan: Nan, constant: Constant, epsilon: float, names: Sequence[str] | None = None
) -> Parameters:
    """Return the parameters of exact moments; ``names`` are those of the features."""
    scaled = moments._scaled
    variance, mean, std = moments.variance.reshape(-1), scaled.mean, scaled.std
    if nan == "propagate":
        gone = moments.missing.reshape(-1) > 0
        variance, mean, std = (np.where(gone, np.nan, values) for values in (variance, mean, std))
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
    return Parameters(mean, low, rest, _scale(std, still, shift, constant, epsilon, names), shift, variance)


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
    with np.errstate(over="ignore", invalid="ignore"):  # sums of weights may be of any size
        bound = np.where(mean == 0, 0.0, error * np.abs(mean))
        return still | (std * np.sqrt(np.maximum(1 - error, 0)) <= bound)


def of_fixed(mean: Floats, variance: Floats, constant: Constant, epsilon: float) -> Parameters:
    """Return the parameters of a given mean and variance."""
    shift = np.where((np.abs(mean) > 2.0**960) | (variance > 2.0**1000), -4, 0)
    factor = np.exp2(shift)
    scale = _scale(np.sqrt(variance) * factor, variance == 0, shift, constant, epsilon)
    zero = np.zeros_like(mean)
    return Parameters(mean * factor, zero, zero, scale, shift, variance)


def batch_variance(moments: Moments, unbiased: bool) -> Floats:
    """Return the variance of a batch that enters a moving average; ValueError for a batch that has none to give."""
    infinite, count = moments.posinf + moments.neginf, moments.count
    if infinite.any():
        raise ValueError(
            f"the batch holds infinities ({int(infinite.sum())} in all, first in feature {int(infinite.argmax())}), "
            "for which there is no mean; clean them, or mask them"
        )
    variance: Floats = moments.variance
    if unbiased:
        if (count == 1).any():
            raise ValueError(
                f"the batch holds a single value of feature {int((count == 1).argmax())}, which has no unbiased "
                'variance; pass 2 rows at least, or use convention="keras"'
            )
        with np.errstate(over="ignore"):
            variance = variance * (count / np.maximum(count - 1, 1))
    if np.isinf(variance).any():
        feature = int(np.isinf(variance).argmax())
        raise ValueError(f"the variance of feature {feature} in the batch is beyond float64; scale the data first")
    return variance


def of_batch(moments: Moments, mean: Floats, variance: Floats, epsilon: float) -> Parameters:
    """Return the parameters of one batch: epsilon is added to the variance.

    A feature without values is treated by its moving ``mean`` and ``variance``.
    """
    found = of_moments(moments, "omit", "epsilon" if epsilon else "center", epsilon)
    if epsilon:
        found = found._replace(scale=np.sqrt(found.variance + epsilon) * np.exp2(found.shift))
    seen = moments.count > 0
    if seen.all():
        return found
    pairs = zip(found, of_moving(mean, variance, epsilon), strict=True)
    return Parameters(*(np.where(seen, batch, moving) for batch, moving in pairs))


def of_moving(mean: Floats, variance: Floats, epsilon: float) -> Parameters:
    """Return the parameters of moving averages: epsilon is added to the variance."""
    return of_fixed(mean, variance + epsilon, "center", 0.0)


def _scale(
    std: Floats,
    still: NDArray[np.bool_],
    shift: NDArray[np.int64],
    constant: Constant,
    epsilon: float,
    names: Sequence[str] | None = None,
) -> Floats:
    """What to divide by; ``still`` are the features that are taken for constant."""
    if constant == "epsilon":
        return np.maximum(std, epsilon * np.exp2(shift))
    if constant == "raise" and still.any():
        raise ValueError(
            f"{int(still.sum())} feature(s) are constant (variance 0), first feature {_first(still, names)}; "
            'drop them, or use constant="center" to only centre them'
        )
    return np.where(still, np.exp2(shift), std) if still.any() else std
