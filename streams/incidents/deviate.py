"""Standard normal deviate: a station far outside its own last minutes, twice in a row.

C. L. Dudek, C. J. Messer and N. B. Nuckles, "Incident detection on urban freeways"
(Transportation Research Record 495, 1974): the occupancy of the last minutes gives mean and
standard deviation; a deviate above the critical value in two successive minutes is an alarm.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.incidents.view import Verdict, View

__all__ = ["StandardNormalDeviate"]

_BASE = 5
"""Minutes of the time base, the better of the two (3, 5) that the paper compares."""

_LEAST_SPREAD = 0.01
"""Occupancy: without a floor five equal minutes would make any change infinitely unlikely."""


class StandardNormalDeviate:
    """The deviates of all stations; a pair stands for its upstream station."""

    name = "snd"

    def __init__(self, segments: int, critical: float = 4.0) -> None:
        self.critical = critical
        self.segment_state = np.full((_BASE + 2, segments), np.nan, np.float32)
        """The time base, newest first; windows in alarm; the mean when that began."""
        self.segment_state[_BASE] = 0
        self.pair_state = np.zeros((0, 1), np.float32)
        self.distrusted = np.zeros(segments, np.bool_)
        """None: the published algorithm believes every detector."""

    def judge(self, view: View) -> Verdict:
        """Return the alarms of the stations at the upstream ends of the pairs."""
        base = self.segment_state[:_BASE].astype(np.float64)
        runs, before = self.segment_state[_BASE], self.segment_state[_BASE + 1]
        # Where detectors have no occupancy, lost speed takes its place.
        slowness = 1 - np.minimum(view.speed / view.network.free_flow_kmh, 1.0)
        value = np.where(np.isnan(view.occupancy), slowness, view.occupancy)
        judged = view.fresh & ~np.isnan(value) & ~np.isnan(base).any(axis=0)
        mean = base.mean(axis=0)
        spread = np.maximum(base.std(axis=0, ddof=1), _LEAST_SPREAD)
        deviates = judged & (value > mean + self.critical * spread)
        # An alarm holds until the station is back half way to what it was before.
        holds = judged & (runs > 0) & (value > before + self.critical * spread / 2)
        begins = deviates & (runs == 0)
        runs[judged] = np.where(deviates | holds, runs + 1, 0)[judged]
        before[begins] = mean[begins]
        learns = view.fresh & ~np.isnan(value) & (runs == 0)
        self.segment_state[1:_BASE, learns] = self.segment_state[: _BASE - 1, learns]
        self.segment_state[0, learns] = value[learns]
        run: NDArray[np.float32] = runs[view.pairs.upstream]
        score = ((value - mean) / spread)[view.pairs.upstream]
        return Verdict(
            suspected=run >= 1,
            confirmed=run >= 2,
            holds=run >= 1,
            judged=judged[view.pairs.upstream],
            confidence=np.where(run >= 2, 0.7, np.where(run >= 1, 0.3, 0.0)),
            rank=np.nan_to_num(score),
            age_min=run.astype(np.float64),
            flow_before=view.usual_flow[view.pairs.downstream],
        )

    def settle(self, view: View, held: NDArray[np.bool_]) -> None:
        """Nothing to learn beyond the time base."""
