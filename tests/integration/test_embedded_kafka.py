"""The embedded Kafka: its log outlives stop and crash, and it makes no topics by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from kafka import TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError

from civicstream.errors import ConfigurationError
from civicstream.kafka.clients import admin_client, consumer, producer
from civicstream.kafka.topic_admin import create_topics
from civicstream.settings import KafkaSettings
from stack.servers.kafka_broker import BrokerOptions, start_broker
from stack.servers.processes import free_port


def _records(kafka: KafkaSettings, topic: str) -> list[bytes]:
    reader = consumer(kafka, group_id=None)
    try:
        partition = TopicPartition(topic, 0)
        reader.assign([partition])
        reader.seek_to_beginning(partition)
        end = reader.end_offsets([partition])[partition]
        found: list[bytes] = []
        while reader.position(partition) < end:
            for records in reader.poll(500).values():
                found += [record.value for record in records]
        return found
    finally:
        reader.close()


def _send(kafka: KafkaSettings, topic: str, *values: bytes) -> None:
    sender = producer(kafka)
    try:
        for value in values:
            sender.send(topic, value, partition=0).get(10)
    finally:
        sender.close()


def test_what_was_confirmed_is_there_after_a_stop_and_after_a_crash_also_on_another_port(
    tmp_path: Path,
) -> None:
    expected: list[bytes] = []
    for number, end in enumerate(("stop", "kill", "stop")):
        port = free_port()
        kafka = KafkaSettings(bootstrap=f"127.0.0.1:{port}", partitions=1)
        broker = start_broker(BrokerOptions(port, tmp_path / "kafka"))
        try:
            created = create_topics(kafka)
            assert bool(created) == (number == 0)
            assert _records(kafka, "city.reports") == expected
            value = f"report {number}".encode()
            _send(kafka, "city.reports", value)
            expected.append(value)
        finally:
            broker.kill() if end == "kill" else broker.stop()


def test_every_record_is_on_the_disk_before_it_is_confirmed(tmp_path: Path) -> None:
    port = free_port()
    kafka = KafkaSettings(bootstrap=f"127.0.0.1:{port}", partitions=1)
    broker = start_broker(BrokerOptions(port, tmp_path / "kafka"))
    try:
        create_topics(kafka)
        admin = admin_client(kafka)
        resource = ConfigResource(ConfigResourceType.TOPIC, "city.reports")
        found = admin.describe_configs([resource], config_filter="all")
        admin.close()
        assert found["topic"]["city.reports"]["flush.messages"]["value"] == "1"
    finally:
        broker.stop()


def test_no_client_makes_the_broker_create_a_topic(kafka: KafkaSettings) -> None:
    sender = producer(kafka, max_block_ms=2_000)
    try:
        with pytest.raises(KafkaError):
            sender.send(f"{kafka.topic_prefix}.reports", b"x").get(5)
    finally:
        sender.close(timeout=1)
    admin = admin_client(kafka)
    try:
        assert f"{kafka.topic_prefix}.reports" not in admin.list_topics()
    finally:
        admin.close()


def test_a_port_in_use_is_named(kafka: KafkaSettings, tmp_path: Path) -> None:
    port = int(kafka.bootstrap.rpartition(":")[2])
    with pytest.raises(ConfigurationError, match=f"port {port} is in use, the Kafka broker"):
        start_broker(BrokerOptions(port, tmp_path / "kafka"))
