"""What has come of every writer's numbered records, in the database."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from civicstream.events import ReadSequence
from civicstream.kafka.sequences import Stream
from civicstream.postgres import Connection
from sinks.records import TopicPartition

__all__ = ["load_given_up", "load_sequences", "store_given_up", "store_sequences"]

_COLUMNS = (
    "writer, epoch, topic, partition, next_seq, records, events, missing, repeated, reordered, "
    "corrupt"
)


def load_sequences(
    connection: Connection, partitions: Collection[TopicPartition] | None = None
) -> dict[Stream, ReadSequence]:
    """Return the sequences of every writer on these partitions, or on all."""
    if partitions is None:
        rows = connection.execute(f"SELECT {_COLUMNS} FROM records_seen").fetchall()  # noqa: S608
    else:
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM records_seen "  # noqa: S608 names from above
            "JOIN unnest(%s::text[], %s::int[]) AS wanted (topic, partition) "
            "USING (topic, partition)",
            ([p.topic for p in partitions], [p.partition for p in partitions]),
        ).fetchall()
    return {Stream(*row[:4]): _sequence(*row) for row in rows}


def _sequence(
    writer: str,
    epoch: int,
    topic: str,
    partition: int,
    following: int,
    records: int,
    events: int,
    missing: list[int],
    *counts: int,
) -> ReadSequence:
    repeated, reordered, corrupt = counts
    ranges = list(zip(missing[::2], missing[1::2], strict=True))
    return ReadSequence(
        writer,
        epoch,
        topic,
        partition,
        first=0,
        next=following,
        records=records,
        events=events,
        missing=ranges,
        repeated=repeated,
        reordered=reordered,
        corrupt=corrupt,
    )


def store_sequences(connection: Connection, changed: Mapping[Stream, ReadSequence]) -> None:
    """Store the sequences as they are now; the partitions' offsets are locked by the caller."""
    connection.cursor().executemany(
        f"INSERT INTO records_seen ({_COLUMNS}) "  # noqa: S608 names from above
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) "
        "ON CONFLICT (writer, epoch, topic, partition) DO UPDATE SET "
        "next_seq = excluded.next_seq, records = excluded.records, events = excluded.events, "
        "missing = excluded.missing, repeated = excluded.repeated, "
        "reordered = excluded.reordered, corrupt = excluded.corrupt, updated_at = now()",
        [_row(sequence) for sequence in changed.values()],
    )


def store_given_up(
    connection: Connection, given_up: Mapping[Stream, Sequence[tuple[int, int]]]
) -> None:
    """Keep which numbers a writer gave up, for the readers that lack them."""
    connection.cursor().executemany(
        "UPDATE records_seen SET void = %s "
        "WHERE (writer, epoch, topic, partition) = (%s, %s, %s, %s)",
        [
            (list(itertools.chain.from_iterable(ranges)), s.writer, s.epoch, s.topic, s.partition)
            for s, ranges in given_up.items()
        ],
    )


def load_given_up(connection: Connection) -> dict[Stream, list[tuple[int, int]]]:
    """Return which numbers writers gave up of which no report is left."""
    rows = connection.execute(
        "SELECT writer, epoch, topic, partition, void FROM records_seen WHERE void <> '{}'"
    ).fetchall()
    return {Stream(*row[:4]): list(zip(row[4][::2], row[4][1::2], strict=True)) for row in rows}


def _row(s: ReadSequence) -> tuple[Any, ...]:
    return (
        s.writer,
        s.epoch,
        s.topic,
        s.partition,
        s.next,
        s.records,
        s.events,
        list(itertools.chain.from_iterable(s.missing)),
        s.repeated,
        s.reordered,
        s.corrupt,
    )
