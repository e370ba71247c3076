"""The usual course of a day, for working days and weekends: multiples of the mean rate.

Learned online as a ratio of what came to what a flat day would have brought, both summed per hour
with forgetting. Neighbouring hours are smoothed together, and an hour seen little leans on the
same hour of the other kind of day and on 1: a young shape is flat, not wrong.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from civicstream.local_time import is_weekend

__all__ = ["DAY_KINDS", "HOURS", "HOUR_MS", "WeeklyShape", "shape_cells"]

Floats = NDArray[np.float64]

HOUR_MS = 3_600_000
HOURS, DAY_KINDS = 24, 2
_DAYS_OF_KIND = np.array([5.0, 2.0])
_SMOOTHING = np.array([0.2, 0.6, 0.2])
_FORGET = 1 - 1 / 40
"""Per visit of an hour: about eight weeks of working days."""
_LEAN_ON_OTHER = 8.0
_LEAN_ON_FLAT = 4.0
"""Expected events that count as much as what an hour leans on."""


def shape_cells(local_ms: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return the cell (kind of day times 24, plus hour) of times in the clock people live by."""
    hours = local_ms // HOUR_MS
    return (is_weekend(local_ms) * HOURS + hours % HOURS).astype(np.intp)


class WeeklyShape:
    """Shapes of s series: ``values`` float64[s, 48], with a mean of 1 over the week."""

    def __init__(self, series: int) -> None:
        self.came = np.zeros((series, DAY_KINDS * HOURS))
        self.flat = np.zeros((series, DAY_KINDS * HOURS))
        """What a flat week would have brought in the same time."""
        self.values = np.ones((series, DAY_KINDS * HOURS))

    def learn(self, cell: int, came: Floats, flat: Floats) -> None:
        """Take in one hour of all series: what came [s], and the mean rates times the hours [s]."""
        self.came[:, cell] = self.came[:, cell] * _FORGET + came
        self.flat[:, cell] = self.flat[:, cell] * _FORGET + flat
        self.refresh()

    def refresh(self) -> None:
        """Compute ``values`` again from ``came`` and ``flat``."""
        came, flat = (_smoothed(a.reshape(-1, DAY_KINDS, HOURS)) for a in (self.came, self.flat))
        both = (came.sum(axis=1) + _LEAN_ON_FLAT) / (flat.sum(axis=1) + _LEAN_ON_FLAT)
        shape = (came + _LEAN_ON_OTHER * both[:, None]) / (flat + _LEAN_ON_OTHER)
        week = (shape * _DAYS_OF_KIND[:, None]).sum(axis=(1, 2)) / (7 * HOURS)
        self.values = (shape / week[:, None, None]).reshape(len(shape), -1)


def _smoothed(values: Floats) -> Floats:
    """Return values [..., 24] smoothed around the clock."""
    before, after = np.roll(values, 1, axis=-1), np.roll(values, -1, axis=-1)
    smooth: Floats = _SMOOTHING[0] * before + _SMOOTHING[1] * values + _SMOOTHING[2] * after
    return smooth
