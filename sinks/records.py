"""Kafka records as values, whatever client they came by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["KafkaRecord", "TopicPartition"]


class TopicPartition(NamedTuple):
    """A partition of a topic; equal to the client library's of that name."""

    topic: str
    partition: int


@dataclass(frozen=True)
class KafkaRecord:
    """A consumed record, whatever client it came by."""

    topic_partition: TopicPartition
    offset: int
    timestamp: int
    headers: list[tuple[str, bytes]]
    value: bytes | None
    key: bytes | None = None
    append_time: int | None = None
    """When Kafka appended it [epoch ms]; None where the topic keeps the producer's time."""
