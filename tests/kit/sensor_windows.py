"""Windows of readings for tests of the sensors' health, minute by minute."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from civicstream.city import City
from civicstream.events import Anomaly, SensorHealth
from civicstream.kinds import KINDS, sensor_key
from streams.health import SensorWatch
from streams.health.unusual import Detector
from streams.windows.windows import Columns, LateReadings

START = 1_795_132_800_000
MINUTE = 60_000

Values = dict[str, float]
Measure = Callable[[int, int], Values | None]
"""From a sensor's number and ``ts`` [ms] to what it reports, None for nothing."""


def keys(kind: str, sensors: int) -> np.ndarray:
    return np.array([sensor_key(kind, "old-town", f"s{i}") for i in range(sensors)], np.int64)


def late_readings(rows: Sequence[tuple[int, int, int]]) -> LateReadings:
    """Return late readings from rows of (sensor_key, ts, ingested_at)."""
    columns = np.array(rows, np.int64).reshape(-1, 3)
    return LateReadings(columns[:, 0], columns[:, 1], columns[:, 2])


@dataclass
class Partition:
    """Some sensors of one kind in one area, and the watch over them."""

    kind: str
    sensors: int
    measure: Measure
    interval_s: int = 20
    delay_ms: Callable[[int, int], int] | None = None
    """From a sensor's number and ``ts`` to how long after it the reading arrives; else 200 ms."""
    detector: Detector | None = None
    city: City = field(default_factory=City)
    window_min: int = 1
    health: list[SensorHealth] = field(default_factory=list)
    anomalies: list[Anomaly] = field(default_factory=list)
    minute: int = 0

    def __post_init__(self) -> None:
        self.keys = keys(self.kind, self.sensors)
        self.watch = SensorWatch(KINDS[self.kind], self.city, detector=self.detector)
        self.excluded: set[int] = set()
        """Sensors whose readings of the last window were to be left out."""

    def run(self, minutes: int, late: Callable[[int], LateReadings] | None = None) -> None:
        """Observe so many minutes more; ``late`` gives those of a window by its end."""
        for _ in range(minutes // self.window_min):
            start = START + self.minute * MINUTE
            nothing = late_readings([])
            end = start + self.window_min * MINUTE
            self.observe(start, self.rows(start), late(end) if late else nothing)
            self.minute += self.window_min

    def rows(self, start: int) -> list[tuple[int, int, Values]]:
        """Return (sensor, ts, measures) of the window that starts at ``start``."""
        step = self.interval_s * 1000
        found = []
        for sensor in range(self.sensors):
            phase = sensor * 997 % step
            first = start + (phase - start) % step
            for ts in range(first, start + self.window_min * MINUTE, step):
                values = self.measure(sensor, ts)
                if values is not None:
                    found.append((sensor, ts, values))
        return found

    def observe(
        self, start: int, rows: Iterable[tuple[int, int, Values]], late: LateReadings
    ) -> None:
        readings = self.columns(list(rows))
        end = start + self.window_min * MINUTE
        told = self.watch.observe(start, end, readings, ["old-town"], late, end + MINUTE)
        self.health += told.health
        self.anomalies += told.anomalies
        number = {int(key): i for i, key in enumerate(self.keys)}
        self.excluded = {number[int(key)] for key in readings.sensor_key[told.excluded]}

    def columns(self, rows: list[tuple[int, int, Values]]) -> Columns:
        ts = np.array([ts for _, ts, _ in rows], np.int64)
        delay_ms = self.delay_ms
        delays = [delay_ms(sensor, t) if delay_ms else 200 for sensor, t, _ in rows]
        return Columns(
            self.keys[[sensor for sensor, _, _ in rows]],
            ts,
            np.zeros(len(rows), np.int32),
            ts + np.array(delays, np.int64),
            {
                name: np.array([values.get(name, np.nan) for _, _, values in rows])
                for name in KINDS[self.kind].measure_names
            },
        )

    def states(self, sensor: int) -> list[str]:
        """Return the states the sensor went through after ``ok``."""
        return [h.health for h in self.health if h.sensor_key == int(self.keys[sensor])]

    def changes(self, sensor: int) -> list[SensorHealth]:
        return [h for h in self.health if h.sensor_key == int(self.keys[sensor])]


def chance(*seed: int) -> np.random.Generator:
    """Return randomness that depends on the numbers given only, as on sensor and time."""
    return np.random.default_rng([abs(s) for s in seed])


def free_traffic(sensor: int, ts: int, flow: float = 6.0, speed: float = 95.0) -> Values:
    """Return what a detector measures in 20 s of traffic with ``flow`` vehicles on average."""
    rng = chance(sensor, ts)
    count = float(rng.poisson(flow))
    mean = max(speed * (1 + 0.08 * rng.standard_normal() / max(count, 1) ** 0.5), 1.0)
    return {
        "intensity": count,
        "averageVehicleSpeed": round(mean, 1) if count else np.nan,
        "occupancy": round(min(count * 6.5 / (mean / 3.6) / 20, 1.0), 4),
        "period": 20.0,
        "lane": 1.0,
    }
