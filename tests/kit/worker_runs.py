"""Run real workers on a real broker, feed them frames, and read what they published."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec

from civicstream import frames
from civicstream.city import Area, City, Segment, Sensors
from civicstream.clock import now_ms
from civicstream.events import LedgerReport, TrafficResult
from civicstream.frames import FrameHeaders
from civicstream.geojson import write_city
from civicstream.kafka import clients as kafka_clients
from civicstream.kafka.replay import read_to_end
from civicstream.partitioning import partition_of
from civicstream.settings import KafkaSettings
from civicstream.topics import frames_topic, topic_name
from stack.servers.processes import Child, wait_until
from tests.kit.frame_making import make_frame
from tests.kit.window_oracle import Reading, traffic_of, windows_of

AREAS = ("north", "south", "east", "west")
WINDOW_MS = 2000
_RING = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 0.0))
_LINE = ((0.0, 0.0), (0.0, 1.0))


def small_city() -> City:
    """Four areas of three segments with two detectors each."""
    areas = tuple(Area(a, a.title(), _RING) for a in AREAS)
    segments = tuple(
        Segment(
            id=f"{a}-{i}",
            area=a,
            corridor=a,
            position=i,
            road_class="freeway" if i else "street",
            lanes=2,
            length_m=400.0,
            free_flow_kmh=80.0,
            line=_LINE,
        )
        for a in AREAS
        for i in range(3)
    )
    rows = [
        (f"{s.id}-{n}", 0, AREAS.index(s.area), i, n, 1.0, 0.0, 0.0)
        for i, s in enumerate(segments)
        for n in range(2)
    ]
    return City(areas, segments, Sensors.from_rows(rows))


def worker_environment(kafka: KafkaSettings, folder: Path, city: City) -> dict[str, str]:
    """Return the environment of a worker with short windows."""
    city_file = folder / "city.geojson"
    write_city(city, city_file)
    return os.environ | {
        "CIVICSTREAM_KAFKA__BOOTSTRAP": kafka.bootstrap,
        "CIVICSTREAM_KAFKA__TOPIC_PREFIX": kafka.topic_prefix,
        "CIVICSTREAM_KAFKA__PARTITIONS": str(kafka.partitions),
        "CIVICSTREAM_KAFKA__SESSION_TIMEOUT_MS": "6000",
        "CIVICSTREAM_WINDOWS__SIZE_S": str(WINDOW_MS // 1000),
        "CIVICSTREAM_WINDOWS__LATENESS_S": "1",
        "CIVICSTREAM_WINDOWS__OUT_OF_ORDERNESS_S": "0.5",
        "CIVICSTREAM_WINDOWS__IDLE_S": "2",
        "CIVICSTREAM_WINDOWS__PROVISIONAL_EVERY_S": "0.5",
        "CIVICSTREAM_CITY__FILE": str(city_file),
        # Random readings are no healthy sensor's; left out, results would not be the oracle's.
        "CIVICSTREAM_INTELLIGENCE__SENSOR_HEALTH": "false",
    }


def start_worker(environment: dict[str, str], folder: Path, name: str) -> Child:
    """Start a worker process; it is not waited for."""
    own = environment | {
        "CIVICSTREAM_WORKER__ID": name,
        "CIVICSTREAM_WORKER__DATA_DIR": str(folder / name),
    }
    command = [sys.executable, "-m", "stack.cli", "worker"]
    return Child(name, command, folder / f"{name}.log", own)


class FrameSource:
    """A gateway's place taken: frames of random readings with the wall clock's event time.

    Every reading goes to ``readings``; some are sent twice and some frames come out of order,
    within the allowed lateness, so the final windows are a function of ``readings`` alone.
    """

    def __init__(self, kafka: KafkaSettings, city: City, seed: int) -> None:
        self.readings: list[Reading] = []
        self._kafka = kafka
        self._city = city
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._topic = topic_name(kafka.topic_prefix, frames_topic("traffic"))

    def __enter__(self) -> FrameSource:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.finish()

    def finish(self) -> None:
        """Stop; every frame sent is confirmed on return."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        producer = kafka_clients.producer(self._kafka)
        try:
            seq = 0
            while not self._stop.wait(0.04):
                area = self._random.choice(AREAS)
                rows = self._rows(area)
                for _ in range(1 + (self._random.random() < 0.2)):
                    self._send(producer, area, rows, seq)
                    seq += 1
        finally:
            producer.flush()
            producer.close()

    def _rows(self, area: str) -> list[Reading]:
        now, pick = now_ms(), self._random
        sensors = [i for i in self._city.sensors.ids if i.startswith(area)]
        return [
            (
                area,
                pick.choice(sensors),
                now - pick.randrange(0, 900),
                {
                    "intensity": float(pick.randrange(0, 6)),
                    "averageVehicleSpeed": float(pick.randrange(1, 120)),
                    "occupancy": pick.random(),
                    "period": 1.0,
                },
                now,
            )
            for _ in range(pick.randrange(1, 20))
        ]

    def _send(self, producer, area: str, rows: list[Reading], seq: int) -> None:  # type: ignore[no-untyped-def]
        value = frames.encode(make_frame("traffic", [r[:4] for r in rows]))
        headers = FrameHeaders("test", 1, seq, len(rows), rows[0][4])
        partition = partition_of(area, self._kafka.partitions)
        future = producer.send(self._topic, value, partition=partition, headers=headers.to_kafka())
        self.readings += rows
        future.get(30)


def read_topic(kafka: KafkaSettings, name: str) -> list[Any]:
    """Return all records of a topic up to its end now."""
    return list(read_to_end(kafka, topic_name(kafka.topic_prefix, name)))


def final_results(kafka: KafkaSettings) -> dict[tuple[str, int], list[TrafficResult]]:
    """Return all final traffic results by (area, window start), in order of publication."""
    found = defaultdict(list)
    for record in read_topic(kafka, "results.traffic"):
        result = msgspec.json.decode(record.value, type=TrafficResult)
        if result.status == "final":
            found[result.area, result.window_start].append(result)
    return found


def worker_reports(kafka: KafkaSettings) -> dict[str, LedgerReport]:
    """Return the newest ledger report of every worker by its name."""
    return {report.instance: report for report in read_reports(kafka, "worker")}


def read_reports(kafka: KafkaSettings, stage: str) -> list[LedgerReport]:
    """Return all ledger reports of a stage, oldest first."""
    reports = [
        msgspec.json.decode(record.value, type=LedgerReport)
        for record in read_topic(kafka, "ledger")
    ]
    return [report for report in reports if report.stage == stage]


def wait_until_all_published(
    kafka: KafkaSettings, readings: list[Reading], timeout_s: float = 60
) -> None:
    """Return when a final result of every area and window of ``readings`` is on Kafka."""
    wanted = {(area, ts // WINDOW_MS * WINDOW_MS) for area, _, ts, _, _ in readings}

    def complete() -> bool:
        return wanted <= final_results(kafka).keys()

    wait_until(complete, "all windows published", timeout_s=timeout_s, every_s=0.5)


def assert_results_equal_oracle(kafka: KafkaSettings, readings: list[Reading], city: City) -> None:
    """Fail unless every final result, also one published twice, is the oracle's."""
    published = final_results(kafka)
    kept = windows_of(readings, WINDOW_MS)
    expected_windows = {(r[0], start) for start, window in kept.items() for r in window.values()}
    assert published.keys() == expected_windows
    for (area, start), results in published.items():
        of_area = [r for r in kept[start].values() if r[0] == area]
        expected = traffic_of(of_area, city)
        for result in results:
            assert {row.segment for row in result.segments} == expected.keys()
            for row in result.segments:
                for name, value in expected[row.segment].items():
                    got = getattr(row, name)
                    place = (area, start, row.segment, name)
                    if value is None:
                        assert got is None, place
                    else:
                        assert abs(got - value) <= 1e-5 + 1e-6 * abs(value), (place, got, value)


def wait_for_report(kafka: KafkaSettings, name: str, after_ms: int, timeout_s: float = 60) -> None:
    """Return when worker ``name`` has reported, as it does once it has partitions."""

    def reported() -> bool:
        report = worker_reports(kafka).get(name)
        return report is not None and report.at >= after_ms

    wait_until(reported, f"a report of {name}", timeout_s=timeout_s, every_s=0.3)


def pause(seconds: float) -> None:
    """Let load run for a while: the length of the load, not a wait for a condition."""
    time.sleep(seconds)
