"""Probe readings that tell how long the way through the stack takes, amid the real load.

A probe is an ordinary traffic detector on a segment of its own, in an area of the city that
carries load, one for each partition of Kafka. It goes the way of all readings. When its row can
be read is asked of the database's index for these few sensors, so the question costs nothing
beside the load; that a result holds it is seen from the number of readings of its segment.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np
import paho.mqtt.client as mqtt
import psycopg
from kafka import TopicPartition
from paho.mqtt.enums import CallbackAPIVersion

from civicstream.city import City, Sensors
from civicstream.clock import now_ms
from civicstream.events import TrafficResult
from civicstream.kafka.clients import consumer
from civicstream.kinds import sensor_key
from civicstream.partitioning import partition_of
from civicstream.settings import KafkaSettings, MqttSettings
from civicstream.topics import topic_name

__all__ = ["Probes", "with_probes"]

SENSOR = "probe"
SEGMENT = "probe-{area}"
WINDOW_MS = 60_000
# Asked so often, a row is seen at most this much after it can be read.
TURN_MS = 10

_LATEST = """
SELECT key, (SELECT extract(epoch FROM max(ts)) * 1000 FROM readings_traffic
             WHERE sensor_key = key)
FROM unnest(%s::bigint[]) AS key
"""


def probe_areas(city: City, partitions: int) -> list[str]:
    """Return an area with traffic for each partition that has one."""
    areas = [city.areas[a].id for a in np.unique([city.area_index[s.area] for s in city.segments])]
    return list({partition_of(area, partitions): area for area in areas}.values())


def with_probes(city: City, areas: list[str]) -> City:
    """Return the city with a probe's segment and sensor in each of ``areas``."""
    segments = []
    for area in areas:
        like = next(s for s in city.segments if s.area == area)
        identity = SEGMENT.format(area=area)
        segments.append(
            replace(like, id=identity, corridor=identity, position=0, upstream=(), downstream=())
        )
    s, n, first = city.sensors, len(areas), len(city.segments)
    traffic = Sensors.kind_names.index("traffic")
    sensors = Sensors(
        ids=[*s.ids, *([SENSOR] * n)],
        kind=np.append(s.kind, np.full(n, traffic, np.int16)),
        area=np.append(s.area, np.array([city.area_index[a] for a in areas], np.int32)),
        segment=np.append(s.segment, np.arange(first, first + n, dtype=np.int32)),
        lane=np.append(s.lane, np.ones(n, np.int16)),
        interval_s=np.append(s.interval_s, np.ones(n)),
        lon=np.append(s.lon, np.full(n, s.lon[0])),
        lat=np.append(s.lat, np.full(n, s.lat[0])),
    )
    return City(city.areas, (*city.segments, *segments), sensors)


@dataclass
class _Probe:
    """One probe detector: what it has sent and what has been seen of it."""

    area: str
    sent: list[int] = field(default_factory=list)
    """Times of its readings [epoch ms], which are the times of publication."""
    stored: int = 0
    in_window: dict[int, list[int]] = field(default_factory=dict)
    counted: dict[int, int] = field(default_factory=dict)


class Probes:
    """Publishes probe readings and notes the delays [s]; a context manager, one thread."""

    def __init__(
        self,
        areas: list[str],
        mqtt_settings: MqttSettings,
        kafka: KafkaSettings,
        database: str,
        *,
        turn_ms: int = TURN_MS,
    ) -> None:
        """A row is seen at most ``turn_ms`` after it can be read; asking costs the stack some."""
        self._turn_ms = turn_ms
        self.row_delays_s: list[float] = []
        self.result_delays_s: list[float] = []
        self.without_row = self.without_result = 0
        self._probes = {sensor_key("traffic", a, SENSOR): _Probe(a) for a in areas}
        self._by_area = {probe.area: probe for probe in self._probes.values()}
        self._root = mqtt_settings.root
        self._mqtt = mqtt.Client(CallbackAPIVersion.VERSION2, "bench-probes")
        self._mqtt.connect(mqtt_settings.host, mqtt_settings.port)
        self._database = psycopg.connect(database, autocommit=True)
        topic = topic_name(kafka.topic_prefix, "results.traffic")
        partitions = [TopicPartition(topic, p) for p in range(kafka.partitions)]
        self._results = consumer(kafka, group_id=None, fetch_max_wait_ms=500)
        self._results.assign(partitions)
        self._results.seek_to_end(*partitions)
        for partition in partitions:
            self._results.position(partition)

    def __enter__(self) -> Probes:
        self._mqtt.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._mqtt.disconnect()
        self._mqtt.loop_stop()
        self._results.close()
        self._database.close()

    def run(self, seconds: float, *, per_second: float) -> None:
        """Publish ``per_second`` readings, spread over the probes, for ``seconds``."""
        started = time.monotonic()
        keys, number = list(self._probes), 0
        while (now := time.monotonic()) < started + seconds:
            if now >= started + number / per_second:
                self._publish(self._probes[keys[number % len(keys)]])
                number += 1
            self._look()

    def finish(self, patience_s: float) -> None:
        """Wait at most ``patience_s`` for what is under way.

        What has not come by then counts with the time it has taken so far: leaving the slowest
        out would make the percentiles better than the truth.
        """
        deadline = time.monotonic() + patience_s
        while self._under_way() and time.monotonic() < deadline:
            self._look()
        self.without_row = self.sent - len(self.row_delays_s)
        self.without_result = self.sent - len(self.result_delays_s)
        now = now_ms()
        for probe in self._probes.values():
            self.row_delays_s += [(now - ts) / 1000 for ts in probe.sent[probe.stored :]]
            for window, sent in probe.in_window.items():
                missing = sent[probe.counted.get(window, 0) :]
                self.result_delays_s += [(now - ts) / 1000 for ts in missing]

    @property
    def sent(self) -> int:
        return sum(len(probe.sent) for probe in self._probes.values())

    def _under_way(self) -> bool:
        return min(len(self.row_delays_s), len(self.result_delays_s)) < self.sent

    def _publish(self, probe: _Probe) -> None:
        ts = now_ms()
        if probe.sent and ts <= probe.sent[-1]:
            return  # the clock was set back; two readings of one time would be one
        probe.sent.append(ts)
        probe.in_window.setdefault(ts - ts % WINDOW_MS, []).append(ts)
        reading = {"ts": ts, "intensity": 5, "averageVehicleSpeed": 50.0, "period": 20}
        topic = f"{self._root}/traffic/{probe.area}/{SENSOR}"
        self._mqtt.publish(topic, msgspec.json.encode(reading), qos=1)

    def _look(self) -> None:
        """Note what has become visible; takes about a turn."""
        self._look_for_results()
        for key, latest in self._database.execute(_LATEST, [list(self._probes)]).fetchall():
            probe, now = self._probes[key], now_ms()
            while latest is not None and probe.stored < len(probe.sent):
                ts = probe.sent[probe.stored]
                if ts > latest:
                    break
                self.row_delays_s.append((now - ts) / 1000)
                probe.stored += 1

    def _look_for_results(self) -> None:
        for batch in self._results.poll(timeout_ms=self._turn_ms).values():
            now = now_ms()
            for record in batch:
                area = record.key.decode()
                if area in self._by_area:
                    result = msgspec.json.decode(record.value, type=TrafficResult)
                    self._count(self._by_area[area], result, now)

    def _count(self, probe: _Probe, result: TrafficResult, now: int) -> None:
        name = SEGMENT.format(area=probe.area)
        readings = next((row.readings for row in result.segments if row.segment == name), 0)
        window = result.window_start
        sent = probe.in_window.get(window, [])
        for ts in sent[probe.counted.get(window, 0) : readings]:
            self.result_delays_s.append((now - ts) / 1000)
        probe.counted[window] = max(readings, probe.counted.get(window, 0))
