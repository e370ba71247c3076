"""What the algorithms see of the city at the end of a window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.incidents.neighbours import DetectorPairs
from streams.windows.network import NetworkWindow, RoadNetwork

__all__ = ["REPORTING_MS", "Latest", "Verdict", "View"]

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

REPORTING_MS = 6 * 60_000
"""How long a segment takes part after its last report: recorded series have one in five minutes."""


class Latest:
    """The newest report of every segment: arrays [n], NaN before the first."""

    def __init__(self, segments: int) -> None:
        self.flow = np.full(segments, np.nan, np.float32)
        self.speed = np.full(segments, np.nan, np.float32)
        self.occupancy = np.full(segments, np.nan, np.float32)
        self.at = np.zeros(segments, np.int64)
        """End of the window it came in [ms]."""

    def take(self, window: NetworkWindow) -> tuple[Mask, Mask]:
        """Take a window in; return which segments reported in it and which report at all."""
        fresh = ~np.isnan(window.flow_veh_h)
        self.flow[fresh] = window.flow_veh_h[fresh]
        # Without vehicles there is no speed: the last one says nothing about this minute.
        self.speed[fresh] = window.speed_kmh[fresh]
        self.occupancy[fresh] = window.occupancy[fresh]
        self.at[fresh] = window.end
        return fresh, self.at > window.end - REPORTING_MS


@dataclass(frozen=True)
class View:
    """Arrays over the city's n segments, and the pairs of neighbouring detectors."""

    network: RoadNetwork
    start: int
    end: int
    """Of the window [ms]."""
    elapsed_min: float
    """Since the end of the window before."""
    fresh: Mask
    """Which segments reported in this window; the others show their latest report."""
    flow: Floats
    """[veh/h], all lanes, NaN where unknown, as the others."""
    speed: Floats
    occupancy: Floats
    usual_speed: Floats
    """What was learned for this time of day, NaN before that."""
    usual_flow: Floats
    pairs: DetectorPairs


@dataclass(frozen=True)
class Verdict:
    """What an algorithm says of each pair in this window: arrays [p]."""

    suspected: Mask
    confirmed: Mask
    """Those confirmed are suspected too."""
    holds: Mask
    """Those that keep an incident open: all suspected ones, and what has not quite faded."""
    judged: Mask
    """Whether there was new information to decide on."""
    confidence: Floats
    """0..1."""
    rank: Floats
    """Which of two neighbouring pairs has the better claim; any scale."""
    age_min: Floats
    """How long the present evidence has been there, with its first window [min]."""
    flow_before: Floats
    """What passed the downstream detector before the evidence began [veh/h], NaN if unknown."""
