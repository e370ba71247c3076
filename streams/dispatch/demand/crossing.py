"""When a level that rises by about so much will pass a limit, and how sure that is.

With mean m(t) = x + v t and standard deviation s(t) of the level after t hours, the limit L is
passed by t with probability Φ((m(t) - L) / s(t)), for a level that hardly ever falls. So the 10 %
and 90 % points solve m(t) ± 1.28 s(t) = L.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.dispatch.demand.filling import process_noise
from streams.health.sensor_table import SensorTable

__all__ = ["Crossing", "Filling", "first_passage"]

Floats = NDArray[np.float64]

_NORMAL_90 = 1.2815515655446004
_STEPS = 96


@dataclass(frozen=True)
class Filling:
    """The state of n containers: level, rate per hour, and the covariance of the two."""

    level: Floats
    rate: Floats
    p_level: Floats
    p_both: Floats
    p_rate: Floats
    scale: Floats
    """Factor on the standard deviations that past forecasts have earned."""

    @classmethod
    def of(cls, state: SensorTable, rows: NDArray[np.intp], prefix: str, scale: Floats) -> Filling:
        """Return the state of some rows, from the columns whose names begin with ``prefix``."""
        level, rate, p_level, p_both, p_rate = (
            state[prefix + name][rows] for name in ("level", "rate", "p_level", "p_both", "p_rate")
        )
        return cls(level, np.maximum(rate, 0.0), p_level, p_both, p_rate, scale)

    def mean(self, hours: Floats) -> Floats:
        return self.level + self.rate * hours

    def deviation(self, hours: Floats) -> Floats:
        """Return the standard deviation of the level so many hours ahead."""
        variance = self.p_level + hours * (2 * self.p_both + hours * self.p_rate)
        grown = process_noise(self.rate, hours)[0]
        return np.asarray(self.scale * np.sqrt(np.maximum(variance, 0.0) + grown))

    def column(self) -> Filling:
        """Return it with a second axis, to be used at several times at once."""
        return Filling(*(a[:, None] for a in vars(self).values()))


@dataclass(frozen=True)
class Crossing:
    """Hours until the limit is passed [n]: NaN where it is not within the horizon, 0 if it was."""

    expected: Floats
    low: Floats
    high: Floats


def first_passage(filling: Filling, limit: float, horizon_h: float) -> Crossing:
    """Return when each container passes ``limit``; ``high`` is the horizon where it is beyond."""
    # Closer together near now: an hour more or less matters then.
    hours = horizon_h * np.linspace(0, 1, _STEPS) ** 2
    grid = np.broadcast_to(hours, (len(filling.level), _STEPS))
    column = filling.column()
    mean, spread = column.mean(grid) - limit, _NORMAL_90 * column.deviation(grid)
    expected, low, high = (_first_root(hours, f) for f in (mean, mean + spread, mean - spread))
    known = ~np.isnan(expected)
    over = filling.level >= limit
    expected, low, high = (np.where(over, 0.0, a) for a in (expected, low, high))
    high = np.where(np.isnan(high), horizon_h, high)
    return Crossing(
        expected, np.where(known, np.fmin(low, expected), np.nan), np.where(known, high, np.nan)
    )


def _first_root(hours: Floats, values: Floats) -> Floats:
    """Return where each row of ``values`` first reaches 0, between the grid's points; else NaN."""
    reached = values >= 0
    at = reached.argmax(axis=1)
    row = np.arange(len(values))
    before = np.maximum(at - 1, 0)
    a, b = values[row, before], values[row, at]
    share = np.divide(-a, b - a, out=np.ones_like(a), where=b > a)
    root = hours[before] + np.clip(share, 0.0, 1.0) * (hours[at] - hours[before])
    root = np.where(at == 0, 0.0, root)
    return np.where(reached.any(axis=1), root, np.nan)
