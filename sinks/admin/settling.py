"""Reports of processes that ended are added up in the database, and leave topic ``ledger``.

Otherwise the topic would grow by a key with every start of every process, for ever, and a report
would outlive the numbers in the database that it is held against: a false loss.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence

import msgspec
from kafka.errors import KafkaError

from civicstream.clock import wall_ms
from civicstream.errors import ServerUnavailable
from civicstream.events import Counts, LedgerReport, ReadSequence
from civicstream.kafka.clients import producer
from civicstream.kafka.sequences import Stream, stream_of, without
from civicstream.postgres import Connection, connect, translated
from civicstream.settings import Settings
from civicstream.topics import topic_name
from sinks.admin.ledger import LedgerReader, settled_reports, stored_offsets
from sinks.admin.log_state import log_states
from sinks.admin.readers import LogState
from sinks.records_seen import load_sequences, store_given_up, store_sequences

__all__ = ["ended", "settle_reports", "settled_sequences"]

log = logging.getLogger(__name__)

_REPLACED_MS = 3_600_000
_SILENT_MS = 24 * 3_600_000
"""A process that has a successor, or none, and reported nothing for this time has ended."""
_CONFIRM_S = 15
_ADDED_UP = ("gateway", "feeds")
"""Stages that count from their start. Worker and sink keep their counts themselves."""


def settle_reports(settings: Settings, at_ms: int | None = None) -> int:
    """Settle what is accounted for at ``at_ms`` (now); return how many reports left the topic.

    May be repeated, and run by two processes. Raise ServerUnavailable.
    """
    try:
        reader = LedgerReader(settings)
        try:
            reports = reader.read()
        finally:
            reader.close()
    except KafkaError as error:
        raise ServerUnavailable(f"Kafka: {error!r}") from error
    over = ended(reports, wall_ms() if at_ms is None else at_ms)
    with connect(settings.database.url, "civicstream-settling") as connection, translated():
        connection.autocommit = True
        if over:
            logs = log_states(settings.kafka, stored_offsets(connection))
            over = [report for report in over if _settle(connection, report, logs)]
            _tombstones(settings, over)
        gone = {r.key for r in over}
        live = [f"{w.writer}/{w.epoch}" for r in reports if r.key not in gone for w in r.written]
        connection.execute(
            "SELECT forget_writers(%s, make_interval(days => %s))",
            (live, settings.database.dead_letters_retention_days),
        )
    return len(over)


def ended(reports: Sequence[LedgerReport], at_ms: int) -> list[LedgerReport]:
    """Return the reports of processes that surely have ended by ``at_ms``."""
    newest: dict[tuple[str, str], int] = {}
    for r in reports:
        key = (r.stage, r.instance)
        newest[key] = max(r.epoch, newest.get(key, 0))
    return [
        r
        for r in reports
        if at_ms - r.at > (_REPLACED_MS if r.epoch < newest[r.stage, r.instance] else _SILENT_MS)
    ]


def settled_sequences(
    report: LedgerReport, seen: Mapping[Stream, ReadSequence], topics: set[str]
) -> dict[Stream, ReadSequence]:
    """Return what is known for good of the records that an ended process has written.

    What it wrote and never came is missing; what it gave up is not. ``topics``: those of the sink.
    """
    changed = {}
    for w in report.written:
        stream = Stream(w.writer, w.epoch, w.topic, w.partition)
        if w.topic not in topics:
            continue
        had = seen.get(stream) or ReadSequence(w.writer, w.epoch, w.topic, w.partition)
        tail = [(had.next, w.next - 1)] if had.next < w.next else []
        missing = without(itertools.chain(had.missing, tail), w.void)
        now = msgspec.structs.replace(had, next=max(had.next, w.next), missing=missing)
        if now != had:
            changed[stream] = now
    return changed


def _settle(
    connection: Connection, report: LedgerReport, logs: Mapping[tuple[str, int], LogState]
) -> bool:
    """Add the report to the totals, once; False while records of it may be waiting."""
    places = {(w.topic, w.partition) for w in report.written}
    if any(logs[place].waiting for place in places & logs.keys()):
        return False
    with connection.transaction():
        key = (report.stage, report.instance, report.epoch)
        if key in settled_reports(connection):
            return True  # its tombstone got lost
        new = connection.execute(
            "INSERT INTO ledger_settled (stage, instance, epoch) VALUES (%s, %s, %s) "
            "ON CONFLICT DO NOTHING",
            key,
        ).rowcount
        if not new:
            return True
        topics = {topic for topic, _ in logs}
        store_sequences(connection, settled_sequences(report, load_sequences(connection), topics))
        store_given_up(connection, {stream_of(w): w.void for w in report.written if w.void})
        if report.stage in _ADDED_UP:
            _add_up(connection, report.stage, report.kinds)
    return True


def _add_up(connection: Connection, stage: str, kinds: Mapping[str, Counts]) -> None:
    connection.cursor().executemany(
        "INSERT INTO ledger_totals AS t (stage, kind, received, accepted, rejected, duplicate, "
        "corrected, late) VALUES (%s, %s, %s, %s, %s, %s, %s, %s) "
        "ON CONFLICT (stage, kind) DO UPDATE SET received = t.received + excluded.received, "
        "accepted = t.accepted + excluded.accepted, rejected = t.rejected + excluded.rejected, "
        "duplicate = t.duplicate + excluded.duplicate, "
        "corrected = t.corrected + excluded.corrected, late = t.late + excluded.late",
        [
            (
                # What it had in flight, the MQTT broker has given to its next start.
                stage,
                kind,
                c.received - c.in_flight,
                c.accepted,
                c.rejected,
                c.duplicate,
                c.corrected,
                c.late,
            )
            for kind, c in sorted(kinds.items())
        ],
    )


def _tombstones(settings: Settings, reports: Sequence[LedgerReport]) -> None:
    """Take the keys off the topic; return when Kafka has confirmed it."""
    if not reports:
        return
    topic = topic_name(settings.kafka.topic_prefix, "ledger")
    try:
        sender = producer(settings.kafka, max_block_ms=_CONFIRM_S * 1000)
        try:
            sent = [
                sender.send(topic, None, key=report.key.encode(), partition=0) for report in reports
            ]
            for future in sent:
                future.get(timeout=_CONFIRM_S)
        finally:
            sender.close(timeout=5)
    except (KafkaError, OSError) as error:
        raise ServerUnavailable(f"Kafka did not confirm: {error!r}") from error
    log.info("ledger: %d reports of ended processes were added up", len(reports))
