"""One batch, one transaction: rows, counts and offsets together or not at all."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from civicstream.clock import now_ms
from civicstream.events import Counts, DeadLetter
from sinks import offsets
from sinks.batching import Batch
from sinks.database import Connection
from sinks.frames_seen import load_tallies, store_tallies
from sinks.intelligence import FORECASTS, HISTORIES, forecast_columns, history_columns
from sinks.letters import INSERT, letter_row, row_letter
from sinks.offsets import Position
from sinks.reading_writer import ReadingWriter
from sinks.records import Place
from sinks.result_rows import environment_columns, late_columns, traffic_columns
from sinks.sequences import Gap, Received, Stream, Tally, account
from sinks.tables import LATE, RESULTS_ENVIRONMENT, RESULTS_TRAFFIC, BulkTable
from sinks.writer import merge_rows, merge_what_fits, sentence

__all__ = ["Announce", "BatchWriter", "Written"]

log = logging.getLogger(__name__)

Announce = Callable[[Sequence[DeadLetter], Sequence[Gap]], None]
"""Publishes dead letters and gaps and returns when Kafka has confirmed them."""


@dataclass
class Written:
    """What one transaction did."""

    kinds: dict[str, Counts] = field(default_factory=dict)
    replaced: dict[str, int] = field(default_factory=dict)
    result_rows: int = 0
    intelligence: dict[str, int] = field(default_factory=dict)
    """New rows of incidents, forecasts, sensor_health and anomalies, by table."""
    letters: list[DeadLetter] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)


class BatchWriter:
    """Writes batches over one connection; knows the sensors and frame numbers of its partitions.

    What it knows is what the database held at the last commit, so after any failure ``forget``
    makes it read that again.
    """

    def __init__(self, connection: Connection, sink: str, announce: Announce) -> None:
        self._connection = connection
        self._sink = sink
        self._announce = announce
        self._readings = ReadingWriter(connection, sink)
        self._tallies: dict[Stream, Tally] = {}
        self._loaded: set[Place] = set()

    def forget(self) -> None:
        self._readings.forget()
        self._tallies.clear()
        self._loaded.clear()

    def write(
        self, batch: Batch, expected: Mapping[Place, Position], *, careful: bool = False
    ) -> Written:
        """Write the batch and move the offsets on from ``expected``.

        ``careful`` writes around rows that the database does not take, which become dead
        letters; without it such a row fails the whole transaction. Raise OwnershipLost when
        another sink has moved the offsets.
        """
        written = Written(letters=list(batch.rejected))
        try:
            with self._connection.transaction():
                offsets.lock(self._connection, {spot: expected[spot] for spot in batch.next})
                self._readings.write(batch, written, careful=careful)
                self._write_results(batch, written, careful=careful)
                self._connection.cursor().executemany(
                    INSERT, [letter_row(x) for x in batch.letters]
                )
                tallies = self._account(batch, written)
                self._store_counts(written)
                if written.letters or written.gaps:
                    self._announce(written.letters, written.gaps)
                offsets.advance(self._connection, batch.next)
        except BaseException:
            self.forget()
            raise
        self._readings.committed()
        self._tallies |= tallies
        return written

    def _write_results(self, batch: Batch, written: Written, *, careful: bool) -> None:
        for table, columns in (
            (RESULTS_TRAFFIC, traffic_columns(batch.traffic)),
            (RESULTS_ENVIRONMENT, environment_columns(batch.environment)),
        ):
            written.result_rows += self._merge(table, columns, written, careful=careful)
        if batch.late:
            self._merge(LATE, late_columns(batch.late), written, careful=careful)
        found = {
            HISTORIES[event]: history_columns(batch.histories[event], HISTORIES[event])
            for event in batch.histories
        }
        if batch.forecasts:
            found[FORECASTS] = forecast_columns(batch.forecasts)
        for table, columns in found.items():
            new = self._merge(table, columns, written, careful=careful)
            written.intelligence[table.name] = new

    def _merge(
        self, table: BulkTable, columns: list[Any], written: Written, *, careful: bool
    ) -> int:
        if not len(columns[0]):
            return 0
        merge = merge_what_fits if careful else merge_rows
        merged = merge(self._connection, table, columns)
        for index, error in merged.bad:
            values = {n: c[index] for n, c in zip(table.columns, columns, strict=True)}
            written.letters.append(
                row_letter(table.name, values, sentence(error), self._sink, now_ms())
            )
        return merged.new

    def _account(self, batch: Batch, written: Written) -> dict[Stream, Tally]:
        frames = [raw for raws in batch.frames.values() for raw in raws]
        self._load_tallies({raw.place for raw in frames})
        received = [
            Received(
                Stream(
                    raw.headers.gateway, raw.headers.epoch, raw.place.topic, raw.place.partition
                ),
                raw.headers.seq,
                raw.headers.count,
            )
            for raw in frames
        ]
        changed, written.gaps = account(self._tallies, received)
        store_tallies(self._connection, changed)
        return changed

    def _load_tallies(self, places: set[Place]) -> None:
        new = places - self._loaded
        if new:
            self._tallies |= load_tallies(self._connection, new)
            self._loaded |= new

    def _store_counts(self, written: Written) -> None:
        self._connection.cursor().executemany(
            "INSERT INTO sink_counts AS c VALUES (%s, %s, %s, %s, %s, %s, %s) "
            "ON CONFLICT (sink, kind) DO UPDATE SET received = c.received + excluded.received, "
            "accepted = c.accepted + excluded.accepted, rejected = c.rejected + excluded.rejected, "
            "duplicate = c.duplicate + excluded.duplicate, "
            "replaced = c.replaced + excluded.replaced",
            [
                (
                    *(self._sink, kind, n.received, n.accepted, n.rejected, n.duplicate),
                    written.replaced.get(kind, 0),
                )
                for kind, n in sorted(written.kinds.items())
            ],
        )
