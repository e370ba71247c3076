"""Consumed offsets, kept in the database in the transaction that writes the rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from civicstream.errors import OwnershipLost
from civicstream.kafka.log_gaps import Log, LogGap, Position, go_on
from civicstream.postgres import Connection
from sinks.records import TopicPartition

__all__ = ["Logs", "advance", "lock", "save_positions", "settle", "stored"]

Logs = Callable[[Mapping[TopicPartition, Position | None]], Mapping[TopicPartition, Log]]
"""Returns each partition as Kafka has it now."""

_FOUND = (
    "SELECT topic, partition, next_offset, topic_id::text, "
    "coalesce((extract(epoch FROM newest_at) * 1000)::bigint, 0) FROM sink_offsets "
    "JOIN unnest(%s::text[], %s::int[]) AS wanted (topic, partition) USING (topic, partition) "
)
# One order for every process, so that two never wait for each other.
_LOCKED = _FOUND + "ORDER BY topic, partition FOR UPDATE OF sink_offsets"


def _read(
    connection: Connection, query: str, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, Position]:
    rows = connection.execute(
        query.encode(), ([p.topic for p in partitions], [p.partition for p in partitions])
    ).fetchall()
    return {TopicPartition(topic, part): Position(*position) for topic, part, *position in rows}


def stored(
    connection: Connection, partitions: Collection[TopicPartition]
) -> dict[TopicPartition, Position]:
    """Return the positions that the database has of these partitions."""
    with connection.transaction():
        return _read(connection, _FOUND, partitions)


def settle(
    connection: Connection, logs: Logs, partitions: Collection[TopicPartition], sink: str
) -> tuple[dict[TopicPartition, Position], list[LogGap]]:
    """Return where to go on reading each partition, and the gaps found, which are stored.

    Raise OwnershipLost when another process has moved the positions meanwhile.
    """
    before = stored(connection, partitions)
    found = logs({partition: before.get(partition) for partition in partitions})
    after, gaps = {}, []
    for partition in partitions:
        known, log = before.get(partition), found[partition]
        if known is None:
            after[partition] = Position(log.begin, log.topic_id)
            continue
        # Rows that are there already stay as they are.
        after[partition], gap = go_on(
            partition.topic, partition.partition, known, log, may_repeat=True
        )
        if gap is not None:
            gaps.append(gap)
    save_positions(connection, before, after, gaps, sink)
    return after, gaps


def save_positions(
    connection: Connection,
    before: Mapping[TopicPartition, Position],
    after: Mapping[TopicPartition, Position],
    gaps: Iterable[LogGap] = (),
    sink: str = "",
) -> None:
    """Store where reading goes on and the gaps found, in a transaction of its own.

    Raise OwnershipLost when the positions are no longer those of ``before``.
    """
    changed = {p: at for p, at in after.items() if before.get(p) != at}
    new = [(p.topic, p.partition, at) for p, at in changed.items() if p not in before]
    moved = [(p.topic, p.partition, at) for p, at in changed.items() if p in before]
    with connection.transaction():
        lock(connection, {p: before[p] for p in changed if p in before})
        # Two processes may meet a new topic at once: the row of the first stays.
        connection.cursor().executemany(
            "INSERT INTO sink_offsets (topic, partition, topic_id, next_offset) "
            "VALUES (%s, %s, %s, %s) ON CONFLICT (topic, partition) DO NOTHING",
            [(topic, number, at.topic_id, at.next_offset) for topic, number, at in new],
        )
        connection.cursor().executemany(
            "UPDATE sink_offsets SET topic_id = %s, next_offset = %s, "
            "newest_at = to_timestamp(nullif(%s, 0) / 1000.0), updated_at = now() "
            "WHERE topic = %s AND partition = %s",
            [
                (at.topic_id, at.next_offset, at.newest_ms, topic, number)
                for topic, number, at in moved
            ],
        )
        _insert_gaps(connection, gaps, sink)


def _insert_gaps(connection: Connection, gaps: Iterable[LogGap], sink: str) -> None:
    connection.cursor().executemany(
        "INSERT INTO kafka_gaps (topic, partition, topic_id, reason, first_offset, "
        "next_offset, read_from, sink) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        [
            (g.topic, g.partition, g.topic_id, g.reason, g.first, g.end, g.read_from, sink)
            for g in gaps
        ],
    )


def lock(connection: Connection, expected: Mapping[TopicPartition, Position]) -> None:
    """Hold the offsets to the end of the transaction; raise OwnershipLost if one has moved.

    Done first, so that a process which lost its partitions without knowing (a zombie) fails
    before it writes a row, and so does the rightful one after a zombie's last transaction.
    """
    found = _read(connection, _LOCKED, list(expected))
    for partition, position in expected.items():
        if _next_of(found.get(partition)) != _next_of(position):
            raise OwnershipLost(
                f"{partition.topic} partition {partition.partition}: expected offset "
                f"{position.next_offset} in the database, found "
                f"{found[partition].next_offset if partition in found else 'none'}; "
                "another sink wrote it, the offsets are read again"
            )


def _next_of(position: Position | None) -> tuple[str, int] | None:
    return None if position is None else (position.topic_id, position.next_offset)


def advance(
    connection: Connection,
    following: Mapping[TopicPartition, int],
    newest_at: Mapping[TopicPartition, int],
) -> None:
    """Store the offsets that come next; call after ``lock`` in the same transaction.

    ``newest_at``: when Kafka appended the newest record of a partition [epoch ms], where known.
    """
    partitions = list(following)
    connection.execute(
        "UPDATE sink_offsets SET next_offset = moved.next_offset, updated_at = now(), "
        "newest_at = greatest(sink_offsets.newest_at, to_timestamp(moved.newest_ms / 1000.0)) "
        "FROM unnest(%s::text[], %s::int[], %s::bigint[], %s::bigint[]) "
        "AS moved (topic, partition, next_offset, newest_ms) "
        "WHERE sink_offsets.topic = moved.topic AND sink_offsets.partition = moved.partition",
        (
            [p.topic for p in partitions],
            [p.partition for p in partitions],
            [following[p] for p in partitions],
            [newest_at.get(p) for p in partitions],
        ),
    )
