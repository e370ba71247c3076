"""A producer ends its I/O thread while Kafka is away, with records on their way or not."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from kafka.errors import KafkaTimeoutError

from civicstream.kafka.clients import producer
from civicstream.kafka.topic_admin import create_topics
from tests.kit.kafka_brokers import kafka_brokers


def test_a_producer_closes_within_seconds_while_kafka_is_away(tmp_path: Path) -> None:
    with kafka_brokers(tmp_path) as cluster:
        kafka = cluster.settings()
        create_topics(kafka)
        topic = f"{kafka.topic_prefix}.cases"
        idle, busy = producer(kafka), producer(kafka)
        for made in (idle, busy):
            made.send(topic, b"x", key=b"north").get(30)
    lost = busy.send(topic, b"y", key=b"north")
    began = time.monotonic()
    idle.close()
    with pytest.raises(KafkaTimeoutError):
        busy.close(timeout=1)
    assert time.monotonic() - began < 15
    assert not idle._sender.is_alive()
    assert not busy._sender.is_alive()
    assert lost.failed()
