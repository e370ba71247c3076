"""A simulated city before the watches of all kinds, without servers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from civicstream.city import City
from civicstream.events import Anomaly, SensorHealth
from civicstream.kinds import KINDS
from sensors_sim.messages import Messages
from sensors_sim.sensor_faults import BrokenSensor
from sensors_sim.simulation import Simulation, SimulationPlan
from streams.health import SensorWatch
from streams.health.unusual import Detector
from streams.windows.windows import Columns, LateReadings

__all__ = ["HealthRun", "watch_city"]

WINDOW_MS = 60_000
_CLOSES_AFTER_MS = 35_000
"""Allowed lateness and the out-of-orderness bound."""

_BLOCK_MS = 20_000


@dataclass
class HealthRun:
    """What the watches said of a run, and what was true."""

    city: City
    start_ms: int
    lasted_ms: int
    broken: list[BrokenSensor] = field(default_factory=list)
    health: list[SensorHealth] = field(default_factory=list)
    anomalies: list[Anomaly] = field(default_factory=list)
    readings: int = 0
    observe_s: float = 0.0
    sensors: int = 0


@dataclass
class _Waiting:
    """Readings on their way into windows, of one kind."""

    parts: list[Columns] = field(default_factory=list)
    closed_until: int = 0

    def take(self, window_end: int) -> tuple[Columns, LateReadings]:
        """Return the window's readings that are there at its closing, and what came late."""
        everything = Columns.joined(self.parts)
        here = everything.ingested_at < window_end + _CLOSES_AFTER_MS
        late = here & (everything.ts < self.closed_until)
        inside = here & ~late & (everything.ts < window_end)
        self.parts = [everything.take(~(late | inside))]
        self.closed_until = window_end
        gone = everything.take(late)
        found = LateReadings(gone.sensor_key, gone.ts, gone.ingested_at)
        return everything.take(inside).deduplicated(), found


def watch_city(
    city: City,
    plan: SimulationPlan,
    start_ms: int,
    windows: int,
    detector: Callable[[], Detector] | None = None,
) -> HealthRun:
    """Return what the watches say of ``windows`` minutes of the city from ``start_ms`` on."""
    simulation = Simulation(city, plan, start_ms)
    run = HealthRun(city, start_ms, windows * WINDOW_MS, simulation.broken_sensors)
    watches = {
        kind: SensorWatch(KINDS[kind], city, detector=detector() if detector else None)
        for kind in plan.kinds
    }
    waiting = {kind: _Waiting() for kind in plan.kinds}
    areas = [area.id for area in city.areas]
    rng = np.random.default_rng([plan.seed, 0xDE])
    for window_end in _arrivals(simulation, city, waiting, start_ms, windows, rng):
        for kind, watch in watches.items():
            readings, late = waiting[kind].take(window_end)
            if not len(readings):
                continue
            began = time.perf_counter()
            observed = watch.observe(
                window_end - WINDOW_MS, window_end, readings, areas, late, window_end
            )
            run.observe_s += time.perf_counter() - began
            run.readings += len(readings)
            run.health += observed.health
            run.anomalies += observed.anomalies
    run.sensors = sum(len(watch) for watch in watches.values())
    return run


def _arrivals(
    simulation: Simulation,
    city: City,
    waiting: dict[str, _Waiting],
    start_ms: int,
    windows: int,
    rng: np.random.Generator,
) -> Iterator[int]:
    """Put what the city sends into ``waiting``; yield the end of each window when it closes."""
    window_end = start_ms + WINDOW_MS
    for block in simulation.blocks(_BLOCK_MS):
        for group in block.groups:
            waiting[group.kind.name].parts.append(_columns(group, city, rng))
        while block.end_ms >= window_end + _CLOSES_AFTER_MS:
            yield window_end
            window_end += WINDOW_MS
            if window_end > start_ms + windows * WINDOW_MS:
                return


def _columns(messages: Messages, city: City, rng: np.random.Generator) -> Columns:
    sensor: NDArray[np.intp] = np.repeat(messages.sensor, messages.batch)
    travel = rng.integers(20, 400, len(messages))
    return Columns(
        city.sensor_keys[sensor],
        messages.ts.reshape(-1),
        city.sensors.area[sensor],
        np.repeat(messages.due + travel, messages.batch),
        {
            name: values.reshape(-1)
            for name, values in zip(messages.kind.measure_names, messages.measures, strict=True)
        },
    )
