"""What has been consumed and waits to be written in one transaction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
import numpy as np

from civicstream.errors import CorruptFrame, DataError
from civicstream.events import (
    DeadLetter,
    EnvironmentResult,
    TrafficForecast,
    TrafficResult,
)
from civicstream.frames import Frame, FrameHeaders, decode
from civicstream.kafka.sequences import Received, received
from civicstream.kinds import KINDS
from civicstream.topics import frames_topic, topic_name
from sinks.dead_letters import StoredDeadLetter, corrupt_record
from sinks.event_tables import STORED_EVENTS
from sinks.intelligence import forecast_fault
from sinks.personal_records import Arrived, decode_personal
from sinks.records import KafkaRecord, TopicPartition

__all__ = ["Batch", "LateFrame", "RawFrame", "Routes"]


_Event = TypeVar("_Event", bound=msgspec.Struct)

_INT8_END = 2**63
_INT4_END = 2**31
_LAST_TS_MS = 253_402_300_800_000  # the year 10,000: no clock is that wrong
_DAY_MS = 86_400_000


@dataclass(frozen=True)
class RawFrame:
    """A frame of readings and where it came from."""

    topic_partition: TopicPartition
    offset: int
    headers: FrameHeaders
    frame: Frame


@dataclass(frozen=True)
class LateFrame:
    """Readings that came after their window was closed up to ``closed_until`` [ms]."""

    headers: FrameHeaders
    closed_until: int
    frame: Frame


class Routes:
    """What each consumed topic holds."""

    def __init__(self, prefix: str) -> None:
        self.kind_of = {topic_name(prefix, frames_topic(kind)): kind for kind in KINDS}
        self.event_of = {topic_name(prefix, name): event for name, event in STORED_EVENTS.items()}
        self.late = topic_name(prefix, "late")
        self.personal = topic_name(prefix, "private")
        self.dead_letters = topic_name(prefix, "deadletter")

    @property
    def topics(self) -> list[str]:
        return [*self.kind_of, *self.event_of, self.late, self.personal, self.dead_letters]


@dataclass
class Batch:
    """Records in order of arrival, decoded; ``next`` is the offset after them per partition."""

    routes: Routes
    instance: str
    frames: dict[str, list[RawFrame]] = field(default_factory=dict)
    late: list[LateFrame] = field(default_factory=list)
    traffic: list[TrafficResult] = field(default_factory=list)
    environment: list[EnvironmentResult] = field(default_factory=list)
    forecasts: list[TrafficForecast] = field(default_factory=list)
    histories: dict[type[msgspec.Struct], list[msgspec.Struct]] = field(default_factory=dict)
    """Incidents, reports, cases and others: a row each."""
    personal: list[Arrived] = field(default_factory=list)
    dead_letters: list[StoredDeadLetter] = field(default_factory=list)
    unreadable: dict[str, int] = field(default_factory=dict)
    """Readings by kind in frames that could not be read."""
    rejected: list[DeadLetter] = field(default_factory=list)
    """What this sink itself could not read."""
    received: list[Received] = field(default_factory=list)
    """The numbers of all records that have one."""
    next: dict[TopicPartition, int] = field(default_factory=dict)
    newest_at: dict[TopicPartition, int] = field(default_factory=dict)
    """When Kafka appended the newest record of each partition, where it says so [epoch ms]."""
    records: list[KafkaRecord] = field(default_factory=list)
    rows: int = 0
    days: set[tuple[str, int]] = field(default_factory=set)
    """Topics and days of the readings: no fewer than the chunks that writing them touches."""

    def add(self, records: Iterable[KafkaRecord], now_ms: int) -> None:
        """Decode and keep the records; what cannot be read becomes a dead letter."""
        for record in records:
            if record.append_time is not None:
                newest = self.newest_at.get(record.topic_partition, record.append_time)
                self.newest_at[record.topic_partition] = max(newest, record.append_time)
            try:
                self._add(record)
                self._number(record)
            except DataError as error:
                self._number(record, corrupt=True)
                secret = record.topic_partition.topic == self.routes.personal
                self.rejected.append(
                    corrupt_record(record, error, self.instance, now_ms, withhold=secret)
                )
                self.rows += 1
            self.next[record.topic_partition] = record.offset + 1
            self.records.append(record)

    def halves(self, now_ms: int) -> tuple[Batch, Batch]:
        """Return two batches of half the records each, in order; there must be two or more."""
        middle = len(self.records) // 2
        first, second = Batch(self.routes, self.instance), Batch(self.routes, self.instance)
        first.add(self.records[:middle], now_ms)
        second.add(self.records[middle:], now_ms)
        return first, second

    def _count_days(self, topic: str, frame: Frame) -> None:
        self.days.update((topic, day) for day in np.unique(frame.ts // _DAY_MS).tolist())

    def _number(self, record: KafkaRecord, *, corrupt: bool = False) -> None:
        """Note the record's number; of one that cannot be read too, if its headers can."""
        topic_partition = record.topic_partition
        found = received(
            topic_partition.topic, topic_partition.partition, record.headers, corrupt=corrupt
        )
        if found is None:
            return
        self.received.append(found)
        kind = self.routes.kind_of.get(topic_partition.topic)
        if corrupt and kind is not None:
            self.unreadable[kind] = self.unreadable.get(kind, 0) + found.count

    def _add(self, record: KafkaRecord) -> None:
        topic, routes = record.topic_partition.topic, self.routes
        if topic == routes.personal:
            self.personal.append((decode_personal(record), record))
            self.rows += 1
        elif record.value is None:
            raise CorruptFrame("empty_record", "the record has no value")
        elif topic in routes.kind_of:
            self._add_frame(record, routes.kind_of[topic], record.value)
        elif topic in routes.event_of:
            if _is_provisional(record):
                return
            self._add_event(_from_json(record.value, routes.event_of[topic]))
        elif topic == routes.late:
            self._add_late(record, record.value)
        else:
            dead_letter = _from_json(record.value, DeadLetter)
            _check_letter(dead_letter)
            self.dead_letters.append(StoredDeadLetter.of(record, dead_letter))
            self.rows += 1

    def _add_frame(self, record: KafkaRecord, kind: str, value: bytes) -> None:
        headers = _frame_headers(record)
        frame = decode(value, kind)
        if headers.count != len(frame):
            raise CorruptFrame(
                "frame_count", f"the headers say {headers.count} readings, there are {len(frame)}"
            )
        raw = RawFrame(record.topic_partition, record.offset, headers, frame)
        self.frames.setdefault(kind, []).append(raw)
        self._count_days(record.topic_partition.topic, frame)
        self.rows += len(frame)

    def _add_event(self, event: msgspec.Struct) -> None:
        if isinstance(event, TrafficResult):
            if event.status == "final":
                self.traffic.append(event)
                self.rows += len(event.segments)
        elif isinstance(event, EnvironmentResult):
            if event.status == "final":
                self.environment.append(event)
                self.rows += len(event.measures)
        elif isinstance(event, TrafficForecast):
            if fault := forecast_fault(event):
                raise CorruptFrame("foreign_record", f"not a forecast: {fault}")
            self.forecasts.append(event)
            self.rows += len(event.segments) * len(event.horizons_min)
        else:
            self.histories.setdefault(type(event), []).append(event)
            self.rows += 1

    def _add_late(self, record: KafkaRecord, value: bytes) -> None:
        headers = _frame_headers(record)
        found = dict(record.headers)
        try:
            kind, closed_until = found["kind"].decode(), int(found["closed_until"])
            frame = decode(value, KINDS[kind].name)
            _check_range("closed_until", closed_until, _INT8_END)
        except (KeyError, ValueError) as error:
            raise CorruptFrame(
                "late_headers", f"header kind or closed_until missing or malformed: {error!r}"
            ) from error
        self.late.append(LateFrame(headers, closed_until, frame))
        self._count_days(record.topic_partition.topic, frame)
        self.rows += len(frame)


def _is_provisional(record: KafkaRecord) -> bool:
    """Return whether it is a result of an open window, without decoding it: they are many."""
    return any(name == "ce_id" and b"/provisional/" in value for name, value in record.headers)


def _from_json(value: bytes, of: type[_Event]) -> _Event:
    try:
        return msgspec.json.decode(value, type=of)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptFrame("foreign_record", f"not a {of.__name__}: {error}") from error


def _frame_headers(record: KafkaRecord) -> FrameHeaders:
    headers = FrameHeaders.from_kafka(record.headers)
    for name in ("epoch", "seq", "ingested_at"):
        _check_range(name, getattr(headers, name), _INT8_END, "frame_headers")
    return headers


def _check_range(name: str, value: int | None, end: int, reason: str = "late_headers") -> None:
    """Raise CorruptFrame for a number that no column could hold: it would fail every batch."""
    if value is not None and not 0 <= value < end:
        raise CorruptFrame(reason, f"{name} {value} is outside 0..{end - 1}")


def _check_letter(dead_letter: DeadLetter) -> None:
    for name, end in (
        ("count", _INT4_END),
        ("partition", _INT4_END),
        ("offset", _INT8_END),
        ("payload_bytes", _INT8_END),
        ("received_at", _LAST_TS_MS),
    ):
        _check_range(name, getattr(dead_letter, name), end, "foreign_record")
