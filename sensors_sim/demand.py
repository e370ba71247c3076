"""How much a city wants to move, hour by hour, as a share of its busiest hour."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from civicstream.local_time import DAY_MS, is_weekend

__all__ = ["hour_of_day", "travel_demand", "wander"]

Floats = NDArray[np.float64]
Times = NDArray[np.int64]

_HOUR_MS = 3_600_000


def hour_of_day(local_ms: Times) -> Floats:
    """Return the hour 0..24 of local times [ms]."""
    hour: Floats = (local_ms % DAY_MS) / _HOUR_MS
    return hour


def travel_demand(local_ms: Times, morning: Floats | float = 1.0) -> Floats:
    """Return travel demand as a share of the yearly peak, 0..1, by local time [ms].

    Weekdays have a morning peak at 8:00 and a broader evening one at 17:15, weekends one broad
    afternoon. ``morning`` 0..1 is the weight of the morning peak; the evening peak has
    1.7 - ``morning``, at most 1: who drives in in the morning drives out in the evening.
    """
    hour = hour_of_day(local_ms)
    evening = np.minimum(1.0, 1.7 - np.asarray(morning))
    weekday = (
        0.05
        + 0.78 * morning * _bell(hour, 8.0, 1.1)
        + 0.82 * evening * _bell(hour, 17.25, 1.5)
        + 0.42 * _bell(hour, 12.75, 3.2)
        + 0.12 * _bell(hour, 21.0, 1.8)
    )
    weekend = 0.06 + 0.55 * _bell(hour, 14.5, 3.6) + 0.10 * _bell(hour, 21.0, 2.0)
    demand: Floats = np.minimum(np.where(is_weekend(local_ms), weekend, weekday), 1.0)
    return demand


def _bell(hour: Floats, centre: float, width_h: float) -> Floats:
    away = np.abs(hour - centre)
    bell: Floats = np.exp(-0.5 * (np.minimum(away, 24 - away) / width_h) ** 2)
    return bell


def wander(ts_ms: int, phase: Floats, period_s: float) -> Floats:
    """Return a smooth random-looking wander [n] in -1..1, of variance 0.19, at one time.

    Three sines without a common period, turned by ``phase`` [n], 0..1: a function of the time
    alone, so a run may start anywhere. ``period_s`` is the longest of the three periods.
    """
    t = ts_ms / 1000 / period_s * 2 * np.pi
    turn = phase * 2 * np.pi
    sum_: Floats = (
        0.5 * np.sin(t + turn)
        + 0.3 * np.sin(t * 2.71 + 3 * turn)
        + 0.2 * np.sin(t * 7.39 + 7 * turn)
    )
    return sum_
