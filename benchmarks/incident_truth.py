"""The incidents of the incident bench: when and where they happen, and which of them count."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from civicstream.city import City
from civicstream.local_time import DAY_MS
from sensors_sim.demand import travel_demand
from sensors_sim.incidents import Incident
from sensors_sim.road_traffic import build_cells

__all__ = ["REGIMES", "DailyIncidents", "Roads", "ValuedIncident"]

Floats = NDArray[np.float64]

LEAST_SEVERITY, LEAST_DEMAND = 1 / 3, 0.6
"""An incident counts if it takes a third of the capacity while traffic uses so much of it."""

REGIMES = ("free", "dense", "congested")
_DENSE, _CONGESTED = 0.75, 0.7

_APART_MS = 90 * 60_000
"""Between two incidents on one corridor, so that each alarm has one cause."""

_PER_SEGMENT_DAY = 0.35
_MINOR_SHARE = 0.15
"""Shoulder incidents, which take 10 to 26 % of the capacity (HCM 2010, exhibit 10-17)."""


@dataclass(frozen=True)
class Roads:
    """What the simulation knows of each segment."""

    capacity_veh_h: Floats
    free_flow_kmh: Floats

    @classmethod
    def of(cls, city: City) -> Roads:
        segment, cells = build_cells(city)
        capacity = np.full(len(city.segments), np.inf)
        np.minimum.at(capacity, segment, cells.capacity_veh_h)
        return cls(capacity, np.array([s.free_flow_kmh for s in city.segments]))


@dataclass(frozen=True)
class ValuedIncident:
    """An incident with the traffic of the five minutes before it on its segment."""

    incident: Incident
    demand_share: float
    """Flow as a share of the capacity."""
    speed_share: float
    """Speed as a share of free flow."""

    @property
    def counts(self) -> bool:
        return self.incident.severity >= LEAST_SEVERITY and self.demand_share >= LEAST_DEMAND

    @property
    def regime(self) -> str:
        if self.speed_share < _CONGESTED:
            return "congested"
        return "dense" if self.demand_share >= _DENSE else "free"


class DailyIncidents:
    """Incidents of some days, more where and when more vehicles are on the road.

    Times follow the demand of the day, places the lane kilometres; durations and severities are
    drawn as ``sensors_sim.incidents`` does, with some minor ones among them.
    """

    def __init__(self, city: City, seed: int, start_ms: int, days: int) -> None:
        rng = np.random.default_rng([seed, 0xDA])
        weights = np.array([s.lanes * s.length_m for s in city.segments])
        corridors = [s.corridor for s in city.segments]
        self._all: list[Incident] = []
        busy_until: dict[str, int] = {}
        for incident in _drawn(rng, weights, start_ms, days):
            corridor = corridors[incident.segment]
            if incident.start_ms >= busy_until.get(corridor, 0):
                busy_until[corridor] = incident.end_ms + _APART_MS
                self._all.append(incident)

    def starting_between(self, start_ms: int, end_ms: int) -> list[Incident]:
        return [i for i in self._all if start_ms <= i.start_ms < end_ms]


def _drawn(
    rng: np.random.Generator, weights: Floats, start_ms: int, days: int
) -> Iterator[Incident]:
    """Yield candidates in order of their start."""
    count = int(_PER_SEGMENT_DAY * len(weights) * days)
    minute = np.arange(start_ms, start_ms + days * DAY_MS, 60_000)
    likely = travel_demand(minute) ** 2
    at = rng.choice(minute, count, p=likely / likely.sum()) + rng.integers(0, 60_000, count)
    for n, ts in enumerate(np.sort(at).tolist()):
        minutes = float(np.clip(rng.lognormal(np.log(25), 0.65), 4, 240))
        minor = rng.random() < _MINOR_SHARE
        severity = rng.uniform(0.10, 0.26) if minor else rng.uniform(0.4, 0.95)
        yield Incident(
            id=f"incident-{n + 1}",
            segment=int(rng.choice(len(weights), p=weights / weights.sum())),
            start_ms=ts,
            end_ms=int(ts + minutes * 60_000),
            severity=round(float(severity), 2),
            position=round(float(rng.random()), 2),
        )
