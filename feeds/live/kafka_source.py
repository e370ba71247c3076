"""The result topics, read on a thread of their own: every process reads all of them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from civicstream.clock import wall_ms
from civicstream.events import LedgerReport
from civicstream.kafka.clients import consumer, wait_for_kafka
from civicstream.retry import ThrottledLog
from civicstream.settings import KafkaSettings
from civicstream.topics import TOPICS, topic_name
from feeds.live.data_status import QUIET_MS, StatusWatch
from feeds.live.event_items import EVENT_TYPES, decode_event, items_of
from feeds.live.item import Item
from feeds.live.places import Places

__all__ = ["Deliver", "KafkaSource"]

log = logging.getLogger(__name__)

Deliver = Callable[[list[Item], int], None]
"""Takes items and the oldest time [ms] at which Kafka got one of their events. Called on the
source's thread; it returns when there is room for more."""

_POLL_MS = 500
_LOOK_AGAIN_S = 5.0
_LOOK_WITHIN_MS = 2_000
_PAUSE_S = 1.0
_SAY_UNREADABLE = 20  # the gauge live_unreadable counts them all

# Of these the newest event says everything, and the next is seconds or minutes away: they are
# read from the look-back on, however far the sink has come.
_REPEATED = {"results.traffic", "results.environment", "forecasts", "units", "demand", "ledger"}


class KafkaSource:
    """Reads from ``lookback_ms`` ago on, without a group; ``rewind`` takes it further back."""

    def __init__(
        self,
        kafka: KafkaSettings,
        places: Places,
        deliver: Deliver,
        lookback_ms: int,
        status: StatusWatch,
    ) -> None:
        self._kafka = kafka
        self._status = status
        self._places = places
        self._deliver = deliver
        self._lookback_ms = lookback_ms
        self._topics = {topic_name(kafka.topic_prefix, name): name for name in EVENT_TYPES}
        self._frames = {topic_name(kafka.topic_prefix, name) for name in TOPICS if _frames(name)}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="live-kafka", daemon=True)
        self._lock = threading.Lock()
        self._wanted: dict[TopicPartition, int] = {}
        self._began: dict[TopicPartition, int] = {}
        self._next: dict[TopicPartition, int] = {}
        self._faults = ThrottledLog(log)
        self.last_record_at: float | None = None
        """Monotonic time [s] of the last record; stages report to the ledger every second."""
        self.unreadable = 0

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """End the thread; it has ended when this returns, or after ten seconds."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(10)

    def rewind(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Read (again) from ``offsets`` on where reading began later; (topic, partition) -> offset.

        They are where the sink is: what comes after is not in the database.
        """
        with self._lock:
            self._wanted |= {
                TopicPartition(topic, partition): offset
                for (topic, partition), offset in offsets.items()
                if self._topics.get(topic, "ledger") not in _REPEATED
            }

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._read()
            except (KafkaError, OSError, ValueError) as error:  # ValueError: closed meanwhile
                self._faults.warning(
                    type(error).__name__, "live: Kafka at %s: %s", self._kafka.bootstrap, error
                )
                self._stop.wait(_PAUSE_S)

    def _read(self) -> None:
        wait_for_kafka(self._kafka, stop=self._stop)
        if self._stop.is_set():
            return
        reader = consumer(
            self._kafka,
            group_id=None,
            bootstrap_timeout_ms=5_000,
            max_poll_records=2_000,
            isolation_level="read_committed",
            metrics_enabled=False,
        )
        try:
            looked_at = -_LOOK_AGAIN_S
            while not self._stop.is_set():
                if time.monotonic() - looked_at > _LOOK_AGAIN_S:
                    self._assign(reader)
                    self._look_at_frames(reader)
                    looked_at = time.monotonic()
                self._go_back(reader)
                if reader.assignment():
                    self._take(reader.poll(timeout_ms=_POLL_MS))
                else:
                    self._stop.wait(_PAUSE_S)
                    looked_at = -_LOOK_AGAIN_S
        finally:
            reader.close()

    def _assign(self, reader: KafkaConsumer) -> None:
        """Assign all partitions that exist; new ones from the look-back on."""
        present = reader.topics()
        partitions = [
            TopicPartition(topic, number)
            for topic in self._topics
            if topic in present
            for number in sorted(reader.partitions_for_topic(topic) or ())
        ]
        if set(partitions) == reader.assignment():
            return
        new = [p for p in partitions if p not in self._next]
        starts = self._starts(reader, new)
        reader.assign(partitions)
        self._began |= starts
        self._next |= starts
        for partition in partitions:
            reader.seek(partition, self._next[partition])

    def _starts(
        self, reader: KafkaConsumer, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, int]:
        if not partitions:
            return {}
        since = wall_ms() - self._lookback_ms
        found = reader.offsets_for_times(dict.fromkeys(partitions, since))
        ends = reader.end_offsets(partitions)
        # Without a record since then Kafka answers nothing.
        return {p: at.offset if (at := found.get(p)) else ends[p] for p in partitions}

    def _look_at_frames(self, reader: KafkaConsumer) -> None:
        """Find where on the frames topics, which are not read here, the last 30 s begin."""
        partitions = [
            TopicPartition(topic, number)
            for topic in sorted(self._frames & reader.topics())
            for number in reader.partitions_for_topic(topic) or ()
        ]
        if not partitions:
            return
        since = dict.fromkeys(partitions, wall_ms() - QUIET_MS)
        try:
            starts = reader.beginning_offsets(partitions, timeout_ms=_LOOK_WITHIN_MS)
            ends = reader.end_offsets(partitions, timeout_ms=_LOOK_WITHIN_MS)
            found = reader.offsets_for_times(since, timeout_ms=_LOOK_WITHIN_MS)
        except KafkaError as error:  # e.g. no right to: the sink's own report is left
            log.debug("live: the ends of the frames topics are not known: %s", error)
            return
        due = {p: at.offset if (at := found.get(p)) is not None else ends[p] for p in partitions}
        # What was deleted before anybody stored it is for the ledger to report.
        self._status.due({(p.topic, p.partition): o for p, o in due.items() if o > starts[p]})

    def _go_back(self, reader: KafkaConsumer) -> None:
        with self._lock:
            wanted = {p: o for p, o in self._wanted.items() if o < self._began.get(p, -1)}
        for partition, offset in wanted.items():
            beginning = reader.beginning_offsets([partition])[partition]
            self._began[partition] = self._next[partition] = max(offset, beginning)
            reader.seek(partition, self._next[partition])
            log.info("live: %s partition %d is read again from %d", *partition, offset)
            with self._lock:
                self._wanted.pop(partition, None)

    def _take(self, polled: Mapping[TopicPartition, list[Any]]) -> None:
        if not polled:
            return
        items: list[Item] = []
        oldest = min(records[0].timestamp for records in polled.values())
        for partition, records in polled.items():
            name = self._topics[partition.topic]
            for record in records:
                items += self._items(name, record)
            self._status.read(
                (partition.topic, partition.partition),
                records[-1].offset,
                wall_ms(),
                result=name.startswith("results."),
            )
            self._next[partition] = records[-1].offset + 1
        self.last_record_at = time.monotonic()
        self._deliver(items, oldest)

    def _items(self, name: str, record: Any) -> Iterable[Item]:
        if record.value is None:
            return []
        try:
            event = decode_event(name, record.value)
            if isinstance(event, LedgerReport):
                self._status.report(event, wall_ms())
            return list(items_of(event, self._places))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self.unreadable += 1
            if self.unreadable <= _SAY_UNREADABLE:
                log.warning(
                    "live: %s partition %d offset %d cannot be read: %s",
                    record.topic,
                    record.partition,
                    record.offset,
                    error,
                )
            return []


def _frames(name: str) -> bool:
    return name.startswith("frames.")
