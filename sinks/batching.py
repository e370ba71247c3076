"""What has been consumed and waits to be written in one transaction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from civicstream.errors import CorruptFrame, DataError
from civicstream.events import DeadLetter, EnvironmentResult, TrafficResult
from civicstream.frames import Frame, FrameHeaders, decode
from civicstream.kinds import KINDS
from civicstream.topics import frames_topic, topic_name
from sinks.letters import StoredLetter, corrupt_record
from sinks.records import KafkaRecord, Place

__all__ = ["Batch", "LateFrame", "RawFrame", "Routes"]


_Event = TypeVar("_Event", DeadLetter, TrafficResult, EnvironmentResult)


@dataclass(frozen=True)
class RawFrame:
    """A frame of readings and where it came from."""

    place: Place
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
        self.traffic = topic_name(prefix, "results.traffic")
        self.environment = topic_name(prefix, "results.environment")
        self.late = topic_name(prefix, "late")
        self.dead_letters = topic_name(prefix, "deadletter")

    @property
    def topics(self) -> list[str]:
        return [*self.kind_of, self.traffic, self.environment, self.late, self.dead_letters]


@dataclass
class Batch:
    """Records in order of arrival, decoded; ``next`` is the offset after them per partition."""

    routes: Routes
    instance: str
    frames: dict[str, list[RawFrame]] = field(default_factory=dict)
    late: list[LateFrame] = field(default_factory=list)
    traffic: list[TrafficResult] = field(default_factory=list)
    environment: list[EnvironmentResult] = field(default_factory=list)
    letters: list[StoredLetter] = field(default_factory=list)
    rejected: list[DeadLetter] = field(default_factory=list)
    """What this sink itself could not read."""
    next: dict[Place, int] = field(default_factory=dict)
    records: int = 0
    rows: int = 0

    def add(self, records: Iterable[KafkaRecord], now_ms: int) -> None:
        """Decode and keep the records; what cannot be read becomes a dead letter."""
        for record in records:
            try:
                self._add(record)
            except DataError as error:
                self.rejected.append(corrupt_record(record, error, self.instance, now_ms))
                self.rows += 1
            self.next[record.place] = record.offset + 1
            self.records += 1

    def _add(self, record: KafkaRecord) -> None:
        topic, routes = record.place.topic, self.routes
        if record.value is None:
            raise CorruptFrame("empty_record", "the record has no value")
        if topic in routes.kind_of:
            self._add_frame(record, routes.kind_of[topic], record.value)
        elif topic == routes.traffic:
            self._add_traffic(record.value)
        elif topic == routes.environment:
            self._add_environment(record.value)
        elif topic == routes.late:
            self._add_late(record, record.value)
        else:
            letter = _from_json(record.value, DeadLetter)
            self.letters.append(StoredLetter.of(record, letter))
            self.rows += 1

    def _add_frame(self, record: KafkaRecord, kind: str, value: bytes) -> None:
        headers = FrameHeaders.from_kafka(record.headers)
        frame = decode(value, kind)
        if headers.count != len(frame):
            raise CorruptFrame(
                "frame_count", f"the headers say {headers.count} readings, there are {len(frame)}"
            )
        raw = RawFrame(record.place, record.offset, headers, frame)
        self.frames.setdefault(kind, []).append(raw)
        self.rows += len(frame)

    def _add_traffic(self, value: bytes) -> None:
        result = _from_json(value, TrafficResult)
        if result.status == "final":
            self.traffic.append(result)
            self.rows += len(result.segments)

    def _add_environment(self, value: bytes) -> None:
        result = _from_json(value, EnvironmentResult)
        if result.status == "final":
            self.environment.append(result)
            self.rows += len(result.measures)

    def _add_late(self, record: KafkaRecord, value: bytes) -> None:
        headers = FrameHeaders.from_kafka(record.headers)
        found = dict(record.headers)
        try:
            kind, closed_until = found["kind"].decode(), int(found["closed_until"])
            frame = decode(value, KINDS[kind].name)
        except (KeyError, ValueError) as error:
            raise CorruptFrame(
                "late_headers", f"header kind or closed_until missing or malformed: {error!r}"
            ) from error
        self.late.append(LateFrame(headers, closed_until, frame))
        self.rows += len(frame)


def _from_json(value: bytes, of: type[_Event]) -> _Event:
    try:
        return msgspec.json.decode(value, type=of)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CorruptFrame("foreign_record", f"not a {of.__name__}: {error}") from error
