"""Where to read on in a log that may not be the one that was read before; pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from civicstream.clock import now_ms
from civicstream.cloudevents import cloud_headers
from civicstream.events import FrameGap
from civicstream.kafka.transactional import Outgoing
from civicstream.topics import topic_name

__all__ = ["LogGap", "Position", "gap_record", "go_on"]

Reason = Literal["log_shorter", "log_cleaned", "topic_recreated"]

_WHY = {
    "log_shorter": "Kafka's log is shorter than what was read of it (power cut, restored or "
    "unclean leader)",
    "log_cleaned": "Kafka's log was cleaned before it was read (retention)",
    "topic_recreated": "the topic was deleted and made again",
}


class Position(msgspec.Struct, frozen=True):
    """How far a partition was read."""

    offset: int
    """Of the first record that was not read yet."""
    topic_id: str = ""
    """Kafka's own id of the topic: another one is another log. Empty: not known."""
    time_ms: int = 0
    """Of the record before it."""


class LogGap(msgspec.Struct, frozen=True):
    """Offsets ``first`` to before ``end`` are not on Kafka any more."""

    topic: str
    """With the prefix."""
    partition: int
    first: int
    end: int
    reason: Reason

    @property
    def missing(self) -> int:
        """Records that are gone, as far as offsets tell: of a topic made again nobody knows."""
        return max(0, self.end - self.first)

    def __str__(self) -> str:
        place = f"{self.topic} partition {self.partition}"
        return f"{place}: offsets {self.first} to {self.end - 1} are gone: {_WHY[self.reason]}"


def go_on(
    topic: str, partition: int, read: Position, topic_id: str, first: int, end: int
) -> tuple[Position, LogGap | None]:
    """Return where to read on in a log that holds ``first`` to before ``end``, and what is gone.

    Of a shorter log everything that is still there had been read: what comes from its end on is
    new, with offsets that were used before. All of a topic that was made again is new.
    """
    if read.topic_id and topic_id and topic_id != read.topic_id:
        gap = LogGap(topic, partition, read.offset, read.offset + 1, "topic_recreated")
        return Position(first, topic_id), gap
    if read.offset > end:
        gap = LogGap(topic, partition, end, read.offset, "log_shorter")
        return Position(end, topic_id, read.time_ms), gap
    if read.offset < first:
        gap = LogGap(topic, partition, read.offset, first, "log_cleaned")
        return Position(first, topic_id, read.time_ms), gap
    return Position(read.offset, topic_id or read.topic_id, read.time_ms), None


def gap_record(prefix: str, gap: LogGap, reader: str) -> Outgoing:
    """Return the record of the topic ``gaps``; ``reader`` is who missed something."""
    now = now_ms()
    event = FrameGap(
        gap.reason, 0, gap.topic, gap.partition, gap.first, missing=gap.missing, at=now
    )
    place = f"{gap.reason}/{gap.topic}/{gap.partition}/{gap.first}/{gap.end}"
    headers = cloud_headers(
        "gap", source=reader, event_id=f"{reader}/{place}", time_ms=now, subject=gap.reason
    )
    value = msgspec.json.encode(event)
    return Outgoing(topic_name(prefix, "gaps"), value, gap.reason.encode(), headers)
