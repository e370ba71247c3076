"""One partition of Kafka read in a group of its own, from where that group left off."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kafka import ConsumerRebalanceListener, OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaError

from civicstream.errors import OwnershipLost, ServerUnavailable
from civicstream.kafka.clients import consumer
from civicstream.settings import KafkaSettings

__all__ = ["LogReader", "Stopped"]

log = logging.getLogger(__name__)

_POLL_MS = 100
_POLL_RECORDS = 200


class Stopped(Exception):
    """The process is to end."""


class _Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]
    """Called on the client's own thread, so it only notes."""

    def __init__(self) -> None:
        self.changed = threading.Event()

    def on_partitions_revoked(self, _revoked: set[TopicPartition]) -> None:
        self.changed.set()

    def on_partitions_assigned(self, _assigned: set[TopicPartition]) -> None:
        self.changed.set()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except KafkaError as error:
        raise ServerUnavailable(f"Kafka: {error!r}") from error


class LogReader:
    """Reads a topic of one partition. Of several processes of a group one has it at a time."""

    def __init__(self, kafka: KafkaSettings, topic: str, group: str, stop: threading.Event) -> None:
        self.partition = TopicPartition(topic, 0)
        self._stop = stop
        self._listener = _Rebalances()
        with _translated():
            self._consumer = consumer(
                kafka,
                group_id=kafka.scoped(group),
                max_poll_records=_POLL_RECORDS,
                fetch_max_wait_ms=_POLL_MS,
                metrics_enabled=False,
            )
        self._consumer.subscribe([topic], listener=self._listener)

    def wait_for_partition(self) -> int | None:
        """Return, once the partition is ours, the offset to go on from; None in a new group."""
        while self.partition not in self._consumer.assignment():
            self._check_stop()
            with _translated():
                self._consumer.poll(_POLL_MS)
        self._listener.changed.clear()
        self._consumer.resume(self.partition)
        with _translated():
            # What was fetched meanwhile comes again: the caller seeks.
            found: int | None = self._consumer.committed(self.partition)
        return found

    def ends(self) -> tuple[int, int]:
        """Return the first offset that Kafka has, and the one after the last."""
        with _translated():
            first: int = self._consumer.beginning_offsets([self.partition])[self.partition]
            end: int = self._consumer.end_offsets([self.partition])[self.partition]
        return first, end

    def seek(self, offset: int) -> None:
        self._consumer.seek(self.partition, offset)

    def poll(self) -> list[Any]:
        """Return what has come within a moment; raise OwnershipLost when somebody else has it."""
        self._check_stop()
        with _translated():
            polled = self._consumer.poll(_POLL_MS)
        if self._listener.changed.is_set():
            raise OwnershipLost(f"{self.partition.topic} was assigned anew")
        records: list[Any] = polled.get(self.partition, [])
        return records

    def idle(self, pause_s: float) -> None:
        """Stay in the group for a while without reading on; raise as ``poll`` does."""
        until = time.monotonic() + pause_s
        self._consumer.pause(self.partition)
        while (left_s := until - time.monotonic()) > 0:
            self._check_stop()
            with _translated():
                self._consumer.poll(min(_POLL_MS, int(left_s * 1000) + 1))
            if self._listener.changed.is_set():
                raise OwnershipLost(f"{self.partition.topic} was assigned anew")
        self._consumer.resume(self.partition)

    def commit(self, offset: int) -> None:
        """Note that everything before ``offset`` is done."""
        with _translated():
            self._consumer.commit({self.partition: OffsetAndMetadata(offset, "", -1)})

    def at_end(self, offset: int) -> bool:
        """Return whether the last fetch found nothing from ``offset`` on."""
        end = self._consumer.highwater(self.partition)
        return end is not None and offset >= end

    def lag(self, following: int) -> int:
        """Return how many records wait from ``following`` on, as far as the last fetch knew."""
        end = self._consumer.highwater(self.partition)
        return max(0, (end or 0) - following)

    def _check_stop(self) -> None:
        if self._stop.is_set():
            raise Stopped

    def close(self) -> None:
        self._consumer.close(autocommit=False, timeout_ms=2_000)
