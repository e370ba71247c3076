"""The tallies of frame numbers in the database."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sinks.database import Connection
from sinks.records import Place
from sinks.sequences import Stream, Tally

__all__ = ["load_tallies", "store_tallies"]


def load_tallies(connection: Connection, places: Collection[Place]) -> dict[Stream, Tally]:
    """Return the tallies of every gateway on these partitions."""
    rows = connection.execute(
        "SELECT gateway, epoch, topic, partition, next_seq, frames, readings, gaps, repeats "
        "FROM frames_seen JOIN unnest(%s::text[], %s::int[]) AS wanted (topic, partition) "
        "USING (topic, partition)",
        ([p.topic for p in places], [p.partition for p in places]),
    ).fetchall()
    return {Stream(*row[:4]): Tally(*row[4:]) for row in rows}


def store_tallies(connection: Connection, tallies: Mapping[Stream, Tally]) -> None:
    """Store the tallies as they are now; the partitions' offsets are locked by the caller."""
    connection.cursor().executemany(
        "INSERT INTO frames_seen (gateway, epoch, topic, partition, next_seq, frames, readings, "
        "gaps, repeats) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) "
        "ON CONFLICT (gateway, epoch, topic, partition) DO UPDATE SET "
        "next_seq = excluded.next_seq, frames = excluded.frames, readings = excluded.readings, "
        "gaps = excluded.gaps, repeats = excluded.repeats, updated_at = now()",
        [
            (
                *(s.gateway, s.epoch, s.topic, s.partition),
                *(t.next_seq, t.frames, t.readings, t.gaps, t.repeats),
            )
            for s, t in tallies.items()
        ],
    )
