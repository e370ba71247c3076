"""Where to read on in a log that may not be the one that was read before; pure.

A power cut, a restored broker or an election among replicas that lack records can leave a log that
ends before what was read of it, and that grows again with other records under the same offsets;
retention can delete what was not read yet; a topic can be deleted and recreated.

A log that was cut shows in two ways: it ends before the next offset to read, or, once it has grown
past that, the first record appended after the newest one that was read has a lower offset. That
record is also the first that is new (docs/decisions/0005-append-times-show-cut-logs.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from civicstream.clock import now_ms
from civicstream.cloudevents import cloud_headers
from civicstream.events import FrameGap
from civicstream.kafka.transactional import Outgoing
from civicstream.topics import topic_name

__all__ = [
    "Log",
    "LogGap",
    "LogWatch",
    "Position",
    "Reason",
    "Times",
    "append_time",
    "gap_record",
    "go_on",
]

Reason = Literal["topic_recreated", "log_truncated", "deleted"]

_PROOF_MS = 1_000
"""A record of a lower offset appended so much later proves that the log was cut. Clocks of brokers
differ, and the markers of transactions, which no reader sees, have times as well; a broker takes
longer to come back."""

_LOG_APPEND_TIME = 1


class Position(
    msgspec.Struct, frozen=True, rename={"next_offset": "offset", "newest_ms": "time_ms"}
):
    """How far a partition was read; encoded under the names that state stores have."""

    next_offset: int
    """Of the first record that was not read yet."""
    topic_id: str = ""
    """Kafka's own id of the topic: another one is another log. Empty: not known."""
    newest_ms: int = 0
    """When Kafka appended the newest record that was read [epoch ms]; 0: not known."""


class Log(msgspec.Struct, frozen=True):
    """A partition as Kafka has it now: its first offset, the one after its last."""

    topic_id: str
    begin: int
    end: int
    later: int | None = None
    """First offset appended after ``Position.newest_ms``; None: there is none, or no such time."""
    proof: int | None = None
    """First offset appended more than ``_PROOF_MS`` after it."""
    parted: int | None = None
    """First offset that is not what was read, where the client has learnt of it while it read."""


class LogGap(msgspec.Struct, frozen=True):
    """Records from ``first`` to before ``end`` are not what they were, or are gone."""

    topic: str
    """With the prefix."""
    partition: int
    topic_id: str
    """Of the topic as it was found."""
    reason: Reason
    first: int
    end: int | None
    """None: how many is not known."""
    read_from: int

    @property
    def missing(self) -> int:
        """How many offsets it spans, 0 where that is not known."""
        return 0 if self.end is None else max(0, self.end - self.first)

    @property
    def id(self) -> str:
        """The same whenever it is found again."""
        return f"{self.reason}/{self.topic}/{self.partition}/{self.first}/{self.end}"

    def event(self, at_ms: int) -> FrameGap:
        """Return the event of the topic ``gaps``; its gateway is Kafka's log."""
        place = (self.topic, self.partition, self.first)
        return FrameGap(self.reason, 0, *place, missing=self.missing, at=at_ms)

    def __str__(self) -> str:
        where = f"{self.topic} partition {self.partition}"
        match self.reason:
            case "topic_recreated":
                what = (
                    f"the topic was deleted and made anew (id {self.topic_id}); what the old one "
                    f"may have had from offset {self.first} on was not read"
                )
            case "log_truncated":
                what = (
                    f"Kafka has lost its records from offset {self.first} to {self.end}, which "
                    "had been read"
                )
            case "deleted":
                what = f"Kafka deleted offsets {self.first} to {self.end} before they were read"
        return f"{where}: {what}; reading goes on at {self.read_from}"


class Times(NamedTuple):
    """Which first offsets to ask Kafka for, by partition [epoch ms]."""

    later: dict[Any, int]
    proof: dict[Any, int]

    @classmethod
    def of(cls, known: Mapping[Any, Position | None]) -> Times:
        """Return those of the partitions of which a time is known."""
        newest = {p: at.newest_ms for p, at in known.items() if at is not None and at.newest_ms}
        return cls(
            {p: ms + 1 for p, ms in newest.items()},
            {p: ms + 1 + _PROOF_MS for p, ms in newest.items()},
        )


class LogWatch:
    """Notices a log that was cut and has grown again between two fetches of a client.

    While the broker is away nothing is appended. So where a record was appended later than the one
    before it by more than `_PROOF_MS`, what had been read before the pause is held against the log:
    the newer records hide what went before them.
    """

    def __init__(self) -> None:
        self._read: dict[Any, Position] = {}
        self._doubted: dict[Any, Position] = {}
        """How far a partition had been read before a pause."""
        self.parted: dict[Any, int] = {}
        """First offset of a partition that is not what was read; until it is forgotten."""

    def took(self, partition: Any, next_offset: int, appended_ms: int) -> None:
        """Note a record that a fetch has brought."""
        before = self._read.get(partition, Position(0))
        if before.newest_ms and appended_ms - before.newest_ms > _PROOF_MS:
            self._doubted.setdefault(partition, before)
        newest_ms = max(appended_ms, before.newest_ms)
        self._read[partition] = Position(next_offset, newest_ms=newest_ms)

    def times(self) -> dict[Any, int]:
        """Return since when Kafka's first offsets are to be asked for [epoch ms]; then `look`."""
        return Times.of(self._doubted).proof

    def look(self, asked: Iterable[Any], found: Mapping[Any, int]) -> bool:
        """Return whether a log was cut, by the first offsets ``found`` since ``times``."""
        cut = {}
        for partition in asked:
            read, at = self._doubted.pop(partition, None), found.get(partition)
            if read is not None and at is not None and at < read.next_offset:
                cut[partition] = at
        self.parted |= cut
        return bool(cut)

    def forget(self, partitions: Iterable[Any]) -> None:
        """Forget partitions that are read from somewhere else."""
        for partition in partitions:
            for kept in (self._read, self._doubted, self.parted):
                kept.pop(partition, None)


def append_time(record: Any) -> int:
    """Return when Kafka appended a client's record [epoch ms]; 0 where it has its sender's time."""
    return int(record.timestamp) if record.timestamp_type == _LOG_APPEND_TIME else 0


def go_on(
    topic: str,
    partition: int,
    read: Position,
    log: Log,
    *,
    needed_from: int | None = None,
    may_repeat: bool = False,
) -> tuple[Position, LogGap | None]:
    """Return where to go on, and the gap if there is one.

    ``needed_from``: offset of the first record that is still needed, of what was read already.
    ``may_repeat``: whoever reads takes no harm from records that come twice, and so begins again
    at the first one where the times of the records do not show which are new.
    """
    needed = read.next_offset if needed_from is None else needed_from

    def gap(reason: Reason, first: int, end: int | None, read_from: int) -> LogGap:
        return LogGap(
            topic=topic,
            partition=partition,
            topic_id=log.topic_id,
            reason=reason,
            first=first,
            end=end,
            read_from=read_from,
        )

    if read.topic_id and log.topic_id and log.topic_id != read.topic_id:
        end = read.next_offset if needed < read.next_offset else None
        at = Position(log.begin, log.topic_id)
        return at, gap("topic_recreated", needed, end, log.begin)
    new = _first_new(read, log, may_repeat=may_repeat)
    if new is not None:
        at = Position(new, log.topic_id, read.newest_ms)
        return at, gap("log_truncated", new, max(new, read.next_offset), new)
    at = Position(max(read.next_offset, log.begin), log.topic_id or read.topic_id, read.newest_ms)
    if needed < log.begin:
        return at, gap("deleted", needed, log.begin, log.begin)
    return at, None


def _first_new(read: Position, log: Log, *, may_repeat: bool) -> int | None:
    """Return the first offset of a log that was cut; None for one that was not."""
    later = log.later if log.later is not None and log.later < read.next_offset else None
    if log.parted is not None and log.parted < read.next_offset:
        # By leader epochs, which a restored copy gives again: new records may come before it.
        return max(log.begin, log.parted if later is None else min(log.parted, later))
    if read.next_offset > log.end:
        if later is not None:
            return later
        return log.begin if may_repeat and not read.newest_ms else log.end
    grown_again = log.proof is not None and log.proof < read.next_offset
    return later if grown_again else None


def gap_record(prefix: str, gap: LogGap, reader: str) -> Outgoing:
    """Return the record of the topic ``gaps``; ``reader`` is who missed something."""
    now = now_ms()
    headers = cloud_headers(
        "gap", source=reader, event_id=f"{reader}/{gap.id}", time_ms=now, subject=gap.reason
    )
    value = msgspec.json.encode(gap.event(now))
    return Outgoing(topic_name(prefix, "gaps"), value, gap.reason.encode(), headers)
