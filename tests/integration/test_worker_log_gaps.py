"""A log of Kafka that is not as the worker remembers it: noticed, recorded, gone on with."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from kafka import TopicPartition
from kafka.admin import NewTopic

from civicstream import frames
from civicstream.clock import now_ms
from civicstream.events import FrameGap
from civicstream.frames import FrameHeaders
from civicstream.kafka import clients as kafka_clients
from civicstream.kafka.topic_admin import create_topics
from civicstream.partitioning import partition_of
from civicstream.settings import KafkaSettings
from civicstream.topics import frames_topic, topic_name
from stack.servers.processes import wait_until
from streams.runtime.task_state import Input
from tests.kit.frame_making import make_frame
from tests.kit.task_runs import opened
from tests.kit.worker_runs import (
    read_topic,
    small_city,
    start_worker,
    wait_for_report,
    worker_environment,
    worker_reports,
)

pytestmark = pytest.mark.timeout(240)

MEASURES = {"noise": "LAeq", "air": "PM25", "weather": "temperature", "water": "level"}


class Kind:
    """The frames' topic of a kind, and the partition of area north."""

    def __init__(self, kafka: KafkaSettings, kind: str) -> None:
        self.kind = kind
        self.topic = topic_name(kafka.topic_prefix, frames_topic(kind))
        self.partition = partition_of("north", kafka.partitions)
        self._kafka = kafka
        self._seq = 0

    def send(self, count: int) -> None:
        """Send so many frames of a reading each."""
        producer = kafka_clients.producer(self._kafka)
        for _ in range(count):
            reading = ("north", "s", now_ms(), {MEASURES[self.kind]: 20.0})
            headers = FrameHeaders("test", 1, self._seq, 1, now_ms()).to_kafka()
            self._seq += 1
            value = frames.encode(make_frame(self.kind, [reading]))
            producer.send(self.topic, value, partition=self.partition, headers=headers).get(30)
        producer.close()

    def received(self) -> int:
        report = worker_reports(self._kafka).get("worker")
        counts = report.kinds.get(self.kind) if report else None
        return counts.received if counts else 0


def topic_id(kafka: KafkaSettings, topic: str) -> str:
    admin = kafka_clients.admin_client(kafka)
    try:
        return str(admin.describe_topics([topic])[0]["topic_id"])
    finally:
        admin.close()


def gaps(kafka: KafkaSettings) -> set[tuple[str, str, int, int]]:
    """Return reason, topic, first offset and how many, of every gap recorded."""
    found = [msgspec.json.decode(r.value, type=FrameGap) for r in read_topic(kafka, "gaps")]
    places = {(g.gateway, g.topic, g.partition, g.first) for g in found}
    assert len(found) == len(places), "recorded once each"
    return {(g.gateway, g.topic, g.first, g.missing) for g in found}


def remember(kafka: KafkaSettings, inputs: dict[str, Input], partition: int) -> None:
    """Leave what a worker of before would have left."""

    async def run() -> None:
        async with opened(kafka, "frames", partition) as (state, _):
            await state.commit([], {}, inputs)

    asyncio.run(run())


def test_a_log_that_is_not_as_remembered_is_a_gap_and_what_is_there_is_read(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    create_topics(kafka)
    kinds = [Kind(kafka, kind) for kind in MEASURES]
    shorter, cleaned, anew, regrown = kinds
    before_ms = now_ms() - 5_000
    for kind in kinds:
        kind.send(10)
    admin = kafka_clients.admin_client(kafka)
    admin.delete_records({TopicPartition(cleaned.topic, cleaned.partition): 6})
    admin.close()
    read = {
        shorter.topic: Input(40, 50, topic_id(kafka, shorter.topic)),
        cleaned.topic: Input(2, 4, topic_id(kafka, cleaned.topic)),
        anew.topic: Input(3, 5, "another-id"),
        # All that is there was appended after what was read.
        regrown.topic: Input(4, 5, topic_id(kafka, regrown.topic), before_ms),
    }
    remember(kafka, read, shorter.partition)
    city = small_city()
    worker = start_worker(worker_environment(kafka, tmp_path, city), tmp_path, "worker")
    try:
        wait_for_report(kafka, "worker", 0)
        expected = {
            ("log_truncated", shorter.topic, 10, 40),
            ("deleted", cleaned.topic, 2, 4),
            ("topic_recreated", anew.topic, 3, 2),
            ("log_truncated", regrown.topic, 0, 5),
        }
        assert gaps(kafka) == expected
        for kind in kinds:
            kind.send(3)
        wait_until(
            lambda: [k.received() for k in kinds] == [3, 7, 13, 13],
            "the frames that are there",
            timeout_s=60,
            every_s=0.5,
        )
        assert "from offset 10 to 50" in worker.last_words(200)
        worker.kill()
        worker = start_worker(worker_environment(kafka, tmp_path, city), tmp_path, "worker")
        wait_for_report(kafka, "worker", now_ms())
        assert gaps(kafka) == expected
    finally:
        assert worker.stop() == 0, worker.last_words()


def test_a_topic_made_again_under_a_running_worker_is_read_from_its_beginning(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    create_topics(kafka)
    kind = Kind(kafka, "noise")
    worker = start_worker(worker_environment(kafka, tmp_path, small_city()), tmp_path, "worker")
    try:
        wait_for_report(kafka, "worker", 0)
        kind.send(10)
        wait_until(lambda: kind.received() == 10, "the frames", timeout_s=60, every_s=0.5)
        admin = kafka_clients.admin_client(kafka)
        admin.delete_topics([kind.topic])
        wait_until(lambda: kind.topic not in admin.list_topics(), "no topic", timeout_s=30)
        admin.create_topics([NewTopic(kind.topic, kafka.partitions, 1)])
        admin.close()
        kind.send(4)
        wait_until(
            lambda: {(g[0], g[1]) for g in gaps(kafka)} >= {("topic_recreated", kind.topic)},
            "the gap",
            timeout_s=90,
            every_s=0.5,
        )
        wait_until(lambda: kind.received() >= 4, "the new frames", timeout_s=60, every_s=0.5)
        assert worker.alive()
    finally:
        assert worker.stop() == 0, worker.last_words()
