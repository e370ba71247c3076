"""The readings of a batch into history and newest-reading tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from civicstream.clock import now_ms
from civicstream.events import Counts
from civicstream.postgres import Connection
from sinks.batching import Batch
from sinks.dead_letters import printable
from sinks.dedupe import count_different, last_of_each, newest_per_reading
from sinks.known_sensors import NEVER, KnownSensors
from sinks.retention import Kept
from sinks.rows import Rows, collect, reading_dead_letters, sensor_names, unfit
from sinks.tables import latest_table, readings_table
from sinks.writer import Merged, copy_rows, days_of, merge_rows, merge_what_fits, sentence

if TYPE_CHECKING:
    from sinks.written import Written

__all__ = ["ReadingWriter"]

_UNFIT = (
    "a required measure is missing, an integer is not whole or out of range, or the time is "
    "beyond what the database can hold"
)


class ReadingWriter:
    """Writes ``readings_<kind>``, ``latest_<kind>`` and new ``sensors``."""

    def __init__(self, connection: Connection, sink: str) -> None:
        self._connection = connection
        self._sink = sink
        self._known: dict[str, KnownSensors] = {}
        self._advances: list[tuple[KnownSensors, NDArray[np.int64], NDArray[np.int64]]] = []

    def forget(self) -> None:
        self._known.clear()
        self._advances.clear()

    def committed(self) -> None:
        """Note the newest times just written."""
        for known, keys, newest in self._advances:
            known.advance(keys, newest)
        self._advances.clear()

    def write(self, batch: Batch, written: Written, kept: Kept, *, careful: bool) -> None:
        """Write every kind's readings; add to ``written`` what became of them."""
        self._advances.clear()
        for kind, frames in sorted(batch.frames.items()):
            rows = collect(kind, frames)
            counts = written.kinds[kind] = Counts(received=len(rows))
            bad = unfit(rows)
            if bad.any():
                self._reject(rows, np.flatnonzero(bad), "not_storable", _UNFIT, written)
                rows = rows.take(~bad)
            table = readings_table(kind)
            old = kept.too_old(table, rows.columns)
            if old is not None:
                self._reject(rows, np.flatnonzero(old), kept.reason, kept.why(table), written)
                rows = rows.take(~old)
            kept_rows, others, instead = newest_per_reading(rows.key, rows.ts, rows.ingested_at)
            counts.corrected = count_different(rows.measures, others, instead)
            counts.duplicate = len(others) - counts.corrected
            unique = rows.take(kept_rows)
            if len(unique):
                self._write_kind(unique, written, careful=careful)

    def _reject(
        self, rows: Rows, indices: NDArray[np.intp], reason: str, detail: str, written: Written
    ) -> None:
        listed = indices.tolist()
        written.dead_letters += reading_dead_letters(
            rows, listed, reason, detail, self._sink, now_ms()
        )
        written.kinds[rows.kind.name].rejected += len(listed)

    def _write_kind(self, rows: Rows, written: Written, *, careful: bool) -> None:
        """Write rows that are unique and ordered by (key, ts)."""
        known = self._known.setdefault(rows.kind.name, KnownSensors())
        self._meet_new_sensors(rows, known)
        if careful:
            merged = merge_what_fits(self._connection, readings_table(rows.kind.name), rows.columns)
            for index, error in merged.bad:
                found = np.array([index], np.intp)
                self._reject(rows, found, "refused_by_database", sentence(error), written)
            counted = len(rows) - len(merged.bad)
            good = np.ones(len(rows), np.bool_)
            good[[index for index, _ in merged.bad]] = False
            rows = rows.take(good)
        else:
            merged = self._write_history(rows, known)
            counted = len(rows)
        counts = written.kinds[rows.kind.name]
        counts.accepted += merged.new
        counts.corrected += merged.corrected
        counts.duplicate += counted - merged.new - merged.corrected
        written.add_days(readings_table(rows.kind.name).name, merged.days)
        if len(rows):
            self._write_latest(rows, known)

    def _write_history(self, rows: Rows, known: KnownSensors) -> Merged:
        table = readings_table(rows.kind.name)
        last = last_of_each(rows.key)
        newest = np.repeat(known.newest(rows.key[last]), np.diff(last, prepend=-1))
        later = rows.ts > newest  # than all we have of the sensor: these rows must be new
        if later.all():
            copy_rows(self._connection, table, rows.columns)
            return Merged(new=len(rows), days=days_of(rows.ts))
        fresh, others = rows.take(later), rows.take(~later)
        if len(fresh):
            copy_rows(self._connection, table, fresh.columns)
        merged = merge_rows(self._connection, table, others.columns)
        merged.new += len(fresh)
        merged.days += days_of(fresh.ts)
        return merged

    def _write_latest(self, rows: Rows, known: KnownSensors) -> None:
        newest = rows.take(last_of_each(rows.key))
        # One at the same time as the newest may replace it, if it was ingested later.
        newest = newest.take(newest.ts >= known.newest(newest.key))
        if len(newest):
            merge_rows(self._connection, latest_table(rows.kind.name), newest.columns)
            self._advances.append((known, newest.key, newest.ts))

    def _meet_new_sensors(self, rows: Rows, known: KnownSensors) -> None:
        """Look up the newest time of sensors not met before, and register them."""
        keys = known.unknown(rows.key[last_of_each(rows.key)])
        if not len(keys):
            return
        listed = keys.tolist()
        found = self._connection.execute(
            "SELECT sensor_key, (extract(epoch FROM ts) * 1000)::bigint "  # noqa: S608 kind is declared
            f"FROM latest_{rows.kind.name} WHERE sensor_key = ANY(%s)".encode(),
            (listed,),
        ).fetchall()
        newest = np.full(len(keys), NEVER, np.int64)
        if found:
            there = np.array(found, np.int64)
            newest[np.searchsorted(keys, there[:, 0])] = there[:, 1]
        first = np.searchsorted(rows.key, keys).tolist()
        places = [sensor_names(rows, index) for index in first]
        self._connection.execute(
            "INSERT INTO sensors (sensor_key, kind, area, sensor) "
            "SELECT key, %s, area, sensor FROM unnest(%s::bigint[], %s::text[], %s::text[]) "
            "AS new (key, area, sensor) ON CONFLICT (sensor_key) DO NOTHING",
            (
                rows.kind.name,
                listed,
                [printable(area) for area, _ in places],
                [printable(sensor) for _, sensor in places],
            ),
        )
        known.learn(keys, newest)
