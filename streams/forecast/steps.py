"""From windows of any length to means over steps of event time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["StepMeans"]

Floats = NDArray[np.float64]

# A window in which no vehicle is counted weighs as one vehicle an hour: a speed given for it
# still counts, and hardly moves the mean of a step with traffic in it.
_LEAST_FLOW = 1.0


class StepMeans:
    """The step that windows are being added to; arrays over n segments.

    The speed of a step is its windows' flow-weighted harmonic mean, i.e. the space-mean speed of
    all its vehicles (Edie 1963); the flow is the plain mean.
    """

    def __init__(self, n: int) -> None:
        self.step: int | None = None
        self.sums = np.zeros((4, n))
        """Sums of flow, of its count, of weights and of weights over speeds."""

    def add(self, step: int, speed_kmh: Floats, flow_veh_h: Floats) -> None:
        """Take in a window [n] that belongs to ``step``, NaN where unknown."""
        self.step = step
        counted = ~np.isnan(flow_veh_h)
        self.sums[0] += np.where(counted, flow_veh_h, 0)
        self.sums[1] += counted
        weight = np.maximum(np.where(counted, flow_veh_h, 0), _LEAST_FLOW)
        weight = np.where(speed_kmh > 0, weight, 0)
        self.sums[2] += weight
        self.sums[3] += weight / np.where(weight > 0, speed_kmh, 1)

    def means(self) -> tuple[Floats, Floats]:
        """Return speed [km/h] and flow [veh/h], float64[n] each, NaN where nothing came."""
        flow, count, weight, slowness = self.sums
        nothing = np.full_like(flow, np.nan)
        speed = np.divide(weight, slowness, out=nothing.copy(), where=slowness > 0)
        return speed, np.divide(flow, count, out=nothing, where=count > 0)

    def clear(self) -> None:
        self.step = None
        self.sums[:] = 0
