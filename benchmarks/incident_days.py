"""Days of a simulated city as the worker sees them: final one-minute windows from readings.

Event time runs as fast as the processor does; no servers. Detectors report at their interval
what passed since their last report, broken ones what they make of it; the readings go through
``streams.windows.traffic.segment_measures`` into ``NetworkWindow``.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.incident_faults import BrokenDetectors
from benchmarks.incident_truth import DailyIncidents, Roads, ValuedIncident
from civicstream.city import City, Sensors
from civicstream.kinds import KINDS
from sensors_sim.city_plan import plan_city
from sensors_sim.detectors import Detectors
from sensors_sim.incidents import Incident
from sensors_sim.road_traffic import STEP_MS, RoadTraffic, SegmentState
from sensors_sim.schedule import Schedule
from streams.windows.network import NetworkWindow
from streams.windows.traffic import SegmentTable, segment_measures
from streams.windows.windows import Columns

__all__ = ["Days", "Scenario", "network_window", "simulate"]

Floats = NDArray[np.float64]

WINDOW_MS = 60_000
DAY_MS = 86_400_000
_TRAFFIC = Sensors.kind_names.index("traffic")


@dataclass(frozen=True)
class Scenario:
    """A city, its detectors and its days. ``start_ms`` is the midnight they begin at."""

    name: str
    seed: int
    sensors: int
    days: int
    start_ms: int
    interval_s: float
    detector_every: int = 1
    """On freeways, a detector in one of so many segments."""


@dataclass
class Days:
    """What a scenario brought; ``truth`` is complete only once the windows are read to the end."""

    city: City
    truth: list[ValuedIncident] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)


def simulate(scenario: Scenario) -> tuple[Days, Generator[NetworkWindow, None, None]]:
    """Return the city with the truth to come, and its windows in order."""
    city = plan_city(scenario.sensors, scenario.seed)
    days = Days(city)
    return days, _windows(scenario, days)


def _reporting(city: City, every: int) -> NDArray[np.intp]:
    position = np.array([s.position for s in city.segments])
    freeway = np.array([s.road_class == "freeway" for s in city.segments])
    keeps = ~freeway | (position % every == 0)
    sensors = city.sensors
    traffic = np.flatnonzero(sensors.kind == _TRAFFIC)
    chosen: NDArray[np.intp] = traffic[keeps[sensors.segment[traffic]]]
    return chosen


def _windows(scenario: Scenario, days: Days) -> Generator[NetworkWindow, None, None]:
    city, seed = days.city, scenario.seed
    plan = DailyIncidents(city, seed, scenario.start_ms, scenario.days)
    roads = RoadTraffic(city, seed, scenario.start_ms, 0.0, plan)
    capacities = Roads.of(city)
    rng = np.random.default_rng([seed, 0xB1])
    chosen = _reporting(city, scenario.detector_every)
    broken = BrokenDetectors(len(city.sensors), rng)
    days.faults.update(broken.counts(chosen))
    schedule = Schedule(chosen, scenario.interval_s, scenario.start_ms, 1, rng)
    passed = _Passed(len(city.segments), max(1, round(scenario.interval_s * 1000 / STEP_MS)))
    recent = _Passed(len(city.segments), 5 * WINDOW_MS // STEP_MS)
    detectors, table = Detectors(city), SegmentTable(city)
    now, end = scenario.start_ms, scenario.start_ms + scenario.days * DAY_MS
    parts: list[Columns] = []
    while now < end:
        roads.advance_to(now + STEP_MS)
        state = roads.state()
        for incident in roads.incidents[len(days.truth) :]:
            days.truth.append(_valued(incident, recent.mean(), capacities))
        passed.add(state)
        recent.add(state)
        sensor, ts = schedule.due(now, now + STEP_MS)
        if len(sensor):
            period = np.full(len(sensor), scenario.interval_s)
            values = detectors.measure(sensor, period, passed.mean(), rng)
            sent, values = broken.spoil(sensor, now, values, rng)
            parts.append(_columns(city, sensor[sent], ts[sent, 0], values[:, sent]))
        now += STEP_MS
        if now % WINDOW_MS == 0:
            yield network_window(table, Columns.joined(parts), now - WINDOW_MS)
            parts = []


def _valued(incident: Incident, before: SegmentState, roads: Roads) -> ValuedIncident:
    at = incident.segment
    return ValuedIncident(
        incident,
        demand_share=float(before.flow_veh_h[at] / roads.capacity_veh_h[at]),
        speed_share=float(before.speed_kmh[at] / roads.free_flow_kmh[at]),
    )


class _Passed:
    """The traffic of the last ``steps`` steps, averaged as a detector does over its period."""

    def __init__(self, segments: int, steps: int) -> None:
        self._ring = np.zeros((steps, 3, segments))
        self._count = 0

    def add(self, state: SegmentState) -> None:
        row = self._ring[self._count % len(self._ring)]
        row[0] = state.flow_veh_h
        row[1] = state.flow_veh_h / np.maximum(state.speed_kmh, 1.0)
        row[2] = state.density_veh_km
        self._count += 1

    def mean(self) -> SegmentState:
        known = max(1, min(self._count, len(self._ring)))
        flow, hours_per_km, density = self._ring.sum(axis=0) / known
        speed = np.divide(flow, hours_per_km, out=np.ones_like(flow), where=hours_per_km > 0)
        return SegmentState(flow, speed, density)


def _columns(
    city: City, sensor: NDArray[np.intp], ts: NDArray[np.int64], values: Floats
) -> Columns:
    names = KINDS["traffic"].measure_names
    return Columns(
        city.sensor_keys[sensor],
        ts,
        city.sensors.area[sensor],
        ts,
        dict(zip(names, values, strict=True)),
    )


def network_window(table: SegmentTable, readings: Columns, start: int) -> NetworkWindow:
    """Return the window of these readings over all segments of the city."""
    measures = segment_measures(readings, table)

    def whole(values: Floats, elsewhere: float = np.nan) -> Floats:
        column = np.full(len(table.ids), elsewhere)
        column[measures.segment] = values
        return column

    return NetworkWindow(
        start=start,
        end=start + WINDOW_MS,
        flow_veh_h=whole(measures.flow_veh_h),
        speed_kmh=whole(measures.space_mean_speed_kmh),
        occupancy=whole(measures.occupancy),
        density_veh_km_lane=whole(measures.density_veh_km_lane),
        coverage=whole(measures.coverage, 0.0),
    )
