"""A made-up city of traffic detectors and its readings: the same input for us and the peers.

Every detector reports once an interval, at a phase of its own. Readings reach the gateway
with a delay (so they are a little out of order), and a share of them twice. They are cut
into frames as a busy gateway cuts them: per partition, in order of arrival, of equal size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from civicstream.city import Area, City, Segment, Sensors
from civicstream.clock import now_ms
from civicstream.frames import Dictionary, Frame
from civicstream.kinds import KINDS
from civicstream.partitioning import partition_of

__all__ = ["Load", "Readings", "frames", "rounds", "traffic_city"]

TRAFFIC = KINDS["traffic"]
DETECTORS_PER_SEGMENT = 6  # two lanes at three places, as on an instrumented arterial
SEGMENTS_PER_AREA = 40
_DAY_MS = 86_400_000
START_MS = now_ms() // _DAY_MS * _DAY_MS - 2 * _DAY_MS
"""Midnight (UTC) before the last: whole days ago, since the sink refuses what is older than its
retention."""
MEAN_DELAY_MS = 400  # radio and broker; well inside the default out-of-orderness of 5 s
REPEAT_AFTER_MS = 1_000


def traffic_city(sensors: int) -> City:
    """Return a city of ``sensors`` detectors, 6 a segment and 240 an area."""
    segment_count = -(-sensors // DETECTORS_PER_SEGMENT)
    area_count = -(-segment_count // SEGMENTS_PER_AREA)
    areas = tuple(Area(f"area-{a:04d}", f"Area {a}", _square(a)) for a in range(area_count))
    segments = tuple(_segment(s, areas, segment_count) for s in range(segment_count))
    index = np.arange(sensors)
    segment = index // DETECTORS_PER_SEGMENT
    kind = Sensors.kind_names.index("traffic")
    columns = Sensors(
        ids=[f"detector-{i:07d}" for i in range(sensors)],
        kind=np.full(sensors, kind, np.int16),
        area=(segment // SEGMENTS_PER_AREA).astype(np.int32),
        segment=segment.astype(np.int32),
        lane=(index % 2 + 1).astype(np.int16),
        interval_s=np.full(sensors, float(TRAFFIC.default_interval_s)),
        lon=(13.0 + segment % 1000 * 1e-3).astype(np.float64),
        lat=(52.0 + segment // 1000 * 1e-3).astype(np.float64),
    )
    return City(areas, segments, columns)


def _square(number: int) -> tuple[tuple[float, float], ...]:
    west, south = 13.0 + number % 100 * 0.04, 52.0 + number // 100 * 0.04
    east, north = west + 0.04, south + 0.04
    return ((west, south), (east, south), (east, north), (west, north), (west, south))


def _segment(number: int, areas: tuple[Area, ...], count: int) -> Segment:
    area, position = divmod(number, SEGMENTS_PER_AREA)
    lon, lat = areas[area].outline[0]
    goes_on = position + 1 < SEGMENTS_PER_AREA and number + 1 < count
    return Segment(
        id=_segment_id(number),
        area=areas[area].id,
        corridor=f"corridor-{area:04d}",
        position=position,
        road_class="freeway" if area % 4 == 0 else "street",
        lanes=2,
        length_m=500.0,
        free_flow_kmh=100.0 if area % 4 == 0 else 50.0,
        line=((lon + position * 1e-3, lat), (lon + (position + 1) * 1e-3, lat)),
        upstream=(_segment_id(number - 1),) if position else (),
        downstream=(_segment_id(number + 1),) if goes_on else (),
    )


def _segment_id(number: int) -> str:
    return f"segment-{number:06d}"


@dataclass(frozen=True)
class Load:
    """What the detectors of ``city`` send; ``duplicates`` is the share sent twice."""

    city: City
    interval_s: float = float(TRAFFIC.default_interval_s)
    duplicates: float = 0.01
    seed: int = 1
    _phase_ms: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        phase = rng.integers(0, round(self.interval_s * 1000), len(self.city.sensors))
        object.__setattr__(self, "_phase_ms", phase)

    def round(self, number: int) -> Readings:
        """Return one reading of every detector (and the repeats), in order of arrival."""
        rng = np.random.default_rng((self.seed, number))
        n = len(self.city.sensors)
        ts = START_MS + round(self.interval_s * 1000) * number + self._phase_ms
        arrival = ts + rng.exponential(MEAN_DELAY_MS, n).clip(max=4_000)
        speed = rng.normal(45, 8, n).clip(3, 90)
        # A speed needs a vehicle that drove it: else the sensor would pass for broken.
        flow = 1.0 + rng.poisson(self.interval_s * 0.15, n)
        again = np.flatnonzero(rng.random(n) < self.duplicates)
        sensor = np.concatenate([np.arange(n), again])
        order = np.argsort(np.concatenate([arrival, arrival[again] + REPEAT_AFTER_MS]))
        sensor = sensor[order]
        return Readings(sensor, ts[sensor], flow[sensor], speed[sensor], len(again))


@dataclass(frozen=True)
class Readings:
    """Readings as columns: sensor (index into the city), ts [ms], vehicles, speed [km/h]."""

    sensor: NDArray[np.int64]
    ts: NDArray[np.int64]
    intensity: NDArray[np.float64]
    speed: NDArray[np.float64]
    repeats: int = 0

    def __len__(self) -> int:
        return len(self.sensor)

    def where(self, chosen: NDArray[np.bool_] | slice) -> Readings:
        return Readings(
            self.sensor[chosen], self.ts[chosen], self.intensity[chosen], self.speed[chosen]
        )

    def followed_by(self, more: Readings) -> Readings:
        return Readings(
            np.concatenate([self.sensor, more.sensor]),
            np.concatenate([self.ts, more.ts]),
            np.concatenate([self.intensity, more.intensity]),
            np.concatenate([self.speed, more.speed]),
        )


def rounds(load: Load, readings: int) -> Iterator[Readings]:
    """Yield whole rounds until at least ``readings`` readings, repeats included, are out."""
    number, sent = 0, 0
    while sent < readings:
        batch = load.round(number)
        yield batch
        number, sent = number + 1, sent + len(batch)


def frames(
    load: Load, batches: Iterator[Readings], *, partitions: int, frame_size: int
) -> Iterator[tuple[int, Frame]]:
    """Yield (partition, frame) of ``frame_size`` readings each, the rest in shorter ones."""
    area_partition = np.array([partition_of(a.id, partitions) for a in load.city.areas])
    sensor_partition = area_partition[load.city.sensors.area]
    waiting: dict[int, Readings] = {}
    for batch in batches:
        partition = sensor_partition[batch.sensor]
        for p in np.unique(partition).tolist():
            ready = batch.where(partition == p)
            if p in waiting:
                ready = waiting[p].followed_by(ready)
            whole = len(ready) - len(ready) % frame_size
            for start in range(0, whole, frame_size):
                yield p, _frame(load, ready.where(slice(start, start + frame_size)))
            waiting[p] = ready.where(slice(whole, None))
    for p, rest in waiting.items():
        if len(rest):
            yield p, _frame(load, rest)


def _frame(load: Load, readings: Readings) -> Frame:
    city = load.city
    present, code = np.unique(readings.sensor, return_inverse=True)
    areas, area_code = np.unique(city.sensors.area[readings.sensor], return_inverse=True)
    period = np.full(len(readings), load.interval_s)
    vehicle_m = 6.0  # a vehicle and the detection zone
    occupancy = readings.intensity * vehicle_m / (readings.speed / 3.6) / period
    return Frame(
        kind=TRAFFIC,
        sensor_key=city.sensor_keys[readings.sensor],
        sensor=Dictionary(code.astype(np.int32), [city.sensors.ids[i] for i in present.tolist()]),
        area=Dictionary(area_code.astype(np.int32), [city.areas[a].id for a in areas.tolist()]),
        ts=readings.ts,
        measures={
            "intensity": readings.intensity,
            "averageVehicleSpeed": readings.speed,
            "occupancy": occupancy.clip(0, 1),
            "period": period,
            "lane": city.sensors.lane[readings.sensor].astype(np.float64),
        },
    )
