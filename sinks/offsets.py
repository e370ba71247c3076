"""Consumed offsets, kept in the database in the transaction that writes the rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from civicstream.errors import OwnershipLost
from civicstream.kafka.log_gaps import Log, LogGap, Position, go_on
from civicstream.postgres import Connection
from sinks.records import Place

__all__ = ["Logs", "advance", "lock", "place", "settle", "stored"]

Logs = Callable[[Mapping[Place, Position | None]], Mapping[Place, Log]]
"""Returns each partition as Kafka has it now."""

_FOUND = (
    "SELECT topic, partition, next_offset, topic_id::text, "
    "coalesce((extract(epoch FROM newest_at) * 1000)::bigint, 0) FROM sink_offsets "
    "JOIN unnest(%s::text[], %s::int[]) AS wanted (topic, partition) USING (topic, partition) "
)
# One order for every process, so that two never wait for each other.
_LOCKED = _FOUND + "ORDER BY topic, partition FOR UPDATE OF sink_offsets"


def _read(connection: Connection, query: str, places: Collection[Place]) -> dict[Place, Position]:
    rows = connection.execute(
        query.encode(), ([p.topic for p in places], [p.partition for p in places])
    ).fetchall()
    return {Place(topic, part): Position(*position) for topic, part, *position in rows}


def stored(connection: Connection, places: Collection[Place]) -> dict[Place, Position]:
    """Return the positions that the database has of these partitions."""
    with connection.transaction():
        return _read(connection, _FOUND, places)


def settle(
    connection: Connection, logs: Logs, places: Collection[Place], sink: str
) -> tuple[dict[Place, Position], list[LogGap]]:
    """Return where to go on reading each partition, and the gaps found, which are stored.

    Raise OwnershipLost when another process has moved the positions meanwhile.
    """
    before = stored(connection, places)
    found = logs({spot: before.get(spot) for spot in places})
    after, gaps = {}, []
    for spot in places:
        known, log = before.get(spot), found[spot]
        if known is None:
            after[spot] = Position(log.begin, log.topic_id)
            continue
        # Rows that are there already stay as they are.
        after[spot], gap = go_on(spot.topic, spot.partition, known, log, may_repeat=True)
        if gap is not None:
            gaps.append(gap)
    place(connection, before, after, gaps, sink)
    return after, gaps


def place(
    connection: Connection,
    before: Mapping[Place, Position],
    after: Mapping[Place, Position],
    gaps: Iterable[LogGap] = (),
    sink: str = "",
) -> None:
    """Store where reading goes on and the gaps found, in a transaction of its own.

    Raise OwnershipLost when the positions are no longer those of ``before``.
    """
    with connection.transaction():
        changed = [spot for spot, position in after.items() if before.get(spot) != position]
        lock(connection, {spot: before[spot] for spot in changed if spot in before})
        # Two processes may meet a new topic at once: the row of the first stays.
        connection.cursor().executemany(
            "INSERT INTO sink_offsets (topic, partition, topic_id, next_offset) "
            "VALUES (%s, %s, %s, %s) ON CONFLICT (topic, partition) DO NOTHING",
            [
                (spot.topic, spot.partition, after[spot].topic_id, after[spot].next_offset)
                for spot in changed
                if spot not in before
            ],
        )
        connection.cursor().executemany(
            "UPDATE sink_offsets SET topic_id = %s, next_offset = %s, "
            "newest_at = to_timestamp(nullif(%s, 0) / 1000.0), updated_at = now() "
            "WHERE topic = %s AND partition = %s",
            [
                (
                    after[spot].topic_id,
                    after[spot].next_offset,
                    after[spot].newest_ms,
                    spot.topic,
                    spot.partition,
                )
                for spot in changed
                if spot in before
            ],
        )
        connection.cursor().executemany(
            "INSERT INTO kafka_gaps (topic, partition, topic_id, reason, first_offset, "
            "next_offset, read_from, sink) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
            [
                (
                    gap.topic,
                    gap.partition,
                    gap.topic_id,
                    gap.reason,
                    gap.first,
                    gap.end,
                    gap.read_from,
                    sink,
                )
                for gap in gaps
            ],
        )


def lock(connection: Connection, expected: Mapping[Place, Position]) -> None:
    """Hold the offsets to the end of the transaction; raise OwnershipLost if one has moved.

    Done first, so that a process which lost its partitions without knowing (a zombie) fails
    before it writes a row, and so does the rightful one after a zombie's last transaction.
    """
    found = _read(connection, _LOCKED, list(expected))
    for spot, position in expected.items():
        if _place_of(found.get(spot)) != _place_of(position):
            raise OwnershipLost(
                f"{spot.topic} partition {spot.partition}: expected offset "
                f"{position.next_offset} in the database, found "
                f"{found[spot].next_offset if spot in found else 'none'}; "
                "another sink wrote it, the offsets are read again"
            )


def _place_of(position: Position | None) -> tuple[str, int] | None:
    return None if position is None else (position.topic_id, position.next_offset)


def advance(
    connection: Connection, following: Mapping[Place, int], newest_at: Mapping[Place, int]
) -> None:
    """Store the offsets that come next; call after ``lock`` in the same transaction.

    ``newest_at``: when Kafka appended the newest record of a partition [epoch ms], where known.
    """
    places = list(following)
    connection.execute(
        "UPDATE sink_offsets SET next_offset = moved.next_offset, updated_at = now(), "
        "newest_at = greatest(sink_offsets.newest_at, to_timestamp(moved.newest_ms / 1000.0)) "
        "FROM unnest(%s::text[], %s::int[], %s::bigint[], %s::bigint[]) "
        "AS moved (topic, partition, next_offset, newest_ms) "
        "WHERE sink_offsets.topic = moved.topic AND sink_offsets.partition = moved.partition",
        (
            [p.topic for p in places],
            [p.partition for p in places],
            [following[p] for p in places],
            [newest_at.get(p) for p in places],
        ),
    )
