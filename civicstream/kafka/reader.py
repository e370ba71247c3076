"""A consumer of a group whose owner decides where each partition is read from.

kafka-python rebalances on a thread of its own. A partition that has just been assigned is paused
there, before anything of it can be fetched; ``poll`` goes on serving the others. The owner asks
``take_changes`` after each ``poll``, finds out where to go on, and calls ``go_on_from``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from uuid import UUID

from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.errors import (
    CommitFailedError,
    FencedInstanceIdError,
    IllegalGenerationError,
    KafkaError,
    LogTruncationError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from kafka.structs import ConsumerGroupMetadata

from civicstream.errors import ConfigurationError, OwnershipLost, ServerUnavailable
from civicstream.kafka.clients import consumer
from civicstream.kafka.log_gaps import Log, LogWatch, Position, Times, append_time
from civicstream.kafka.topic_admin import describe
from civicstream.settings import KafkaSettings

__all__ = ["ConsumerWatch", "GroupReader"]

log = logging.getLogger(__name__)

_ANSWER_MS = 10_000
_METADATA_AGE_MS = 3_000
"""How long topics, partitions and leaders are believed. kafka-python loses a request for metadata
that is made while another is under way. By default a group that was assigned without knowing its
topics would then stay without partitions for five minutes."""
_LOOK_EVERY_S = 1.0
"""How long a log that was cut and has grown again is taken for the one that was read."""
_LOOK_MS = 1_000
_LOG_CHANGED = (OffsetOutOfRangeError, LogTruncationError, NoOffsetForPartitionError)
"""Kafka's log is not the one that was read so far, or was deleted beyond where it was read."""
_GIVEN_UP = (
    CommitFailedError,
    IllegalGenerationError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)


class ConsumerWatch:
    """What a kafka-python consumer knows and can ask of the logs that it reads.

    Its methods raise KafkaError.
    """

    def __init__(self, reader: KafkaConsumer) -> None:
        self._consumer = reader
        self._watch = LogWatch()
        self._look_at = 0.0

    def parts(self, error: KafkaError) -> None:
        """Keep where a log parted from what was read, by the epochs of its leaders."""
        if isinstance(error, LogTruncationError):
            found = error.divergent_offsets.items()
            self._watch.parted |= {p: at.offset for p, at in found if at is not None}

    def sees_cut(self, polled: Mapping[TopicPartition, list[Any]]) -> bool:
        """Note what was polled; return whether a log was found to be cut."""
        for partition, records in polled.items():
            # A cut is between two fetches.
            self._watch.took(partition, records[0].offset + 1, append_time(records[0]))
            newest_ms = max(append_time(record) for record in records)
            self._watch.took(partition, records[-1].offset + 1, newest_ms)
        asked = self._watch.times()
        if not asked or time.monotonic() < self._look_at:
            return False
        self._look_at = time.monotonic() + _LOOK_EVERY_S
        try:
            return self._watch.look(asked, self._first_since(asked, _LOOK_MS))
        except KafkaError as error:
            log.debug("Kafka did not say what its logs hold: %r", error)
            return False

    def logs(
        self, known: Mapping[TopicPartition, Position | None], topic_ids: Mapping[str, Any]
    ) -> dict[TopicPartition, Log]:
        """Return each partition as Kafka has it now; of topics with these ids."""
        if not known:
            return {}
        begins = self._consumer.beginning_offsets(list(known), timeout_ms=_ANSWER_MS)
        ends = self._consumer.end_offsets(list(known), timeout_ms=_ANSWER_MS)
        times, parted = Times.of(known), self._watch.parted
        later = self._first_since(times.later, _ANSWER_MS)
        proof = self._first_since(times.proof, _ANSWER_MS)
        return {
            p: Log(
                str(topic_ids[p.topic]),
                begins[p],
                ends[p],
                later.get(p),
                proof.get(p),
                parted.get(p),
            )
            for p in known
        }

    def _first_since(
        self, times_ms: Mapping[TopicPartition, int], timeout_ms: int
    ) -> dict[TopicPartition, int]:
        """Return the first offset of each partition at that time or later, where there is one."""
        if not times_ms:
            return {}
        found = self._consumer.offsets_for_times(dict(times_ms), timeout_ms=timeout_ms)
        return {p: at.offset for p, at in found.items() if at is not None and at.offset >= 0}

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget partitions that are read from somewhere else."""
        self._watch.forget(partitions)


def _topics(partitions: Iterable[TopicPartition]) -> set[str]:
    return {partition.topic for partition in partitions}


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Counts changes; called on the client's own thread, so it only notes and pauses."""

    def __init__(self, reader: GroupReader) -> None:
        self._reader = reader
        self.changes = 0

    def on_partitions_revoked(self, _revoked: Collection[TopicPartition]) -> None:
        self.changes += 1

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self._reader.hold(assigned)
        self.changes += 1


class GroupReader:
    """Subscribed to topics; of each partition at most one member of the group is the owner.

    Every method raises ServerUnavailable when Kafka does not answer, ConfigurationError when
    another process reads under the same static id.
    """

    def __init__(
        self, kafka: KafkaSettings, topics: Collection[str], *, group: str, **options: Any
    ) -> None:
        """Subscribe; ``options`` are those of kafka-python's consumer."""
        self._listener = _Listener(self)
        self._seen = 0
        self._moved = 0
        """Changes noticed by ``poll`` itself."""
        self._topic_ids: dict[str, UUID] = {}
        self._kafka = kafka
        self._handed: dict[TopicPartition, int] = {}
        """Offset after the last record that ``poll`` gave out since the partition was sought."""
        self._topics = sorted(topics)
        self._look_at = 0.0
        defaults: dict[str, Any] = {
            "group_id": kafka.scoped(group),
            # Where to go on is for the owner to say, also when the log is not what it was.
            "auto_offset_reset": "none",
            "isolation_level": "read_committed",
            "metadata_max_age_ms": _METADATA_AGE_MS,
            "metrics_enabled": False,
        }
        with _translated():
            self._consumer = consumer(kafka, **defaults | options)
            self._watch = ConsumerWatch(self._consumer)
            self._consumer.subscribe(self._topics, listener=self._listener)

    def hold(self, partitions: Collection[TopicPartition]) -> None:
        """Pause partitions; the position only keeps the client from asking Kafka for one."""
        self._watch.forget(partitions)
        for partition in partitions:
            self._consumer.seek(partition, 0)
            self._consumer.pause(partition)

    def poll(self, timeout_ms: int) -> dict[TopicPartition, list[Any]]:
        """Return what has come within ``timeout_ms``, in order per partition."""
        with _translated():
            try:
                polled: dict[TopicPartition, list[Any]] = self._consumer.poll(timeout_ms)
            except _LOG_CHANGED as error:
                self._note_changed_log(error)
                return {}
        if self._watch.sees_cut(polled):
            self._moved += 1
        self._handed |= {tp: records[-1].offset + 1 for tp, records in polled.items()}
        self._look_at_topics()
        return polled

    def _note_changed_log(self, error: KafkaError) -> None:
        """Read nothing until the owner says where to go on; the client would find it again."""
        log.warning("Kafka's log is not what was read before: %s", error)
        with suppress(ValueError):  # a partition was revoked just now: that is a change too
            self.hold(self._consumer.assignment())
        self._watch.parts(error)
        self._moved += 1

    def _look_at_topics(self) -> None:
        """Notice a topic that was deleted and recreated with as many partitions as before."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + 1
        for topic, known in self.topic_ids().items():
            if self._topic_ids.setdefault(topic, known) != known:
                self._topic_ids[topic] = known
                self._moved += 1

    def take_changes(self) -> bool:
        """Return whether partitions or their logs have changed since the last call.

        Nothing that was received before may be used any more, and where to go on is to be found
        out for every assigned partition.
        """
        # One number is read once: a change that is noted meanwhile is found by the next call.
        now = self._listener.changes + self._moved
        changed = now != self._seen
        self._seen = now
        return changed

    def assigned(self) -> set[TopicPartition]:
        found: set[TopicPartition] = self._consumer.assignment()
        return found

    def missing_topics(self) -> list[str]:
        """Return the subscribed topics that Kafka does not have, as far as is known now."""
        known = self._consumer._cluster
        return [topic for topic in self._topics if not known.partitions_for_topic(topic)]

    def topic_ids(self) -> dict[str, UUID]:
        """Return the id of every subscribed topic that Kafka has, as far as is known now.

        A topic that was deleted and recreated has another one.
        """
        found = {topic: self._consumer._cluster.topic_id(topic) for topic in self._topics}
        return {topic: topic_id for topic, topic_id in found.items() if topic_id is not None}

    def bounds(
        self, partitions: Collection[TopicPartition]
    ) -> dict[TopicPartition, tuple[int, int]]:
        """Return the first offset that Kafka has of each partition, and the one after the last."""
        if not partitions:
            return {}
        listed = list(partitions)
        with _translated():
            begins = self._consumer.beginning_offsets(listed, timeout_ms=_ANSWER_MS)
            ends = self._consumer.end_offsets(listed, timeout_ms=_ANSWER_MS)
        return {partition: (begins[partition], ends[partition]) for partition in listed}

    def logs(self, known: Mapping[TopicPartition, Position | None]) -> dict[TopicPartition, Log]:
        """Return each partition as Kafka has it now, as `log_gaps.go_on` needs it."""
        ids = {name: t["topic_id"] for name, t in describe(self._kafka, _topics(known)).items()}
        with _translated():
            return self._watch.logs(known, ids)

    def go_on_from(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Read these partitions from these offsets, those of them that are still assigned."""
        assigned = self._consumer.assignment()
        for partition, offset in offsets.items():
            if partition in assigned:
                self._consumer.seek(partition, offset)
                self._consumer.resume(partition)
                self._handed.pop(partition, None)
                self._watch.forget([partition])

    def committed(self, partition: TopicPartition) -> OffsetAndMetadata | None:
        """Return the offset that the group has committed last, with its metadata."""
        with _translated():
            return self._consumer.committed(partition, metadata=True, timeout_ms=_ANSWER_MS)

    def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Keep offsets in the group; raise OwnershipLost when it has given this member up."""
        try:
            self._consumer.commit(dict(offsets), timeout_ms=_ANSWER_MS)
        except _GIVEN_UP as error:
            raise OwnershipLost(f"the consumer group has given this member up: {error}") from error
        except (KafkaError, AssertionError) as error:
            raise ServerUnavailable(f"Kafka keeps no offsets: {error!r}") from error

    def group_metadata(self) -> ConsumerGroupMetadata:
        """Return what a transaction needs so that Kafka refuses a member that was given up."""
        return self._consumer.group_metadata()

    def position(self, partition: TopicPartition) -> int | None:
        """Return the offset that is read next, beyond what is no record; None: not known yet."""
        with _translated():
            try:
                found: int | None = self._consumer.position(partition, timeout_ms=_ANSWER_MS)
            except _LOG_CHANGED as error:
                self._note_changed_log(error)
                return None
        return found

    def pause(self) -> None:
        self._consumer.pause(*self._consumer.assignment())

    def resume(self) -> None:
        self._consumer.resume(*self._consumer.assignment())

    def lag(self, following: Mapping[TopicPartition, int]) -> int:
        """Return how many records wait beyond ``following``, by what each last fetch knew.

        The marker at the end of a transaction is no record that anybody waits for.
        """
        waiting = 0
        for partition in self._consumer.assignment():
            end, at = self._consumer.highwater(partition), following.get(partition)
            if end is None or at is None:
                continue
            if at >= self._handed.get(partition, at):
                at = max(at, self._known_position(partition) or at)
            waiting += max(0, end - at)
        return waiting

    def _known_position(self, partition: TopicPartition) -> int | None:
        """Return the next offset as the client has it; its own ``position`` may ask Kafka first."""
        state = self._consumer._subscription.assignment.get(partition)
        position = None if state is None else state.position
        return None if position is None else int(position.offset)

    def close(self) -> None:
        self._consumer.close(autocommit=False, timeout_ms=5_000)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except FencedInstanceIdError as error:
        raise ConfigurationError(
            "another process reads in this consumer group under the same id; give each its own "
            "CIVICSTREAM_…__ID, or set CIVICSTREAM_SINK__STATIC_MEMBER=false"
        ) from error
    except (KafkaError, AssertionError) as error:
        raise ServerUnavailable(f"Kafka: {error!r}") from error
