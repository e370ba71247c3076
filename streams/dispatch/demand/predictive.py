"""The negative binomial: how many will come when the rate is known only roughly.

A Poisson count whose rate has a Gamma distribution of shape r is negative binomial with mean m and
variance m + m²/r (Gelman et al., Bayesian Data Analysis, 3rd ed., section 2.6).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["CountInterval", "negative_binomial_interval"]

Floats = NDArray[np.float64]

_COUNTED_UP_TO = 60.0
"""Means above are so near to a normal that its third-order expansion is right within one."""
_NEARLY_POISSON = 1e-9
"""The overdispersion below which it makes no difference."""
_NORMAL_90 = 1.2815515655446004


@dataclass(frozen=True)
class CountInterval:
    """The 10 % and 90 % quantiles of counts, and what of those two values lies outside.

    A whole number seldom has exactly 10 % below it: ``low_outside`` is the share of the
    probability of ``low`` itself that belongs to the lowest 10 %, ``high_outside`` likewise.
    """

    low: Floats
    high: Floats
    low_outside: Floats
    high_outside: Floats

    def outside(self, counts: Floats) -> Floats:
        """Return 0..1 how far each count lies outside; in the mean 0.2 where the model is right."""
        share = np.where(counts == self.low, self.low_outside, 0.0)
        share += np.where(counts == self.high, self.high_outside, 0.0)
        return np.where((counts < self.low) | (counts > self.high), 1.0, share)


def negative_binomial_interval(mean: Floats, overdispersion: Floats) -> CountInterval:
    """Return the central 80 % interval, arrays in the shape of ``mean``.

    ``overdispersion`` is 1/r, in a shape that fits; 0 is a Poisson distribution. ValueError for
    a mean that is negative or not finite.
    """
    if not np.all(np.isfinite(mean) & (mean >= 0)):
        raise ValueError(f"means must be finite and not negative, found {np.min(mean)} at least")
    spread = np.broadcast_to(np.maximum(overdispersion, _NEARLY_POISSON), mean.shape)
    found = np.zeros((4, *mean.shape))
    few = mean <= _COUNTED_UP_TO
    if few.any():
        found[:, few] = _counted(mean[few], spread[few])
    if not few.all():
        found[:, ~few] = _expanded(mean[~few], spread[~few])
    return CountInterval(*found)


def _counted(mean: Floats, spread: Floats) -> Floats:
    """Sum the probabilities of 0, 1, 2, … until every sum has passed 90 %: float64[4, n]."""
    # log p0 = -r log(1 + m/r), and p(k+1) / p(k) = (k + r) m / ((k + 1) (r + m)); with s = 1/r.
    probability = np.exp(-np.log1p(mean * spread) / spread)
    step = mean / (1 + mean * spread)
    total = np.zeros_like(mean)
    found = np.zeros((4, len(mean)))
    left: NDArray[np.intp] = np.arange(len(mean))
    k = 0
    while len(left):
        before, total = total, total + probability
        for row, level in ((0, 0.1), (1, 0.9)):
            # The last sum always passes: what rounding leaves of 1 is far below 10 %.
            here = (before < level) & (total >= level)
            share = np.abs((before if row == 0 else total) - level) / probability
            found[row, left[here]], found[row + 2, left[here]] = k, share[here]
        more = total < 0.9
        probability = probability * step * (1 + k * spread) / (k + 1)
        left = left[more]
        probability, step, spread, total = (a[more] for a in (probability, step, spread, total))
        k += 1
    return found


def _expanded(mean: Floats, spread: Floats) -> Floats:
    """Cornish-Fisher expansion with the skewness of the distribution: float64[4, n]."""
    variance = mean * (1 + mean * spread)
    skewness = (1 + 2 * mean * spread) / np.sqrt(variance)
    bend = skewness * (_NORMAL_90**2 - 1) / 6
    low, high = (
        np.maximum(np.ceil(mean + np.sqrt(variance) * (z + bend) - 0.5), 0.0)
        for z in (-_NORMAL_90, _NORMAL_90)
    )
    half = np.full_like(mean, 0.5)
    return np.stack([low, high, half, half])
