"""How far each of the sink's partitions is written, and what on Kafka waits for it."""

from __future__ import annotations

import time
from collections.abc import Mapping

import msgspec
from kafka import KafkaConsumer, TopicPartition

from civicstream.errors import ServerUnavailable
from civicstream.kafka.clients import consumer
from civicstream.kafka.log_gaps import Position
from civicstream.kafka.topic_admin import describe
from civicstream.settings import KafkaSettings
from sinks.admin.readers import LogState, Reader
from sinks.batching import Routes

__all__ = ["log_states", "waiting_for"]

_ANSWER_S = 20
"""How long Kafka may take to answer for all partitions."""


def log_states(
    kafka: KafkaSettings, stored: Mapping[TopicPartition, Position]
) -> dict[tuple[str, int], LogState]:
    """Return the state of every partition that the sink reads; ``stored``: where it goes on.

    Raise ServerUnavailable when Kafka does not answer.
    """
    ids, partitions = _topics(kafka)
    probe = consumer(
        kafka,
        group_id=None,
        isolation_level="read_committed",
        max_partition_fetch_bytes=1024,
        metrics_enabled=False,
    )
    try:
        probe.assign(partitions)
        begins = probe.beginning_offsets(partitions)
        ends = probe.end_offsets(partitions)
        found = {}
        unread = set()
        for p in partitions:
            position = stored.get(p)
            # Of a topic that was recreated the sink will read everything.
            same = position is not None and position.topic_id == ids[p.topic]
            following = position.next_offset if position and same else 0
            found[p.topic, p.partition] = LogState(
                begins[p], ends[p], following, 0, recreated=position is not None and not same
            )
            if max(following, begins[p]) < ends[p]:
                probe.seek(p, max(following, begins[p]))
                unread.add(p)
            else:
                probe.pause(p)
        for p, first in _first_waiting(probe, unread, ends).items():
            log = found[p.topic, p.partition]
            found[p.topic, p.partition] = msgspec.structs.replace(log, waiting=log.end - first)
        return found
    finally:
        probe.close()


def waiting_for(kafka: KafkaSettings, positions: Mapping[Reader, int]) -> dict[Reader, int]:
    """Return how many records wait for each reader that goes on at an offset.

    Those that stand behind the end are left out: their log is not the one that they have read.
    """
    if not positions:
        return {}
    probe = consumer(
        kafka,
        group_id=None,
        isolation_level="read_committed",
        max_partition_fetch_bytes=1024,
        metrics_enabled=False,
    )
    try:
        partition_of = {r: TopicPartition(r.topic, r.partition) for r in positions}
        ends = probe.end_offsets(sorted({*partition_of.values()}))
        found = {r: 0 for r, at in positions.items() if at == ends[partition_of[r]]}
        unread = [r for r, at in positions.items() if at < ends[partition_of[r]]]
        # The client has one position in a partition: its readers are looked at in turn.
        while unread:
            turn = {partition_of[r]: r for r in unread}
            unread = [r for r in unread if turn[partition_of[r]] is not r]
            probe.assign(list(turn))
            probe.resume(*turn)
            for p, r in turn.items():
                probe.seek(p, positions[r])
            first = _first_waiting(probe, set(turn), ends)
            found |= {r: ends[p] - first.get(p, ends[p]) for p, r in turn.items()}
        return found
    finally:
        probe.close()


def _topics(kafka: KafkaSettings) -> tuple[dict[str, str], list[TopicPartition]]:
    """Return the ids and the partitions of the topics that the sink reads."""
    described = describe(kafka, Routes(kafka.topic_prefix).topics)
    ids = {name: str(topic["topic_id"]) for name, topic in described.items()}
    partitions = [
        TopicPartition(name, p["partition_index"])
        for name, topic in described.items()
        for p in topic["partitions"]
    ]
    return ids, partitions


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
