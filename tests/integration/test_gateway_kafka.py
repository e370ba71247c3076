"""The gateway's way out to Kafka, on a real broker."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from civicstream.errors import ConfigurationError, ServerUnavailable
from civicstream.kafka.topic_admin import create_topics
from civicstream.settings import KafkaSettings, MqttSettings
from ingest.kafka_output import KafkaOutput
from stack.servers.processes import free_port, wait_until


@pytest.fixture
def output(kafka: KafkaSettings) -> Iterator[KafkaOutput[int]]:
    create_topics(kafka)
    made: KafkaOutput[int] = KafkaOutput(kafka, lambda: None)
    made.connect()
    yield made
    made.close(timeout_s=2)


def outcomes(output: KafkaOutput[int], count: int) -> list[tuple[int, BaseException | None]]:
    found: list[tuple[int, BaseException | None]] = []

    def come() -> bool:
        found.extend(output.outcomes())
        return len(found) >= count

    wait_until(come, f"{count} outcomes", timeout_s=10)
    return found


def test_every_record_has_one_outcome_in_the_order_of_its_partition(
    output: KafkaOutput[int],
) -> None:
    for i in range(200):
        output.send("frames.noise", b"x" * 1000, i, headers=[], partition=1)
    assert outcomes(output, 200) == [(i, None) for i in range(200)]


def test_a_dropped_producer_leaves_an_outcome_for_each_record_and_a_new_one_goes_on(
    output: KafkaOutput[int],
) -> None:
    for i in range(50):
        output.send("frames.noise", b"x", i, headers=[], partition=i % 4)
    output.drop_producer()
    assert not output.connected
    assert sorted(item for item, _ in outcomes(output, 50)) == list(range(50))
    output.connect()
    output.send("frames.noise", b"x", 99, headers=[], partition=0)
    assert outcomes(output, 1) == [(99, None)]


def test_a_record_that_is_too_large_for_good_is_a_matter_of_settings(
    output: KafkaOutput[int],
) -> None:
    output.send("frames.noise", b"x" * 9_000_000, 1, headers=[], partition=0)
    with pytest.raises(ConfigurationError, match=r"too large.*MAX_FRAME_READINGS"):
        list(output.outcomes())


def test_no_kafka_is_said_at_once_with_the_address_and_the_setting() -> None:
    port = free_port()
    output: KafkaOutput[int] = KafkaOutput(
        KafkaSettings(bootstrap=f"127.0.0.1:{port}"), lambda: None
    )
    started = time.monotonic()
    with pytest.raises(ServerUnavailable, match=rf"127.0.0.1:{port}.*CIVICSTREAM_KAFKA__BOOTSTRAP"):
        output.connect()
    assert time.monotonic() - started < 1  # the loop that waits for this also serves MQTT


def test_a_server_that_is_no_kafka_leaves_no_thread_behind(mosquitto: MqttSettings) -> None:
    output: KafkaOutput[int] = KafkaOutput(
        KafkaSettings(bootstrap=f"127.0.0.1:{mosquitto.port}"), lambda: None
    )
    with pytest.raises(ServerUnavailable, match="does not answer"):
        output.connect()
