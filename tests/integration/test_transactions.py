"""One transaction holds records, state and offsets; whoever was cut off is fenced. Real Kafka."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from kafka import OffsetAndMetadata, TopicPartition
from kafka.admin import NewTopic
from kafka.errors import KafkaError

from civicstream.errors import (
    Fenced,
    OwnershipLost,
    RecordTooLarge,
    ServerUnavailable,
)
from civicstream.kafka.clients import admin_client, consumer, producer
from civicstream.kafka.replay import read_to_end
from civicstream.kafka.transactional import Outgoing, TransactionalSender
from civicstream.settings import KafkaSettings


@pytest.fixture
def topic(kafka: KafkaSettings) -> str:
    admin = admin_client(kafka)
    name = f"{kafka.topic_prefix}.transactions"
    admin.create_topics([NewTopic(name, 2, 1, topic_configs={"max.message.bytes": "100000"})])
    admin.close()
    return name


@pytest.fixture
def sender(kafka: KafkaSettings) -> Iterator[TransactionalSender]:
    with closing(TransactionalSender(kafka, "task")) as made:
        made.open()
        yield made


def values(kafka: KafkaSettings, topic: str) -> list[bytes]:
    return [r.value for r in read_to_end(kafka, topic)]


def test_records_and_offsets_come_together(
    kafka: KafkaSettings, topic: str, sender: TransactionalSender
) -> None:
    reader = consumer(kafka, group_id=kafka.scoped("readers"))
    try:
        place = TopicPartition(topic, 0)
        for number in range(3):
            value = b"%d" % number
            records = [Outgoing(topic, value, b"k", partition=p) for p in (0, 1)]
            offsets = {place: OffsetAndMetadata(10 + number, "", -1)}
            sender.commit(records, offsets, reader.group_metadata())
        assert reader.committed(place) == 12
    finally:
        reader.close()
    assert sorted(values(kafka, topic)) == [b"0", b"0", b"1", b"1", b"2", b"2"]


def test_reading_to_the_end_passes_markers_and_records_that_were_undone(
    kafka: KafkaSettings, topic: str, sender: TransactionalSender
) -> None:
    sender.commit([Outgoing(topic, b"kept", partition=0)])
    with pytest.raises(RecordTooLarge):
        sender.commit(
            [
                Outgoing(topic, b"undone", partition=0),
                Outgoing(topic, b"x" * 200_000, partition=1),
            ]
        )
    assert values(kafka, topic) == [b"kept"]
    assert list(read_to_end(kafka, topic, since_ms=4_000_000_000_000)) == []
    place = TopicPartition(topic, 0)
    assert list(read_to_end(kafka, topic, begin={place: 1})) == []
    stopped = threading.Event()
    stopped.set()
    assert list(read_to_end(kafka, topic, stop=stopped)) == []


def test_a_topic_that_is_not_there_is_named(kafka: KafkaSettings) -> None:
    name = f"{kafka.topic_prefix}.nothing"
    with pytest.raises(ServerUnavailable, match=f"topic {name} is not there .* `civicstream init`"):
        list(read_to_end(kafka, name))


def test_a_second_sender_fences_the_first_and_stays_the_only_one(
    kafka: KafkaSettings, topic: str, sender: TransactionalSender
) -> None:
    sender.commit([Outgoing(topic, b"first", partition=0)])
    with closing(TransactionalSender(kafka, "task")) as second:
        second.open()
        for again in range(3):
            second.commit([Outgoing(topic, b"second %d" % again, partition=0)])
            with pytest.raises((Fenced, ServerUnavailable)) as refused:
                sender.commit([Outgoing(topic, b"zombie", partition=0)])
            assert again or isinstance(refused.value, Fenced), refused.value
            assert not sender.is_open
    assert values(kafka, topic) == [b"first", b"second 0", b"second 1", b"second 2"]


def test_a_sender_fenced_in_the_middle_of_a_transaction_does_not_fence_its_successor(
    kafka: KafkaSettings, topic: str, sender: TransactionalSender
) -> None:
    zombie = sender._producer
    assert zombie is not None
    zombie.begin_transaction()
    zombie.send(topic, b"before", partition=0).get(10)
    with closing(TransactionalSender(kafka, "task")) as second:
        second.open()
        with pytest.raises(KafkaError):
            zombie.send(topic, b"after", partition=0).get(10)
        # A new epoch, if it asked for one, would be given to it within this time.
        until = time.monotonic() + 3
        while time.monotonic() < until and not zombie._transaction_manager.has_fatal_error():
            time.sleep(0.05)
        second.commit([Outgoing(topic, b"second", partition=0)])
        assert zombie._transaction_manager.has_fatal_error()
    assert values(kafka, topic) == [b"second"]


def test_what_a_dead_sender_left_open_is_undone_when_the_next_one_opens(
    kafka: KafkaSettings, topic: str
) -> None:
    dead = producer(kafka, transactional_id=kafka.scoped("task"), metrics_enabled=False)
    dead.init_transactions()
    dead.begin_transaction()
    dead.send(topic, b"left open", partition=0).get(10)
    with closing(TransactionalSender(kafka, "task")) as following:
        following.open()
        following.commit([Outgoing(topic, b"following", partition=0)])
        assert values(kafka, topic) == [b"following"]
    dead.close(timeout=0)
    dead._sender.join(5)


def test_a_member_that_the_group_has_given_up_commits_nothing(
    kafka: KafkaSettings, topic: str, sender: TransactionalSender
) -> None:
    reader = consumer(kafka, group_id=kafka.scoped("readers"))
    try:
        reader.subscribe([topic])
        while not reader.assignment():
            reader.poll(200)
        stale = reader.group_metadata()
    finally:
        reader.close()
    offsets = {TopicPartition(topic, 0): OffsetAndMetadata(5, "", -1)}
    with pytest.raises(OwnershipLost):
        sender.commit([Outgoing(topic, b"stale", partition=0)], offsets, stale)
    sender.commit([Outgoing(topic, b"still usable", partition=0)])
    assert values(kafka, topic) == [b"still usable"]


def test_a_record_over_the_topics_limit_is_an_error_with_its_name_and_not_tried_again(
    kafka: KafkaSettings, topic: str, sender: TransactionalSender
) -> None:
    with pytest.raises(RecordTooLarge) as refused:
        sender.commit([Outgoing(topic, b"x" * 200_000, b"area/north", partition=0)])
    error = refused.value
    assert (error.topic, error.key, error.size) == (topic, b"area/north", 200_010)
    assert "area/north" in str(error)
    assert topic in str(error)
    assert not error.retry
