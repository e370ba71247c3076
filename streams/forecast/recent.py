"""The last values of every series, and what they say of its level and size."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["LAGS", "RecentValues"]

Floats32 = NDArray[np.float32]

LAGS = 13
"""Steps kept: the present and twelve before."""

# Per step: a missing value drifts from the last one seen towards the usual one, with a half-life
# of half an hour at five-minute steps.
_KEEP_DEVIATION = 0.9

# Three hours at five-minute steps: longer than a queue that comes and goes, shorter than a peak.
_LONG = 1 / 36

_QUANTILE = 0.85
_FIRST_STEP, _LAST_STEP = 0.1, 0.005


class RecentValues:
    """State of n series; ``lags`` float32[LAGS, n] has the newest first and no gaps.

    ``scale`` tracks the 85th percentile, near the free-flow speed or the peak flow; everything
    the model sees is divided by it, so units do not matter.
    """

    def __init__(self, n: int, memory_steps: float) -> None:
        self._memory_steps = memory_steps
        self.lags = np.full((LAGS, n), np.nan, np.float32)
        self.long = np.full(n, np.nan, np.float32)
        self.level = np.full(n, np.nan, np.float32)
        self.quantile = np.full(n, np.nan, np.float32)
        self.usual = np.full(n, np.nan, np.float32)
        """What was usual at the newest step."""
        self.seen = np.zeros(n, np.float32)
        """Values ever seen."""
        self.age = np.full(n, 1_000_000, np.int32)
        """Steps since the last value."""

    @property
    def scale(self) -> Floats32:
        """Return what one unit of a relative value is, in the series' unit."""
        # The mean rises faster than the percentile where a road is empty at first.
        floor = np.maximum(np.abs(self.level), 1e-3)
        scale = np.fmax(self.quantile, floor)
        return np.where(np.isnan(scale), np.float32(1), scale)

    def add(self, values: Floats32, usual: Floats32) -> None:
        """Take in a step's ``values`` [n], NaN where missing.

        ``usual`` [n] is what is usual at this step; it carries a missing value on.
        """
        present = ~np.isnan(values)
        last = self.lags[0]
        carried = usual + _KEEP_DEVIATION * (last - self.usual)
        carried = np.where(np.isnan(carried), last, np.maximum(carried, 0.0))
        newest = np.where(present, values, carried)
        first = np.isnan(last) & present
        self.lags = np.vstack([newest, self.lags[:-1]])
        # Before its first value a series is taken to have stood where it starts.
        self.lags[:, first] = values[first]
        self.usual = usual
        self.age = np.where(present, 0, self.age + 1)
        self.seen += present
        self.long = np.where(first, values, self.long + _LONG * (newest - self.long))
        self._track_level(values, present, first)

    def _track_level(
        self, values: Floats32, present: NDArray[np.bool_], first: NDArray[np.bool_]
    ) -> None:
        rate = 1 / np.clip(self.seen, 1, self._memory_steps)
        level = np.where(first, values, self.level + rate * (values - self.level))
        self.level = np.where(present, level, self.level)
        step = np.clip(3 / np.maximum(self.seen, 1), _LAST_STEP, _FIRST_STEP) * np.abs(self.level)
        moved = self.quantile + step * (_QUANTILE - (values < self.quantile))
        self.quantile = np.where(first, values, np.where(present, moved, self.quantile))

    def at(self, values: Floats32, fraction: float) -> Floats32:
        """Return the lags as seen when ``fraction`` of the next step is over.

        ``values`` [n] is the mean of that part. The result float32[LAGS, n] holds means over a
        whole step that end now, one step ago and so on: each step is split where the sliding one
        begins, as if it had been even within.
        """
        newest = np.where(np.isnan(values), self.lags[0], values)
        return fraction * np.vstack([newest, self.lags[:-1]]) + (1 - fraction) * self.lags
