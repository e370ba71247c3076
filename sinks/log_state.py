"""How far each of the sink's partitions is written, and what on Kafka waits for it."""

from __future__ import annotations

import time
from collections.abc import Mapping

from kafka import KafkaConsumer, TopicPartition

from civicstream.errors import ServerUnavailable
from civicstream.kafka.clients import consumer
from civicstream.settings import KafkaSettings
from civicstream.topics import TOPICS
from sinks.balance import LogState
from sinks.batching import Routes

__all__ = ["log_states"]

_ANSWER_S = 20
"""How long Kafka may take to answer for all partitions."""


def log_states(
    kafka: KafkaSettings, stored: Mapping[tuple[str, int], int]
) -> dict[tuple[str, int], LogState]:
    """Return the state of every partition that the sink reads; ``stored``: its next offsets.

    Raise ServerUnavailable when Kafka does not answer.
    """
    places = [
        TopicPartition(topic, partition)
        for topic in Routes(kafka.topic_prefix).topics
        for partition in range(_partitions(kafka, topic))
    ]
    probe = consumer(
        kafka,
        group_id=None,
        isolation_level="read_committed",
        max_partition_fetch_bytes=1024,
        metrics_enabled=False,
    )
    try:
        probe.assign(places)
        begins = probe.beginning_offsets(places)
        ends = probe.end_offsets(places)
        found = {}
        unread = set()
        for p in places:
            following = stored.get((p.topic, p.partition), 0)
            found[p.topic, p.partition] = LogState(begins[p], ends[p], following, 0)
            if max(following, begins[p]) < ends[p]:
                probe.seek(p, max(following, begins[p]))
                unread.add(p)
            else:
                probe.pause(p)
        for p, first in _first_waiting(probe, unread, ends).items():
            log = found[p.topic, p.partition]
            found[p.topic, p.partition] = LogState(log.begin, log.end, log.next, log.end - first)
        return found
    finally:
        probe.close()


def _partitions(kafka: KafkaSettings, topic: str) -> int:
    name = topic.removeprefix(f"{kafka.topic_prefix}.")
    return TOPICS[name].partitions or kafka.partitions


def _first_waiting(
    probe: KafkaConsumer, unread: set[TopicPartition], ends: Mapping[TopicPartition, int]
) -> dict[TopicPartition, int]:
    """Return the first record's offset where one comes before the end.

    An offset alone proves nothing: the ends of transactions take offsets too, and no record.
    """
    found: dict[TopicPartition, int] = {}
    left = set(unread)
    deadline = time.monotonic() + _ANSWER_S
    while left:
        for p, records in probe.poll(timeout_ms=200, max_records=500).items():
            if p in left:
                found[p] = records[0].offset
                left.discard(p)
                probe.pause(p)
        for p in list(left):
            if probe.position(p) >= ends[p]:
                left.discard(p)
                probe.pause(p)
        if left and time.monotonic() > deadline:
            names = ", ".join(sorted({p.topic for p in left}))
            raise ServerUnavailable(
                f"Kafka did not give the records of {names} within {_ANSWER_S} s"
            )
    return found
