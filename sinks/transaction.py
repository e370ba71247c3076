"""One batch, one transaction: rows, counts and offsets together or not at all."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from civicstream.clock import now_ms
from civicstream.errors import DataError
from civicstream.events import Counts, DeadLetter, ReadSequence
from civicstream.kafka.log_gaps import Position
from civicstream.kafka.sequences import Gap, Stream, account
from civicstream.postgres import Connection
from sinks import offsets
from sinks.batching import Batch
from sinks.dead_letters import INSERT, corrupt_record, dead_letter_of_row, dead_letter_row
from sinks.event_tables import HISTORIES, NEWEST, newest_of_each
from sinks.histories import event_columns
from sinks.intelligence import FORECASTS, forecast_columns
from sinks.personal_records import write_personal
from sinks.reading_writer import ReadingWriter
from sinks.records import TopicPartition
from sinks.records_seen import load_sequences, store_sequences
from sinks.result_rows import (
    RESULTS_ENVIRONMENT,
    RESULTS_TRAFFIC,
    environment_rows,
    late_columns,
    traffic_rows,
)
from sinks.retention import Kept, kept
from sinks.tables import LATE, BulkTable
from sinks.writer import Merged, merge_rows, merge_what_fits, sentence
from sinks.written import Written

__all__ = ["Announce", "BatchWriter"]

log = logging.getLogger(__name__)

Announce = Callable[[Sequence[DeadLetter], Sequence[Gap]], None]
"""Publishes dead letters and gaps and returns when Kafka has confirmed them."""


class BatchWriter:
    """Writes batches over one connection; knows the sensors and numbers of its partitions' records.

    What it knows is what the database held at the last commit, so after any failure ``forget``
    makes it read that again.
    """

    def __init__(self, connection: Connection, sink: str, announce: Announce) -> None:
        self._connection = connection
        self._sink = sink
        self._announce = announce
        self._readings = ReadingWriter(connection, sink)
        self._tallies: dict[Stream, ReadSequence] = {}
        self._loaded: set[TopicPartition] = set()
        self._kept = Kept({}, 0)
        """As of the transaction under way."""

    def forget(self) -> None:
        self._readings.forget()
        self._tallies.clear()
        self._loaded.clear()

    def write(
        self,
        batch: Batch,
        expected: Mapping[TopicPartition, Position],
        *,
        careful: bool = False,
        most_days: int | None = None,
    ) -> Written:
        """Write the batch and move the offsets on from ``expected``.

        ``careful`` writes around rows that the database does not take, which become dead
        letters; without it such a row fails the whole transaction. Of readings only those of the
        last ``most_days`` are written, if that is given. Raise OwnershipLost when
        another sink has moved the offsets.
        """
        written = Written(dead_letters=list(batch.rejected))
        try:
            with self._connection.transaction():
                offsets.lock(
                    self._connection, {partition: expected[partition] for partition in batch.next}
                )
                self._kept = kept(self._connection, now_ms(), most_days)
                self._readings.write(batch, written, self._kept, careful=careful)
                self._write_results(batch, written, careful=careful)
                self._connection.cursor().executemany(
                    INSERT, [dead_letter_row(x) for x in batch.dead_letters]
                )
                tallies = self._account(batch, written)
                self._store_counts(written)
                if written.dead_letters or written.gaps:
                    self._announce(written.dead_letters, written.gaps)
                offsets.advance(self._connection, batch.next, batch.newest_at)
        except BaseException:
            self.forget()
            raise
        self._readings.committed()
        self._tallies |= tallies
        return written

    def _write_results(self, batch: Batch, written: Written, *, careful: bool) -> None:
        for table, columns in (
            (RESULTS_TRAFFIC, traffic_rows(batch.traffic)),
            (RESULTS_ENVIRONMENT, environment_rows(batch.environment)),
        ):
            written.result_rows += self._merge(table, columns, written, careful=careful).new
        if batch.late:
            columns = late_columns(batch.late)
            # Their readings came in a frame too, and are a dead letter of that.
            old = self._kept.too_old(LATE, columns)
            if old is not None:
                columns = _without(columns, old)
            self._merge(LATE, columns, written, careful=careful)
        self._write_events(batch, written, careful=careful)
        if batch.personal:
            self._write_personal(batch, written, careful=careful)

    def _write_events(self, batch: Batch, written: Written, *, careful: bool) -> None:
        for event, found in batch.histories.items():
            table = HISTORIES[event]
            columns = event_columns(found, table)
            merged = self._merge(table, columns, written, careful=careful)
            written.events[table.name] = written.events.get(table.name, 0) + merged.new
            if newest := NEWEST.get(event):
                stored = [e for index, e in enumerate(found) if index not in merged.bad_rows]
                columns = event_columns(newest_of_each(stored, newest), newest)
                self._merge(newest, columns, written, careful=careful)
        if batch.forecasts:
            merged = self._merge(
                FORECASTS, forecast_columns(batch.forecasts), written, careful=careful
            )
            written.events[FORECASTS.name] = merged.new

    def _write_personal(self, batch: Batch, written: Written, *, careful: bool) -> None:
        new, refused = write_personal(self._connection, batch.personal, careful=careful)
        written.events["sealed_records"] = new
        for record, error in refused:
            why = DataError("refused_by_database", sentence(error))
            written.dead_letters.append(
                corrupt_record(record, why, self._sink, now_ms(), withhold=True)
            )

    def _merge(
        self, table: BulkTable, columns: list[Any], written: Written, *, careful: bool
    ) -> Merged:
        old = self._kept.too_old(table, columns)
        taken = np.arange(len(columns[0])) if old is None else np.flatnonzero(~old)
        fitting = columns if old is None else _without(columns, old)
        merged = Merged()
        if len(taken):
            merge = merge_what_fits if careful else merge_rows
            merged = merge(self._connection, table, fitting)
        written.add_days(table.name, merged.days)
        why = [(int(taken[i]), "refused_by_database", sentence(e)) for i, e in merged.bad]
        if old is not None:
            reason, detail = self._kept.reason, self._kept.why(table)
            why += [(i, reason, detail) for i in np.flatnonzero(old).tolist()]
        for index, reason, detail in why:
            values = {n: c[index] for n, c in zip(table.columns, columns, strict=True)}
            dead_letter = dead_letter_of_row(
                table.name, values, reason, detail, self._sink, now_ms()
            )
            written.dead_letters.append(dead_letter)
        merged.bad_rows = {index for index, _, _ in why}
        return merged

    def _account(self, batch: Batch, written: Written) -> dict[Stream, ReadSequence]:
        self._load_tallies(
            {TopicPartition(r.stream.topic, r.stream.partition) for r in batch.received}
        )
        changed, written.gaps = account(self._tallies, batch.received)
        store_sequences(self._connection, changed)
        for kind, count in batch.unreadable.items():
            counts = written.kinds.setdefault(kind, Counts())
            counts.received += count
            counts.rejected += count
        return changed

    def _load_tallies(self, partitions: set[TopicPartition]) -> None:
        new = partitions - self._loaded
        if new:
            self._tallies |= load_sequences(self._connection, new)
            self._loaded |= new

    def _store_counts(self, written: Written) -> None:
        self._connection.cursor().executemany(
            "INSERT INTO sink_counts AS c VALUES (%s, %s, %s, %s, %s, %s, %s) "
            "ON CONFLICT (sink, kind) DO UPDATE SET received = c.received + excluded.received, "
            "accepted = c.accepted + excluded.accepted, rejected = c.rejected + excluded.rejected, "
            "duplicate = c.duplicate + excluded.duplicate, "
            "corrected = c.corrected + excluded.corrected",
            [
                (self._sink, kind, n.received, n.accepted, n.rejected, n.duplicate, n.corrected)
                for kind, n in sorted(written.kinds.items())
            ],
        )
        self._connection.cursor().executemany(
            "INSERT INTO rows_written AS w VALUES (%s, %s, %s) "
            "ON CONFLICT (table_name, day) DO UPDATE SET rows = w.rows + excluded.rows",
            [(table, day, rows) for (table, day), rows in sorted(written.days.items())],
        )


def _without(columns: list[Any], rows: NDArray[np.bool_]) -> list[Any]:
    """Return the columns, arrays or lists, without the rows that the mask names."""
    left = np.flatnonzero(~rows)
    listed = left.tolist()
    return [c[left] if isinstance(c, np.ndarray) else [c[i] for i in listed] for c in columns]
