"""Short disturbances of dense traffic: the start of the waves that travel upstream.

A slow lane change or a lorry that merges nearly halves what passes a place for some tens of
seconds (Ahn and Cassidy, 2007, see lane changes start the waves). In light traffic nothing comes of
it; in dense traffic a wave of slow traffic runs upstream, meets every detector there and dissolves
by itself. They are no incidents, and not in the truth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["DisturbancePlan", "Disturbances"]

HOUR_MS = 3_600_000
_PER_KM_HOUR = 0.25
"""One every few kilometres and hours; the traffic decides which of them grow into waves."""


@dataclass(frozen=True)
class Disturbances:
    """Columns of n disturbances in order of start; ``cell`` loses ``severity`` of its capacity."""

    cell: NDArray[np.intp]
    start_ms: NDArray[np.int64]
    end_ms: NDArray[np.int64]
    severity: NDArray[np.float64]


class DisturbancePlan:
    """Disturbances at random times, each hour of the epoch drawn by itself."""

    def __init__(self, seed: int, length_km: NDArray[np.float64]) -> None:
        """``length_km`` [cells]: how likely each is."""
        self._seed = seed
        self._cumulative = np.cumsum(length_km)
        self._hour: int | None = None
        self._drawn = self._draw(0, 0.0)

    def active(self, ts_ms: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Return cells and severities of the disturbances that last at ``ts_ms``."""
        hour = ts_ms // HOUR_MS
        if hour != self._hour:
            total = float(self._cumulative[-1]) if len(self._cumulative) else 0.0
            self._hour, self._drawn = hour, self._draw(hour, total)
        drawn = self._drawn
        now = (drawn.start_ms <= ts_ms) & (drawn.end_ms > ts_ms)
        return drawn.cell[now], drawn.severity[now]

    def _draw(self, hour: int, total_km: float) -> Disturbances:
        rng = np.random.default_rng([self._seed, 0xD1, hour])
        count = int(rng.poisson(_PER_KM_HOUR * total_km))
        start = np.sort(rng.integers(0, HOUR_MS, count)) + hour * HOUR_MS
        cell = np.searchsorted(self._cumulative, rng.random(count) * total_km, side="right")
        seconds = rng.uniform(15, 60, count)
        return Disturbances(
            cell.astype(np.intp),
            start,
            start + (seconds * 1000).astype(np.int64),
            rng.uniform(0.3, 0.6, count),
        )
