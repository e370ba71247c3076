"""The interval of counts against sums of the probabilities themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.dispatch.demand.predictive import negative_binomial_interval


def _probabilities(mean: float, overdispersion: float, up_to: int) -> list[float]:
    r = 1 / overdispersion
    return [
        math.exp(
            math.lgamma(k + r)
            - math.lgamma(r)
            - math.lgamma(k + 1)
            + r * math.log(r / (r + mean))
            + k * math.log(mean / (r + mean))
        )
        for k in range(up_to)
    ]


@settings(max_examples=60)
@given(st.floats(0.01, 60), st.floats(0.001, 5))
def test_low_and_high_are_the_quantiles_and_a_fifth_lies_outside(mean: float, over: float) -> None:
    interval = negative_binomial_interval(np.array([mean]), np.array([over]))
    high = int(interval.high[0])
    probabilities = _probabilities(mean, over, high + 1)
    below_low = sum(probabilities[: int(interval.low[0])])
    assert below_low < 0.1 + 1e-9
    assert below_low + probabilities[int(interval.low[0])] >= 0.1 - 1e-9
    assert sum(probabilities[:high]) < 0.9 + 1e-9
    assert sum(probabilities) >= 0.9 - 1e-9
    counts = np.arange(high + 1.0)
    wide = negative_binomial_interval(np.full(high + 1, mean), np.full(high + 1, over))
    inside = float(((1 - wide.outside(counts)) * probabilities).sum())
    assert inside == pytest.approx(0.8, abs=1e-6)


def test_without_overdispersion_it_is_a_poisson_distribution() -> None:
    interval = negative_binomial_interval(np.array([0.05, 1.0, 10.0]), np.zeros(3))
    assert interval.low.tolist() == [0, 0, 6]
    assert interval.high.tolist() == [0, 2, 14]


def test_large_means_go_on_where_small_ones_end() -> None:
    mean = np.array([59.99, 60.01])
    interval = negative_binomial_interval(mean, np.array([0.02, 0.02]))
    assert abs(interval.low[1] - interval.low[0]) <= 1
    assert abs(interval.high[1] - interval.high[0]) <= 1


@pytest.mark.parametrize("mean", [-1.0, math.nan, math.inf])
def test_a_mean_that_is_none_is_refused(mean: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        negative_binomial_interval(np.array([mean]), np.array([0.1]))
