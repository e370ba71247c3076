"""The sink's Kafka consumer: offsets come from the database, never from Kafka.

A partition just assigned is paused until the database has said where to go on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from uuid import UUID

from kafka import ConsumerRebalanceListener, TopicPartition
from kafka.errors import FencedInstanceIdError, KafkaError

from civicstream.errors import ConfigurationError, ServerUnavailable
from civicstream.kafka.clients import admin_client, consumer
from civicstream.settings import Settings
from sinks.records import KafkaRecord, Place

__all__ = ["Intake"]

log = logging.getLogger(__name__)

_POLL_RECORDS = 50
_FETCH_BYTES = 8 * 1024 * 1024
"""Per partition and fetch: under lag some hundred frames at once, for large batches."""


class _Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes that partitions came or went; called on the client's own thread, so it only notes."""

    def __init__(self) -> None:
        self.changed = threading.Event()

    def on_partitions_revoked(self, _revoked: set[TopicPartition]) -> None:
        self.changed.set()

    def on_partitions_assigned(self, _assigned: set[TopicPartition]) -> None:
        self.changed.set()


class _Listener(_Rebalances):
    """Stops new partitions before anything is fetched from a place the database did not name."""

    def __init__(self, intake: Intake) -> None:
        super().__init__()
        self._intake = intake

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._intake.hold(assigned)
        super().on_partitions_assigned(assigned)


class Intake:
    """Subscribed to the sink's topics; hands out records and says when partitions changed."""

    def __init__(self, settings: Settings, topics: list[str]) -> None:
        self._kafka = settings.kafka
        self._id = settings.sink.id
        self._topics = topics
        static = {"group_instance_id": settings.sink.id} if settings.sink.static_member else {}
        try:
            self._consumer = consumer(
                settings.kafka,
                group_id=settings.kafka.scoped(settings.sink.group),
                client_id=settings.sink.id,
                allow_auto_create_topics=False,
                max_poll_records=_POLL_RECORDS,
                max_partition_fetch_bytes=_FETCH_BYTES,
                fetch_max_wait_ms=100,
                metrics_enabled=False,
                **static,
            )
        except KafkaError as error:
            raise ServerUnavailable(f"Kafka: {error!r}") from error
        self._listener = _Listener(self)
        self._consumer.subscribe(topics, listener=self._listener)

    def hold(self, partitions: set[TopicPartition]) -> None:
        """Pause partitions; the position only keeps the client from asking Kafka for one."""
        for partition in partitions:
            self._consumer.seek(partition, 0)
            self._consumer.pause(partition)

    def poll(self, timeout_ms: int) -> list[KafkaRecord]:
        """Return what has come, in order per partition; raise as the class of the error says."""
        try:
            polled = self._consumer.poll(timeout_ms)
        except FencedInstanceIdError as error:
            raise ConfigurationError(
                f"another sink runs with the id {self._id!r}; give each its own "
                "CIVICSTREAM_SINK__ID, or set CIVICSTREAM_SINK__STATIC_MEMBER=false"
            ) from error
        except KafkaError as error:
            raise ServerUnavailable(f"Kafka: {error!r}") from error
        return [
            KafkaRecord(
                Place(r.topic, r.partition),
                r.offset,
                r.timestamp,
                list(r.headers),
                r.value,
                r.key,
            )
            for records in polled.values()
            for r in records
        ]

    def take_rebalanced(self) -> bool:
        """Return whether partitions changed since the last call."""
        changed = self._listener.changed.is_set()
        self._listener.changed.clear()
        return changed

    def assigned(self) -> set[Place]:
        return {Place(tp.topic, tp.partition) for tp in self._consumer.assignment()}

    def topic_ids(self) -> dict[str, UUID]:
        """Return the id of each subscribed topic; raise ServerUnavailable if Kafka is away."""
        try:
            admin = admin_client(self._kafka, bootstrap_timeout_ms=3_000)
            try:
                described = admin.describe_topics(self._topics)
            finally:
                admin.close()
        except (KafkaError, OSError) as error:
            raise ServerUnavailable(f"Kafka did not describe the topics: {error!r}") from error
        missing = [d["name"] for d in described if d.get("error_code")]
        if missing:
            raise ServerUnavailable(
                f"Kafka has no topic {', '.join(missing)}; run civicstream init"
            )
        return {d["name"]: UUID(str(d["topic_id"])) for d in described}

    def go_on_from(self, offsets: Mapping[Place, int]) -> None:
        """Read these partitions from these offsets."""
        assigned = self._consumer.assignment()
        for place, offset in offsets.items():
            partition = TopicPartition(place.topic, place.partition)
            if partition in assigned:
                self._consumer.seek(partition, offset)
                self._consumer.resume(partition)

    def pause(self) -> None:
        self._consumer.pause(*self._consumer.assignment())

    def resume(self) -> None:
        self._consumer.resume(*self._consumer.assignment())

    def lag(self, following: Mapping[Place, int]) -> int:
        """Return how many records wait beyond the offsets ``following``.

        From the high watermark that each fetch brings: the embedded broker's end offsets are
        not to be trusted.
        """
        waiting = 0
        for partition in self._consumer.assignment():
            end = self._consumer.highwater(partition)
            at = following.get(Place(partition.topic, partition.partition))
            if end is not None and at is not None:
                waiting += max(0, end - at)
        return waiting

    def close(self) -> None:
        self._consumer.close(autocommit=False, timeout_ms=5_000)
