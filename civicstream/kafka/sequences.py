"""Records are numbered consecutively: find what is missing, repeated or out of order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from civicstream.events import ReadSequence, WrittenSequence

__all__ = ["Gap", "ReadAccount", "Received", "Stream", "account", "stream_of", "without"]

_MOST_RANGES = 1_000
"""Missing ranges kept apart; beyond it the oldest two are joined, so as not to grow for ever."""


_MOST_STREAMS = 32
"""Writers a checkpoint remembers on a partition: starts of gateways, the newest ones."""


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
    are neither counted twice nor taken for repeats.
    """

    def __init__(self, stored: bytes | None = None, new_from: int | None = None) -> None:
        """Go on from ``stored``; ``new_from``: records from this offset on are new all the same.

        That is for a log that ended before what was stored, or was made anew.
        """
        self._known: dict[Stream, ReadSequence] = {}
        self._below = 0
        self._from_zero: bool | None = None
        if stored is not None:
            below, sequences = msgspec.msgpack.decode(stored, type=tuple[int, list[ReadSequence]])
            self._known = {stream_of(s): s for s in sequences}
            self._below = below if new_from is None else min(below, new_from)
            self._from_zero = True

    def take(self, offset: int, record: Received) -> None:
        """Count the record at ``offset``; every record of the partition in order."""
        if offset < self._below:
            return
        if self._from_zero is None:
            # What was removed before the first reader came is no loss of its.
            self._from_zero = offset == 0
        self._below = offset + 1
        changed, _ = account(self._known, [record], from_zero=self._from_zero)
        self._known |= changed
        while len(self._known) > _MOST_STREAMS:
            del self._known[min(self._known, key=lambda stream: stream.epoch)]

    def dump(self) -> bytes:
        return msgspec.msgpack.encode((self._below, self.sequences()))

    def sequences(self) -> list[ReadSequence]:
        """Return what has come, per writer."""
        return list(self._known.values())


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
