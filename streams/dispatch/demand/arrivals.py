"""How many tasks of each service arise in each area, hour by hour: learned as they come.

Rate of area a and service s in an hour = base[a, s] · shape[s, hour] · activity[a, s], where

- base is Gamma distributed given the counts (conjugate to Poisson), with exponential forgetting
  and, for an area that is seen little, leaning on the mean of all areas;
- shape is the usual course of the week of the service, shared by all areas;
- activity is what the last hours brought over what they usually bring (a power discount model,
  Harvey & Fernandes 1989), and fades to 1 in the forecast.

The overdispersion of the predictive negative binomial is steered, for each service and each hour
ahead, so that 80 % of what came was within the interval (adaptive conformal inference, Gibbs &
Candès 2021). docs/allocation.md has the formulas.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.dispatch.demand.predictive import CountInterval, negative_binomial_interval
from streams.dispatch.demand.weekly_shape import HOUR_MS, WeeklyShape, shape_cells

__all__ = ["HOURS_AHEAD", "ArrivalModel", "Expected"]

Floats = NDArray[np.float64]

HOURS_AHEAD = 6
_BASE_KEEP = 0.5 ** (1 / (28 * 24))
"""Per hour: what was four weeks ago counts half."""
_LEAN_H = 24.0
"""Hours of an area's own that count as much as the mean of all areas."""
_FIRST_RATE, _FIRST_H = 0.002, 24.0
"""Before anything came: a task in three weeks, believed as much as one day's experience."""
_ACTIVITY_KEEP = float(np.exp(-1 / 3))
"""Per hour: a storm is seen in the last three hours."""
_ACTIVITY_LEAN = 3.0
"""Tasks expected in those hours that make the activity half believed."""
_FIRST_DISPERSION = 0.1
_LEAST_DISPERSION, _MOST_DISPERSION = 1e-4, 10.0
_STEERING = 0.1
"""Change of the dispersion's logarithm in an hour in which everything was outside."""


@dataclass(frozen=True)
class Expected:
    """[areas, services] now, and [areas, services, hours] in each of the next hours."""

    per_h: Floats
    """The present rate."""
    mean: Floats
    low: Floats
    high: Floats
    """80 % interval, whole tasks."""


class ArrivalModel:
    """State of a areas and s services; times are epoch ms, the week is lived ``offset`` later."""

    def __init__(self, areas: int, services: int) -> None:
        self.hour: int | None = None
        """The present hour, counted from 1970."""
        self.now = np.zeros((areas, services))
        """What came in it so far."""
        self.came = np.zeros((areas, services))
        self.exposed = np.zeros((areas, services))
        """Hours, weighted by the shape, with forgetting as ``came``."""
        self.lately = np.zeros((areas, services))
        self.usually = np.zeros((areas, services))
        self.shape = WeeklyShape(services)
        self.dispersion = np.full((services, HOURS_AHEAD), _FIRST_DISPERSION)
        self.made: deque[Floats] = deque(maxlen=HOURS_AHEAD)
        """Forecasts [areas, services, hours] made at the end of the last hours."""

    def grow(self, areas: int) -> None:
        """Make room for ``areas`` areas in all; the new ones have seen nothing."""
        more = areas - len(self.now)
        for name in ("now", "came", "exposed", "lately", "usually"):
            old = getattr(self, name)
            setattr(self, name, np.concatenate([old, np.zeros((more, old.shape[1]))]))
        # Of an area that was not there no forecast was made: NaN teaches nothing.
        young = np.full((more, self.now.shape[1], HOURS_AHEAD), np.nan)
        self.made = deque((np.concatenate([m, young]) for m in self.made), maxlen=HOURS_AHEAD)

    def count(self, area: int, service: int) -> None:
        """Take in a task that arose now."""
        self.now[area, service] += 1

    def advance(self, now_ms: int, offset_ms: int) -> bool:
        """Close the hours that are over; return whether there were any. Time never goes back."""
        hour = now_ms // HOUR_MS
        if self.hour is None:
            self.hour = hour
        closing = hour > self.hour
        while self.hour < hour:
            self._close(self.hour, offset_ms)
            self.hour += 1
        return closing

    def _close(self, hour: int, offset_ms: int) -> None:
        came, usual = self.now, self.base()
        cells = _cells(hour, 1 + HOURS_AHEAD, offset_ms)
        weight = self.shape.values[:, cells[0]]
        self._judge(came)
        self.lately = self.lately * _ACTIVITY_KEEP + came
        self.usually = self.usually * _ACTIVITY_KEEP + usual * weight
        self.came = self.came * _BASE_KEEP + came
        self.exposed = self.exposed * _BASE_KEEP + weight
        self.shape.learn(int(cells[0]), came.sum(axis=0), usual.sum(axis=0))
        self.now = np.zeros_like(came)
        self.made.append(self._mean(self._activity(0.0), self.shape.values[:, cells[1:]]))

    def _judge(self, came: Floats) -> None:
        """Learn from the forecasts for this hour how far what came scatters around them."""
        ahead = list(range(len(self.made)))
        if not ahead:
            return
        mean = np.stack([self.made[-1 - a][:, :, a] for a in ahead], axis=2)
        known = np.nan_to_num(mean)
        outside = self._interval(known, ahead).outside(came[:, :, None])
        # Where hardly anything is expected every interval is 0..0 and teaches nothing.
        telling = np.minimum(known, 1.0)
        off = (telling * (outside - 0.2)).sum(axis=0) / np.maximum(telling.sum(axis=0), 1.0)
        steered = self.dispersion[:, ahead] * np.exp(_STEERING * off / 0.8)
        self.dispersion[:, ahead] = np.clip(steered, _LEAST_DISPERSION, _MOST_DISPERSION)

    def _interval(self, mean: Floats, ahead: list[int]) -> CountInterval:
        """Return the interval of means [areas, services, hours] that are so many hours ahead."""
        known = self.came + _LEAN_H * self.base()
        own = 1 / np.maximum(known[:, :, None], 0.05)
        return negative_binomial_interval(mean, self.dispersion[:, ahead] + own)

    def base(self) -> Floats:
        """Return the mean rates [areas, services] per hour of a flat week."""
        everywhere = (self.came.sum(axis=0) + _FIRST_RATE * _FIRST_H) / (
            self.exposed.sum(axis=0) + _FIRST_H
        )
        rate: Floats = (self.came + _LEAN_H * everywhere) / (self.exposed + _LEAN_H)
        return rate

    def _activity(self, part: float, usual_part: Floats | float = 0.0) -> Floats:
        keep = _ACTIVITY_KEEP**part
        lately, usually = self.lately * keep + self.now, self.usually * keep + usual_part
        activity: Floats = (_ACTIVITY_LEAN + lately) / (_ACTIVITY_LEAN + usually)
        return activity

    def _mean(self, activity: Floats, weights: Floats) -> Floats:
        """Return [areas, services, hours]: ``weights`` [services, hours] of the hours ahead."""
        ahead = np.arange(weights.shape[1]) + 0.5
        fading = 1 + (activity[:, :, None] - 1) * np.exp(-ahead / 3)
        mean: Floats = self.base()[:, :, None] * weights * fading
        return mean

    def expect(self, now_ms: int, offset_ms: int) -> Expected:
        """Return the forecast as of now, for hours that begin now; ``advance`` comes first."""
        hour, rest = divmod(now_ms, HOUR_MS)
        part = rest / HOUR_MS
        shape = self.shape.values[:, _cells(hour, HOURS_AHEAD + 1, offset_ms)]
        weights = (1 - part) * shape[:, :-1] + part * shape[:, 1:]
        usual = self.base() * shape[:, 0]
        activity = self._activity(part, usual * part)
        mean = self._mean(activity, weights)
        interval = self._interval(mean, list(range(HOURS_AHEAD)))
        return Expected(usual * activity, mean, interval.low, interval.high)


def _cells(hour: int, count: int, offset_ms: int) -> NDArray[np.intp]:
    return shape_cells(np.arange(hour, hour + count, dtype=np.int64) * HOUR_MS + offset_ms)
