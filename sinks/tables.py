"""The tables the sink writes in bulk, and the SQL of the two ways in: COPY, or staged upsert.

Staging: rows that may already be there are copied into a temporary table and inserted from it
with ON CONFLICT, which separates new rows from those that were there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property, lru_cache

from civicstream.kinds import KINDS
from sinks.database.copy_binary import ColumnType
from sinks.database.schema import reading_columns, time_columns

__all__ = [
    "LATE",
    "BulkTable",
    "latest_table",
    "readings_table",
]


@dataclass(frozen=True)
class BulkTable:
    """A table, its columns in the order they are copied, and what happens on a conflict."""

    name: str
    columns: tuple[str, ...]
    types: tuple[ColumnType, ...]
    key: tuple[str, ...]
    on_conflict: str
    """What follows ON CONFLICT (key)."""
    values: tuple[str, ...] = ()
    """Columns in which a row of a key that is there may differ, where corrections are counted."""

    @cached_property
    def copy(self) -> bytes:
        """COPY straight into the table; fails if a row is there."""
        return f"COPY {self.name} ({', '.join(self.columns)}) FROM STDIN (FORMAT BINARY)".encode()

    @cached_property
    def create_stage(self) -> bytes:
        return (
            f"CREATE TEMPORARY TABLE IF NOT EXISTS incoming_{self.name} "
            f"(LIKE {self.name} INCLUDING DEFAULTS) ON COMMIT DELETE ROWS"
        ).encode()

    @cached_property
    def copy_stage(self) -> bytes:
        listed = ", ".join(self.columns)
        return f"COPY incoming_{self.name} ({listed}) FROM STDIN (FORMAT BINARY)".encode()

    @cached_property
    def empty_stage(self) -> bytes:
        return f"TRUNCATE incoming_{self.name}".encode()

    @cached_property
    def time_column(self) -> str | None:
        """The column of time that its rows are kept by, if they are."""
        return time_columns().get(self.name)

    @cached_property
    def _day(self) -> str:
        column = self.time_column
        return f"({self.name}.{column} AT TIME ZONE 'UTC')::date" if column else "NULL::date"

    @cached_property
    def merge(self) -> bytes:
        """Move the staged rows into the table; answers (day [UTC], new rows) each.

        A row version made by ON CONFLICT DO UPDATE has xmax set by its own row lock, a new one
        has none.
        """
        listed = ", ".join(self.columns)
        return (
            f"WITH written AS (INSERT INTO {self.name} ({listed}) "  # noqa: S608 names from declarations
            f"SELECT {listed} FROM incoming_{self.name} "
            f"ON CONFLICT ({', '.join(self.key)}) {self.on_conflict} "
            f"RETURNING (xmax = 0) AS new, {self._day} AS day) "
            "SELECT day, count(*) FILTER (WHERE new) FROM written GROUP BY day"
        ).encode()

    def corrections(self, day: date) -> bytes:
        """Count the staged rows of a day (UTC) that have other ``values`` than the row with
        their key, before they are merged; whichever of the two stays.

        The day stands in the text: TimescaleDB's planner locks every chunk that it cannot leave
        out, and there may be more chunks than the lock table has room for.
        """
        same_key = " AND ".join(f"t.{c} = i.{c}" for c in self.key)
        old, new = (", ".join(f"{row}.{c}" for c in self.values) for row in "ti")
        first, after = f"'{day}T00:00Z'", f"'{day + timedelta(days=1)}T00:00Z'"
        column = self.time_column
        within = f"t.{column} >= {first} AND t.{column} < {after}"
        within += f" AND i.{column} >= {first} AND i.{column} < {after}"
        return (
            f"SELECT count(*) FROM incoming_{self.name} i "  # noqa: S608
            f"JOIN {self.name} t ON {same_key} "
            f"WHERE {within} AND ROW({old}) IS DISTINCT FROM ROW({new})"
        ).encode()


def _set_clause(columns: tuple[str, ...]) -> str:
    return ", ".join(f"{c} = excluded.{c}" for c in columns)


@lru_cache
def readings_table(kind_name: str) -> BulkTable:
    """History of a kind. Of two readings of a sensor and time, the one ingested later wins.

    Of two ingested at once, the one that is written later; with equal values too the time moves
    on, or a correction ingested in between would win when it is read last.
    """
    kind = KINDS[kind_name]
    columns = reading_columns(kind)
    name = f"readings_{kind_name}"
    values = columns[2:-1]
    old = ", ".join(f"{name}.{c}" for c in values)
    new = ", ".join(f"excluded.{c}" for c in values)
    return BulkTable(
        name,
        columns,
        _reading_types(kind_name),
        ("sensor_key", "ts"),
        f"DO UPDATE SET {_set_clause(columns[2:])} "
        f"WHERE excluded.ingested_at > {name}.ingested_at OR (excluded.ingested_at = "
        f"{name}.ingested_at AND ROW({old}) IS DISTINCT FROM ROW({new}))",
        values=values,
    )


@lru_cache
def latest_table(kind_name: str) -> BulkTable:
    """Newest reading of each sensor; a late one never sets it back."""
    columns = reading_columns(KINDS[kind_name])
    name = f"latest_{kind_name}"
    return BulkTable(
        name,
        columns,
        _reading_types(kind_name),
        ("sensor_key",),
        f"DO UPDATE SET {_set_clause(columns[1:])} WHERE (excluded.ts, excluded.ingested_at) "
        f">= ({name}.ts, {name}.ingested_at)",
    )


def _reading_types(kind_name: str) -> tuple[ColumnType, ...]:
    measures: list[ColumnType] = [
        "int4" if m.integer else "float8" for m in KINDS[kind_name].measures
    ]
    return ("int8", "timestamptz", *measures, "timestamptz")


LATE = BulkTable(
    "late_readings",
    ("sensor_key", "ts", "kind", "ingested_at", "closed_until"),
    ("int8", "timestamptz", "text", "timestamptz", "timestamptz"),
    ("sensor_key", "ts"),
    "DO NOTHING",
)
