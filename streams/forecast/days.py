"""The usual course of a day, from the past days that resemble the present one.

A method of analogues (Lorenz 1969) over the whole network: the squared distance between the
last hours and the same hours of each past day is tracked with exponential forgetting, and the
usual value is the mean of the past days, weighted by exp(-distance / bandwidth). Weekends,
holidays and a stretch of rain find their like without a calendar.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.forecast.settings import ForecastSettings

__all__ = ["DayHistory"]

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]

_FORGET = 0.9  # per step: the last ten steps tell what kind of day it is now
_BANDWIDTH = 0.2  # of the smallest distance: about the best three of a fortnight count
_LEAST_WEIGHT = 1e-3
# A road that is shut would otherwise make every past day look equally wrong.
_LARGEST_DIFFERENCE = 0.23


class DayHistory:
    """Means per slot of the past days of n series, and how far each day is from this one.

    Time is counted in steps from any origin; ``slots`` float32[ring, n] is addressed by the
    number of the slot modulo its length.
    """

    def __init__(self, n: int, settings: ForecastSettings) -> None:
        self._settings = settings
        self._slots_per_day = settings.steps_per_day // settings.slot_steps
        self.slots = np.full((settings.days * self._slots_per_day + 2, n), np.nan, np.float32)
        self.newest: int | None = None
        """Number of the newest slot."""
        self._in_slot = np.zeros(n, np.float32)
        self.distance = np.full(settings.days, np.nan)
        """Tracked squared distance to the day so many + 1 days ago, in relative units."""

    def add(self, step: int, values: Floats32) -> None:
        """Take in the ``values`` [n] of ``step``; steps must not go back."""
        slot = step // self._settings.slot_steps
        if self.newest is None or slot > self.newest:
            self._open(slot)
        row = self.slots[slot % len(self.slots)]
        present = ~np.isnan(values)
        self._in_slot += present
        before = np.where(self._in_slot > 1, row, 0.0)
        mean = before + (values - before) / np.maximum(self._in_slot, 1)
        row[present] = mean[present]

    def _open(self, slot: int) -> None:
        first = slot if self.newest is None else self.newest + 1
        fresh = range(max(first, slot - len(self.slots) + 1), slot + 1)
        self.slots[[s % len(self.slots) for s in fresh]] = np.nan
        self.newest = slot
        self._in_slot[:] = 0

    def put(self, newest: int, series: NDArray[np.intp], slots: NDArray[np.float16]) -> None:
        """Put back the past of some series: ``slots`` [ring, m] as they were at slot ``newest``."""
        if self.newest is None or newest > self.newest:
            self._open(newest)
        numbers = np.arange(newest - len(slots) + 1, newest + 1)
        numbers = numbers[numbers > (self.newest or 0) - len(self.slots)]
        rows = numbers % len(self.slots)
        self.slots[np.ix_(rows, series)] = slots[rows]

    def compare(self, step: int, values: Floats32, scale: Floats32) -> None:
        """Update the distance of every past day from the ``values`` [n] of ``step``."""
        back = np.arange(1, self._settings.days + 1) * self._settings.steps_per_day
        past = self._between((step - back).astype(np.float64))
        apart = (values - past) / scale
        known = ~np.isnan(apart)
        apart = np.clip(apart, -_LARGEST_DIFFERENCE, _LARGEST_DIFFERENCE)
        count = known.sum(axis=1)
        squared = np.where(known, apart * apart, 0).sum(axis=1) / np.maximum(count, 1)
        before = np.where(np.isnan(self.distance), squared, self.distance)
        tracked = np.where(count > 0, _FORGET * before + (1 - _FORGET) * squared, self.distance)
        self.distance = np.where(np.isnan(past).all(axis=1), np.nan, tracked)

    def weights(self) -> Floats:
        """Return each past day's weight [days]; they sum to 1, or are all 0 on the first day."""
        known = ~np.isnan(self.distance)
        if not known.any():
            return np.zeros(len(self.distance))
        nearest = max(float(np.nanmin(self.distance)), 1e-9)
        weight = np.where(known, np.exp(-(self.distance - nearest) / (_BANDWIDTH * nearest)), 0.0)
        normalised: Floats = weight / weight.sum()
        return normalised

    def usual(self, step: float, fallback: Floats32) -> Floats32:
        """Return what is usual at each of ``usual_leads`` after ``step``: float32[5, n].

        ``fallback`` [n] stands where no past day has the series.
        """
        weights = self.weights()
        days = np.flatnonzero(weights > _LEAST_WEIGHT)
        leads = np.array(self._settings.usual_leads)
        back = (days + 1) * self._settings.steps_per_day
        past = self._between(step + leads[None, :] - back[:, None])
        known = ~np.isnan(past)
        weight = weights[days].astype(np.float32)
        total = np.einsum("d,dln->ln", weight, np.where(known, past, 0))
        weight_of = np.einsum("d,dln->ln", weight, known.astype(np.float32))
        mean = np.divide(total, weight_of, out=np.full_like(total, np.nan), where=weight_of > 0)
        # A course with holes in it would make changes out of nothing.
        return np.where(np.isnan(mean).any(axis=0), fallback, mean)

    def _between(self, steps: Floats) -> Floats32:
        """Return the values at ``steps`` [...], between the middles of two slots: [..., n].

        NaN where a step is older than the memory.
        """
        width = self._settings.slot_steps
        place = (steps - (width - 1) / 2) / width
        low = np.floor(place).astype(np.int64)
        share = (place - low).astype(np.float32)[..., None]
        newest = -1 if self.newest is None else self.newest
        kept = (low > newest - len(self.slots)) & (low < newest)
        first, second = (self.slots[(low + i) % len(self.slots)] for i in range(2))
        between: Floats32 = (1 - share) * first + share * second
        between[~kept] = np.nan
        return between

    def last(self, slots: int) -> Floats32:
        """Return the newest full slots in order: float32[at most slots, n]."""
        if self.newest is None:
            return self.slots[:0]
        numbers = np.arange(self.newest - min(slots, len(self.slots) - 1), self.newest)
        return self.slots[numbers % len(self.slots)]
