"""Kafka records as values, whatever client they came by."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["KafkaRecord", "Place"]


@dataclass(frozen=True)
class Place:
    """A partition of a topic."""

    topic: str
    partition: int


@dataclass(frozen=True)
class KafkaRecord:
    """A consumed record, whatever client it came by."""

    place: Place
    offset: int
    timestamp: int
    headers: list[tuple[str, bytes]]
    value: bytes | None
    key: bytes | None = None
    append_time: int | None = None
    """When Kafka appended it [epoch ms]; None where the topic keeps the producer's time."""
