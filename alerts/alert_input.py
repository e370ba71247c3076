"""What the alert process reads: every topic that rules look at, all partitions in one process.

A rule may count over the whole city, so one process has everything: the one to which the consumer
group gives the only partition of the state store. It then reads the topics without a group of its
own; where it goes on is part of that state.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import (
    KafkaError,
    LogTruncationError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

from alerts.rules.rule import RuleSet
from alerts.rules.rule_values import WrongValue, duration_ms
from alerts.rules.sources import SOURCES
from civicstream.clock import wall_ms
from civicstream.errors import ConfigurationError, LogShortened, ServerUnavailable
from civicstream.kafka.clients import consumer, wait_for_kafka
from civicstream.kafka.log_gaps import LogGap, Position, append_time, go_on
from civicstream.kafka.reader import ConsumerWatch
from civicstream.kafka.replay import partitions_of, read_to_end
from civicstream.service_events import Action
from civicstream.settings import Settings
from civicstream.topics import topic_name

__all__ = ["AlertInput", "Placed", "Received", "read_last", "topic_memory"]

log = logging.getLogger(__name__)

_LOG_CHANGED = (OffsetOutOfRangeError, NoOffsetForPartitionError, LogTruncationError)
_POLL_RECORDS = 500
_FETCH_BYTES = 8 * 1024 * 1024
_POLL_MS = 100
_WAIT_MS = 10_000
# A topic that was made again is noticed by its id, in metadata of this age.
_METADATA_AGE_MS = 3_000
_MARGIN_MS = 15 * 60_000
_LONGEST_MARGIN_MS = 60 * 60_000


@dataclass(frozen=True)
class Received:
    """One record; ``topic`` without the prefix."""

    topic: str
    partition: TopicPartition
    offset: int
    timestamp: int
    appended_ms: int
    """By the broker's clock; 0: not known."""
    value: bytes
    headers: Sequence[tuple[str, bytes]] = ()


@dataclass(frozen=True)
class Placed:
    """Where reading begins: what lies before ``live`` has been taken into the state."""

    begin: int
    live: Position
    target: int
    """End when it was placed."""
    gap: LogGap | None = None


class AlertInput:
    """A consumer of all partitions; every method raises ServerUnavailable."""

    def __init__(self, settings: Settings) -> None:
        prefix = settings.kafka.topic_prefix
        self._topics = {topic_name(prefix, name): name for name in (*SOURCES, "actions")}
        with _translated():
            self._consumer: KafkaConsumer = consumer(
                settings.kafka,
                group_id=None,
                client_id=settings.alerts.id,
                isolation_level="read_committed",
                auto_offset_reset="none",
                metadata_max_age_ms=_METADATA_AGE_MS,
                max_poll_records=_POLL_RECORDS,
                max_partition_fetch_bytes=_FETCH_BYTES,
                metrics_enabled=False,
            )
        self._watch = ConsumerWatch(self._consumer)
        try:
            self.partitions = partitions_of(self._consumer, list(self._topics))
        except BaseException:
            self.close()
            raise
        self._consumer.assign(self.partitions)
        self._consumer.pause(*self.partitions)

    def topic_id(self, topic: str) -> str:
        return str(self._consumer._cluster.topic_id(topic) or "")

    def poll(self, timeout_ms: int) -> list[Received]:
        """Return what has come, in order per partition.

        Raise LogShortened when a log is not the one that was read.
        """
        with self._asking():
            polled = self._consumer.poll(timeout_ms)
        if self._watch.sees_cut(polled):
            raise LogShortened("a log was cut and has grown again")
        return [
            Received(
                topic=self._topics[r.topic],
                partition=partition,
                offset=r.offset,
                timestamp=r.timestamp,
                appended_ms=append_time(r),
                value=r.value,
                headers=r.headers,
            )
            for partition, records in polled.items()
            for r in records
            if r.value is not None
        ]

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Raise LogShortened when the client finds that a log is not the one that was read."""
        try:
            with _translated():
                yield
        except _LOG_CHANGED as error:
            self._watch.parts(error)
            raise LogShortened(str(error)) from error

    def place(
        self,
        read: Mapping[TopicPartition, Position],
        at_ms: int,
        memory_ms: Mapping[str, int],
    ) -> dict[TopicPartition, Placed]:
        """Return where to begin: by each topic's memory before where the last life ended.

        ``memory_ms`` by topic without the prefix. A partition nobody has read counts as read up
        to its end: what is past raises nothing.
        """
        ids = {topic: self.topic_id(topic) for topic in self._topics}
        with _translated():
            logs = self._watch.logs({p: read.get(p) for p in self.partitions}, ids)
        live: dict[TopicPartition, tuple[Position, LogGap | None]] = {}
        for p, found in logs.items():
            known = read.get(p)
            if known is None:
                live[p] = Position(found.end, found.topic_id), None
            else:
                live[p] = go_on(p.topic, p.partition, known, found)
        self._watch.forget(self.partitions)
        back = {
            p: max(0, (at.newest_ms or at_ms) - memory_ms[self._topics[p.topic]])
            for p, (at, _) in live.items()
        }
        with _translated():
            times = self._consumer.offsets_for_times(back, timeout_ms=_WAIT_MS)
        return {
            p: Placed(self._begin(times.get(p), at), at, max(logs[p].end, at.next_offset), gap)
            for p, (at, gap) in live.items()
        }

    @staticmethod
    def _begin(first: Any, live: Position) -> int:
        """Nothing as young as asked for: Kafka answers None."""
        return live.next_offset if first is None else min(int(first.offset), live.next_offset)

    def read_back(self, placed: Mapping[TopicPartition, Placed]) -> Iterator[list[Received]]:
        """Yield what lies before each partition's ``live``, then stand there.

        Yields empty lists too, so that whoever reads can look after other things.
        """
        waiting = {p for p, at in placed.items() if at.begin < at.live.next_offset}
        for partition, at in placed.items():
            self._consumer.seek(partition, at.begin)
        self._consumer.resume(*waiting)
        while waiting:
            received = self.poll(_POLL_MS)
            yield [r for r in received if r.offset < placed[r.partition].live.next_offset]
            done = {p for p in waiting if self.position(p) >= placed[p].live.next_offset}
            if done:
                self._consumer.pause(*done)
                waiting -= done
        for partition, at in placed.items():
            self._consumer.seek(partition, at.live.next_offset)
        self._consumer.resume(*self.partitions)

    def position(self, partition: TopicPartition) -> int:
        with self._asking():
            position = self._consumer.position(partition, timeout_ms=_WAIT_MS)
        if position is None:
            raise ServerUnavailable(f"Kafka gives no position in {partition.topic}")
        return int(position)

    def lag(self) -> dict[TopicPartition, int]:
        """Return how many records wait in each partition, by the high watermark of its fetches."""
        waiting = {}
        for partition in self.partitions:
            end = self._consumer.highwater(partition)
            waiting[partition] = max(0, end - self.position(partition)) if end is not None else 0
        return waiting

    def hold(self) -> None:
        """Read nothing until it is placed again."""
        self._consumer.pause(*self.partitions)

    def close(self) -> None:
        self._consumer.close(autocommit=False, timeout_ms=5_000)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except _LOG_CHANGED:
        raise
    except (KafkaError, OSError, AssertionError) as error:
        raise ServerUnavailable(f"Kafka: {error!r}") from error


def topic_memory(settings: Settings, rules: RuleSet, *, all_known: bool) -> dict[str, int]:
    """Return how far back each topic is read at a start [ms].

    By the longest time of a rule, and by that after which a subject without data is forgotten: of
    what holds, the state store says when it began, the topic when it was last confirmed. Where the
    store does not know all rules (``all_known``), what reports only changes is read as far as
    the settings say: a sensor that fell silent last week is silent now.
    """
    changes_ms = 0 if all_known else round(settings.alerts.read_back_h * 3_600_000)
    memory: dict[str, int] = {}
    for name, source in SOURCES.items():
        conditions = [c for rule in rules.rules for c in rule.conditions if c.source == name]
        forgotten_ms = max((c.forget_after_ms for c in conditions), default=0)
        margin_ms = max(_MARGIN_MS, min(forgotten_ms, _LONGEST_MARGIN_MS))
        least_ms = 0 if source.windowed else changes_ms
        memory[name] = max(rules.memory_ms + margin_ms, least_ms)
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
    for name in (*SOURCES, "actions"):
        decoder = msgspec.json.Decoder(Action if name == "actions" else SOURCES[name].event)
        topic = topic_name(settings.kafka.topic_prefix, name)
        for record in read_to_end(settings.kafka, topic, since_ms=since_ms):
            if record.value is not None:
                yield name, decoder.decode(record.value)
