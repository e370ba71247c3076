"""Bulk rows into PostgreSQL: straight COPY, or staged merge, around bad rows if need be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray

from civicstream.postgres import BAD_DATA, Connection
from sinks.bisecting import write_around_bad_rows
from sinks.database.copy_binary import copy_buffer
from sinks.tables import BulkTable

__all__ = [
    "NOT_STORABLE",
    "Merged",
    "copy_rows",
    "days_of",
    "merge_rows",
    "merge_what_fits",
    "sentence",
]

NOT_STORABLE = (*BAD_DATA, OverflowError, UnicodeError)
"""Errors of values: PostgreSQL's, and those of encoding them."""

Columns = Sequence[Any]

_DAY_MS = 86_400_000
_EPOCH = date(1970, 1, 1)


@dataclass
class Merged:
    """What became of staged rows: new in the table, or corrections; ``bad`` by row number.

    ``days``: the new ones by the day (UTC) they are of, where the table is kept by time.
    """

    new: int = 0
    corrected: int = 0
    days: Counter[date] = field(default_factory=Counter)
    bad: list[tuple[int, Exception]] = field(default_factory=list)
    bad_rows: set[int] = field(default_factory=set)
    """Numbers of all rows that were given and are not in the table."""


def copy_rows(connection: Connection, table: BulkTable, columns: Columns) -> None:
    """COPY rows that must be new straight into the table."""
    with connection.cursor() as cursor, cursor.copy(table.copy) as copy:
        copy.write(copy_buffer(table.types, columns))


def merge_rows(connection: Connection, table: BulkTable, columns: Columns) -> Merged:
    """Stage the rows and insert them, resolving conflicts as the table says.

    No two rows may have the same key where the table updates on conflict.
    """
    with connection.cursor() as cursor:
        cursor.execute(table.create_stage)
        with cursor.copy(table.copy_stage) as copy:
            copy.write(copy_buffer(table.types, columns))
        merged = Merged()
        if table.values:
            times = columns[table.columns.index(table.time_column)]
            for day in days_of(times):
                counted = cursor.execute(table.corrections(day)).fetchone()
                merged.corrected += counted[0] if counted else 0
        for day, new in cursor.execute(table.merge).fetchall():
            merged.new += new
            if day is not None:
                merged.days[day] += new
        return merged


def merge_what_fits(connection: Connection, table: BulkTable, columns: Columns) -> Merged:
    """Merge all rows but those the database does not take; each attempt in a savepoint."""
    total = Merged()

    def attempt(start: int, stop: int) -> Exception | None:
        try:
            with connection.transaction():
                connection.execute(table.create_stage)
                connection.execute(table.empty_stage)
                merged = merge_rows(connection, table, [c[start:stop] for c in columns])
        except NOT_STORABLE as error:
            return error
        total.new += merged.new
        total.corrected += merged.corrected
        total.days += merged.days
        return None

    total.bad = write_around_bad_rows(len(columns[0]), attempt)
    return total


def days_of(times: NDArray[np.int64]) -> Counter[date]:
    """Return how many of the times [epoch ms] are of each day (UTC)."""
    days, counts = np.unique(times // _DAY_MS, return_counts=True)
    return Counter(
        {_EPOCH + timedelta(days=int(day)): int(n) for day, n in zip(days, counts, strict=True)}
    )


def sentence(error: Exception) -> str:
    """Return what the database says about a bad row, in one line."""
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        where = error.diag.constraint_name or error.diag.column_name
        return error.diag.message_primary + (f" ({where})" if where else "")
    return " ".join(str(error).split())
