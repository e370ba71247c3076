"""Is everything that was taken in where it must be? Calculated from reports, offsets and database.

Every stage is held against the one before it: each writer says which of its numbers Kafka has
confirmed, per topic and partition, and each reader which of them it has had.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Literal

import msgspec

from civicstream.events import Counts, LedgerReport, ReadSequence, WrittenSequence
from civicstream.kafka.sequences import Stream, stream_of
from civicstream.kinds import KINDS
from sinks.admin.readers import (
    Held,
    LogState,
    Range,
    Reader,
    count_of,
    held_by_readers,
    held_by_sink,
)

__all__ = [
    "Balance",
    "Difference",
    "KindBalance",
    "RecordBalance",
    "RowsOfDay",
    "SinkCounts",
    "StoredGap",
    "balance",
]

_TAKERS = ("gateway", "feeds")
"""Stages that take in what comes from outside."""


class SinkCounts(msgspec.Struct, frozen=True):
    """Durable counts of all sinks for one kind; ``accepted`` is rows ever inserted."""

    received: int = 0
    accepted: int = 0
    rejected: int = 0
    duplicate: int = 0
    """The same reading again."""
    corrected: int = 0
    """Same sensor and time as another reading, with other values."""


class StoredGap(msgspec.Struct, frozen=True):
    """Where Kafka's log was not the one the sink had read; ``end`` None: how much is not known."""

    topic: str
    partition: int
    reason: str
    first: int
    end: int | None


class RowsOfDay(msgspec.Struct, frozen=True):
    """Rows of one table and day (UTC): ever inserted, and there now."""

    table: str
    day: date
    written: int
    there: int


class Difference(msgspec.Struct, frozen=True):
    """What does not balance, where; ``first`` to ``last`` are numbers, or else offsets.

    ``loss`` says that something is not where it must be; what is merely remarkable, and counted
    once all the same, is not.
    """

    stage: str
    what: Literal["missing", "corrupt", "repeated", "reordered", "offsets", "counts", "rows"]
    sentence: str
    loss: bool
    topic: str | None = None
    partition: int | None = None
    first: int | None = None
    last: int | None = None
    writer: str | None = None
    epoch: int | None = None


class KindBalance(msgspec.Struct, frozen=True):
    """One kind from device to row.

    ``gateway`` adds up all gateways; ``on_the_way`` readings are confirmed on Kafka by their
    gateway and not in the database.
    """

    kind: str
    gateway: Counts
    on_the_way: int
    worker: Counts
    sink: SinkCounts
    gaps: int
    repeats: int
    rows: int | None = None
    """Rows counted in the table, where asked for."""


class RecordBalance(msgspec.Struct, frozen=True):
    """The records of one topic, from their writers to one reader.

    received (as their writers say) = accepted + rejected + in flight + lost; duplicates are
    apart.
    """

    stage: str
    reader: str
    topic: str
    counts: Counts
    lost: int


class Balance(msgspec.Struct, frozen=True):
    """The whole; ``problems`` are the sentences of what is lost, ``notices`` of the rest.

    ``waiting_records`` wait for the sink, ``waiting_elsewhere`` for the other readers.
    """

    kinds: list[KindBalance]
    records: list[RecordBalance]
    waiting_records: int
    waiting_elsewhere: int
    in_flight: int
    problems: list[str]
    notices: list[str]
    differences: list[Difference]
    stages: list[LedgerReport]

    @property
    def settled(self) -> bool:
        """Whether nothing is in flight anywhere."""
        return not (self.in_flight or self.waiting_records or self.waiting_elsewhere)


def balance(
    reports: Sequence[LedgerReport],
    seen: Mapping[Stream, ReadSequence],
    counts: Mapping[str, SinkCounts],
    logs: Mapping[tuple[str, int], LogState],
    *,
    totals: Mapping[tuple[str, str], Counts] | None = None,
    kind_of: Mapping[str, str] | None = None,
    rows: Sequence[RowsOfDay] | None = None,
    gaps: Sequence[StoredGap] = (),
    waiting: Mapping[Reader, int] | None = None,
    given_up: Mapping[Stream, Sequence[Range]] | None = None,
) -> Balance:
    """Return the balance.

    ``reports``: the latest of every process start that is not in ``totals`` (by stage and kind)
    yet. Read before ``logs``, and ``seen`` and ``counts`` after these: then, where no record
    waits, what a writer has reported must be there. ``kind_of``: frames topic -> kind.
    ``waiting``: records beyond what each other reader has reported, where that is known.
    ``given_up``: numbers of writers that do not report any more.
    """
    topics = dict(kind_of or {})
    written = _written(reports)
    held = [
        *held_by_sink(written, seen, logs, given_up or {}),
        *held_by_readers(written, reports, waiting or {}, given_up or {}),
    ]
    differences = [
        *(d for report in reports for d in _unbalanced(report)),
        *_log_differences(logs),
        *(_gap_difference(gap) for gap in gaps),
        *_number_differences(held),
        *_row_differences(rows or []),
    ]
    kinds = _kinds(_Sources(reports, seen, counts, totals or {}, topics, rows))
    unread = _waiting_kinds(logs, topics) | _parked_kinds(reports)
    differences += [d for k in kinds for d in _uncounted(k, k.kind in unread)]
    return Balance(
        kinds=kinds,
        records=_record_balances(held),
        waiting_records=sum(log.waiting for log in logs.values()),
        waiting_elsewhere=sum((waiting or {}).values()),
        in_flight=sum(
            k.gateway.in_flight + (k.on_the_way if k.kind in unread else 0) for k in kinds
        ),
        problems=[d.sentence for d in differences if d.loss],
        notices=[d.sentence for d in differences if not d.loss],
        differences=differences,
        stages=sorted(reports, key=lambda r: (r.stage, r.instance, r.epoch)),
    )


def _waiting_kinds(
    logs: Mapping[tuple[str, int], LogState], kind_of: Mapping[str, str]
) -> set[str]:
    """Return the kinds of which records wait for the sink."""
    return {kind_of[t] for (t, _), log in logs.items() if log.waiting and t in kind_of}


def _parked_kinds(reports: Sequence[LedgerReport]) -> set[str]:
    """Return the kinds of which gateways have parked readings that wait to be sent on."""
    newest = _newest_epochs(reports)
    gateways = [
        r for r in reports if r.stage == "gateway" and r.epoch == newest[r.stage, r.instance]
    ]
    return {kind for kind in KINDS for r in gateways if r.gauges.get(f"parked_{kind}")}


def _newest_epochs(reports: Sequence[LedgerReport]) -> dict[tuple[str, str], int]:
    newest: dict[tuple[str, str], int] = {}
    for r in reports:
        newest[r.stage, r.instance] = max(r.epoch, newest.get((r.stage, r.instance), 0))
    return newest


def _written(reports: Sequence[LedgerReport]) -> dict[Stream, WrittenSequence]:
    """Return what each writer has put on Kafka.

    Frames that a gateway had parked are sent on, and reported, by its next start too.
    """
    found: dict[Stream, WrittenSequence] = {}
    for w in (w for report in reports for w in report.written):
        known = found.setdefault(stream_of(w), w)
        if w.next > known.next:
            found[stream_of(w)] = w
    return found


# --- what each stage says of itself


def _unbalanced(report: LedgerReport) -> Iterable[Difference]:
    for kind, counts in sorted(report.kinds.items()):
        if counts.imbalance:
            who = f"{report.stage} {report.instance}"
            sentence = f"{who}: {kind}: {counts.imbalance:+} readings unaccounted for"
            yield Difference(report.stage, "counts", sentence, loss=True)


def _uncounted(k: KindBalance, waits: bool) -> Iterable[Difference]:
    s = k.sink
    if k.on_the_way and not waits:
        sentence = (
            f"sink: {k.kind}: {k.on_the_way} readings confirmed on Kafka are not in the database, "
            "and no record waits on Kafka"
        )
        yield Difference("sink", "counts", sentence, loss=True)
    left = s.received - s.accepted - s.rejected - s.duplicate - s.corrected
    if left:
        sentence = f"sink: {k.kind}: {left:+} readings unaccounted for"
        yield Difference("sink", "counts", sentence, loss=True)
    if k.rows is not None and k.rows > s.accepted:
        sentence = f"database: {k.kind}: {k.rows} rows, but only {s.accepted} were ever inserted"
        yield Difference("database", "rows", sentence, loss=True)


# --- Kafka's log against the sink's offsets


def _log_differences(logs: Mapping[tuple[str, int], LogState]) -> Iterable[Difference]:
    for (topic, partition), log in sorted(logs.items()):
        place = f"{topic} partition {partition}"
        if log.recreated:
            sentence = f"kafka: {place}: the topic was made anew since the sink read it"
            yield Difference("kafka", "offsets", sentence, False, topic, partition)
        if log.next > log.end:
            sentence = (
                f"kafka: {place}: the log ends at offset {log.end}, the sink has stored up to "
                f"{log.next - 1}: offsets {log.end} to {log.next - 1} are gone from Kafka "
                "(a power cut, a restored or recreated topic)"
            )
            yield _offsets(topic, partition, sentence, log.end, log.next - 1, loss=True)
        elif log.next < log.begin:
            # No proof of a loss: what the numbers say of these offsets, they may be markers only.
            sentence = (
                f"kafka: {place}: offsets {log.next} to {log.begin - 1} were removed before the "
                "sink read them (retention, or by hand)"
            )
            yield _offsets(topic, partition, sentence, log.next, log.begin - 1, loss=False)


def _offsets(
    topic: str, partition: int, sentence: str, first: int, last: int | None, *, loss: bool
) -> Difference:
    return Difference(
        stage="kafka",
        what="offsets",
        sentence=sentence,
        loss=loss,
        topic=topic,
        partition=partition,
        first=first,
        last=last,
    )


_REASONS = {
    "topic_recreated": "the topic was made anew",
    "log_truncated": "the log was shorter than what was read of it",
    "deleted": "they were removed before they were read",
}


def _gap_difference(gap: StoredGap) -> Difference:
    """Return what the sink found; whether records were lost by it, their numbers show."""
    last = None if gap.end is None else gap.end - 1
    which = f"offset {gap.first} on" if last is None else f"offsets {gap.first} to {last}"
    why = f"{which}: {_REASONS.get(gap.reason, gap.reason)}; found by the sink"
    sentence = f"kafka: {gap.topic} partition {gap.partition}: {why}"
    return _offsets(gap.topic, gap.partition, sentence, gap.first, last, loss=False)


# --- every reader against what was written


def _number_differences(held: Iterable[Held]) -> Iterable[Difference]:
    for one in held:
        stage = f"{one.stage} {one.reader}" if one.reader else one.stage
        yield from _missing(stage, one.stream, one.missing)
        yield from _remarkable(stage, one.stream, one.had)


def _record_balances(held: Iterable[Held]) -> list[RecordBalance]:
    """Return a line for each reader and topic of which something was written."""
    counts: dict[tuple[str, str, str], Counts] = {}
    lost: dict[tuple[str, str, str], int] = {}
    for one in held:
        key = (one.stage, one.reader, one.stream.topic)
        counts[key] = _plus(counts.get(key, Counts()), one.counts)
        lost[key] = lost.get(key, 0) + count_of(one.missing)
    return [
        RecordBalance(*key, counts=c, lost=lost[key]) for key, c in counts.items() if c.received
    ]


def _missing(stage: str, stream: Stream, ranges: Iterable[Range]) -> Iterable[Difference]:
    for first, last in ranges:
        count = last - first + 1
        yield _of_numbers(
            stage,
            "missing",
            stream,
            f"{count} records never came: numbers {first} to {last}",
            (first, last),
            loss=True,
        )


def _remarkable(stage: str, stream: Stream, had: ReadSequence) -> Iterable[Difference]:
    upto = (had.first, max(had.first, had.next - 1))
    if had.corrupt:
        text = f"{had.corrupt} records of {upto[0]} to {upto[1]} are corrupt; see its dead letters"
        yield _of_numbers(stage, "corrupt", stream, text, upto, loss=True)
    if had.repeated:
        text = f"{had.repeated} records of {upto[0]} to {upto[1]} came again, counted once"
        yield _of_numbers(stage, "repeated", stream, text, upto, loss=False)
    if had.reordered:
        text = f"{had.reordered} records of {upto[0]} to {upto[1]} came out of order"
        yield _of_numbers(stage, "reordered", stream, text, upto, loss=False)


def _of_numbers(
    stage: str,
    what: Literal["missing", "corrupt", "repeated", "reordered"],
    stream: Stream,
    text: str,
    numbers: Range,
    *,
    loss: bool,
) -> Difference:
    place = f"{stream.topic} partition {stream.partition}"
    who = f"{stream.writer} (started {stream.epoch})"
    return Difference(
        stage=stage,
        what=what,
        sentence=f"{stage}: {place}: {text}; written by {who}",
        loss=loss,
        topic=stream.topic,
        partition=stream.partition,
        first=numbers[0],
        last=numbers[1],
        writer=stream.writer,
        epoch=stream.epoch,
    )


def _row_differences(rows: Sequence[RowsOfDay]) -> Iterable[Difference]:
    for r in sorted(rows, key=lambda r: (r.table, r.day)):
        # More are no loss: rows from before rows were counted by day.
        if r.there < r.written:
            lost = f"{r.written - r.there} of {r.written} rows are missing"
            sentence = f"database: {r.table}: {r.day}: {lost}"
            yield Difference("database", "rows", sentence, True, topic=r.table)


# --- the sums per kind


class _Sources(msgspec.Struct, frozen=True):
    """What the sums are made of; the arguments of ``balance``."""

    reports: Sequence[LedgerReport]
    seen: Mapping[Stream, ReadSequence]
    counts: Mapping[str, SinkCounts]
    totals: Mapping[tuple[str, str], Counts]
    kind_of: Mapping[str, str]
    rows: Sequence[RowsOfDay] | None

    @property
    def takers(self) -> list[LedgerReport]:
        """Reports of the stages that take in what comes from outside."""
        return [r for r in self.reports if r.stage in _TAKERS]

    def of_kind(self, name: str) -> list[ReadSequence]:
        return [s for stream, s in self.seen.items() if self.kind_of.get(stream.topic) == name]


def _kinds(sources: _Sources) -> list[KindBalance]:
    names = {
        *sources.counts,
        *(sources.kind_of[s.topic] for s in sources.seen if s.topic in sources.kind_of),
        *(kind for r in sources.takers for kind in r.kinds),
        *(kind for stage, kind in sources.totals if stage in _TAKERS),
    }
    return [_kind(name, sources) for name in sorted(names)]


def _kind(name: str, sources: _Sources) -> KindBalance:
    of_kind = sources.of_kind(name)
    table = f"readings_{name}"
    return KindBalance(
        kind=name,
        gateway=_taken_in(name, sources),
        on_the_way=_on_the_way(name, sources) if name in KINDS else 0,
        worker=_worker_counts(name, sources.reports),
        sink=sources.counts.get(name, SinkCounts()),
        gaps=sum(s.gaps for s in of_kind),
        repeats=sum(s.repeated for s in of_kind),
        rows=(
            None if sources.rows is None else sum(r.there for r in sources.rows if r.table == table)
        ),
    )


def _taken_in(name: str, sources: _Sources) -> Counts:
    newest = _newest_epochs(sources.takers)
    total = Counts()
    for stage in _TAKERS:
        total = _plus(total, sources.totals.get((stage, name), Counts()))
    for r in sources.takers:
        c = r.kinds.get(name, Counts())
        # What an ended gateway had in flight, the broker has given to its next start.
        if r.epoch != newest[r.stage, r.instance]:
            c = msgspec.structs.replace(c, received=c.received - c.in_flight, in_flight=0)
        total = _plus(total, c)
    return total


def _on_the_way(name: str, sources: _Sources) -> int:
    """Return how many readings are confirmed on Kafka and not in the database."""
    stored: dict[tuple[str, int], int] = {}
    for s in sources.of_kind(name):
        stored[s.writer, s.epoch] = stored.get((s.writer, s.epoch), 0) + s.events
    return sum(
        max(0, r.kinds[name].accepted - stored.get((r.instance, r.epoch), 0))
        for r in sources.reports
        if r.stage == "gateway" and name in r.kinds
    )


def _worker_counts(name: str, reports: Sequence[LedgerReport]) -> Counts:
    """Return the counts of the partitions as their present owners have them."""
    workers = [r for r in reports if r.stage == "worker"]
    newest: dict[str, LedgerReport] = {}
    for r in workers:
        if r.instance not in newest or newest[r.instance].epoch < r.epoch:
            newest[r.instance] = r
    total = Counts()
    for r in newest.values():
        total = _plus(total, r.kinds.get(name, Counts()))
    return total


def _plus(some: Counts, more: Counts) -> Counts:
    return Counts(
        received=some.received + more.received,
        accepted=some.accepted + more.accepted,
        rejected=some.rejected + more.rejected,
        duplicate=some.duplicate + more.duplicate,
        late=some.late + more.late,
        in_flight=some.in_flight + more.in_flight,
        corrected=some.corrected + more.corrected,
    )
