"""What each reader has had of each writer's records, against what the writer says; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from civicstream.events import Counts, LedgerReport, ReadPosition, ReadSequence, WrittenSequence
from civicstream.kafka.sequences import Stream, stream_of, without

__all__ = [
    "Held",
    "LogState",
    "Range",
    "Reader",
    "count_of",
    "held_by_readers",
    "held_by_sink",
    "newest_readers",
]

Range = tuple[int, int]
"""First and last number."""


class LogState(msgspec.Struct, frozen=True):
    """A partition's log as the sink finds it: ``waiting`` records from offset ``next`` on.

    ``recreated``: the topic is not the one that the sink has read so far.
    """

    begin: int
    end: int
    next: int
    waiting: int
    recreated: bool = False


class Reader(NamedTuple):
    """Who reads a partition; ``name`` distinguishes the readers that one stage has of it."""

    stage: str
    name: str
    topic: str
    partition: int


@dataclass(frozen=True)
class Held:
    """What one reader has had of one writer's records, against what its writer says."""

    stage: str
    reader: str
    stream: Stream
    had: ReadSequence
    upto: int
    """The number after the last that was written."""
    void: Sequence[Range]
    caught_up: bool
    """Nothing on Kafka waits for the reader."""

    @property
    def missing(self) -> list[Range]:
        tail = [(self.had.next, self.upto - 1)] if self.upto > self.had.next else []
        return without([*self.had.missing, *(tail if self.caught_up else [])], self.void)

    @property
    def counts(self) -> Counts:
        """Records; what is lost is in none of the others."""
        written = [(self.had.first, self.upto - 1)] if self.upto > self.had.first else []
        had, missing = self.had, count_of(self.missing)
        accepted, rejected = had.records - had.corrupt, had.corrupt
        # What a writer gave up without knowing its end may have come all the same.
        received = max(count_of(without(written, self.void)), had.records + missing)
        in_flight = received - had.records - missing
        return Counts(received, accepted, rejected, had.repeated, 0, in_flight)


def count_of(ranges: Iterable[Range]) -> int:
    return sum(last - first + 1 for first, last in ranges)


def held_by_sink(
    written: Mapping[Stream, WrittenSequence],
    seen: Mapping[Stream, ReadSequence],
    logs: Mapping[tuple[str, int], LogState],
    given_up: Mapping[Stream, Sequence[Range]],
) -> Iterable[Held]:
    for stream in sorted({*written, *seen}, key=_order):
        log = logs.get((stream.topic, stream.partition))
        if log is None:
            continue  # no topic of the sink's
        had = seen.get(stream) or _nothing(stream)
        sent = written.get(stream)
        upto = max(had.next, sent.next if sent else 0)
        void = sent.void if sent else given_up.get(stream, ())
        yield Held(
            stage="sink",
            reader="",
            stream=stream,
            had=had,
            upto=upto,
            void=void,
            caught_up=not log.waiting,
        )


def held_by_readers(
    written: Mapping[Stream, WrittenSequence],
    reports: Sequence[LedgerReport],
    waiting: Mapping[Reader, int],
    given_up: Mapping[Stream, Sequence[Range]],
) -> Iterable[Held]:
    for reader, (report, position) in sorted(newest_readers(reports).items()):
        place = (reader.topic, reader.partition)
        had = {
            stream_of(s): s
            for s in report.read
            if (s.topic, s.partition, s.reader) == (*place, reader.name)
        }
        # Others may have written before it began to read.
        known = {w for w in written if w.epoch > position.known_since}
        of_place = {w for w in known if (w.topic, w.partition) == place}
        for stream in sorted({*had, *of_place}, key=_order):
            one, sent = had.get(stream) or _nothing(stream), written.get(stream)
            upto = max(one.next, sent.next if sent else 0)
            void = sent.void if sent else given_up.get(stream, ())
            caught_up = waiting.get(reader) == 0
            yield Held(
                stage=reader.stage,
                reader=reader.name,
                stream=stream,
                had=one,
                upto=upto,
                void=void,
                caught_up=caught_up,
            )


def newest_readers(
    reports: Sequence[LedgerReport],
) -> dict[Reader, tuple[LedgerReport, ReadPosition]]:
    """Return what each reader said last of each partition, whichever process it is in.

    What it has had is handed over with the partition, so that the newest report says all.
    """
    found: dict[Reader, tuple[LedgerReport, ReadPosition]] = {}
    for report in sorted(reports, key=lambda r: (r.at, r.epoch)):
        for position in report.read_to:
            place = (position.topic, position.partition)
            found[Reader(report.stage, position.reader, *place)] = report, position
    return found


def _nothing(stream: Stream) -> ReadSequence:
    return ReadSequence(stream.writer, stream.epoch, stream.topic, stream.partition)


def _order(stream: Stream) -> tuple[str, int, str, int]:
    return stream.topic, stream.partition, stream.writer, stream.epoch
