"""Consumed offsets, kept in the database in the transaction that writes the rows."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

from civicstream.errors import OwnershipLost
from sinks.database import Connection
from sinks.records import Place

__all__ = ["Position", "advance", "lock", "place"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Position:
    """The next offset to consume in a topic of this id."""

    topic_id: UUID
    next_offset: int


_SELECT = (
    "SELECT topic, partition, topic_id, next_offset FROM sink_offsets "
    "JOIN unnest(%s::text[], %s::int[]) AS wanted (topic, partition) USING (topic, partition) "
    # One order for every process, so that two never wait for each other.
    "ORDER BY topic, partition FOR UPDATE OF sink_offsets"
)


def _locked(connection: Connection, places: Collection[Place]) -> dict[Place, Position]:
    rows = connection.execute(
        _SELECT, ([p.topic for p in places], [p.partition for p in places])
    ).fetchall()
    return {Place(topic, part): Position(uid, offset) for topic, part, uid, offset in rows}


def place(
    connection: Connection, topic_ids: Mapping[str, UUID], places: Collection[Place]
) -> dict[Place, Position]:
    """Return where to go on reading each partition, in a transaction of its own.

    A topic with another id than before was made anew: its partitions start at 0.
    """
    with connection.transaction():
        found = _locked(connection, places)
        positions, changed = {}, []
        for spot in places:
            topic_id = topic_ids[spot.topic]
            known = found.get(spot)
            if known is None or known.topic_id != topic_id:
                changed.append((spot.topic, spot.partition, topic_id))
                if known is not None:
                    log.warning(
                        "topic %s was made anew (id %s, was %s): partition %d starts at 0, "
                        "%d offsets of the old topic were stored",
                        *(spot.topic, topic_id, known.topic_id, spot.partition, known.next_offset),
                    )
                known = Position(topic_id, 0)
            positions[spot] = known
        # Two processes may meet a new topic at once: the row of the first stays.
        connection.cursor().executemany(
            "INSERT INTO sink_offsets (topic, partition, topic_id, next_offset) "
            "VALUES (%s, %s, %s, 0) ON CONFLICT (topic, partition) DO UPDATE "
            "SET topic_id = excluded.topic_id, next_offset = 0, updated_at = now() "
            "WHERE sink_offsets.topic_id <> excluded.topic_id",
            changed,
        )
    return positions


def lock(connection: Connection, expected: Mapping[Place, Position]) -> None:
    """Hold the offsets to the end of the transaction; raise OwnershipLost if one has moved.

    Done first, so that a process which lost its partitions without knowing (a zombie) fails
    before it writes a row, and so does the rightful one after a zombie's last transaction.
    """
    found = _locked(connection, list(expected))
    for spot, position in expected.items():
        if found.get(spot) != position:
            raise OwnershipLost(
                f"{spot.topic} partition {spot.partition}: expected offset "
                f"{position.next_offset} in the database, found "
                f"{found[spot].next_offset if spot in found else 'none'}; "
                "another sink wrote it, the offsets are read again"
            )


def advance(connection: Connection, following: Mapping[Place, int]) -> None:
    """Store the offsets that come next; call after ``lock`` in the same transaction."""
    places = list(following)
    connection.execute(
        "UPDATE sink_offsets SET next_offset = moved.next_offset, updated_at = now() "
        "FROM unnest(%s::text[], %s::int[], %s::bigint[]) AS moved (topic, partition, next_offset) "
        "WHERE sink_offsets.topic = moved.topic AND sink_offsets.partition = moved.partition",
        (
            [p.topic for p in places],
            [p.partition for p in places],
            [following[p] for p in places],
        ),
    )
