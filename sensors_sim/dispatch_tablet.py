"""What crews see of the dispatcher's work: allocations, tours, where cases and incidents are.

Reads Kafka as a tablet in a vehicle would; without Kafka there is nothing to see.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

import msgspec
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from civicstream.events import Incident
from civicstream.kafka.clients import check_reachable, consumer
from civicstream.service_events import Allocation, Case, Tour
from civicstream.settings import KafkaSettings
from civicstream.topics import topic_name

__all__ = ["DispatchTablet", "News", "newest_standing"]

log = logging.getLogger(__name__)

News = Allocation | Case | Incident | Tour

_TYPES: dict[str, type[News]] = {
    "cases": Case,
    "incidents": Incident,
    "allocations": Allocation,
    "tours": Tour,
}

_TRY_EVERY_S = 10.0
_PROBE_EVERY_S = 2.0
"""A reader says nothing of a broker that is gone; crews go on by themselves without it."""


class DispatchTablet:
    """Not for several threads. ``close`` it at the end."""

    def __init__(self, kafka: KafkaSettings, try_every_s: float = _TRY_EVERY_S) -> None:
        self._kafka = kafka
        self._try_every_s = try_every_s
        self._complaint = ""
        self._names = {topic_name(kafka.topic_prefix, name): name for name in _TYPES}
        self._reader: KafkaConsumer | None = None
        self._history: list[News] | None = None
        """What was there before; None once it has been read."""
        self._next_try = self._next_probe = 0.0

    @property
    def reads(self) -> bool:
        """Whether what is decided comes in, its history read."""
        return self._reader is not None and self._history is None

    def poll(self) -> list[News]:
        """Return what is new; where a case or incident is, before who is sent there.

        Of what was decided before the tablet was switched on, only what still stands.
        """
        now = time.monotonic()
        if self._reader is None:
            if now >= self._next_try:
                self._next_try = now + self._try_every_s
                self._connect()
            if self._reader is None:
                return []
        elif now >= self._next_probe:
            self._next_probe = now + _PROBE_EVERY_S
            try:
                check_reachable(self._kafka.bootstrap)
            except OSError:
                self._complain("is gone")
                self.close()
                return []
        try:
            return self._read(self._reader)
        except KafkaError as error:
            self._complain(str(error))
            self.close()
            return []

    def _connect(self) -> None:
        try:
            check_reachable(self._kafka.bootstrap)
        except OSError:
            self._complain("does not answer")
            return
        try:
            reader = consumer(self._kafka, group_id=None, bootstrap_timeout_ms=3_000)
        except KafkaError as error:
            self._complain(str(error))
            return
        try:
            missing = sorted(self._names.keys() - reader.topics())
            if missing:
                self._complain(f"has no {', '.join(missing)} yet")
                reader.close()
                return
            partitions = [TopicPartition(name, 0) for name in self._names]
            reader.assign(partitions)
            reader.seek_to_beginning(*partitions)
        except KafkaError as error:
            self._complain(str(error))
            reader.close()
            return
        self._reader, self._history = reader, []

    def _complain(self, problem: str) -> None:
        """Log a problem once, not at every attempt."""
        if problem != self._complaint:
            self._complaint = problem
            place = self._kafka.bootstrap
            log.warning("Kafka at %s %s: crews only report their places", place, problem)

    def _read(self, reader: KafkaConsumer) -> list[News]:
        polled = reader.poll(timeout_ms=20)
        news = [
            event
            for name, topic in self._names.items()
            for record in polled.get(TopicPartition(name, 0), ())
            if (event := _decode(topic, record.value)) is not None
        ]
        if self._history is None:
            return news
        self._history += news
        if not all(_at_end(reader, TopicPartition(name, 0)) for name in self._names):
            return []
        history, self._history, self._complaint = self._history, None, ""
        log.info("crews get their allocations from Kafka at %s", self._kafka.bootstrap)
        places: list[News] = [e for e in history if isinstance(e, Case | Incident)]
        # A tour that was under way ended with the truck that drove it: it gets a new one.
        return [*places, *newest_standing(e for e in history if isinstance(e, Allocation))]

    def close(self) -> None:
        """End the reader; ``poll`` would start another."""
        if self._reader is not None:
            self._reader.close()
        self._reader = self._history = None


def newest_standing(allocations: Iterable[Allocation]) -> list[Allocation]:
    """Return the newest version of each allocation that nobody has ended, oldest first."""
    newest: dict[str, Allocation] = {}
    for allocation in allocations:
        known = newest.get(allocation.id)
        if known is None or allocation.version > known.version:
            newest[allocation.id] = allocation
    standing = [a for a in newest.values() if a.state in {"proposed", "accepted"}]
    return sorted(standing, key=lambda a: (a.decided_at, a.id))


def _decode(topic: str, value: bytes | None) -> News | None:
    try:
        return msgspec.json.decode(value or b"", type=_TYPES[topic])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # Whoever wrote it, the sink keeps it as a dead letter.
        log.warning("skipping a record of %s: %s", topic, error)
        return None


def _at_end(reader: KafkaConsumer, partition: TopicPartition) -> bool:
    end = reader.highwater(partition)
    return end is not None and reader.position(partition) >= end
