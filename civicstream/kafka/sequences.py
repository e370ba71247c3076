"""Records are numbered consecutively: find what is missing, repeated or out of order."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from civicstream.clock import now_ms, wall_ms
from civicstream.cloudevents import cloud_headers
from civicstream.errors import CorruptFrame
from civicstream.events import FrameGap, ReadPosition, ReadSequence, WrittenSequence
from civicstream.frames import FrameHeaders
from civicstream.kafka.numbering import number_of
from civicstream.kafka.transactional import Outgoing
from civicstream.topics import topic_name

__all__ = [
    "Gap",
    "ReadAccount",
    "Received",
    "Stream",
    "account",
    "missing_record",
    "received",
    "stream_of",
    "without",
]

log = logging.getLogger(__name__)

_MOST_RANGES = 1_000
"""Missing ranges kept apart; beyond it the oldest two are joined, so as not to grow for ever."""


_MOST_STREAMS = 32
"""Starts of writers that a checkpoint remembers on a partition: those that wrote last."""

_ALWAYS = -1
"""Before every epoch."""

_MOST_NUMBER = 2**63 - 1


@dataclass(frozen=True)
class Stream:
    """Where records are numbered consecutively from 0."""

    writer: str
    epoch: int
    topic: str
    partition: int


@dataclass(frozen=True)
class Received:
    """One record as it came; ``count`` readings are in it, of which none can be read if corrupt."""

    stream: Stream
    seq: int
    count: int = 1
    corrupt: bool = False


@dataclass(frozen=True)
class Gap:
    """``missing`` records from number ``first`` on were skipped."""

    stream: Stream
    first: int
    missing: int


def account(
    known: Mapping[Stream, ReadSequence], records: Iterable[Received], *, from_zero: bool = True
) -> tuple[dict[Stream, ReadSequence], list[Gap]]:
    """Return the sequences that change with these records (in order of arrival), and new gaps.

    A stream that is not known begins at number 0, or at its first record unless ``from_zero``.
    """
    changed: dict[Stream, ReadSequence] = {}
    gaps = []
    for record in records:
        stream = record.stream
        now = changed.get(stream) or known.get(stream)
        if now is None:
            first = 0 if from_zero else record.seq
            place = (stream.writer, stream.epoch, stream.topic, stream.partition)
            now = ReadSequence(*place, first=first, next=first)
        if record.seq > now.next:
            gaps.append(Gap(stream, now.next, record.seq - now.next))
        changed[stream] = _after(now, record)
    return changed, gaps


def _after(now: ReadSequence, record: Received) -> ReadSequence:
    missing, reordered = now.missing, now.reordered
    if record.seq < now.next:
        left = without(missing, [(record.seq, record.seq)])
        if left == missing:
            return msgspec.structs.replace(now, repeated=now.repeated + 1)
        missing, reordered = left, reordered + 1
    elif record.seq > now.next:
        missing = _bounded([*missing, (now.next, record.seq - 1)])
    return msgspec.structs.replace(
        now,
        next=max(now.next, record.seq + 1),
        missing=missing,
        reordered=reordered,
        records=now.records + 1,
        events=now.events + record.count,
        corrupt=now.corrupt + record.corrupt,
    )


def _bounded(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    if len(ranges) <= _MOST_RANGES:
        return ranges
    return [(ranges[0][0], ranges[1][1]), *ranges[2:]]


class ReadAccount:
    """What a reader with a checkpoint has had of one partition; ``dump`` goes into the checkpoint.

    After a crash the records since the checkpoint, and some from before it, are read again: those
    are neither counted twice nor taken for repeats, and a gap is new only once.
    """

    def __init__(
        self, stored: bytes | None = None, *, begin: int = 0, other_log: bool = False
    ) -> None:
        """Go on from ``stored``; without it begin at offset ``begin``: what was before is no loss.

        Nor is what was in an ``other_log`` of the topic. Whoever begins to write from now on has
        to come from number 0 on.
        """
        self.next_offset = begin
        """All records before it are accounted for."""
        self._known_since = wall_ms() if begin or other_log else _ALWAYS
        self._known: dict[Stream, ReadSequence] = {}
        """The writer that was silent for longest first."""
        self._gaps: list[Gap] = []
        if stored is not None:
            self.next_offset, self._known_since, sequences = msgspec.msgpack.decode(
                stored, type=tuple[int, int, list[ReadSequence]]
            )
            self._known = {stream_of(s): s for s in sequences}

    def take(self, offset: int, record: Received | None) -> None:
        """Count the record at ``offset``; every record of the partition in order.

        None is one without a number.
        """
        if offset < self.next_offset:
            return
        self.next_offset = offset + 1
        if record is None:
            return
        from_zero = record.stream.epoch > self._known_since
        changed, gaps = account(self._known, [record], from_zero=from_zero)
        self._known.pop(record.stream, None)
        self._known |= changed
        self._gaps += gaps
        if len(self._known) > _MOST_STREAMS:
            self._forget()

    def _forget(self) -> None:
        """Forget a writer; should it write again, it counts from its next record on."""
        stream = next(iter(self._known))
        del self._known[stream]
        self._known_since = max(self._known_since, stream.epoch)

    def cut(self, end: int) -> None:
        """Take records from offset ``end`` on for new: the log ended there, or was recreated."""
        self.next_offset = min(self.next_offset, end)

    def take_gaps(self) -> list[Gap]:
        """Return the gaps found since the last call; to be published with the next checkpoint."""
        gaps, self._gaps = self._gaps, []
        return gaps

    def dump(self, most_bytes: int | None = None) -> bytes:
        """Return the checkpoint; of many writers those that fit into ``most_bytes``."""
        while True:
            made = msgspec.msgpack.encode((self.next_offset, self._known_since, self.sequences()))
            if most_bytes is None or len(made) <= most_bytes or not self._known:
                return made
            self._forget()

    def sequences(self, reader: str = "") -> list[ReadSequence]:
        """Return what has come, per writer."""
        return [msgspec.structs.replace(s, reader=reader) for s in self._known.values()]

    def position(self, topic: str, partition: int, reader: str = "") -> ReadPosition:
        """Return how far the partition is accounted for, for a ledger report."""
        return ReadPosition(topic, partition, self.next_offset, self._known_since, reader)


def received(
    topic: str, partition: int, headers: Sequence[tuple[str, bytes]], *, corrupt: bool = False
) -> Received | None:
    """Return the record's place among those of its writer; None where it has none to be read."""
    number = number_of(headers)
    if number is not None:
        stream = Stream(number.writer, number.epoch, topic, partition)
        return Received(stream, number.seq, corrupt=corrupt)
    try:
        frame = FrameHeaders.from_kafka(headers)
    except CorruptFrame:
        return None
    if not all(0 <= n < _MOST_NUMBER for n in (frame.epoch, frame.seq, frame.count)):
        return None
    return Received(
        Stream(frame.gateway, frame.epoch, topic, partition), frame.seq, frame.count, corrupt
    )


def missing_record(prefix: str, gap: Gap, source: str) -> Outgoing:
    """Return the record of the topic ``gaps``; ``source`` is the stage that misses something."""
    stream, at = gap.stream, now_ms()
    log.error(
        "gap: %d records of %s (started %d) never came on %s partition %d: numbers %d to %d",
        gap.missing,
        stream.writer,
        stream.epoch,
        stream.topic,
        stream.partition,
        gap.first,
        gap.first + gap.missing - 1,
    )
    place = (stream.writer, stream.epoch, stream.topic, stream.partition)
    event = FrameGap(*place, gap.first, gap.missing, at)
    headers = cloud_headers(
        "gap",
        source=source,
        event_id="/".join(map(str, (*place, gap.first))),
        time_ms=at,
        subject=stream.writer,
    )
    value = msgspec.json.encode(event)
    return Outgoing(topic_name(prefix, "gaps"), value, stream.writer.encode(), headers)


def stream_of(of: WrittenSequence | ReadSequence) -> Stream:
    return Stream(of.writer, of.epoch, of.topic, of.partition)


def without(
    ranges: Iterable[tuple[int, int]], taken: Iterable[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Return what of ``ranges`` (first, last) is in none of ``taken``."""
    left = list(ranges)
    for begin, end in taken:
        cut: list[tuple[int, int]] = []
        for first, last in left:
            if end < first or begin > last:
                cut.append((first, last))
                continue
            if first < begin:
                cut.append((first, begin - 1))
            if last > end:
                cut.append((end + 1, last))
        left = cut
    return left
