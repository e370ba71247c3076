"""`civicstream ledger`: reads reports, Kafka's log and the database; prints the balance."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import timedelta

import msgspec
from kafka import TopicPartition
from kafka.errors import KafkaError
from rich.console import Console
from rich.table import Table

from civicstream.errors import ServerUnavailable
from civicstream.events import Counts, LedgerReport, ReadPosition
from civicstream.kafka.clients import consumer, wait_for_kafka
from civicstream.kafka.log_gaps import Position
from civicstream.kafka.replay import read_on
from civicstream.kinds import KINDS
from civicstream.postgres import Connection, connect, translated
from civicstream.settings import Settings
from civicstream.topics import TOPICS, topic_name
from sinks.admin.balance import (
    Balance,
    KindBalance,
    RecordBalance,
    RowsOfDay,
    SinkCounts,
    StoredGap,
    balance,
)
from sinks.admin.log_state import log_states, waiting_for
from sinks.admin.readers import Reader, newest_readers
from sinks.batching import Routes
from sinks.database.schema import time_columns
from sinks.records_seen import load_given_up, load_sequences

__all__ = ["LedgerReader", "read_balance", "settled_reports", "show", "stored_offsets"]

_WIDTH = 150
_ANSWER_S = 20
"""How long Kafka may take to give all reports."""


class LedgerReader:
    """The latest report of every process start; reads on from where it was."""

    def __init__(self, settings: Settings) -> None:
        self._partition = TopicPartition(topic_name(settings.kafka.topic_prefix, "ledger"), 0)
        self._consumer = consumer(
            settings.kafka,
            group_id=None,
            max_partition_fetch_bytes=8 << 20,
            max_poll_records=5_000,
        )
        self._consumer.assign([self._partition])
        self._consumer.seek_to_beginning(self._partition)
        self._latest: dict[bytes, bytes] = {}
        self.records = 0
        """How many were read: the topic keeps more than the latest of each key for a while."""

    def read(self) -> list[LedgerReport]:
        """Return the latest reports as of now."""
        ends = self._consumer.end_offsets([self._partition])
        for record in read_on(self._consumer, ends, patience_s=_ANSWER_S):
            self.records += 1
            if record.value is None:  # added up in the database since
                self._latest.pop(record.key, None)
            else:
                self._latest[record.key] = record.value
        return [msgspec.json.decode(value, type=LedgerReport) for value in self._latest.values()]

    def close(self) -> None:
        self._consumer.close()


def read_balance(settings: Settings, *, wait_s: float, count_rows: bool = False) -> Balance:
    """Return the balance, as soon as nothing is in flight or lost, or else after ``wait_s``.

    What was committed just now, Kafka may give to its readers a moment later.
    """
    wait_for_kafka(settings.kafka, timeout_s=_ANSWER_S)
    deadline = time.monotonic() + wait_s
    reader = LedgerReader(settings)
    try:
        with connect(settings.database.url, "civicstream-ledger") as connection:
            connection.autocommit = True
            while True:
                found = _once(settings, reader, connection, count_rows)
                if (found.settled and not found.problems) or time.monotonic() > deadline:
                    return found
                time.sleep(0.5)
    except KafkaError as error:
        raise ServerUnavailable(f"Kafka: {error!r}") from error
    finally:
        reader.close()


def _once(
    settings: Settings, reader: LedgerReader, connection: Connection, count_rows: bool
) -> Balance:
    reports = reader.read()
    with translated():
        logs = log_states(settings.kafka, stored_offsets(connection))
        readers = newest_readers(reports)
        waiting = waiting_for(settings.kafka, _positions(settings, readers))
        # One view: counts, numbers and rows of the same transactions.
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            settled = settled_reports(connection)
            return balance(
                [r for r in reports if (r.stage, r.instance, r.epoch) not in settled],
                load_sequences(connection),
                _sink_counts(connection),
                logs,
                totals=_totals(connection),
                kind_of=Routes(settings.kafka.topic_prefix).kind_of,
                rows=_rows(connection) if count_rows else None,
                gaps=_gaps(connection),
                waiting=waiting,
                given_up=load_given_up(connection),
            )


def _positions(
    settings: Settings, readers: Mapping[Reader, tuple[LedgerReport, ReadPosition]]
) -> dict[Reader, int]:
    """Return where the readers of numbered records go on."""
    prefix = settings.kafka.topic_prefix
    numbered = {topic_name(prefix, topic.name) for topic in TOPICS.values() if not topic.compacted}
    return {r: at.next_offset for r, (_, at) in readers.items() if r.topic in numbered}


def stored_offsets(connection: Connection) -> dict[TopicPartition, Position]:
    """Return where the sink goes on in every partition."""
    return {
        TopicPartition(topic, partition): Position(offset, topic_id)
        for topic, partition, topic_id, offset in connection.execute(
            "SELECT topic, partition, topic_id::text, next_offset FROM sink_offsets"
        ).fetchall()
    }


def settled_reports(connection: Connection) -> set[tuple[str, str, int]]:
    """Return stage, instance and epoch of the reports that are in the totals."""
    rows = connection.execute("SELECT stage, instance, epoch FROM ledger_settled").fetchall()
    return {(stage, instance, epoch) for stage, instance, epoch in rows}


def _totals(connection: Connection) -> dict[tuple[str, str], Counts]:
    rows = connection.execute(
        "SELECT stage, kind, received, accepted, rejected, duplicate, late, corrected "
        "FROM ledger_totals"
    ).fetchall()
    return {
        (stage, kind): Counts(
            received=received,
            accepted=accepted,
            rejected=rejected,
            duplicate=duplicate,
            late=late,
            in_flight=0,
            corrected=corrected,
        )
        for stage, kind, received, accepted, rejected, duplicate, late, corrected in rows
    }


def _gaps(connection: Connection) -> list[StoredGap]:
    rows = connection.execute(
        "SELECT topic, partition, reason, first_offset, next_offset FROM kafka_gaps ORDER BY at"
    ).fetchall()
    return [StoredGap(*row) for row in rows]


def _sink_counts(connection: Connection) -> dict[str, SinkCounts]:
    return {
        row[0]: SinkCounts(*row[1:])
        for row in connection.execute(
            "SELECT kind, sum(received)::bigint, sum(accepted)::bigint, sum(rejected)::bigint, "
            "sum(duplicate)::bigint, sum(corrected)::bigint FROM sink_counts GROUP BY 1"
        ).fetchall()
    }


def _rows(connection: Connection) -> list[RowsOfDay]:
    """Return the rows of every day that retention has not reached, by table."""
    columns = time_columns()
    kept = dict[str, int](
        connection.execute("SELECT table_name, keep_days FROM retention").fetchall()
    )
    tables = connection.execute("SELECT DISTINCT table_name FROM rows_written").fetchall()
    found = []
    for (table,) in tables:
        column = columns.get(table)
        if column is None or table not in kept:
            continue
        found += [
            RowsOfDay(table, *row)
            for row in connection.execute(
                "SELECT coalesce(w.day, t.day), coalesce(w.rows, 0), coalesce(t.there, 0) "  # noqa: S608 names are declared
                "FROM (SELECT day, rows FROM rows_written WHERE table_name = %(table)s) w "
                f"FULL JOIN (SELECT ({column} AT TIME ZONE 'UTC')::date AS day, "
                f"count(*) AS there FROM {table} GROUP BY 1) t USING (day) "
                # The day that retention is at is there in part.
                "WHERE coalesce(w.day, t.day) > ((SELECT city_now()) - %(kept)s) :: date + 1 "
                "ORDER BY 1".encode(),
                {"table": table, "kept": timedelta(days=kept[table])},
            ).fetchall()
        ]
    return found


def show(found: Balance) -> None:
    """Print the balance for people."""
    # Wider than a narrow terminal or a pipe rather than with digits cut off.
    console = Console(width=max(_WIDTH, Console().width))
    console.print(_readings_table(found.kinds))
    console.print(_records_table(found.records))
    for report in found.stages:
        gauges = ", ".join(f"{name} {value:,.0f}" for name, value in report.gauges.items())
        console.print(f"{report.stage} {report.instance}: {gauges}", highlight=False)
    for notice in found.notices:
        console.print(notice, style="yellow", highlight=False, soft_wrap=True)
    for problem in found.problems:
        console.print(problem, style="red", highlight=False, soft_wrap=True)
    if not found.problems:
        state = (
            "balanced: nothing lost, nothing counted twice, nothing in flight"
            if found.settled
            else f"no loss found; {found.in_flight:,} readings are in flight, "
            f"{found.waiting_records:,} records wait on Kafka"
        )
        console.print(f"[green]{state}[/green]")


def _readings_table(kinds: Iterable[KindBalance]) -> Table:
    """Return a line for each kind and stage: received is the sum of the others."""
    table = _table(
        "readings, from device to database row",
        ("kind", "stage"),
        ("received", "accepted", "rejected", "duplicate", "corrected", "late", "in flight", "rows"),
    )
    for k in kinds:
        s = k.sink
        # What it will receive is on Kafka, or else is missing, as is said below.
        sink = Counts(s.received + k.on_the_way, s.accepted, s.rejected, s.duplicate)
        sink.in_flight, sink.corrected = k.on_the_way, s.corrected
        # Of reports, units and actions, which are a record each, the other table says the rest.
        behind = (("worker", k.worker), ("sink", sink)) if k.kind in KINDS else ()
        for stage, c in (("taken in", k.gateway), *behind):
            numbers = (c.received, c.accepted, c.rejected, c.duplicate, c.corrected, c.late)
            rows = "" if stage != "sink" or k.rows is None else f"{k.rows:,}"
            table.add_row(k.kind, stage, *(f"{n:,}" for n in (*numbers, c.in_flight)), rows)
    return table


def _records_table(records: Iterable[RecordBalance]) -> Table:
    """Return a line for each reader and topic: written is the sum up to lost."""
    table = _table(
        "records, from their writers to each reader",
        ("reader", "topic"),
        ("written", "accepted", "rejected", "in flight", "lost", "came again"),
    )
    for r in records:
        c = r.counts
        numbers = (c.received, c.accepted, c.rejected, c.in_flight, r.lost, c.duplicate)
        table.add_row(f"{r.stage} {r.reader}", r.topic, *(f"{n:,}" for n in numbers))
    return table


def _table(title: str, names: Iterable[str], numbers: Iterable[str]) -> Table:
    table = Table(title=title)
    for name in names:
        table.add_column(name, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table
