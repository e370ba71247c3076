"""Run real gateways between a real MQTT and a real Kafka broker, and read what arrived."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from kafka import TopicPartition
from paho.mqtt import publish as paho_publish

from benchmarks.mqtt_flood import flood, payloads
from civicstream.clock import now_ms
from civicstream.events import DeadLetter, LedgerReport
from civicstream.frames import FrameHeaders, decode
from civicstream.kafka.clients import consumer
from civicstream.kinds import KINDS, sensor_key
from civicstream.settings import ENV_PREFIX, KafkaSettings, MqttSettings
from civicstream.topics import frames_topic, topic_name
from stack.servers.processes import Child, wait_until

__all__ = [
    "Arrivals",
    "Message",
    "flood",
    "gateway",
    "keys_of",
    "publish",
    "start_gateway",
    "traffic",
]

Message = tuple[str, bytes]
"""MQTT topic and payload."""


def start_gateway(mqtt: MqttSettings, kafka: KafkaSettings, folder: Path, **settings: Any) -> Child:
    """Start a gateway process; ``settings`` as in ``gateway__id='g1'``."""
    chosen = {
        "mqtt__port": mqtt.port,
        "kafka__bootstrap": kafka.bootstrap,
        "kafka__topic_prefix": kafka.topic_prefix,
        "kafka__partitions": kafka.partitions,
        "kafka__replication": kafka.replication,
        "gateway__id": "g1",
    } | settings
    environment = {k: v for k, v in os.environ.items() if not k.startswith(ENV_PREFIX)}
    environment |= {f"{ENV_PREFIX}{k.upper()}": str(v) for k, v in chosen.items()}
    name = str(chosen["gateway__id"])
    command = [sys.executable, "-m", "stack.cli", "gateway"]
    return Child(name, command, folder / f"{name}.log", environment)


@contextmanager
def gateway(
    mqtt: MqttSettings, kafka: KafkaSettings, arrivals: Arrivals, folder: Path, **settings: Any
) -> Iterator[Child]:
    """A gateway that is ready; ended in order, or killed before by the test."""
    child = start_gateway(mqtt, kafka, folder, **settings)
    try:
        arrivals.wait_ready(child)
        yield child
    finally:
        child.stop()


class Arrivals:
    """Everything that gateways have put on Kafka so far."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self.readings: Counter[tuple[int, int]] = Counter()
        """How often each (sensor_key, ts) arrived."""
        self.frames: list[tuple[str, int, FrameHeaders]] = []
        """Topic, partition, headers, in the order of each partition."""
        self.dead_letters: list[DeadLetter] = []
        self.reports: list[LedgerReport] = []
        prefix = kafka.topic_prefix
        self._kinds = {topic_name(prefix, frames_topic(kind)): kind for kind in KINDS}
        self._dead_letters_topic = topic_name(prefix, "deadletter")
        ledger = TopicPartition(topic_name(prefix, "ledger"), 0)
        partitions = [
            TopicPartition(topic, i)
            for topic in (*self._kinds, self._dead_letters_topic)
            for i in range(kafka.partitions)
        ]
        self._consumer = consumer(kafka, group_id=None)
        self._consumer.assign([*partitions, ledger])
        self._consumer.seek_to_beginning()

    def close(self) -> None:
        self._consumer.close()

    def refresh(self, wait_ms: int = 200) -> int:
        """Take in what is new; return how many records that were."""
        polled = self._consumer.poll(timeout_ms=wait_ms)
        for at, records in polled.items():
            for record in records:
                if at.topic in self._kinds:
                    headers = FrameHeaders.from_kafka(record.headers)
                    self.frames.append((at.topic, at.partition, headers))
                    frame = decode(record.value, self._kinds[at.topic])
                    assert len(frame) == headers.count
                    self.readings.update(
                        zip(frame.sensor_key.tolist(), frame.ts.tolist(), strict=True)
                    )
                elif at.topic == self._dead_letters_topic:
                    self.dead_letters.append(msgspec.json.decode(record.value, type=DeadLetter))
                else:
                    self.reports.append(msgspec.json.decode(record.value, type=LedgerReport))
        return sum(map(len, polled.values()))

    def wait_ready(self, child: Child, since_ms: int | None = None, timeout_s: float = 30) -> None:
        """Return when the gateway called like the child, started by now, has reported."""
        since = now_ms() - 2_000 if since_ms is None else since_ms
        known = {report.epoch for report in self.reports if report.instance == child.name}

        def reported() -> bool:
            self.refresh()
            return any(
                r.instance == child.name and r.epoch >= since and r.epoch not in known
                for r in self.reports
            )

        child.wait_ready(reported, timeout_s)

    def wait_for(self, keys: set[tuple[int, int]], timeout_s: float = 60) -> None:
        """Return when every one of the readings has arrived at least once."""

        def arrived() -> bool:
            self.refresh()
            return keys <= self.readings.keys()

        wait_until(arrived, f"{len(keys)} readings on Kafka", timeout_s=timeout_s)

    def wait_for_dead_letters(self, count: int, timeout_s: float = 30) -> None:
        def arrived() -> bool:
            self.refresh()
            return len(self.dead_letters) >= count

        wait_until(arrived, f"{count} dead letters on Kafka", timeout_s=timeout_s)

    def last_report(self, instance: str = "g1") -> LedgerReport:
        """Return the gateway's newest report, read up to the end of all topics."""
        while self.refresh(wait_ms=300):
            pass
        return [r for r in self.reports if r.instance == instance][-1]

    def sequences(self) -> dict[tuple[str, int, str, int], list[int]]:
        """The seq of every frame per gateway, epoch, topic and partition, as they lie there."""
        found: dict[tuple[str, int, str, int], list[int]] = {}
        for topic, partition, headers in self.frames:
            place = (headers.gateway, headers.epoch, topic, partition)
            found.setdefault(place, []).append(headers.seq)
        return found


def traffic(count: int, *, start_ms: int | None = None, sensors: int = 200) -> list[Message]:
    """Return so many readings of traffic, no two of one sensor at one time."""
    first = now_ms() - 3_600_000 if start_ms is None else start_ms
    return payloads(count, sensors=sensors, start_ms=first)


def keys_of(messages: list[Message]) -> set[tuple[int, int]]:
    """The (sensor_key, ts) of single readings."""
    return {
        (sensor_key(*topic.split("/")[-3:]), json.loads(payload)["ts"])
        for topic, payload in messages
    }


def publish(mqtt: MqttSettings, topic: str, payload: bytes | str, qos: int = 1) -> None:
    """Publish one message and return when the broker has it."""
    paho_publish.single(topic, payload, qos=qos, hostname=mqtt.host, port=mqtt.port)
