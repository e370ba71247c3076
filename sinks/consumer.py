"""The sink's Kafka consumer: offsets come from the database, never from Kafka."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import kafka

from civicstream.kafka.log_gaps import Log, Position, append_time
from civicstream.kafka.reader import GroupReader
from civicstream.settings import Settings
from sinks.records import KafkaRecord, TopicPartition

__all__ = ["SinkConsumer"]

_POLL_RECORDS = 50
_FETCH_BYTES = 8 * 1024 * 1024
"""Per partition and fetch: under lag some hundred frames at once, for large batches."""


class SinkConsumer:
    """Subscribed to the sink's topics; hands out records and says when partitions changed."""

    def __init__(self, settings: Settings, topics: list[str]) -> None:
        static = {"group_instance_id": settings.sink.id} if settings.sink.static_member else {}
        self._reader = GroupReader(
            settings.kafka,
            topics,
            group=settings.sink.group,
            client_id=settings.sink.id,
            max_poll_records=_POLL_RECORDS,
            max_partition_fetch_bytes=_FETCH_BYTES,
            **static,
        )
        self.take_changes = self._reader.take_changes
        self.missing_topics = self._reader.missing_topics
        self.pause = self._reader.pause
        self.resume = self._reader.resume
        self.close = self._reader.close

    def poll(self, timeout_ms: int) -> list[KafkaRecord]:
        """Return what has come, in order per partition; raise as the class of the error says."""
        polled = self._reader.poll(timeout_ms)
        return [_record(r) for records in polled.values() for r in records]

    def assigned(self) -> set[TopicPartition]:
        return {TopicPartition(tp.topic, tp.partition) for tp in self._reader.assigned()}

    def logs(self, known: Mapping[TopicPartition, Position | None]) -> dict[TopicPartition, Log]:
        """Return each partition as Kafka has it now; raise ServerUnavailable if it is away."""
        found = self._reader.logs({_of_client(partition): at for partition, at in known.items()})
        return {partition: found[_of_client(partition)] for partition in known}

    def go_on_from(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Read these partitions from these offsets."""
        self._reader.go_on_from(
            {_of_client(partition): offset for partition, offset in offsets.items()}
        )

    def lag(self, following: Mapping[TopicPartition, int]) -> int:
        """Return how many records wait beyond the offsets ``following``."""
        return self._reader.lag({_of_client(partition): at for partition, at in following.items()})


def _of_client(partition: TopicPartition) -> kafka.TopicPartition:
    return kafka.TopicPartition(partition.topic, partition.partition)


def _record(record: Any) -> KafkaRecord:
    return KafkaRecord(
        topic_partition=TopicPartition(record.topic, record.partition),
        offset=record.offset,
        timestamp=record.timestamp,
        headers=list(record.headers),
        value=record.value,
        key=record.key,
        append_time=append_time(record) or None,
    )
