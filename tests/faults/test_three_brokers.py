"""Three brokers, three copies, two in step: each is killed once, and the city goes on."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import psycopg
import pytest
from kafka import TopicPartition

from civicstream.events import Alert, LedgerReport
from civicstream.kafka.clients import consumer
from civicstream.settings import KafkaSettings, MqttSettings
from civicstream.topics import topic_name
from stack.servers.processes import wait_until
from tests.faults.test_system_faults import load
from tests.kit.kafka_brokers import KafkaCluster
from tests.kit.system_runs import ALL_PARTS, assert_everything_arrived, running
from tests.kit.whole_city import WholeCity
from tests.kit.worker_runs import pause, read_topic

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(600)]

LONGEST_PAUSE_S = 60
"""What each part took is printed. Two cores carry three brokers, all parts and another test."""
AWAY_S = 10


class Reports:
    """When each part's ledger reports, one a second, arrived; the longest time without one."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self.last: dict[str, float] = {}
        self.longest: dict[str, float] = defaultdict(float)
        self._reader = consumer(kafka, group_id=None)
        partition = TopicPartition(topic_name(kafka.topic_prefix, "ledger"), 0)
        self._reader.assign([partition])
        self._reader.seek_to_end(partition)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            for records in self._reader.poll(timeout_ms=200).values():
                for record in records:
                    stage = msgspec.json.decode(record.value, type=LedgerReport).stage
                    now = time.monotonic()
                    gap = now - self.last.get(stage, now)
                    self.longest[stage] = max(self.longest[stage], gap)
                    self.last[stage] = now
        self._reader.close()

    def all_reported_since(self, moment: float) -> bool:
        return all(self.last.get(part, 0) > moment for part in ALL_PARTS)

    def close(self) -> None:
        self._stop.set()
        self._thread.join(20)


@contextmanager
def watching(kafka: KafkaSettings) -> Iterator[Reports]:
    reports = Reports(kafka)
    try:
        yield reports
    finally:
        reports.close()


def test_each_of_three_brokers_killed_under_load_loses_doubles_and_stops_nothing(
    kafka_cluster: KafkaCluster, mosquitto: MqttSettings, postgres: str, tmp_path: Path
) -> None:
    kafka = kafka_cluster.settings()
    assert (kafka.replication, kafka.insync, len(kafka.addresses)) == (3, 2, 3)
    system = WholeCity(mqtt=mosquitto, kafka=kafka, url=postgres, folder=tmp_path)
    asked = []
    with running(system, ALL_PARTS, sensors=200):
        pids = {part: child.pid for part, child in system.children.items()}
        with watching(kafka) as reports, load(system, rate=200) as truth:
            for number in range(3):
                kafka_cluster.kill(number)
                killed = time.monotonic()
                asked.append(system.report(description=f"hole {number}"))
                pause(AWAY_S)
                kafka_cluster.launch(number)
                kafka_cluster.wait_ready(kafka)
                wait_until(
                    lambda killed=killed: reports.all_reported_since(killed + AWAY_S),  # type: ignore[misc]
                    "every part after the kill",
                    timeout_s=150,
                )
        print({part: round(s, 1) for part, s in reports.longest.items()})  # noqa: T201
        assert_everything_arrived(system, truth)
        assert {part: child.pid for part, child in system.children.items()} == pids
        assert all(child.alive() for child in system.children.values())
        late = {part: s for part, s in reports.longest.items() if s > LONGEST_PAUSE_S}
        assert not late, f"longer than {LONGEST_PAUSE_S} s without a word: {late}"
        _assert_events_are_whole(system, asked)


def _assert_events_are_whole(system: WholeCity, asked: list[str]) -> None:
    """Fail unless each report is there once, and each alert's versions once and without a gap."""
    records = read_topic(system.kafka, "alerts")
    alerts = [msgspec.json.decode(record.value, type=Alert) for record in records]
    versions: dict[str, list[int]] = defaultdict(list)
    for alert in alerts:
        versions[alert.id].append(alert.version)
    assert alerts
    assert all(found == list(range(1, len(found) + 1)) for found in versions.values())

    def stored() -> bool:
        with psycopg.connect(system.url) as connection:
            count = connection.execute("SELECT count(*) FROM alerts").fetchone()
            return count == (len(alerts),)

    wait_until(stored, "every alert in the database", timeout_s=30)
    with psycopg.connect(system.url) as connection:
        found = connection.execute("SELECT id FROM citizen_reports").fetchall()
        sealed = connection.execute("SELECT report FROM private.sealed_records").fetchall()
    assert sorted(row[0] for row in found) == sorted(asked)
    assert sorted(row[0] for row in sealed) == sorted(asked)
