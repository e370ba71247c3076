"""A consumer in a group finds its topics whenever they come, and loses no change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kafka import TopicPartition
from kafka.admin import NewTopic

from civicstream.errors import ServerUnavailable
from civicstream.kafka.clients import admin_client, producer
from civicstream.kafka.reader import GroupReader
from civicstream.kafka.topic_admin import create_topics
from civicstream.settings import KafkaSettings
from sinks.admin.init import init_database
from stack.servers.processes import free_port, wait_until
from tests.kit.servers import start_kafka
from tests.kit.sink_process import Feed, sink_running, wait_received
from tests.kit.sink_rows import settings_for


@contextmanager
def reading(kafka: KafkaSettings, *topics: str) -> Iterator[GroupReader]:
    reader = GroupReader(kafka, topics, group="readers", client_id="reader-1")
    try:
        yield reader
    finally:
        reader.close()


def make(kafka: KafkaSettings, topic: str, partitions: int) -> None:
    admin = admin_client(kafka)
    try:
        admin.create_topics([NewTopic(topic, partitions, 1)])
    finally:
        admin.close()


def wait_assigned(reader: GroupReader, count: int, timeout_s: float = 60) -> None:
    def settled() -> bool:
        reader.poll(100)
        return len(reader.assigned()) == count

    wait_until(settled, f"{count} partitions", timeout_s=timeout_s)


def test_topics_that_come_later_are_read(kafka: KafkaSettings) -> None:
    topic = f"{kafka.topic_prefix}.later"
    with reading(kafka, topic) as reader:
        wait_assigned(reader, 0)
        assert reader.missing_topics() == [topic]
        make(kafka, topic, 4)
        wait_assigned(reader, 4)
        assert reader.missing_topics() == []


def test_partitions_that_are_added_are_read_without_a_restart(kafka: KafkaSettings) -> None:
    topic = f"{kafka.topic_prefix}.wider"
    make(kafka, topic, 1)
    with reading(kafka, topic) as reader:
        wait_assigned(reader, 1)
        admin = admin_client(kafka)
        try:
            admin.create_partitions({topic: 3})
        finally:
            admin.close()
        # By default the client would look again after five minutes.
        wait_assigned(reader, 3, timeout_s=60)
        assert reader.take_changes()


def test_nothing_is_read_before_the_owner_says_from_where(kafka: KafkaSettings) -> None:
    topic = f"{kafka.topic_prefix}.held"
    make(kafka, topic, 1)
    sender = producer(kafka)
    place = TopicPartition(topic, 0)
    for number in range(5):
        sender.send(topic, b"%d" % number).get(timeout=20)
    sender.close()
    with reading(kafka, topic) as reader:
        wait_assigned(reader, 1)
        assert reader.take_changes()
        assert [reader.poll(100) for _ in range(5)] == [{}] * 5
        assert reader.bounds([place]) == {place: (0, 5)}
        reader.go_on_from({place: 3})
        values: list[bytes] = []

        def more() -> bool:
            values.extend(record.value for record in reader.poll(100).get(place, []))
            return len(values) == 2

        wait_until(more, "two records", timeout_s=60)
        assert values == [b"3", b"4"]
        assert not reader.take_changes()


def test_the_marker_of_a_transaction_is_nothing_that_waits(kafka: KafkaSettings) -> None:
    topic = f"{kafka.topic_prefix}.marked"
    make(kafka, topic, 1)
    place = TopicPartition(topic, 0)
    sender = producer(kafka, transactional_id=kafka.scoped("marks"))
    sender.init_transactions()
    for number in range(3):
        sender.begin_transaction()
        sender.send(topic, b"%d" % number)
        sender.commit_transaction()
    sender.close()
    with reading(kafka, topic) as reader:
        wait_assigned(reader, 1)
        reader.go_on_from({place: 0})
        following = 0

        def read() -> bool:
            nonlocal following
            for record in reader.poll(100).get(place, []):
                following = record.offset + 1
            return following == 5

        wait_until(read, "three records", timeout_s=60)
        wait_until(
            lambda: reader.poll(100) == {} and reader.lag({place: 5}) == 0, "no lag", timeout_s=15
        )
        assert reader.lag({place: 3}) == 3, "what was given out and is not worked off does wait"


def test_an_offset_that_kafka_does_not_have_is_a_change_and_not_another_offset(
    kafka: KafkaSettings,
) -> None:
    topic = f"{kafka.topic_prefix}.short"
    make(kafka, topic, 1)
    with reading(kafka, topic) as reader:
        wait_assigned(reader, 1)
        reader.take_changes()
        reader.go_on_from({TopicPartition(topic, 0): 1_000})

        def noticed() -> bool:
            assert reader.poll(100) == {}
            return reader.take_changes()

        wait_until(noticed, "the change", timeout_s=60)


def test_a_topic_made_anew_with_as_many_partitions_is_a_change(kafka: KafkaSettings) -> None:
    topic = f"{kafka.topic_prefix}.anew"
    make(kafka, topic, 2)
    with reading(kafka, topic) as reader:
        wait_assigned(reader, 2)
        before = reader.topic_ids()[topic]
        reader.take_changes()
        admin = admin_client(kafka)
        try:
            admin.delete_topics([topic])
        finally:
            admin.close()
        make(kafka, topic, 2)

        def noticed() -> bool:
            reader.poll(100)
            return reader.topic_ids().get(topic) not in {None, before} and reader.take_changes()

        wait_until(noticed, "the change", timeout_s=60)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_sink_that_waits_for_its_topics_does_not_make_the_broker_create_them(
    postgres: str, tmp_path: Path
) -> None:
    port = free_port()
    kafka = KafkaSettings(bootstrap=f"127.0.0.1:{port}", partitions=4, session_timeout_ms=6000)
    settings = settings_for(postgres, kafka)
    init_database(settings)
    broker = start_kafka(port, tmp_path / "kafka", properties={"auto.create.topics.enable": "true"})
    try:
        with sink_running(settings, tmp_path) as child:
            wait_until(lambda: "run civicstream init" in child.last_words(), "wait", timeout_s=60)
            admin = admin_client(kafka)
            try:
                made = [topic for topic in admin.list_topics() if topic.startswith("city.")]
            finally:
                admin.close()
            assert made == []
            create_topics(kafka)
            with Feed(settings) as feed:
                wait_received(postgres, 1, child, timeout_s=60)
                feed.finish()
                wait_received(postgres, feed.gateway.sent, child, timeout_s=30)
    finally:
        broker.stop()


def test_asked_for_a_partition_that_kafka_does_not_know_it_says_so(kafka: KafkaSettings) -> None:
    """As after a broker that came back without its log: an answer to wait for, not an end."""
    known = f"{kafka.topic_prefix}.known"
    make(kafka, known, 1)
    with reading(kafka, known) as reader:
        wait_assigned(reader, 1)
        for wrong in (TopicPartition(known, 7), TopicPartition(f"{known}.not", 0)):
            with pytest.raises(ServerUnavailable):
                reader.bounds([TopicPartition(known, 0), wrong])
