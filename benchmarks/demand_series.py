"""Simulated arrivals and waste containers, for judging forecasts of demand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.dispatch.demand.weekly_shape import HOUR_MS, shape_cells

__all__ = [
    "START_MS",
    "STEP_MS",
    "Arrivals",
    "Containers",
    "people_fill",
    "simulate_arrivals",
    "weekly_rates",
]

Floats = NDArray[np.float64]

START_MS = 1_760_313_600_000
"""Monday 13 October 2025, 00:00 UTC."""
STEP_MS = 15 * 60_000
_BAG = 0.02


@dataclass(frozen=True)
class Arrivals:
    """``counts`` int64[hours, areas, services]: Poisson with rates ``mean`` [hours, …]."""

    counts: NDArray[np.int64]
    mean: Floats


@dataclass(frozen=True)
class Containers:
    """``true`` and ``measured`` fill levels float64[times, containers] at ``times`` [ms]."""

    times: NDArray[np.int64]
    true: Floats
    measured: Floats


def weekly_rates() -> Floats:
    """Return float64[48]: the week of the simulated citizens, hour by hour, with a mean of 1."""
    hour = np.arange(24)
    working = 0.3 + 1.4 * np.exp(-0.5 * ((hour - 10) / 3) ** 2)
    working += 1.2 * np.exp(-0.5 * ((hour - 18) / 2.5) ** 2)
    weekend = 0.4 + 0.8 * np.exp(-0.5 * ((hour - 14) / 4) ** 2)
    week = np.concatenate([working, weekend])
    return np.asarray(week / ((working.sum() * 5 + weekend.sum() * 2) / 168))


def simulate_arrivals(
    rates: Floats, weeks: int, rng: np.random.Generator, *, storms: bool
) -> Arrivals:
    """Return what arises from mean ``rates`` [areas, services] per hour.

    With ``storms`` each service has one every 150 hours in the mean, of 3 to 11 hours, in which
    six times as much arises everywhere.
    """
    hours = weeks * 168
    cells = shape_cells(START_MS + np.arange(hours, dtype=np.int64) * HOUR_MS)
    lift = np.ones((hours, rates.shape[1]))
    if storms:
        for service in range(rates.shape[1]):
            for start in np.flatnonzero(rng.random(hours) < 1 / 150).tolist():
                lift[start : start + int(rng.integers(3, 12)), service] = 6.0
    mean = rates * weekly_rates()[cells][:, None, None] * lift[:, None, :]
    return Arrivals(rng.poisson(mean), mean)


def people_fill(containers: int, days: int, rng: np.random.Generator) -> Containers:
    """Return containers that people throw bags into, mostly by day, and that are emptied late.

    A container is full in 1.5 to 9 days; its pace wanders by an eighth. Emptied it is some time
    after 75 to 100 %. Sensors have noise of 1.2 % and are all wrong once in 300 readings.
    """
    times = START_MS + np.arange(days * 96, dtype=np.int64) * STEP_MS
    hour = times / HOUR_MS % 24
    activity = np.exp(-0.5 * ((hour - 13) / 4.5) ** 2) + 0.02
    activity /= activity.mean()
    per_step = 0.9 / (24 * rng.uniform(1.5, 9, containers)) / 4
    empty_at = rng.uniform(0.75, 1.0, containers)
    level, pace = rng.uniform(0, 0.7, containers), np.zeros(containers)
    true = np.zeros((len(times), containers))
    for step, busy in enumerate(activity.tolist()):
        pace = 0.999 * pace + rng.normal(0, 0.006, containers)
        bags = rng.poisson(per_step * np.exp(pace) * busy / _BAG)
        level = np.minimum(level + bags * _BAG * rng.uniform(0.6, 1.4, containers), 1.0)
        emptied = (level >= empty_at) & (rng.random(containers) < 0.02)
        level = np.where(emptied, rng.uniform(0, 0.04, containers), level)
        empty_at = np.where(emptied, rng.uniform(0.75, 1.0, containers), empty_at)
        true[step] = level
    measured = np.clip(true + rng.normal(0, 0.012, true.shape), 0, 1)
    wrong = rng.random(true.shape) < 1 / 300
    return Containers(times, true, np.where(wrong, rng.random(true.shape), measured))
