"""Kafka's log is not what the sink remembers: it says so, keeps account of it, and goes on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kafka import TopicPartition

from civicstream.clock import now_ms
from civicstream.kafka.topic_admin import create_topics
from civicstream.partitioning import partition_of
from civicstream.settings import KafkaSettings, Settings
from civicstream.topics import topic_name
from sinks.admin.init import init_database
from stack.servers.processes import wait_until
from tests.kit.log_broker import LogBroker
from tests.kit.sink_input import Gateway
from tests.kit.sink_process import ask, received, sink_running, wait_received
from tests.kit.sink_rows import noise, settings_for
from tests.kit.worker_runs import read_reports

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(300)]

GAPS = "SELECT reason, first_offset, next_offset, read_from FROM kafka_gaps WHERE topic = "


@dataclass
class Broker(LogBroker):
    """What is sent goes to one partition."""

    sent: int = 0

    @property
    def place(self) -> TopicPartition:
        return TopicPartition(
            topic_name(self.settings.topic_prefix, "frames.noise"), partition_of("north", 4)
        )

    def send(self, frames: int) -> int:
        """Publish so many frames of one reading each; return how many were sent in all."""
        with Gateway(self.settings, epoch=now_ms()) as gateway:
            for _ in range(frames):
                self.sent += 1
                frame = noise("north", [(self.sent, now_ms(), 50.0)])
                gateway.publish("north", frame, ingested_at=now_ms())
            gateway.flush()
        return self.sent


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def ready(broker: Broker, postgres: str) -> Settings:
    create_topics(broker.settings)
    settings = settings_for(postgres, broker.settings)
    init_database(settings)
    return settings


def gaps(url: str, broker: Broker) -> list[tuple[Any, ...]]:
    return ask(url, GAPS + f"'{broker.place.topic}' AND partition = {broker.place.partition}")


def reported(kafka: KafkaSettings) -> dict[str, float]:
    """Return the gauges of the sink's newest ledger report."""
    return read_reports(kafka, "sink")[-1].gauges


def test_a_topic_deleted_and_made_anew_is_read_from_its_beginning_and_accounted(
    ready: Settings, broker: Broker, postgres: str, tmp_path: Path
) -> None:
    with sink_running(ready, tmp_path) as child:
        wait_received(postgres, broker.send(5), child)
        topic = broker.place.topic
        broker.make_anew(topic)
        wait_received(postgres, broker.send(3), child, timeout_s=30)
        assert gaps(postgres, broker) == [("topic_recreated", 5, None, 0)]
        assert f"gap: {topic} partition {broker.place.partition}: the topic was deleted" in (
            child.last_words(500)
        )
        wait_until(lambda: reported(broker.settings)["kafka_gaps"] >= 1, "the ledger", timeout_s=20)
    assert received(postgres) == 8


def test_records_deleted_before_they_were_read_are_a_gap_while_the_sink_runs(
    ready: Settings, broker: Broker, postgres: str, tmp_path: Path
) -> None:
    with sink_running(ready, tmp_path) as child:
        wait_received(postgres, broker.send(4), child)
        os.kill(child.pid, signal.SIGSTOP)
        broker.send(1)  # answers the fetch that waits at the broker, if one does
        broker.send(9)
        broker.delete_records(broker.place, 9)
        os.kill(child.pid, signal.SIGCONT)
        wait_received(postgres, received(postgres) + 5, child, timeout_s=30)
        broker.send(1)
        wait_until(lambda: bool(gaps(postgres, broker)), "the gap", timeout_s=30)
        ((reason, first, *rest),) = gaps(postgres, broker)
        assert (reason, *rest) == ("deleted", 9, 9)
        assert first in {4, 5}, "what had been fetched before has come"
        wait_received(postgres, first + 5 + 1, child, timeout_s=30)
        wait_until(
            lambda: reported(broker.settings)["kafka_gap_records"] == 9 - first,
            "ledger",
            timeout_s=20,
        )


def test_a_log_shorter_than_what_was_read_goes_on_with_its_new_records(
    ready: Settings, broker: Broker, postgres: str, tmp_path: Path
) -> None:
    """As after a power cut: the database has records that Kafka has lost."""
    with sink_running(ready, tmp_path) as child:
        wait_received(postgres, broker.send(5), child)
        broker.keep_copy()
        wait_received(postgres, broker.send(5), child)
        broker.restore_copy()
        wait_received(postgres, broker.send(3), child, timeout_s=60)
        assert "Kafka has lost its records from offset 5 to 10" in child.last_words(500)
        wait_received(postgres, broker.send(2), child, timeout_s=30)
    assert gaps(postgres, broker) == [("log_truncated", 5, 10, 5)]
    assert received(postgres) == 15


def test_within_15_s_of_kafkas_return_the_sink_goes_on(
    ready: Settings, broker: Broker, postgres: str, tmp_path: Path
) -> None:
    with sink_running(ready, tmp_path) as child:
        wait_received(postgres, broker.send(5), child)
        broker.kill()
        away = time.monotonic()
        # Long enough for the session to end, and for pauses that double to have become long.
        wait_until(lambda: time.monotonic() > away + 30, "an outage", timeout_s=60)
        broker.start()
        back = time.monotonic()
        wait_received(postgres, broker.send(1), child, timeout_s=15)
        assert time.monotonic() - back < 15
    assert gaps(postgres, broker) == []
