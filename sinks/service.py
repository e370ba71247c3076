"""The sink's process: Kafka to PostgreSQL, one transaction per batch, for ever.

::

    connect ─ check rights ─ subscribe ─┐
        ┌───────────────────────────────┘
        ├─ partitions or logs changed?   drop the batch, find out where to go on
        ├─ poll, decode, collect
        └─ batch full or old?    write it; database away: wait, keep polling, write it again;
                                 too much for the database at once: write it in pieces
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar

import psycopg

from civicstream.clock import now_ms, wall_ms
from civicstream.errors import OwnershipLost, ServerUnavailable
from civicstream.kafka.clients import wait_for_kafka
from civicstream.kafka.log_gaps import Position
from civicstream.postgres import TOO_MUCH, Connection, connect, translated
from civicstream.retry import wait_until_available
from civicstream.settings import Settings
from civicstream.stopping import stop_on_signals
from sinks import offsets
from sinks.admin.maintenance import Maintenance
from sinks.batching import Batch, Routes
from sinks.consumer import SinkConsumer
from sinks.database.rights import check_rights
from sinks.outbox import Outbox
from sinks.records import KafkaRecord, TopicPartition
from sinks.reporting import SinkLedger
from sinks.transaction import BatchWriter
from sinks.writer import NOT_STORABLE
from sinks.written import Written

__all__ = ["run"]

_Closable = TypeVar("_Closable", Connection, Outbox, SinkConsumer)

log = logging.getLogger(__name__)

_POLL_MS = 500
_REPORT_S = 1.0
_LONGEST_PAUSE_S = 5.0
_REMIND_S = 20.0
"""A group forms within seconds, after a member's crash within its session timeout."""
_MOST_DAYS = 500
"""Days of readings in one transaction: a chunk each, with some locks of PostgreSQL's 6,400. A
single record may have as many again, what a table keeps (``schema.MOST_CHUNKS``)."""


_FEWER_DAYS = (50, 10, 1)
"""So many of a record's days are tried when it is too much by itself."""


class _TooMuchAtOnce(Exception):
    """The database lacks the means to write the batch in one transaction."""


def run(settings: Settings, stop: threading.Event | None = None) -> None:
    """Write until ``stop`` is set (default: SIGINT, SIGTERM).

    Raise ConfigurationError when a right, a table or a setting is wrong; wait for servers that
    are away.
    """
    until = stop or stop_on_signals()
    with ExitStack() as opened:

        def obtain(make: Callable[[], _Closable], server: str) -> _Closable | None:
            made = wait_until_available(make, server, log=log, stop=until)
            if made is not None:
                opened.callback(made.close)
            return made

        connection = obtain(lambda: _open(settings), "the database")
        wait_for_kafka(settings.kafka, stop=until)
        kafka = f"Kafka at {settings.kafka.bootstrap}"
        outbox = obtain(lambda: Outbox(settings), kafka)
        topics = Routes(settings.kafka.topic_prefix).topics
        intake = obtain(lambda: SinkConsumer(settings, topics), kafka)
        if connection is None or outbox is None or intake is None:
            return
        sink = _Sink(settings, until, connection, outbox, intake)
        maintenance = Maintenance(settings)
        maintenance.start()
        try:
            sink.run()
        finally:
            maintenance.stop()
            sink.close()


def _open(settings: Settings) -> Connection:
    """Return a connection whose rights and schema are as they must be."""
    connection = connect(settings.database.url, f"civicstream-sink {settings.sink.id}")
    try:
        check_rights(connection)
    except BaseException:
        connection.close()
        raise
    return connection


class _Sink:
    """The loop and what it holds."""

    def __init__(
        self,
        settings: Settings,
        stop: threading.Event,
        connection: Connection,
        outbox: Outbox,
        intake: SinkConsumer,
    ) -> None:
        self._settings = settings
        self._stop = stop
        self._connection = connection
        self._routes = Routes(settings.kafka.topic_prefix)
        self._outbox = outbox
        self._writer = self._new_writer()
        self._consumer = intake
        self._positions: dict[TopicPartition, Position] = {}
        self._positioned = False
        self._ownership = 0
        """Counts how often we started over: work begun under another count is void."""
        self._batch = self._new_batch()
        self._batch_since = 0.0
        self._ledger = SinkLedger(settings.sink.id, wall_ms())
        self._next_report = 0.0
        self._next_reminder = time.monotonic() + _REMIND_S

    def _new_writer(self) -> BatchWriter:
        return BatchWriter(self._connection, self._settings.sink.id, self._outbox.announce)

    def _new_batch(self) -> Batch:
        return Batch(self._routes, self._settings.sink.id)

    def run(self) -> None:
        while not self._stop.is_set():
            self._turn()
        if self._batch.records:
            self._write(patient=False)

    def _turn(self) -> None:
        self._receive(_POLL_MS)
        if not self._positioned:
            if self._consumer.assigned():
                self._load_positions()
            elif time.monotonic() > self._next_reminder:
                self._next_reminder = time.monotonic() + _REMIND_S
                self._remind()
        if self._batch.records and self._due():
            self._write()
        self._report()

    def _remind(self) -> None:
        if missing := self._consumer.missing_topics():
            log.warning(
                "Kafka lacks %d of the topics, %s among them; run civicstream init",
                len(missing),
                missing[0],
            )
        else:
            log.warning("Kafka has assigned no partitions yet: other sinks may have them all")

    def _due(self) -> bool:
        limits = self._settings.sink
        age_ms = (time.monotonic() - self._batch_since) * 1000
        return self._batch.rows >= limits.max_batch_rows or age_ms >= limits.max_batch_age_ms

    def _receive(self, timeout_ms: int) -> None:
        """Poll; keep what came unless the partitions changed under it."""
        if self._batch.records:
            left_ms = self._settings.sink.max_batch_age_ms - 1000 * (
                time.monotonic() - self._batch_since
            )
            timeout_ms = max(0, min(timeout_ms, int(left_ms)))
        try:
            records = self._consumer.poll(timeout_ms)
        except ServerUnavailable as error:
            log.warning("%s", error)
            self._stop.wait(0.5)
            return
        if self._consumer.take_changes():
            log.info("partitions changed: %d assigned now", len(self._consumer.assigned()))
            self._start_over()
        elif self._positioned and records:
            self._keep(records)

    def _start_over(self) -> None:
        """Drop what is not committed; the database says where to go on."""
        self._ownership += 1
        self._consumer.pause()
        self._batch = self._new_batch()
        self._positions.clear()
        self._positioned = False
        self._writer.forget()

    def _keep(self, records: list[KafkaRecord]) -> None:
        ownership = self._ownership
        for record in records:
            known = self._positions.get(record.topic_partition)
            following = self._batch.next.get(
                record.topic_partition, known.next_offset if known else None
            )
            if following is None or record.offset < following:
                log.warning(
                    "%s partition %d went back to offset %d, expected %s",
                    record.topic_partition.topic,
                    record.topic_partition.partition,
                    record.offset,
                    following,
                )
                self._start_over()
                return
            if not self._batch.records:
                self._batch_since = time.monotonic()
            self._batch.add([record], now_ms())
            if len(self._batch.days) >= _MOST_DAYS:
                self._write()
                if self._ownership != ownership or self._stop.is_set():
                    return  # the others are read again from where we got to

    def _load_positions(self) -> None:
        """Find out where to go on with the assigned partitions."""
        partitions = sorted(self._consumer.assigned(), key=lambda p: (p.topic, p.partition))

        def attempt() -> None:
            with translated():
                self._positions, gaps = offsets.settle(
                    self._connection, self._consumer.logs, partitions, self._settings.sink.id
                )
            for gap in gaps:
                log.error("gap: %s", gap)
            self._ledger.add_gaps(gaps)

        try:
            if not self._write_until_done(attempt):
                return
        except OwnershipLost as error:
            log.warning("%s", error)
            return  # tried again by the next turn
        self._consumer.go_on_from({p: at.next_offset for p, at in self._positions.items()})
        self._positioned = True

    def _write(self, *, patient: bool = True) -> None:
        """Write the batch, in pieces if need be; start over if it is no longer ours."""
        pieces = [self._batch]
        try:
            while pieces:
                try:
                    done = self._write_piece(pieces[0], patient=patient)
                except _TooMuchAtOnce:
                    pieces[:1] = pieces[0].halves(now_ms())
                    # What is not written before the end is read again by the next start.
                    self._batch = self._new_batch()
                    continue
                if not done:
                    return
                del pieces[0]
        except OwnershipLost as error:
            log.warning("%s", error)
            self._start_over()
            return
        except ServerUnavailable as error:
            log.warning("not written before the end, the next start reads it again: %s", error)
            return
        self._batch = self._new_batch()

    def _write_piece(self, piece: Batch, *, patient: bool) -> bool:
        """Write one transaction; return False when stopped or when the partitions changed."""
        written: list[Written] = []

        def attempt() -> None:
            written[:] = [self._write_once(piece)]

        if not patient:
            attempt()
        elif not self._write_until_done(attempt):
            return False
        for topic_partition, following in piece.next.items():
            self._positions[topic_partition] = Position(
                following, self._positions[topic_partition].topic_id
            )
        self._ledger.add(written[0])
        return True

    def _write_once(self, piece: Batch) -> Written:
        with translated():
            tries: tuple[int | None, ...]
            try:
                return self._writer.write(piece, self._positions)
            except TOO_MUCH as error:
                log.warning("%d records are too much at once: %s", len(piece.records), error)
                if len(piece.records) > 1:
                    raise _TooMuchAtOnce from error
                # The means may be another connection's for the moment.
                self._stop.wait(1)
                tries = _FEWER_DAYS if _lacks_means(error) else (None, *_FEWER_DAYS)
            except NOT_STORABLE as error:
                log.warning(
                    "a batch has rows the database does not take, writing around: %s", error
                )
                tries = (None, *_FEWER_DAYS)
            for most_days in tries:
                try:
                    return self._writer.write(
                        piece, self._positions, careful=True, most_days=most_days
                    )
                except TOO_MUCH as error:
                    log.warning("a record is too much by itself: %s", error)
            raise ServerUnavailable("the database has no room for the readings of a single day")

    def _write_until_done(self, attempt: Callable[[], None]) -> bool:
        """Repeat ``attempt`` while a server is away, staying in the consumer group meanwhile.

        The partitions are paused: backpressure, what is unread waits in Kafka. Return False when
        stopped or when the partitions changed: the work is void then.
        """
        pause_s = 0.1
        while True:
            try:
                attempt()
            except ServerUnavailable as error:
                log.warning("%s; nothing is lost, trying again in %g s", error, pause_s)
            else:
                return True
            self._consumer.pause()
            if not self._idle(pause_s):
                return False
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
            if self._reconnect():
                self._resume()

    def _resume(self) -> None:
        if self._positioned:
            self._consumer.resume()

    def _idle(self, pause_s: float) -> bool:
        """Poll the paused consumer for a while; False when stopped or partitions changed."""
        until = time.monotonic() + pause_s
        while time.monotonic() < until:
            if self._stop.is_set():
                return False
            ownership = self._ownership
            self._receive_nothing(until)
            if ownership != self._ownership:
                return False
            self._report()
        return True

    def _receive_nothing(self, until: float) -> None:
        left_ms = 1000 * (until - time.monotonic())
        try:
            self._consumer.poll(max(0, min(_POLL_MS, int(left_ms))))
        except ServerUnavailable as error:
            log.warning("%s", error)
            self._stop.wait(0.1)
        if self._consumer.take_changes():
            self._start_over()

    def _reconnect(self) -> bool:
        """Replace a broken connection; False if the database is still away."""
        if not self._connection.closed and not self._connection.broken:
            return True
        self._connection.close()
        try:
            self._connection = connect(
                self._settings.database.url, f"civicstream-sink {self._settings.sink.id}"
            )
        except ServerUnavailable as error:
            log.warning("%s", error)
            return False
        self._writer = self._new_writer()
        log.info("the database is back")
        return True

    def _report(self) -> None:
        if not self._positioned or time.monotonic() < self._next_report:
            return
        self._next_report = time.monotonic() + _REPORT_S
        self._send_report()

    def _send_report(self, *, last: bool = False) -> None:
        following = {
            topic_partition: at.next_offset for topic_partition, at in self._positions.items()
        }
        pending = {
            kind: sum(len(raw.frame) for raw in raws) for kind, raws in self._batch.frames.items()
        }
        lag = self._consumer.lag(following)
        self._outbox.report(self._ledger.report(wall_ms(), pending=pending, lag=lag), last=last)

    def close(self) -> None:
        """Send a last report and close the connection, which may be a later one than we got."""
        if self._positioned:
            self._send_report(last=True)
        self._connection.close()


def _lacks_means(error: psycopg.Error) -> bool:
    """Return whether less at once would do (SQLSTATE class 53), not a shorter value (54)."""
    return (error.sqlstate or "").startswith("53")
