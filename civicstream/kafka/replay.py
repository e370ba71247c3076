"""Read partitions from a place to their end, committed records only.

Transactions leave gaps in the offsets and markers at the end, so the end is where the reader's
position reaches the end that Kafka gave, not the offset of a last record.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaConnectionError, KafkaError

from civicstream.errors import ServerUnavailable
from civicstream.kafka.clients import consumer
from civicstream.settings import KafkaSettings

__all__ = ["partitions_of", "read_on", "read_to_end"]

_POLL_MS = 200
_FETCH_BYTES = 8 * 1024 * 1024
_KNOWN_WITHIN_S = 10.0


def partitions_of(reader: KafkaConsumer, topics: list[str]) -> list[TopicPartition]:
    """Return every partition of the topics.

    Raise ServerUnavailable for a topic that is not there; metadata of a new one is not complete
    at once, so that is known only after a while.
    """
    until = time.monotonic() + _KNOWN_WITHIN_S
    found: list[TopicPartition] = []
    for topic in topics:
        while not (numbers := _numbers(reader, topic)):
            if time.monotonic() > until:
                raise ServerUnavailable(
                    f"topic {topic} is not there or has no partitions; run `civicstream init`"
                )
            time.sleep(0.1)
        found += [TopicPartition(topic, number) for number in sorted(numbers)]
    return found


def _numbers(reader: KafkaConsumer, topic: str) -> set[int] | None:
    try:
        found: set[int] | None = reader.partitions_for_topic(topic)
    except KafkaConnectionError:
        return None  # one broker of several is away; asked again, the client takes another
    return found


def read_to_end(
    kafka: KafkaSettings,
    *topics: str,
    begin: Mapping[TopicPartition, int] | None = None,
    since_ms: int | None = None,
    stop: threading.Event | None = None,
    patience_s: float = 30,
) -> Iterator[Any]:
    """Yield the records from the beginning to what is the end now, in order per partition.

    ``begin`` names the first offset of some partitions, ``since_ms`` the time of the first
    record of all. Ends early when ``stop`` is set. Raise ServerUnavailable when nothing comes
    for ``patience_s`` and when a topic is not there.
    """
    try:
        reader = consumer(
            kafka,
            group_id=None,
            isolation_level="read_committed",
            max_partition_fetch_bytes=_FETCH_BYTES,
            metrics_enabled=False,
        )
    except (KafkaError, OSError) as error:
        raise ServerUnavailable(f"Kafka: {error!r}") from error
    try:
        yield from _read(reader, list(topics), begin or {}, since_ms, stop, patience_s)
    except (KafkaError, OSError) as error:
        raise ServerUnavailable(f"Kafka: {error!r}") from error
    finally:
        with contextlib.suppress(KafkaError):
            reader.close()


def _read(
    reader: KafkaConsumer,
    topics: list[str],
    begin: Mapping[TopicPartition, int],
    since_ms: int | None,
    stop: threading.Event | None,
    patience_s: float,
) -> Iterator[Any]:
    partitions = partitions_of(reader, topics)
    reader.assign(partitions)
    ends = reader.end_offsets(partitions)
    _place(reader, partitions, ends, begin, since_ms)
    for record in read_on(reader, ends, stop, patience_s):
        if record.offset < ends[TopicPartition(record.topic, record.partition)]:
            yield record


def read_on(
    reader: KafkaConsumer,
    ends: Mapping[TopicPartition, int],
    stop: threading.Event | None = None,
    patience_s: float = 30,
) -> Iterator[Any]:
    """Yield what comes from where the reader stands up to ``ends``, and what came beyond it.

    Called again it goes on from there. Ends and raises as ``read_to_end``, and raises KafkaError.
    """
    waiting, seen_at = set(ends), time.monotonic()
    reader.resume(*ends)
    while waiting and not (stop is not None and stop.is_set()):
        polled = reader.poll(_POLL_MS)
        for records in polled.values():
            yield from records
        if done := {p for p in waiting if _position(reader, p) >= ends[p]}:
            waiting -= done
            reader.pause(*done)
        if polled or done:
            seen_at = time.monotonic()
        elif time.monotonic() - seen_at > patience_s:
            missing = ", ".join(f"{p.topic} partition {p.partition}" for p in sorted(waiting))
            raise ServerUnavailable(f"Kafka gave nothing of {missing} in {patience_s:g} s")


def _position(reader: KafkaConsumer, partition: TopicPartition) -> int:
    position = reader.position(partition, timeout_ms=_POLL_MS)
    return -1 if position is None else int(position)


def _place(
    reader: KafkaConsumer,
    partitions: list[TopicPartition],
    ends: Mapping[TopicPartition, int],
    begin: Mapping[TopicPartition, int],
    since_ms: int | None,
) -> None:
    if since_ms is None:
        reader.seek_to_beginning(*partitions)
    else:
        found = reader.offsets_for_times(dict.fromkeys(partitions, since_ms))
        for partition in partitions:
            first = found.get(partition)  # None: nothing that young
            reader.seek(partition, ends[partition] if first is None else first.offset)
    for partition, offset in begin.items():
        reader.seek(partition, offset)
