"""Reads a gateway's records back from the topic ``parked``, on a thread of its own.

Where the gateway goes on reading is kept in Kafka, as offsets of a consumer group of its own; which
gateway reads a partition is not for the group to say, since each reads all of them for its own.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaError

from civicstream.errors import ServerUnavailable
from civicstream.kafka.clients import consumer
from civicstream.kafka.replay import read_to_end
from civicstream.settings import KafkaSettings
from civicstream.topics import TOPICS, topic_name
from ingest.parking import PARKED, Parked, PassEnd, read_parked

__all__ = ["ParkedReader", "group_of"]

log = logging.getLogger(__name__)

_QUEUED_BYTES = 16 * 1024 * 1024
"""Read and not taken yet; then no more is read."""
_ANSWER_MS = 10_000
_PATIENCE_S = 10.0
_COMMIT_ATTEMPTS = 3


def group_of(gateway: str) -> str:
    """Return the name, below the topic prefix, of the group that keeps a gateway's offsets."""
    return f"civicstream-parked-{gateway}"


class ParkedReader:
    """One pass over the topic at a time; ``wake`` is called when something was read."""

    def __init__(self, kafka: KafkaSettings, gateway: str, wake: Callable[[], None]) -> None:
        self._kafka, self._gateway, self._wake = kafka, gateway, wake
        self._topic = topic_name(kafka.topic_prefix, PARKED)
        self._partitions = [
            TopicPartition(self._topic, number) for number in range(TOPICS[PARKED].partitions or 1)
        ]
        self._read: deque[Parked | PassEnd] = deque()
        self._room = threading.Condition()
        self._bytes = 0
        self._stop = threading.Event()
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self, begin: Mapping[int, int]) -> None:
        """Begin a pass from these offsets; where none is given, from the committed ones."""
        self._do(lambda: self._pass(dict(begin)))

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Keep where the next start of this gateway has to begin."""
        self._do(lambda: self._commit(dict(offsets)))

    def next(self) -> Parked | PassEnd | None:
        """Return what was read next: a record of this gateway's, the end of the pass, or None."""
        if not self._read:
            return None
        found = self._read.popleft()
        if isinstance(found, Parked):
            with self._room:
                self._bytes -= len(found.record.value)
                self._room.notify()
        return found

    def close(self, timeout_s: float) -> None:
        """End the thread, after a commit that was asked for."""
        self._stop.set()
        with self._room:
            self._room.notify()
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join(timeout_s)

    def _do(self, job: Callable[[], None]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="parked", daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _pass(self, begin: dict[int, int]) -> None:
        ends: dict[int, int] = {}
        try:
            begin = self._begin(begin)
            starts = {p: begin[p.partition] for p in self._partitions}
            for record in read_to_end(
                self._kafka, self._topic, begin=starts, stop=self._stop, patience_s=_PATIENCE_S
            ):
                ends[record.partition] = record.offset + 1
                place = (record.partition, record.offset)
                found = read_parked(record.value or b"", record.key, record.headers, place)
                if found is None:
                    log.error("%s partition %d: offset %d is no parked record", self._topic, *place)
                elif found.number.gateway == self._gateway:
                    self._hand_over(found)
        except (ServerUnavailable, KafkaError, OSError) as error:
            log.warning("the parked records cannot be read now: %s", error)
            self._read.append(PassEnd(complete=False))
        else:
            self._read.append(PassEnd(begin | ends, complete=not self._stop.is_set()))
        self._wake()

    def _hand_over(self, found: Parked) -> None:
        with self._room:
            self._room.wait_for(lambda: self._bytes < _QUEUED_BYTES or self._stop.is_set())
            self._bytes += len(found.record.value)
        self._read.append(found)
        self._wake()

    def _begin(self, wanted: dict[int, int]) -> dict[int, int]:
        """Return where to read from: as wanted, else as committed, but within what Kafka has."""
        with _Group(self._kafka, self._gateway, self._partitions) as reader:
            first = reader.beginning_offsets(self._partitions, timeout_ms=_ANSWER_MS)
            end = reader.end_offsets(self._partitions, timeout_ms=_ANSWER_MS)
            found = {}
            for p in self._partitions:
                offset = wanted.get(p.partition)
                if offset is None:
                    offset = reader.committed(p, timeout_ms=_ANSWER_MS) or 0
                # A log that ends before it is another one: what was delivered twice counts once.
                found[p.partition] = offset if first[p] <= offset <= end[p] else first[p]
        return found

    def _commit(self, offsets: dict[int, int]) -> None:
        topic = self._topic
        for attempt in range(_COMMIT_ATTEMPTS):
            if attempt:
                self._stop.wait(1)
            if self._try_commit(topic, offsets):
                return
        # The records below are delivered again by the next start, and count once.
        log.warning("where to go on in %s is not kept", topic)

    def _try_commit(self, topic: str, offsets: dict[int, int]) -> bool:
        try:
            with _Group(self._kafka, self._gateway, self._partitions) as reader:
                reader.commit(
                    {
                        TopicPartition(topic, number): OffsetAndMetadata(offset, "", -1)
                        for number, offset in offsets.items()
                    },
                    timeout_ms=_ANSWER_MS,
                )
        except (KafkaError, OSError) as error:
            log.info("where to go on in %s is not kept yet: %r", topic, error)
            return False
        return True


class _Group:
    """A consumer for the offsets of the gateway's group; no member of it."""

    def __init__(
        self, kafka: KafkaSettings, gateway: str, partitions: list[TopicPartition]
    ) -> None:
        self._reader = consumer(
            kafka, group_id=kafka.scoped(group_of(gateway)), metrics_enabled=False
        )
        self._reader.assign(partitions)

    def __enter__(self) -> KafkaConsumer:
        return self._reader

    def __exit__(self, *_: object) -> None:
        self._reader.close(autocommit=False, timeout_ms=5_000)
