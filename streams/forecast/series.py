"""Online forecasts of many series of one measure, several steps ahead at once.

The change from the present is forecast by one regression shared by all series, corrected by a
small one per series; each is trusted as far as its past forecasts deserve. See docs/traffic.md.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.forecast.days import DayHistory
from streams.forecast.features import CELLS, INPUTS, OWN, REGIMES, Features, build_features
from streams.forecast.intervals import Intervals
from streams.forecast.neighbours import Neighbours
from streams.forecast.recent import LAGS, RecentValues
from streams.forecast.regression import OwnRidge, SharedRidge, Trust
from streams.forecast.settings import ForecastSettings

__all__ = ["SeriesForecast", "SeriesForecaster"]

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]

# In relative units (features near 1): a few hundred rows outweigh the first, a week of a series'
# own errors the second, so that few days teach what all have in common and only many what one has.
_SHARED_RIDGE, _OWN_RIDGE = 3.0, 15.0
# Steps from one solution to the next; an hour of rows changes weights of weeks very little.
_SOLVE_EVERY = 12
# Mean squared predicted change at which half is trusted: traffic in motion passes it in a step
# or two, noise never.
_TRUST_PRIOR = 0.003
_LARGEST_CHANGE = 1.5


@dataclass(frozen=True)
class SeriesForecast:
    """Values [n, leads] in the series' unit; NaN for a series without recent values."""

    mean: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True)
class _Made:
    """A forecast whose time has yet to come; relative changes from ``start``."""

    step: int
    features: Features
    start: Floats32
    scale: Floats32
    present: NDArray[np.bool_]
    raw: Floats32
    """The shared model's change, before trust."""
    shared: Floats32
    own: Floats32
    change: Floats32
    """What was forecast in the end."""


class SeriesForecaster:
    """State of n series; a deterministic function of the steps it was given."""

    def __init__(
        self, n: int, settings: ForecastSettings, links: NDArray[np.intp] | None = None
    ) -> None:
        """``links`` int[m, 2] are pairs of neighbours that are known beforehand."""
        targets = len(settings.leads)
        keep = float(np.exp(-1 / (settings.memory_days * settings.steps_per_day)))
        day = float(np.exp(-1 / settings.steps_per_day))
        self.n = n
        self.settings = settings
        self.step: int | None = None
        """The newest step taken in."""
        self.recent = RecentValues(n, settings.memory_days * settings.steps_per_day)
        self.days = DayHistory(n, settings)
        no_links = np.empty((0, 2), np.intp)
        self.neighbours = Neighbours(n, settings.neighbours, no_links if links is None else links)
        self.shared = SharedRidge(REGIMES * INPUTS, targets, ridge=_SHARED_RIDGE, keep=keep)
        self.own = OwnRidge(n, OWN + settings.neighbours, targets, ridge=_OWN_RIDGE, keep=keep**2)
        self.shared_trust = Trust(targets, prior=_TRUST_PRIOR * max(n, 1), keep=day)
        self.own_trust = Trust(targets, prior=_TRUST_PRIOR * max(n, 1), keep=day)
        self.intervals = Intervals(n, CELLS, targets)
        self._made: deque[_Made] = deque(maxlen=settings.reach)
        self._seen: deque[Floats32] = deque(maxlen=settings.reach)

    def observe(self, step: int, values: Floats) -> None:
        """Take in the ``values`` [n] of ``step`` (NaN: missing), learn from them and forecast.

        Steps must come in order; those left out count as missing for all series.
        """
        if self.step is not None and step <= self.step:
            raise ValueError(f"step {step} after step {self.step}: steps must come in order")
        # After so many, what was missed before makes no difference.
        most = max(2 * LAGS, self.settings.reach)
        first = step if self.step is None else max(self.step + 1, step - most)
        for missed in range(first, step):
            self._take_in(missed, np.full(self.n, np.nan, np.float32))
        self._take_in(step, values.astype(np.float32))

    def resume(self, step: int | None) -> None:
        """Go on after ``step`` with the state that was put in; forecasts not yet due are void."""
        self.step = step
        self._made.clear()
        self._seen.clear()

    def _take_in(self, step: int, values: Floats32) -> None:
        self._score(step, values)
        self._seen.append(values)
        self._learn(step)
        self.days.compare(step, values, self.recent.scale)
        usual = self.days.usual(step, self.recent.level)
        self.recent.add(values, usual[0])
        self.days.add(step, values)
        if step % (2 * self.settings.slot_steps) == 0:
            series, places = self.neighbours.judge(self.days)
            self.own.forget(series, OWN + places)
        self.step = step
        self._made.append(self._make(step, self.recent.lags, usual))
        if step % _SOLVE_EVERY == 0:
            self.shared.solve()
        self.own.solve(slice(step % _SOLVE_EVERY, None, _SOLVE_EVERY))

    def _score(self, step: int, values: Floats32) -> None:
        """Hold the forecasts for ``step`` against what happened: trust and intervals."""
        leads = self.settings.leads
        due = [made for made in self._made if step - made.step in leads]
        if not due:
            return
        targets = np.array([leads.index(step - made.step) for made in due])

        def stacked(name: str) -> Floats32:
            return np.stack(
                [getattr(made, name)[:, t] for made, t in zip(due, targets, strict=True)]
            )

        happened = np.stack([(values - made.start) / made.scale for made in due])
        happened = np.clip(happened, -_LARGEST_CHANGE, _LARGEST_CHANGE)
        known = np.stack([made.present for made in due]) & ~np.isnan(happened)
        outcome = np.where(known, happened, 0)
        self.shared_trust.learn(targets, stacked("raw") * known, outcome)
        self.own_trust.learn(targets, stacked("own") * known, outcome - stacked("shared"))
        cell = np.stack([made.features.cell for made in due])
        error = np.where(known, happened - stacked("change"), np.nan)
        self.intervals.learn(targets, cell, error)

    def _learn(self, step: int) -> None:
        """Learn from the oldest forecast once the time of its last lead has come."""
        if not self._made or self._made[0].step != step - self.settings.reach:
            return
        made = self._made[0]
        values = np.stack([self._seen[lead - 1] for lead in self.settings.leads], axis=1)
        happened = (values - made.start[:, None]) / made.scale[:, None]
        known = made.present & ~np.isnan(happened).all(axis=1)
        # A target that is missing is taken as forecast: it then pulls the weights nowhere.
        filled = np.where(np.isnan(happened), made.change, happened)
        targets = np.clip(filled, -_LARGEST_CHANGE, _LARGEST_CHANGE).astype(np.float32)
        # Of neighbouring steps one tells nearly what the other does: each series every other step.
        turn = slice(step % 2, None, 2)
        features, known, targets = made.features.take(turn), known[turn], targets[turn]
        self.shared.learn(features.design()[known], targets[known])
        self.own.learn(turn, features.own(), targets - made.shared[turn], known)

    def _make(self, step: float, lags: Floats32, usual: Floats32) -> _Made:
        recent = self.recent
        scale = recent.scale
        features = build_features(
            lags, usual, recent.long, recent.level, scale, self.neighbours.index
        )
        raw = self.shared.predict(features.design())
        shared = self.shared_trust.factor * raw
        own = self.own.predict(features.own())
        change = shared + self.own_trust.factor * own
        present = recent.age == 0
        return _Made(
            step=int(step),
            features=features,
            start=lags[0],
            scale=scale,
            present=present,
            raw=raw,
            shared=shared,
            own=own,
            change=change,
        )

    def forecast(self, part: Floats | None = None, fraction: float = 0.0) -> SeriesForecast:
        """Return the forecast as of now: the newest step, or ``fraction`` of the next one later.

        ``part`` [n] is the mean over that fraction, NaN where missing.
        """
        if self.step is None:
            nothing = np.full((self.n, len(self.settings.leads)), np.nan)
            return SeriesForecast(nothing, nothing, nothing)
        lags = self.recent.lags
        if part is not None and fraction > 0:
            lags = self.recent.at(part.astype(np.float32), fraction)
        else:
            fraction = 0.0
        if fraction == 0 and self._made:
            made = self._made[-1]
        else:
            usual = self.days.usual(self.step + fraction, self.recent.level)
            made = self._make(self.step + fraction, lags, usual)
        low, high = self.intervals.around(made.features.cell)
        fresh = self.recent.age < self.settings.stale_steps
        if part is not None:
            fresh |= ~np.isnan(part)
        scale = np.where(fresh, made.scale, np.nan)

        def absolute(relative: Floats | Floats32) -> Floats:
            return np.maximum(made.start[:, None] + relative * scale[:, None], 0.0)

        mean = absolute(made.change)
        below, above = absolute(made.change + low), absolute(made.change + high)
        return SeriesForecast(mean, np.minimum(below, mean), np.maximum(above, mean))
