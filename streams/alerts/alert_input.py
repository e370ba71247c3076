"""What the alert process reads: every topic that rules look at, all partitions in one process.

A rule may count over the whole city, so one process has everything: of several in the group the
assignor gives all partitions to one, and the others stand by.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from kafka.errors import KafkaError
from kafka.protocol.consumer.metadata import (
    ConsumerProtocolAssignment,
    ConsumerProtocolSubscription,
)
from kafka.structs import OffsetAndMetadata

from civicstream.clock import wall_ms
from civicstream.errors import ConfigurationError, ServerUnavailable
from civicstream.kafka.clients import consumer, wait_for_kafka
from civicstream.service_events import Action
from civicstream.settings import Settings
from civicstream.topics import topic_name
from streams.alerts.rule_values import WrongValue, duration_ms
from streams.alerts.sources import SOURCES

__all__ = ["AlertInput", "Placed", "Received", "read_last", "topic_memory"]

log = logging.getLogger(__name__)

_POLL_RECORDS = 500
_FETCH_BYTES = 8 * 1024 * 1024
# An empty fetch returns after so long; a record that comes meanwhile returns at once.
_FETCH_WAIT_MS = 100
_WAIT_MS = 10_000


class _AllToOne(AbstractPartitionAssignor):  # type: ignore[misc]
    """Gives every partition to one member, the first by id; the others have none."""

    name = "civicstream-all-to-one"
    version = 0

    def assign(self, cluster: Any, members: Any) -> dict[str, ConsumerProtocolAssignment]:
        owner = min(member.member_id for member in members)
        topics = {t for m in members if m.member_id == owner for t in m.metadata.topics}
        everything = [(t, sorted(cluster.partitions_for_topic(t) or ())) for t in sorted(topics)]
        return {
            member.member_id: ConsumerProtocolAssignment(
                self.version, everything if member.member_id == owner else [], b""
            )
            for member in members
        }

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolSubscription:
        return ConsumerProtocolSubscription(self.version, list(topics), b"")

    def on_assignment(self, assignment: Any, generation: int) -> None:
        """Nothing to keep between assignments."""


@dataclass(frozen=True)
class Received:
    """One record; ``topic`` without the prefix."""

    topic: str
    partition: TopicPartition
    offset: int
    timestamp: int
    value: bytes


@dataclass(frozen=True)
class Placed:
    """Where reading goes on: before ``live_from`` everything was published in an earlier life."""

    begin: int
    live_from: int
    target: int
    """End when it was placed."""


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Stops new partitions before anything is fetched from a place that was not chosen."""

    def __init__(self, input_: AlertInput) -> None:
        self.changed = threading.Event()
        self._input = input_

    def on_partitions_revoked(self, _revoked: set[TopicPartition]) -> None:
        self.changed.set()

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self._input.hold(assigned)
        self.changed.set()


class AlertInput:
    """A consumer in the alerts' group."""

    def __init__(self, settings: Settings) -> None:
        prefix = settings.kafka.topic_prefix
        self._topics = {topic_name(prefix, name): name for name in (*SOURCES, "actions")}
        try:
            self._consumer: KafkaConsumer = consumer(
                settings.kafka,
                group_id=settings.kafka.scoped(settings.alerts.group),
                client_id=settings.alerts.id,
                partition_assignment_strategy=[_AllToOne()],
                max_poll_records=_POLL_RECORDS,
                max_partition_fetch_bytes=_FETCH_BYTES,
                fetch_max_wait_ms=_FETCH_WAIT_MS,
                metrics_enabled=False,
            )
        except KafkaError as error:
            raise ServerUnavailable(f"Kafka: {error!r}") from error
        self._listener = _Listener(self)
        self._consumer.subscribe(list(self._topics), listener=self._listener)

    def hold(self, partitions: set[TopicPartition]) -> None:
        """Pause partitions; the position only keeps the client from asking Kafka for one."""
        for partition in partitions:
            self._consumer.seek(partition, 0)
            self._consumer.pause(partition)

    def poll(self, timeout_ms: int) -> list[Received]:
        """Return what has come, in order per partition; raise ServerUnavailable."""
        try:
            polled = self._consumer.poll(timeout_ms)
        except KafkaError as error:
            raise ServerUnavailable(f"Kafka: {error!r}") from error
        return [
            Received(self._topics[r.topic], partition, r.offset, r.timestamp, r.value)
            for partition, records in polled.items()
            for r in records
            if r.value is not None
        ]

    def take_rebalanced(self) -> bool:
        """Return whether partitions changed since the last call."""
        changed = self._listener.changed.is_set()
        self._listener.changed.clear()
        return changed

    def assigned(self) -> set[TopicPartition]:
        found: set[TopicPartition] = self._consumer.assignment()
        return found

    def place(self, at_ms: int, memory_ms: Mapping[str, int]) -> dict[TopicPartition, Placed]:
        """Go back by each topic's memory from where the last life ended; raise ServerUnavailable.

        ``memory_ms`` by topic without the prefix. A partition nobody has read counts as read up
        to its end: what is past raises nothing.
        """
        partitions = sorted(self.assigned())
        try:
            ends = self._consumer.end_offsets(partitions, timeout_ms=_WAIT_MS)
            found = {p: self._placed(p, ends[p], at_ms, memory_ms) for p in partitions}
        except (KafkaError, AssertionError) as error:
            raise ServerUnavailable(f"Kafka tells no offsets: {error!r}") from error
        for partition, placed in found.items():
            self._consumer.seek(partition, placed.begin)
            self._consumer.resume(partition)
        return found

    def _placed(
        self, partition: TopicPartition, end: int, at_ms: int, memory_ms: Mapping[str, int]
    ) -> Placed:
        committed = self._consumer.committed(partition, metadata=True, timeout_ms=_WAIT_MS)
        ended_ms, live_from = at_ms, end
        if committed is not None and committed.offset >= 0:
            live_from = committed.offset
            kept = committed.metadata or ""  # the embedded broker keeps none
            ended_ms = int(kept) if kept.isdigit() else at_ms
        back_ms = max(0, ended_ms - memory_ms[self._topics[partition.topic]])
        times = self._consumer.offsets_for_times({partition: back_ms}, timeout_ms=_WAIT_MS)
        first = times.get(partition)
        # Nothing that young: Kafka answers None, the embedded broker a time before 1970.
        begin = live_from if first is None or first.timestamp < 0 else first.offset
        return Placed(min(begin, live_from), live_from, max(end, live_from))

    def position(self, partition: TopicPartition) -> int:
        position: int = self._consumer.position(partition)
        return position

    def lag(self) -> dict[TopicPartition, int]:
        """Return how many records wait in each partition, by the high watermark of its fetches."""
        waiting = {}
        for partition in self.assigned():
            end = self._consumer.highwater(partition)
            waiting[partition] = max(0, end - self.position(partition)) if end is not None else 0
        return waiting

    def commit(self, following: Mapping[TopicPartition, tuple[int, int]]) -> None:
        """Keep the next offset of each partition, with the time of the record before it."""
        offsets = {p: OffsetAndMetadata(o, str(at), -1) for p, (o, at) in following.items()}
        try:
            self._consumer.commit(offsets, timeout_ms=_WAIT_MS)
        except KafkaError as error:
            raise ServerUnavailable(f"Kafka keeps no offsets: {error!r}") from error

    def pause(self) -> None:
        self._consumer.pause(*self.assigned())

    def resume(self) -> None:
        self._consumer.resume(*self.assigned())

    def close(self) -> None:
        self._consumer.close(autocommit=False, timeout_ms=5_000)


def topic_memory(settings: Settings, rules_memory_ms: int) -> dict[str, int]:
    """Return how far back each topic is read at a start [ms].

    What comes with every window, by the longest time of a rule; what tells only of changes, as
    far as the settings say: a sensor that fell silent last week is silent now.
    """
    margin_ms = 15 * 60_000
    changes_ms = round(settings.alerts.read_back_h * 3_600_000)
    memory = {
        name: rules_memory_ms + margin_ms if source.windowed else changes_ms
        for name, source in SOURCES.items()
    }
    return memory | {"actions": 0}


def read_last(settings: Settings, span: str) -> Iterator[tuple[str, Any]]:
    """Yield topic and event of what the topics have of the last ``span``, e.g. ``2h``.

    Raise ConfigurationError for what is no span, ServerUnavailable when Kafka does not answer.
    """
    try:
        since_ms = wall_ms() - duration_ms("last", span)
    except WrongValue as error:
        raise ConfigurationError(f"--last: {error.problem}") from error
    wait_for_kafka(settings.kafka, timeout_s=5)
    reader = consumer(settings.kafka, group_id=None, metrics_enabled=False)
    try:
        for name in (*SOURCES, "actions"):
            decoder = msgspec.json.Decoder(Action if name == "actions" else SOURCES[name].event)
            for value in _values(reader, topic_name(settings.kafka.topic_prefix, name), since_ms):
                yield name, decoder.decode(value)
    except KafkaError as error:
        raise ServerUnavailable(f"Kafka: {error!r}") from error
    finally:
        reader.close()


def _values(reader: KafkaConsumer, topic: str, since_ms: int) -> Iterator[bytes]:
    """Yield a topic's records since a time, up to what its fetches say is its end."""
    partitions = [TopicPartition(topic, p) for p in reader.partitions_for_topic(topic) or ()]
    reader.assign(partitions)
    for partition, first in reader.offsets_for_times(dict.fromkeys(partitions, since_ms)).items():
        if first is None or first.timestamp < 0:
            reader.seek_to_end(partition)
        else:
            reader.seek(partition, first.offset)
    while any((e := reader.highwater(p)) is None or reader.position(p) < e for p in partitions):
        for records in reader.poll(_FETCH_WAIT_MS).values():
            yield from (record.value for record in records if record.value is not None)
