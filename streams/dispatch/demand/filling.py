"""Level and rate of filling of many containers: a Kalman filter each, robust to jumps.

State of one: level x and rate v per hour of the fill clock, with covariance P (local linear trend,
Harvey 1989). A reading far off is put aside; the next one decides whether it was noise or whether
the container was emptied (or much was thrown in): then the level starts afresh and the rate stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.health.sensor_table import Column, SensorTable

__all__ = ["COLUMNS", "Step", "process_noise", "take_levels", "typical_rate"]

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
Bools = NDArray[np.bool_]

COLUMNS = (
    Column("ts", "<i8"),
    Column("level_at", "<i8"),
    Column("readings", "<i4"),
    Column("level", "<f8"),
    Column("rate", "<f8"),
    Column("p_level", "<f8"),
    Column("p_both", "<f8"),
    Column("p_rate", "<f8"),
    Column("noise", "<f8", 1e-4),
    Column("raw", "<f8"),
    Column("odd_level", "<f8", np.nan),
    Column("odd_ts", "<i8"),
    Column("emptied_at", "<i8"),
)

_FIRST_RATE = 0.9 / (5 * 24)
"""Full in five days, before anything is known of any container."""
_LEAST_RATE = 1e-4
_BAG = 0.02
"""What people throw in at a time: filling varies like a count of such pieces."""
_RATE_CHANGES = 0.2**2 / 24
"""Per hour, relative and squared: a rate changes by a fifth in a day."""
_LEAST_NOISE, _MOST_NOISE = 1e-6, 0.05**2
_NOISE_MEMORY = 1 / 100
_DROP, _RISE = 0.12, 0.25
"""The least that is odd; below it even an emptied container is followed by the filter."""
_SIGMAS = 5.0
_SAME = 0.08
"""Two odd readings so near to each other say the same."""


@dataclass(frozen=True)
class Step:
    """What a batch of readings of k containers shows."""

    hours: Floats
    """On the fill clock since the reading before."""
    gain: Floats
    """What was measured more than then; 0 where it was odd or the first."""
    jumped: Bools


def typical_rate(state: SensorTable) -> float:
    """Return the median rate of the containers known well, for those that are new."""
    known = state["rate"][state["readings"] >= 20]
    return float(np.median(known)) if len(known) >= 3 else _FIRST_RATE


def process_noise(rate: Floats, hours: Floats) -> tuple[Floats, Floats, Floats]:
    """Return what the variances of level, of both and of rate grow by in so many hours."""
    usual = np.maximum(rate, _LEAST_RATE)
    change = _RATE_CHANGES * usual**2
    return (
        _BAG * usual * hours + change * hours**3 / 3,
        change * hours**2 / 2,
        change * hours,
    )


def take_levels(
    state: SensorTable, rows: Rows, ts: NDArray[np.int64], hours: Floats, level: Floats
) -> Step:
    """Take in one new ``level`` [k] of each of ``rows``, so many fill-clock hours later."""
    first = state["readings"][rows] == 0
    _begin(state, rows[first], level[first], typical_rate(state))
    hours = np.where(first, 0.0, hours)
    rate, noise = np.maximum(state["rate"][rows], 0.0), state["noise"][rows]
    q_level, q_both, q_rate = process_noise(rate, hours)
    p_level = (
        state["p_level"][rows]
        + hours * (2 * state["p_both"][rows] + hours * state["p_rate"][rows])
        + q_level
    )
    p_both = state["p_both"][rows] + hours * state["p_rate"][rows] + q_both
    p_rate = state["p_rate"][rows] + q_rate
    expected = np.minimum(state["level"][rows] + rate * hours, 1.0)
    error, spread = level - expected, np.sqrt(p_level + noise)
    odd = (error < -np.maximum(_DROP, _SIGMAS * spread)) | (
        error > np.maximum(_RISE, _SIGMAS * spread)
    )
    again = odd & (
        np.abs(level - state["odd_level"][rows] - rate * hours) <= _SAME + _SIGMAS * np.sqrt(noise)
    )
    normal = ~odd
    gain = np.where(normal & ~first, level - state["raw"][rows], 0.0)
    _update(
        state,
        rows[normal],
        [a[normal] for a in (expected, rate, error, p_level, p_both, p_rate, noise)],
    )
    _jump(state, rows[again], level[again], error[again] < 0)
    waiting = odd & ~again
    state["odd_level"][rows[waiting]], state["odd_ts"][rows[waiting]] = level[waiting], ts[waiting]
    done = rows[~waiting]
    state["odd_level"][done], state["raw"][done] = np.nan, level[~waiting]
    state["level_at"][done] = ts[~waiting]
    state["ts"][rows] = ts
    state["readings"][rows] += 1
    return Step(hours, gain, again)


def _begin(state: SensorTable, rows: Rows, level: Floats, rate: float) -> None:
    state["level"][rows], state["rate"][rows] = level, rate
    state["p_level"][rows], state["p_rate"][rows] = state["noise"][rows], rate**2


def _update(state: SensorTable, rows: Rows, known: list[Floats]) -> None:
    expected, rate, error, p_level, p_both, p_rate, noise = known
    total = p_level + noise
    k_level, k_rate = p_level / total, p_both / total
    state["level"][rows] = expected + k_level * error
    state["rate"][rows] = rate + k_rate * error
    state["p_level"][rows] = (1 - k_level) * p_level
    state["p_both"][rows] = (1 - k_level) * p_both
    state["p_rate"][rows] = p_rate - k_rate * p_both
    # The mean product of the errors before and after the update is the variance of the noise.
    seen = error * (1 - k_level) * error
    noise = noise + _NOISE_MEMORY * (seen - noise)
    state["noise"][rows] = np.clip(noise, _LEAST_NOISE, _MOST_NOISE)


def _jump(state: SensorTable, rows: Rows, level: Floats, down: Bools) -> None:
    """Start the level afresh; an emptying was when the first of the odd readings came."""
    state["level"][rows], state["p_level"][rows] = level, state["noise"][rows]
    state["p_both"][rows] = 0.0
    state["emptied_at"][rows[down]] = state["odd_ts"][rows[down]]
