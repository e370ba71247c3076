"""What a copy on the topic ``parked`` says: which record it is, and where it belongs. No I/O.

A copy has the record's value, key and headers, and three headers more: topic and partition of the
record, and ``parked_by``, the gateway's own number of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from civicstream.errors import CorruptFrame
from civicstream.frames import FrameHeaders

__all__ = [
    "PARKED",
    "Parked",
    "ParkedNumber",
    "PassEnd",
    "Record",
    "TopicPartition",
    "parked_copy",
    "read_parked",
]

PARKED = "parked"
"""The topic, without prefix."""

Headers = list[tuple[str, bytes]]

_TOPIC, _PARTITION, _BY = "parked_topic", "parked_partition", "parked_by"
_OWN = frozenset((_TOPIC, _PARTITION, _BY))


class TopicPartition(NamedTuple):
    """A partition; ``topic`` without the prefix."""

    topic: str
    partition: int


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """A record for one partition."""

    place: TopicPartition
    value: bytes
    headers: Headers
    key: bytes | None = None
    count: int = 1
    """Readings in it; what is no frame counts as one."""

    def frame_headers(self) -> FrameHeaders | None:
        """Return where the frame comes from; None for what is no frame."""
        if not self.place.topic.startswith("frames."):
            return None
        return FrameHeaders.from_kafka(self.headers)


class ParkedNumber(NamedTuple):
    """Consecutive per gateway and epoch; the same for two copies of one record."""

    gateway: str
    epoch: int
    number: int


class Parked(NamedTuple):
    """A copy as it was read: at ``offset`` of the parked topic's partition ``read_from``."""

    record: Record
    number: ParkedNumber
    read_from: int
    offset: int


@dataclass(frozen=True)
class PassEnd:
    """The parked topic was read: ``ends`` are the offsets after what was read of each partition.

    ``complete`` is false when Kafka did not give all of it.
    """

    ends: dict[int, int] = field(default_factory=dict)
    complete: bool = True


def parked_copy(record: Record, number: ParkedNumber, partition: int) -> Record:
    """Return the copy of a record for a partition of the parked topic."""
    headers = [
        *record.headers,
        (_TOPIC, record.place.topic.encode()),
        (_PARTITION, b"%d" % record.place.partition),
        (_BY, f"{number.gateway}/{number.epoch}/{number.number}".encode()),
    ]
    return Record(
        TopicPartition(PARKED, partition), record.value, headers, record.key, record.count
    )


def read_parked(
    value: bytes, key: bytes | None, headers: Iterable[tuple[str, bytes]], at: tuple[int, int]
) -> Parked | None:
    """Return the record that a copy is of, and what it says of itself.

    ``at``: partition and offset of the copy. None for what no gateway has written.
    """
    listed = list(headers)
    found = dict(listed)
    try:
        gateway, epoch, number = found[_BY].decode().rsplit("/", 2)
        place = TopicPartition(found[_TOPIC].decode(), int(found[_PARTITION]))
        parked_number = ParkedNumber(gateway, int(epoch), int(number))
        kept = [(name, held) for name, held in listed if name not in _OWN]
        record = Record(place, value, kept, key)
        frame = record.frame_headers()
    except (KeyError, ValueError, CorruptFrame):
        return None
    if frame is not None:
        record = Record(place, value, kept, key, frame.count)
    return Parked(record, parked_number, *at)
