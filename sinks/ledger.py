"""`civicstream ledger`: reads the ledger topic and the database, and prints the balance."""

from __future__ import annotations

import time
from typing import Any

import msgspec
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError
from rich.console import Console
from rich.table import Table

from civicstream.errors import ServerUnavailable
from civicstream.events import LedgerReport
from civicstream.kafka.clients import consumer, wait_for_kafka
from civicstream.settings import Settings
from civicstream.topics import topic_name
from sinks.balance import Balance, SeenFrames, SinkCounts, balance
from sinks.batching import Routes
from sinks.database import Connection, connect, translated

__all__ = ["LedgerReader", "read_balance", "show"]

_WIDTH = 150
_ANSWER_S = 10
"""How long Kafka may take to tell the ends of all partitions."""


class LedgerReader:
    """The latest report of every process start; reads on from where it was."""

    def __init__(self, settings: Settings) -> None:
        self._partition = TopicPartition(topic_name(settings.kafka.topic_prefix, "ledger"), 0)
        self._consumer = consumer(settings.kafka, group_id=None)
        self._consumer.assign([self._partition])
        self._consumer.seek(self._partition, 0)
        self._latest: dict[str, LedgerReport] = {}

    def read(self) -> list[LedgerReport]:
        """Return the latest reports as of now."""
        for record in _read_to_end(self._consumer, [self._partition]):
            report = msgspec.json.decode(record.value, type=LedgerReport)
            self._latest[report.key] = report
        return list(self._latest.values())

    def close(self) -> None:
        self._consumer.close()


def _read_to_end(reader: KafkaConsumer, partitions: list[TopicPartition]) -> list[Any]:
    """Return the records up to the high watermarks that the fetches bring."""
    records: list[Any] = []
    deadline = time.monotonic() + _ANSWER_S
    while True:
        polled = reader.poll(timeout_ms=200)
        records += [record for group in polled.values() for record in group]
        ends = [reader.highwater(p) for p in partitions]
        if not polled and all(
            end is not None and reader.position(p) >= end
            for end, p in zip(ends, partitions, strict=True)
        ):
            return records
        if time.monotonic() > deadline:
            raise ServerUnavailable(
                f"Kafka did not give the records of {partitions[0].topic} within {_ANSWER_S} s"
            )


def read_balance(settings: Settings, *, wait_s: float, count_rows: bool = False) -> Balance:
    """Return the balance, as soon as nothing is in flight or else after ``wait_s``."""
    wait_for_kafka(settings.kafka, timeout_s=_ANSWER_S)
    deadline = time.monotonic() + wait_s
    reader = LedgerReader(settings)
    try:
        with connect(settings.database.url, "civicstream-ledger") as connection:
            connection.autocommit = True
            while True:
                found = _once(settings, reader, connection, count_rows)
                if found.settled or time.monotonic() > deadline:
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
        waiting = _waiting_records(settings, connection)
        seen, counts = _database(connection, Routes(settings.kafka.topic_prefix))
        rows = {k: _count(connection, k) for k in counts} if count_rows else None
    return balance(reports, seen, counts, waiting_records=waiting, rows=rows)


def _waiting_records(settings: Settings, connection: Connection) -> int:
    """Return how many records on the frames topics are beyond the sink's offsets."""
    stored = dict[tuple[str, int], int](
        ((topic, partition), offset)
        for topic, partition, offset in connection.execute(
            "SELECT topic, partition, next_offset FROM sink_offsets"
        ).fetchall()
    )
    probe = consumer(settings.kafka, group_id=None, max_partition_fetch_bytes=1024)
    try:
        partitions = [
            TopicPartition(topic, partition)
            for topic in Routes(settings.kafka.topic_prefix).kind_of
            for partition in range(settings.kafka.partitions)
        ]
        probe.assign(partitions)
        for p in partitions:
            probe.seek(p, stored.get((p.topic, p.partition), 0))
        deadline = time.monotonic() + _ANSWER_S
        while any(probe.highwater(p) is None for p in partitions):
            probe.poll(timeout_ms=100, max_records=1)
            if time.monotonic() > deadline:
                raise ServerUnavailable(
                    f"Kafka did not tell the ends of the frames topics within {_ANSWER_S} s"
                )
        return sum(
            max(0, probe.highwater(p) - stored.get((p.topic, p.partition), 0)) for p in partitions
        )
    finally:
        probe.close()


def _database(
    connection: Connection, routes: Routes
) -> tuple[list[SeenFrames], dict[str, SinkCounts]]:
    seen = [
        SeenFrames(gateway, epoch, str(routes.kind_of.get(topic, topic)), readings, gaps, repeats)
        for gateway, epoch, topic, readings, gaps, repeats in connection.execute(
            "SELECT gateway, epoch, topic, sum(readings)::bigint, sum(gaps)::bigint, "
            "sum(repeats)::bigint FROM frames_seen GROUP BY 1, 2, 3"
        ).fetchall()
    ]
    counts = {
        row[0]: SinkCounts(*row[1:])
        for row in connection.execute(
            "SELECT kind, sum(received)::bigint, sum(accepted)::bigint, sum(rejected)::bigint, "
            "sum(duplicate)::bigint, sum(replaced)::bigint FROM sink_counts GROUP BY 1"
        ).fetchall()
    }
    return seen, counts


def _count(connection: Connection, kind: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM readings_{kind}".encode()).fetchone()  # noqa: S608 kind is declared
    return int(row[0]) if row else 0


def show(found: Balance) -> None:
    """Print the balance for people."""
    # Wider than a narrow terminal or a pipe rather than with digits cut off.
    console = Console(width=max(_WIDTH, Console().width))
    table = Table(title="readings, from device to database row")
    columns = ("kind", "received", "rejected", "in flight", "on Kafka", "on the way", "at the sink")
    for name in (*columns, "duplicate", "dead letters", "rows", "gaps", "repeats"):
        table.add_column(name, justify="left" if name == "kind" else "right", no_wrap=True)
    for k in found.kinds:
        g, s = k.gateway, k.sink
        numbers = (g.received, g.rejected, g.in_flight, g.accepted, k.on_the_way, s.received)
        more = (
            s.duplicate,
            s.rejected,
            s.accepted if k.rows is None else k.rows,
            k.gaps,
            k.repeats,
        )
        table.add_row(k.kind, *(f"{n:,}" for n in (*numbers, *more)))
    console.print(table)
    for report in found.stages:
        gauges = ", ".join(f"{name} {value:,.0f}" for name, value in report.gauges.items())
        console.print(f"{report.stage} {report.instance}: {gauges}", highlight=False)
    for problem in found.problems:
        console.print(f"[red]{problem}[/red]")
    if not found.problems:
        state = (
            "balanced: nothing lost, nothing counted twice, nothing in flight"
            if found.settled
            else f"no loss found; {found.in_flight:,} readings are in flight, "
            f"{found.waiting_records:,} records wait on Kafka"
        )
        console.print(f"[green]{state}[/green]")
