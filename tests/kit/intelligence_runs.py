"""Hours of a simulated city as frames on Kafka, and what must be concluded from them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from kafka.producer.future import FutureRecordMetadata
from numpy.typing import NDArray

from civicstream import frames
from civicstream.city import City, Sensors
from civicstream.events import Incident, SensorHealth
from civicstream.frames import Dictionary, Frame, FrameHeaders
from civicstream.kafka import clients as kafka_clients
from civicstream.kinds import KINDS
from civicstream.partitioning import partition_of
from civicstream.settings import KafkaSettings
from civicstream.topics import frames_topic, topic_name
from sensors_sim.messages import Messages
from sensors_sim.simulation import Simulation, SimulationPlan
from streams.health import SensorWatch
from streams.incidents import IncidentDetector
from streams.windows.network import MEASURES, NetworkWindow, RoadNetwork
from streams.windows.traffic import SegmentTable, segment_measures
from streams.windows.windows import Columns, LateReadings

WINDOW_MS = 60_000
START_MS = 1_767_596_400_000  # Monday, 5 January 2026, 07:00 UTC: the morning peak begins
TRAFFIC = KINDS["traffic"]


@dataclass
class Recording:
    """Traffic readings of a city, block by block of event time; one sensor breaks on the way."""

    city: City
    seed: int
    minutes: int
    broken_sensor: int
    breaks_at: int = START_MS + 20 * WINDOW_MS
    blocks: list[Messages] = field(default_factory=list)

    def __post_init__(self) -> None:
        plan = SimulationPlan(seed=self.seed, kinds=("traffic",), incidents_per_hour=12)
        simulation = Simulation(self.city, plan, START_MS)
        end = START_MS + self.minutes * WINDOW_MS
        for block in simulation.blocks():
            self.blocks.append(self._spoilt(block.groups[0]))
            if block.end_ms >= end:
                return

    def _spoilt(self, messages: Messages) -> Messages:
        """The broken sensor reports a full road at full speed."""
        rows = np.flatnonzero(
            (messages.sensor == self.broken_sensor) & (messages.ts[:, 0] >= self.breaks_at)
        )
        for name, value in (("occupancy", 1.0), ("averageVehicleSpeed", 140.0), ("intensity", 30)):
            messages.measures[TRAFFIC.measure_names.index(name), rows] = value
        return messages

    def frames(self, partitions: int) -> Iterator[tuple[int, int, Frame]]:
        """Yield (event time, partition, frame) in order of event time, and one that closes all."""
        partition = np.array([partition_of(area.id, partitions) for area in self.city.areas])
        for messages in self.blocks:
            if not len(messages):
                continue
            at = int(messages.ts.max())
            of = partition[self.city.sensors.area[messages.sensor]]
            for p in np.unique(of).tolist():
                yield at, p, self._frame(messages.take(of == p))
        traffic = self.city.sensors.kind == Sensors.kind_names.index("traffic")
        last = START_MS + (self.minutes + 10) * WINDOW_MS
        for p in range(partitions):
            rows = np.flatnonzero(traffic & (partition[self.city.sensors.area] == p))[:1]
            if len(rows):
                values = np.full((len(TRAFFIC.measures), 1, 1), 1.0)
                closing = Messages.good(TRAFFIC, rows, np.full((1, 1), last), values)
                yield last, p, self._frame(closing)

    def _frame(self, messages: Messages) -> Frame:
        sensors = self.city.sensors
        used, code = np.unique(messages.sensor, return_inverse=True)
        areas, area_code = np.unique(sensors.area[messages.sensor], return_inverse=True)
        return Frame(
            kind=TRAFFIC,
            sensor_key=self.city.sensor_keys[messages.sensor],
            sensor=Dictionary(code.astype(np.int32), [sensors.ids[i] for i in used.tolist()]),
            area=Dictionary(area_code.astype(np.int32), [self.city.areas[a].id for a in areas]),
            ts=messages.ts[:, 0],
            measures=dict(zip(TRAFFIC.measure_names, messages.measures[:, :, 0], strict=True)),
        )


def publish(kafka: KafkaSettings, recording: Recording) -> Iterator[int]:
    """Send a recording, and yield the event time of each frame once Kafka has it."""
    topic = topic_name(kafka.topic_prefix, frames_topic("traffic"))
    producer = kafka_clients.producer(kafka)
    seq = dict.fromkeys(range(kafka.partitions), 0)
    pending: list[FutureRecordMetadata] = []
    try:
        for at, partition, frame in recording.frames(kafka.partitions):
            headers = FrameHeaders("test", 1, seq[partition], len(frame), at + 50)
            seq[partition] += 1
            value = frames.encode(frame)
            pending.append(
                producer.send(topic, value, partition=partition, headers=headers.to_kafka())
            )
            if len(pending) >= 20:
                for future in pending:
                    future.get(30)
                pending.clear()
                yield at
        for future in pending:
            future.get(30)
    finally:
        producer.close()


@dataclass
class Expected:
    """What follows from a recording, computed in one go without Kafka, Faust or crashes."""

    health: list[SensorHealth] = field(default_factory=list)
    incidents: list[Incident] = field(default_factory=list)
    windows: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    """Coverage of every segment by window start."""


def expected(recording: Recording, partitions: int) -> Expected:
    """Return what must be published; the sensors of each partition are watched on their own."""
    city = recording.city
    table, network = SegmentTable(city), RoadNetwork(city)
    detector = IncidentDetector(network)
    watches = {p: SensorWatch(TRAFFIC, city) for p in range(partitions)}
    partition = np.array([partition_of(area.id, partitions) for area in city.areas])
    found = Expected()
    for start, readings in _minutes(recording):
        healthy = []
        for p, watch in watches.items():
            own = readings.take(partition[readings.area] == p)
            if not len(own):
                continue
            areas = [area.id for area in city.areas]
            observed = watch.observe(
                start, start + WINDOW_MS, own, areas, LateReadings.joined([]), start
            )
            found.health += observed.health
            healthy.append(own.take(~observed.excluded))
        window = _window(table, Columns.joined(healthy), start)
        found.windows[start] = window.coverage
        found.incidents += detector.step(window, start)
    return found


def _minutes(recording: Recording) -> Iterator[tuple[int, Columns]]:
    city = recording.city
    everything = Messages.join(recording.blocks)
    ts = everything.ts[:, 0]
    minute = ts // WINDOW_MS
    for number in np.unique(minute[ts < START_MS + recording.minutes * WINDOW_MS]).tolist():
        chosen = everything.take(minute == number)
        measures = dict(zip(TRAFFIC.measure_names, chosen.measures[:, :, 0], strict=True))
        area = city.sensors.area[chosen.sensor]
        at = chosen.ts[:, 0]
        yield (
            number * WINDOW_MS,
            Columns(city.sensor_keys[chosen.sensor], at, area, at + 50, measures),
        )


def _window(table: SegmentTable, readings: Columns, start: int) -> NetworkWindow:
    measures = segment_measures(readings, table)
    columns = {}
    for name in MEASURES:
        values = getattr(measures, "space_mean_speed_kmh" if name == "speed_kmh" else name)
        columns[name] = np.full(len(table.ids), 0.0 if name == "coverage" else np.nan)
        columns[name][measures.segment] = values
    return NetworkWindow(start, start + WINDOW_MS, **columns)
