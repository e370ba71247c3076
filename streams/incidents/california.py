"""California algorithm #8: occupancy up- and downstream, with persistence and wave suppression.

H. J. Payne and S. C. Tignor, "Freeway incident-detection algorithms based on decision trees with
states" (Transportation Research Record 682, 1978). Occupancies are in percent there and here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.incidents.view import Verdict, View

__all__ = ["California8", "CaliforniaThresholds"]

Floats = NDArray[np.float64]

FREE, WAVE_1, WAVE_5, TENTATIVE, CONFIRMED, CONTINUING = 0, 1, 5, 6, 7, 8
"""States of a pair; 1 to 5: a compression wave was downstream so many minutes ago."""


@dataclass(frozen=True)
class CaliforniaThresholds:
    """T1..T5 of the paper, in the middle of the calibrations it and its successors report."""

    spatial_difference: float = 8.0
    """T1: occupancy upstream less downstream [percent points]."""
    wave_drop: float = -0.4
    """T2: relative temporal difference downstream below which a wave has arrived there."""
    relative_difference: float = 0.5
    """T3: the same as a share of the occupancy upstream."""
    downstream_drop: float = 0.15
    """T4: share by which the occupancy downstream fell within two minutes."""
    congested: float = 30.0
    """T5: occupancy downstream that is congestion [percent]."""


class California8:
    """The states of all pairs, moved on by one window at a time."""

    name = "california8"

    def __init__(self, segments: int, thresholds: CaliforniaThresholds | None = None) -> None:
        self.thresholds = thresholds or CaliforniaThresholds()
        self.segment_state = np.full((2, segments), np.nan, np.float32)
        """Occupancy one and two windows ago [percent]."""
        self.pair_state = np.zeros((0, 1), np.float32)
        self.distrusted = np.zeros(segments, np.bool_)
        """None: the published algorithm believes every detector."""

    def judge(self, view: View) -> Verdict:
        """Return what the decision tree says of each pair."""
        t, pairs = self.thresholds, view.pairs
        occupancy = np.where(view.fresh, view.occupancy * 100, np.nan)
        up, down = occupancy[pairs.upstream], occupancy[pairs.downstream]
        down_before = self.segment_state[1, pairs.downstream].astype(np.float64)
        difference = up - down
        relative = _ratio(difference, up)
        dropped = _ratio(down_before - down, down_before)
        state = self.pair_state[:, 0].astype(np.int8)
        judged = ~(np.isnan(difference) | np.isnan(dropped))
        known = np.where(judged, self._next(state, difference, relative, dropped, down), state)
        self.pair_state[:, 0] = known
        self.segment_state[1] = self.segment_state[0]
        self.segment_state[0] = occupancy
        suspected = known >= TENTATIVE
        return Verdict(
            suspected=suspected,
            confirmed=known >= CONFIRMED,
            holds=suspected,
            judged=judged,
            confidence=np.where(known >= CONFIRMED, 0.8, np.where(suspected, 0.4, 0.0)),
            rank=np.nan_to_num(difference / t.spatial_difference),
            age_min=np.where(suspected, 1.0, 0.0),
            flow_before=view.usual_flow[pairs.downstream],
        )

    def _next(
        self,
        state: NDArray[np.int8],
        difference: Floats,
        relative: Floats,
        dropped: Floats,
        down: Floats,
    ) -> NDArray[np.int8]:
        t = self.thresholds
        congested, wave = down >= t.congested, dropped < t.wave_drop
        holds = np.where(state == TENTATIVE, CONFIRMED, CONTINUING)
        ends = np.where(wave & congested & (state == TENTATIVE), WAVE_1, FREE)
        in_incident = np.where(relative >= t.relative_difference, holds, ends)
        # A wave downstream is remembered for five minutes, and no incident is begun in them.
        older = np.where((state >= WAVE_1) & (state < WAVE_5), state + 1, FREE)
        begins = (
            (difference >= t.spatial_difference)
            & (relative >= t.relative_difference)
            & (dropped >= t.downstream_drop)
        )
        quiet = np.where(begins, TENTATIVE, FREE)
        waiting = np.where(
            congested,
            np.where(wave, WAVE_1, older),
            np.where(state >= WAVE_1, older, quiet),
        )
        return np.where(state >= TENTATIVE, in_incident, waiting).astype(np.int8)

    def settle(self, view: View, held: NDArray[np.bool_]) -> None:
        """Nothing is learned from windows: the thresholds are fixed."""


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    ratio: Floats = np.divide(
        numerator, denominator, out=np.zeros(len(numerator)), where=denominator > 0
    )
    ratio[np.isnan(numerator) | np.isnan(denominator)] = np.nan
    return ratio
