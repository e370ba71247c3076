"""Records are numbered consecutively: find what is missing, repeated or out of order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from civicstream.events import ReadSequence

__all__ = ["Gap", "Received", "Stream", "account", "without"]

_MOST_RANGES = 1_000
"""Missing ranges kept apart; beyond it the oldest two are joined, so as not to grow for ever."""


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
