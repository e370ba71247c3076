"""A crew's tablet on a real Kafka: what still stands, then what is new; no topic of its making."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from civicstream.kafka.clients import admin_client, producer
from civicstream.kafka.topic_admin import create_topics
from civicstream.settings import KafkaSettings
from civicstream.topics import topic_name
from sensors_sim.dispatch_tablet import DispatchTablet, News
from stack.servers.processes import free_port, wait_until
from tests.kit.citizen_events import allocation, case


@pytest.fixture
def tablet(kafka: KafkaSettings) -> Iterator[DispatchTablet]:
    found = DispatchTablet(kafka, try_every_s=0.1)
    yield found
    found.close()


def send(kafka: KafkaSettings, topic: str, *events: msgspec.Struct) -> None:
    sender = producer(kafka)
    try:
        for event in events:
            name = topic_name(kafka.topic_prefix, topic)
            sender.send(name, msgspec.json.encode(event)).get(30)
    finally:
        sender.close()


def test_it_shows_where_a_case_is_and_what_stands_then_what_is_new(
    kafka: KafkaSettings, tablet: DispatchTablet
) -> None:
    create_topics(kafka)
    send(kafka, "allocations", allocation(), allocation(id="old", task="case/c0"))
    send(kafka, "allocations", allocation(version=2, state="accepted"))
    send(kafka, "allocations", allocation(id="old", task="case/c0", version=2, state="completed"))
    send(kafka, "cases", case())
    seen: list[News] = []

    def arrived(count: int) -> bool:
        seen.extend(tablet.poll())
        return len(seen) >= count

    wait_until(lambda: arrived(2) and tablet.reads, "what stands", timeout_s=30)
    assert seen == [case(), allocation(version=2, state="accepted")]
    news = [allocation(version=3, state="withdrawn"), allocation(id="new")]
    send(kafka, "allocations", *news)
    wait_until(lambda: arrived(4), "the news", timeout_s=30)
    assert seen[2:] == news


def test_it_waits_for_topics_and_makes_none(kafka: KafkaSettings, tablet: DispatchTablet) -> None:
    polls = 0

    def several() -> bool:
        nonlocal polls
        assert tablet.poll() == []
        polls += 1
        return polls > 10

    wait_until(several, "several attempts", timeout_s=30)
    assert not tablet.reads
    admin = admin_client(kafka)
    try:
        assert not [name for name in admin.list_topics() if name.startswith("city.")]
    finally:
        admin.close()
    create_topics(kafka)  # fails where one has another number of partitions
    wait_until(lambda: tablet.poll() == [] and tablet.reads, "an empty history", timeout_s=30)


def test_without_kafka_there_is_nothing_to_see(caplog: pytest.LogCaptureFixture) -> None:
    tablet = DispatchTablet(KafkaSettings(bootstrap=f"127.0.0.1:{free_port()}"), try_every_s=0.0)
    assert [tablet.poll() for _ in range(3)] == [[], [], []]
    assert not tablet.reads
    assert caplog.text.count("does not answer") == 1
    tablet.close()
