"""A straight road with a detector on every segment, and windows of traffic on it, made by hand."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from civicstream.city import Area, City, Segment
from civicstream.events import Incident
from streams.incidents import IncidentDetector
from streams.windows.network import NetworkWindow, RoadNetwork

MINUTE = 60_000
NOON = 1_795_176_000_000  # Friday, 20 November 2026, 12:00 UTC
FREE_KMH, LANES, LENGTH_M = 100.0, 3, 500.0
CAPACITY = 6_600.0


def straight_road(segments: int, corridors: int = 1) -> RoadNetwork:
    ring = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 0.0))
    made = []
    for c in range(corridors):
        names = [f"r{c}-{i:02d}" for i in range(segments)]
        made += [
            Segment(
                id=names[i],
                area="a",
                corridor=f"r{c}",
                position=i,
                road_class="freeway",
                lanes=LANES,
                length_m=LENGTH_M,
                free_flow_kmh=FREE_KMH,
                line=((0.01 * i, 0.0), (0.01 * i + 0.01, 0.0)),
                downstream=(names[i + 1],) if i + 1 < segments else (),
            )
            for i in range(segments)
        ]
    return RoadNetwork(City((Area("a", "A", ring),), tuple(made)))


class Road:
    """Steady traffic with the noise of counting; ``flow`` and ``speed`` [n] may be changed."""

    def __init__(self, segments: int = 12, seed: int = 1, flow: float = 5_000.0) -> None:
        self.network = straight_road(segments)
        self.flow = np.full(segments, flow)
        self.speed = np.full(segments, 95.0)
        self.now = NOON
        self._rng = np.random.default_rng(seed)

    def window(self) -> NetworkWindow:
        """Return the next minute."""
        n = len(self.flow)
        flow = self._rng.poisson(self.flow / 60) * 60.0
        speed = self.speed * (1 + 0.03 * self._rng.standard_normal(n))
        density = flow / LANES / speed
        start, self.now = self.now, self.now + MINUTE
        return NetworkWindow(
            start=start,
            end=self.now,
            flow_veh_h=flow,
            speed_kmh=speed,
            occupancy=density * 6.5 / 1000,
            density_veh_km_lane=density,
            coverage=np.ones(n),
        )

    def windows(self, count: int) -> list[NetworkWindow]:
        return [self.window() for _ in range(count)]

    def block(self, segment: int, share: float, minutes: int) -> list[NetworkWindow]:
        """Let ``share`` of the capacity be lost at the end of ``segment`` for some minutes.

        Downstream the flow falls at once, upstream a queue grows by a segment in two minutes.
        """
        left = CAPACITY * (1 - share)
        before = self.flow.copy()
        made = []
        for minute in range(minutes):
            self.flow[segment + 1 :] = np.minimum(before[segment + 1 :], left)
            tail = max(0, segment - minute // 2)
            self.flow[tail : segment + 1] = np.minimum(before[tail : segment + 1], left)
            self.speed[tail : segment + 1] = 12.0
            made.append(self.window())
        return made

    def recover(self) -> None:
        self.flow[:], self.speed[:] = 5_000.0, 95.0


def told(detector: IncidentDetector, windows: Iterable[NetworkWindow]) -> list[Incident]:
    """Return all versions the detector publishes for these windows."""
    return [v for window in windows for v in detector.step(window, window.end + 35_000)]
