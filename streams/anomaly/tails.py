"""How rare a deviation is, from the series' own largest deviations so far.

Peaks over a threshold (Pickands 1975; Siffer et al. 2017 for streams): the threshold is the
99 % quantile of the deviations, found by stochastic approximation (Robbins and Monro 1951);
what exceeds it has an exponential tail with the mean excess seen. With k exceedances seen, the
chance of an excess beyond y is the predictive (Lomax) one, (1 + y / (k m))^-k: with few
exceedances little is rare.

All arrays are [series, components]; deviations are absolute values in units of a normal spread.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["TAIL_SHARE", "learn", "moved_quantile", "rarity"]

Floats = NDArray[np.float64]

TAIL_SHARE = 0.01
"""Share of deviations beyond the threshold."""
_LIGHTEST = 0.8
"""Mean excess taken at least, in spreads: no series is trusted to have a lighter tail. Twice a
normal tail's, for a light tail seen so far says little of what comes once a month."""
_GAIN = 12.0
_START_UP = 10.0
_REMEMBERED = 60.0
"""Exceedances after which old ones are forgotten: the tail follows a sensor that changes."""
_FARTHEST_TAUGHT = 3.0
"""An excess teaches at most so many mean excesses: one wreck must not hide the next."""


def rarity(deviation: Floats, start: Floats, mean: Floats, count: Floats) -> Floats:
    """Return -log10 of the chance of such a deviation; 0 where it is within the threshold."""
    excess = deviation - start
    k = count + 1
    y = np.maximum(excess, 0) / np.maximum(mean, _LIGHTEST)
    beyond = k * np.log1p(y / k) / np.log(10)
    return np.where(excess > 0, beyond - np.log10(TAIL_SHARE), 0.0)


def learn(
    deviation: Floats,
    start: Floats,
    mean: Floats,
    count: Floats,
    *,
    effective: Floats,
    weight: Floats,
) -> tuple[Floats, Floats, Floats]:
    """Return start, mean and count after a deviation.

    ``effective`` [series, 1] readings so far; ``weight`` [series, 1], above 0 and at most 1:
    how much of a reading of its own this one is.
    """
    excess = deviation - start
    above = excess > 0
    new_start = moved_quantile(deviation, start, TAIL_SHARE, effective / weight)
    new_count = np.minimum(count + above * weight, _REMEMBERED)
    rate = np.minimum(weight / np.maximum(new_count, weight), 1.0)
    taught = np.minimum(excess, _FARTHEST_TAUGHT * np.maximum(mean, _LIGHTEST))
    new_mean = np.where(above, mean + rate * (taught - mean), mean)
    return new_start, new_mean, new_count


def moved_quantile(deviation: Floats, at: Floats, share_above: float, effective: Floats) -> Floats:
    """Return the estimate of a quantile after a deviation: a step towards it, never below 0."""
    step = _GAIN / (effective + _START_UP)
    return np.maximum(at + step * np.where(deviation > at, 1 - share_above, -share_above), 0)
