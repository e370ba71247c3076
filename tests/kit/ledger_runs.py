"""A writer of every topic that the sink stores, whose records a test then takes away or spoils."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
from kafka import TopicPartition

from civicstream.clock import now_ms
from civicstream.events import (
    DeadLetter,
    EnvironmentResult,
    LedgerReport,
    WrittenSequence,
)
from civicstream.frames import FrameHeaders, encode
from civicstream.kafka.clients import admin_client, producer
from civicstream.kafka.ledger_report import report_record
from civicstream.kafka.numbering import Number, NumberedProducer, stamp
from civicstream.kafka.topic_admin import create_topics
from civicstream.kinds import KINDS
from civicstream.service_events import CrewAction
from civicstream.settings import KafkaSettings
from civicstream.topics import frames_topic, topic_name
from streams.windows.levels import Levels, encode_levels
from streams.windows.network import MEASURES
from streams.windows.network_frames import NetworkFrame
from streams.windows.network_frames import encode as encode_network
from streams.windows.windows import Columns
from tests.kit import citizen_events, sink_events
from tests.kit.sink_input import START, frame_of, sensors

EPOCH = START
WRITER = "tester"
READINGS = 3
DAY_MS = 86_400_000

EVENTS: dict[str, msgspec.Struct] = {
    "results.traffic": sink_events.result("s1", START, 50.0, 100.0),
    "results.environment": EnvironmentResult(
        kind="noise",
        area="north",
        window_start=START - 60_000,
        window_end=START,
        status="final",
        computed_at=START,
        readings=0,
        sensors=0,
        measures=[],
    ),
    "incidents": sink_events.incident(),
    "forecasts": sink_events.forecast(sink_events.forecast_row("s1", [50.0]), horizons_min=(15,)),
    "health": sink_events.health(),
    "anomalies": sink_events.anomaly(),
    "reports": citizen_events.report(),
    "cases": citizen_events.case(),
    "units": citizen_events.unit(),
    "allocations": citizen_events.allocation(),
    "demand": citizen_events.demand(),
    "actions": citizen_events.action(),
    "crew_actions": CrewAction(
        "crew-action-1", "allocation/a1", "accept", "north", "unit/crew", START
    ),
    "bins": citizen_events.bin_forecast(),
    "parking": citizen_events.parking_forecast(),
    "tours": citizen_events.tour(),
    "private": citizen_events.personal(),
    "alerts": sink_events.alert(),
    "gaps": sink_events.gap(),
    "deadletter": DeadLetter(
        stage="gateway",
        reason="out_of_range",
        detail="sentence",
        topic="t",
        received_at=START,
        payload=b"{}",
        payload_bytes=2,
    ),
}
FRAMES = tuple(frames_topic(kind) for kind in KINDS)
TOPICS = (*FRAMES, *EVENTS, "late")
"""Every topic the sink stores, without the prefix."""


BETWEEN_TASKS = ("network", "levels")
"""Topics that the worker's tasks write and read, and the sink does not store."""


def value_of(topic: str, number: int = 0) -> bytes:
    """Return the value of a record of the topic; of ``network`` each number completes a window."""
    if topic in EVENTS:
        return msgspec.json.encode(EVENTS[topic])
    if topic == "network":
        return encode_network(_network(number))
    if topic == "levels":
        return encode_levels(_levels())
    kind = "noise" if topic == "late" else topic.removeprefix("frames.")
    names, keys = sensors(kind, "north", READINGS)
    sensor = np.arange(READINGS)
    rng = np.random.default_rng(3)
    frame = frame_of(kind, "north", names, keys, sensor, START + sensor * 1000, rng)
    return encode(frame)


def _network(number: int) -> NetworkFrame:
    """Return a window of its own, published so late that no other partition is waited for."""
    start = START + DAY_MS + number * 2_000
    measures = {name: np.full(1, 20.0) for name in MEASURES}
    published_at = now_ms() + DAY_MS + number * 120_000
    window, code = np.full(1, start, np.int64), np.zeros(1, np.int32)
    return NetworkFrame(
        partition=0,
        closed_until=start + 2_000,
        published_at=published_at,
        window_start=window,
        segment=code,
        segments=["north-0"],
        measures=measures,
    )


def _levels() -> Levels:
    """Return the levels of an area without containers."""
    whole, code = np.zeros(0, np.int64), np.zeros(0, np.int32)
    measures = {name: np.zeros(0) for name in KINDS["waste"].measure_names}
    readings = Columns(whole, whole, code, whole, measures)
    return Levels("waste", "north", START - 2_000, START, readings)


class Writer:
    """Puts numbered records on partition 0 of every topic, as gateways and others do."""

    def __init__(self, kafka: KafkaSettings, topics: Sequence[str] = TOPICS) -> None:
        self.kafka = kafka
        self._topics = topics
        self._frames: dict[str, int] = {}
        self._producer: NumberedProducer = producer(kafka, writer=WRITER)
        assert self._producer.numbering is not None
        self.epoch = self._producer.numbering.epoch

    def close(self) -> None:
        self._producer.close(timeout=10)

    def name(self, topic: str) -> str:
        return topic_name(self.kafka.topic_prefix, topic)

    def write(self, count: int, *, corrupt: bool = False) -> None:
        """Write so many records on every topic, numbered on from the last."""
        for topic in self._topics:
            value = b"\x00\xffgarbage" if corrupt else value_of(topic)
            for _ in range(count):
                if topic in FRAMES:
                    number = self._frames.get(topic, 0)
                    self._frames[topic] = number + 1
                    self._send(topic, value, _frame_headers(number))
                else:
                    self._send(topic, value, _own_headers(topic))
        self._flush()

    def write_numbers(self, numbers: Iterable[int]) -> None:
        """Write records with exactly these numbers, in this order, on every topic."""
        numbering, self._producer.numbering = self._producer.numbering, None
        for topic in self._topics:
            for number in numbers:
                headers = (
                    _frame_headers(number)
                    if topic in FRAMES
                    else [*_own_headers(topic), stamp(Number(WRITER, self.epoch, number))]
                )
                self._send(topic, value_of(topic, number), headers)
        self._flush()
        self._producer.numbering = numbering

    def _send(self, topic: str, value: bytes, headers: list[tuple[str, bytes]]) -> None:
        self._producer.send(self.name(topic), value, key=b"north", headers=headers, partition=0)

    def _flush(self) -> None:
        self._producer.flush(timeout=30)

    def report(self) -> None:
        """Publish the ledger report of what was written."""
        frames = [
            WrittenSequence("gateway-1", EPOCH, self.name(topic), 0, following)
            for topic, following in sorted(self._frames.items())
        ]
        at = now_ms()
        report = LedgerReport("gateway", "gateway-1", EPOCH, at, {}, written=frames)
        made = report_record(self.kafka, report)
        name = self.name(made.topic)
        self._producer.send(name, made.value, key=made.key, headers=made.headers, partition=0).get(
            timeout=10
        )

    def of(self, topic: str) -> str:
        """Return under which name the records of a topic are written."""
        return "gateway-1" if topic in FRAMES else WRITER


def _frame_headers(number: int) -> list[tuple[str, bytes]]:
    return FrameHeaders("gateway-1", EPOCH, number, READINGS, EPOCH).to_kafka()


def _own_headers(topic: str) -> list[tuple[str, bytes]]:
    if topic != "late":
        return []
    return [*_frame_headers(0), ("kind", b"noise"), ("closed_until", b"%d" % START)]


def remove_records(kafka: KafkaSettings, before: int) -> None:
    """Have Kafka delete every topic's records of partition 0 before an offset."""
    admin: Any = admin_client(kafka)
    try:
        admin.delete_records(
            {TopicPartition(topic_name(kafka.topic_prefix, t), 0): before for t in TOPICS}
        )
    finally:
        admin.close()


def make_topics_anew(kafka: KafkaSettings) -> None:
    """Delete every topic the sink stores and create it again."""
    admin: Any = admin_client(kafka)
    try:
        names = {topic_name(kafka.topic_prefix, topic) for topic in TOPICS}
        admin.delete_topics(sorted(names))
        from stack.servers.processes import wait_until

        wait_until(lambda: not names & set(admin.list_topics()), "the topics to go", timeout_s=60)
    finally:
        admin.close()
    create_topics(kafka)
