"""Where to go on reading a partition, when Kafka's log may not be the one that was read before.

A power cut, a restored broker or an election among replicas that lack records can leave a log that
ends before what the database has of it, and that grows again with other records under the same
offsets; retention can delete what was not read yet; a topic can be deleted and made anew.

A log that was cut shows in two ways: it ends before the stored offset, or, once it has grown past
it, the first record appended after the newest one that was read has a lower offset than the stored
one. That record is also the first that is new. Nothing here touches Kafka or the database.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from sinks.records import Place

__all__ = ["KafkaGap", "Log", "Position", "Reason", "go_on"]

Reason = Literal["topic_recreated", "log_truncated", "deleted"]


@dataclass(frozen=True)
class Position:
    """The next offset to consume in a topic of this id."""

    topic_id: UUID
    next_offset: int
    newest_at: int | None = field(default=None, compare=False)
    """When Kafka appended the newest record that was read [epoch ms], where it says so."""


@dataclass(frozen=True)
class Log:
    """A partition as Kafka has it now: its first offset, the one after its last."""

    topic_id: UUID
    begin: int
    end: int
    later: int | None
    """First offset appended after ``Position.newest_at``; None: there is none, or no such time."""


@dataclass(frozen=True)
class KafkaGap:
    """Records between ``first_offset`` and ``next_offset`` are not what they were, or are gone.

    ``next_offset`` None: how many is not known.
    """

    place: Place
    topic_id: UUID
    reason: Reason
    first_offset: int
    next_offset: int | None
    read_from: int

    @property
    def records(self) -> int:
        """How many offsets it spans, 0 where that is not known."""
        return 0 if self.next_offset is None else self.next_offset - self.first_offset

    @property
    def sentence(self) -> str:
        """What happened, for an operator."""
        where = f"{self.place.topic} partition {self.place.partition}"
        match self.reason:
            case "topic_recreated":
                return (
                    f"{where}: the topic was deleted and made anew (id {self.topic_id}); what the "
                    f"old one may have had from offset {self.first_offset} on was not read; "
                    f"reading goes on at {self.read_from}"
                )
            case "log_truncated":
                return (
                    f"{where}: Kafka has lost its records from offset {self.first_offset} to "
                    f"{self.next_offset}, which are in the database; reading goes on at "
                    f"{self.read_from}"
                )
            case "deleted":
                return (
                    f"{where}: Kafka deleted offsets {self.first_offset} to {self.next_offset} "
                    f"before they were read; reading goes on at {self.read_from}"
                )


def go_on(place: Place, known: Position | None, log: Log) -> tuple[Position, KafkaGap | None]:
    """Return where to go on, and the gap if there is one.

    Where that cannot be told from the times of the records, reading begins again at the first one:
    rows that are there already stay as they are.
    """
    if known is None:
        return Position(log.topic_id, log.begin), None
    if known.topic_id != log.topic_id:
        gap = KafkaGap(place, log.topic_id, "topic_recreated", known.next_offset, None, log.begin)
        return Position(log.topic_id, log.begin), gap
    grown_anew = log.later is not None and log.later < known.next_offset
    if grown_anew or known.next_offset > log.end:
        first = _first_new(known, log)
        gap = KafkaGap(place, log.topic_id, "log_truncated", first, known.next_offset, first)
        return Position(log.topic_id, first, known.newest_at), gap
    if known.next_offset < log.begin:
        gap = KafkaGap(place, log.topic_id, "deleted", known.next_offset, log.begin, log.begin)
        return Position(log.topic_id, log.begin, known.newest_at), gap
    return known, None


def _first_new(known: Position, log: Log) -> int:
    if log.later is not None:
        return log.later
    return log.begin if known.newest_at is None else log.end
