"""A clock that runs as people throw things away: fast by day, hardly at night.

Containers fill evenly on it. Its shape over the week is learned from all of them together; a week
is a week long on it too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.dispatch.demand.weekly_shape import DAY_KINDS, HOUR_MS, HOURS, WeeklyShape, shape_cells

__all__ = ["FillClock"]

Floats = NDArray[np.float64]

_WEEK_H = 168
_EVENT = 0.1
"""Filling that counts as one event when the shape is learned."""
_LONGEST_GAP_H = 2.0
"""A longer time between two readings says nothing of the hour it belongs to."""


class FillClock:
    """Times are epoch ms in the clock people live by; the fill clock shows hours."""

    def __init__(self) -> None:
        self.shape = WeeklyShape(1)
        self.hour: int | None = None
        self.gained = 0.0
        """Filling of all containers in the present hour, and what was usual in the same time."""
        self.usual = 0.0

    def learn(
        self, start: NDArray[np.int64], end: NDArray[np.int64], gain: Floats, per_h: Floats
    ) -> None:
        """Take in how much containers filled between two readings each, and their mean rates.

        Noise does no harm: over the readings of a container it cancels out.
        """
        hours = (end - start) / HOUR_MS
        counted = (hours > 0) & (hours <= _LONGEST_GAP_H)
        if not counted.any():
            return
        hour = int(end[counted].max()) // HOUR_MS
        if self.hour is not None and hour > self.hour:
            self._close(self.hour)
        self.hour = max(hour, self.hour or hour)
        self.gained += float(gain[counted].sum())
        self.usual += float((per_h * hours)[counted].sum())

    def _close(self, hour: int) -> None:
        cell = int(shape_cells(np.array([hour * HOUR_MS]))[0])
        came = np.array([max(self.gained, 0.0) / _EVENT])
        self.shape.learn(cell, came, np.array([self.usual / _EVENT]))
        self.gained = self.usual = 0.0

    def show(self, local_ms: Floats) -> Floats:
        """Return what the clock shows [h] at some times."""
        week, rest = np.divmod(local_ms / HOUR_MS, _WEEK_H)
        marks = self._marks()
        return np.asarray(week * marks[-1] + np.interp(rest, np.arange(_WEEK_H + 1), marks))

    def when(self, shown: Floats) -> Floats:
        """Return the times [ms] at which the clock shows so many hours; NaN stays NaN."""
        marks = self._marks()
        week, rest = np.divmod(shown, marks[-1])
        hours = week * _WEEK_H + np.interp(rest, marks, np.arange(_WEEK_H + 1))
        return np.asarray(hours * HOUR_MS)

    def _marks(self) -> Floats:
        """Return what the clock shows at each hour of a week from its first: float64[169]."""
        hours = np.arange(_WEEK_H, dtype=np.int64) * HOUR_MS
        return np.concatenate([[0.0], np.cumsum(self.shape.values[0, shape_cells(hours)])])

    def dump(self) -> dict[str, list[float]]:
        return {
            "came": self.shape.came[0].tolist(),
            "flat": self.shape.flat[0].tolist(),
            "now": [self.gained, self.usual, -1.0 if self.hour is None else float(self.hour)],
        }

    def restore(self, state: dict[str, list[float]]) -> None:
        """Go on from a ``dump``; ValueError when it is none."""
        try:
            came, flat, now = (np.array(state[name]) for name in ("came", "flat", "now"))
            if came.shape != (DAY_KINDS * HOURS,) or flat.shape != came.shape or len(now) != 3:
                raise ValueError("arrays of other lengths")
        except KeyError as error:
            raise ValueError(f"no {error}") from error
        self.shape.came[0], self.shape.flat[0] = came, flat
        self.shape.refresh()
        self.gained, self.usual = float(now[0]), float(now[1])
        self.hour = None if now[2] < 0 else int(now[2])
