"""How traffic ran at each detector in the last minutes, and what a new report says beside that."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.incidents.view import View

__all__ = ["RecentTraffic"]

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

_WEIGHT = 0.15
"""Of a new report in the means: they remember about six reports."""

_DOUBTFUL_WEIGHT = 0.004
"""The same while an incident is suspected: what was before has to be kept for hours."""

_CLEARLY = 2.0
"""Standard deviations of a count."""

_SPREAD_WEIGHT = 0.03
_YOUNG = 5
"""Reports before a detector is believed."""

_SPEED_SPREAD = 0.10
"""Least standard deviation of a minute's mean speed, as a share of it."""

_JUMP = 0.35
"""A change of the logarithm of speed beyond this is another state of traffic, not noise."""

_LAST_SPEED, _JUMPS, _SAME = 6, 7, 8
_LEAP = 0.7
"""Speed that doubles or halves from one report to the next (in logarithms)."""
_JUMPS_KEPT = 0.97
"""Of the count of leaps from report to report: half an hour of minutes counts."""
_TOO_MANY_JUMPS = 3.0
"""A queue comes and goes: two leaps. A detector that has more of them flaps."""
_STUCK = 4
"""Means of several vehicles are not the same to the last digit so often in a row."""

_PEAK_KEPT = 0.99995
"""Of the highest flow from one report to the next: half of it in ten days of minutes."""

_STEADY = 0.05
"""Traffic that varies by less than this share of what chance brings was not counted."""


class RecentTraffic:
    """Running means and variances of flow and of the speed's logarithm: ``state`` float32[9, n]."""

    def __init__(self, segments: int) -> None:
        self.state = np.zeros((9, segments), np.float32)
        self.state[:4] = np.nan
        self.state[_LAST_SPEED] = np.nan

    @property
    def flow(self) -> Floats:
        """[veh/h]"""
        flow: Floats = self.state[0].astype(np.float64)
        return flow

    @property
    def speed(self) -> Floats:
        """[km/h]"""
        speed: Floats = self.state[1].astype(np.float64)
        return speed

    @property
    def peak(self) -> Floats:
        """The highest mean flow of the last days [veh/h]."""
        peak: Floats = self.state[5].astype(np.float64)
        return peak

    @property
    def distrusted(self) -> Mask:
        """Which detectors jump to and fro as no traffic does, or repeat themselves [n]."""
        distrusted: Mask = (self.state[_JUMPS] > _TOO_MANY_JUMPS) | (self.state[_SAME] >= _STUCK)
        return distrusted

    def counted(self, view: View) -> Mask:
        """Return [n] which flows vary as counts do; a constant one was filled in."""
        counted: Mask = self.state[2] >= _STEADY * _counting_variance(self.flow, view)
        return counted

    def _believed(self, view: View) -> Mask:
        believed: Mask = view.fresh & (self.state[4] >= _YOUNG)
        return believed

    def flow_loss(self, view: View) -> tuple[Floats, Floats]:
        """Return [n] the share of the flow that is lost against before, and its variance.

        NaN where unknown or where the flow is no count.
        """
        before = self.flow
        chance = _counting_variance(before, view)
        known = self._believed(view) & self.counted(view) & (before > 0)
        square = np.where(known, before, np.nan) ** 2
        return (before - view.flow) / np.sqrt(square), np.maximum(self.state[2], chance) / square

    def slowing(self, view: View) -> tuple[Floats, Floats]:
        """Return [n] ln(speed before / speed now) and its variance; NaN: unknown."""
        before = self.speed
        known = self._believed(view) & ~np.isnan(view.speed)
        slower = np.log(np.where(known, before, np.nan) / np.maximum(view.speed, 1.0))
        return slower, np.maximum(self.state[3], _SPEED_SPREAD**2)

    def learn(self, view: View, doubtful: Mask) -> None:
        """Take the window's reports in."""
        at = np.flatnonzero(view.fresh)
        mean_flow, mean_speed, flow_variance, speed_variance, count = self.state[:5, at]
        flow = view.flow[at]
        speed = np.where(np.isnan(view.speed[at]), mean_speed, view.speed[at])
        # The first reports count fully: a mean of two is better than a start at the first.
        young = 1 / (count + 1)
        weight = np.where(doubtful[at], _DOUBTFUL_WEIGHT, np.maximum(_WEIGHT, young))
        spread_weight = np.where(doubtful[at], _DOUBTFUL_WEIGHT, np.maximum(_SPREAD_WEIGHT, young))
        chance = np.sqrt(_counting_variance(mean_flow, view))
        # More than before is no loss: kept too low, it would hide the next one or make one up.
        more = flow > mean_flow + _CLEARLY * chance
        flow_weight = np.where(more, np.maximum(_WEIGHT, young), weight)
        slower = np.log(np.maximum(mean_speed, 1.0) / np.maximum(speed, 1.0))
        surplus = np.clip(flow - mean_flow, -3 * chance, 3 * chance)
        for row, value, mean, variance, gain, error in (
            (0, flow, mean_flow, flow_variance, flow_weight, surplus),
            (1, speed, mean_speed, speed_variance, weight, np.clip(slower, -_JUMP, _JUMP)),
        ):
            known = ~np.isnan(mean)
            self.state[row, at] = np.where(known, mean + gain * (value - mean), value)
            # A breakdown is no unrest: it would hide the next one.
            spread = np.nan_to_num(variance)
            square = np.where(known, error, 0.0) ** 2
            self.state[row + 2, at] = spread + spread_weight * (square - spread)
        self._watch(at, view.speed[at])
        # The highest of many noisy means is too high: what chance may have added comes off.
        certain = self.state[0, at] - 2 * np.sqrt(_WEIGHT / (2 - _WEIGHT)) * np.nan_to_num(chance)
        self.state[5, at] = np.fmax(self.state[5, at] * _PEAK_KEPT, certain)
        self.state[4, at] = np.minimum(count + 1, 1_000)

    def _watch(self, at: NDArray[np.intp], speed: Floats) -> None:
        """Count jumps and repetitions of the speeds that the segments ``at`` report."""
        known = ~np.isnan(speed)
        at, speed = at[known], speed[known].astype(np.float32)
        before = self.state[_LAST_SPEED, at]
        jump = np.abs(np.log(np.maximum(speed, 1) / np.maximum(before, 1))) > _LEAP
        self.state[_JUMPS, at] = _JUMPS_KEPT * self.state[_JUMPS, at] + jump
        self.state[_SAME, at] = np.where(speed == before, self.state[_SAME, at] + 1, 0)
        self.state[_LAST_SPEED, at] = speed


def _counting_variance(flow: Floats, view: View) -> Floats:
    """Variance of a flow from counts of one window (Poisson) [veh²/h²]."""
    hours = (view.end - view.start) / 3_600_000
    variance: Floats = np.maximum(flow, 1 / hours) / hours
    return variance
