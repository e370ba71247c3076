"""The tables that follow from the declared kinds, as SQL; everything else is in ``migrations/``.

``readings_<kind>`` keeps every reading, ``latest_<kind>`` the newest of each sensor. Adding a
kind or a measure to ``civicstream.kinds`` is enough: `civicstream init` adds what is missing.
"""

from __future__ import annotations

from dataclasses import dataclass

from civicstream.kinds import KINDS, Kind, Measure
from civicstream.settings import DatabaseSettings

__all__ = [
    "BOOKKEEPING_TABLES",
    "MOST_CHUNKS",
    "TimeTable",
    "kind_statements",
    "reading_columns",
    "time_columns",
    "time_tables",
    "writer_privileges",
]

BOOKKEEPING_TABLES = (
    "sink_offsets",
    "records_seen",
    "sink_counts",
    "rows_written",
    "ledger_settled",
    "ledger_totals",
)
_HISTORY_TABLES = (
    "results_traffic",
    "results_environment",
    "late_readings",
    "dead_letters",
    "incidents",
    "forecasts",
    "sensor_health",
    "anomalies",
    "citizen_reports",
    "cases",
    "units",
    "allocations",
    "demand",
    "actions",
    "alerts",
    "frame_gaps",
    "kafka_gaps",
    "bin_forecasts",
    "parking_forecasts",
    "tours",
)
MOST_CHUNKS = 500
"""Of one hypertable."""
_CURRENT_TABLES = ("units_current", "demand_current", "bins_current", "parking_current")


@dataclass(frozen=True)
class TimeTable:
    """A table that grows with time: a hypertable where TimescaleDB is, with rows kept so long."""

    name: str
    time_column: str
    keep_days: int
    shortest_chunk_days: float
    segment_by: str
    hypertable: bool = True
    """False for tables whose unique key has no time in it, which a hypertable cannot have."""
    schema: str | None = None
    """None: that of the others."""

    @property
    def chunk_days(self) -> float:
        """Return the width of a chunk: however long rows are kept, a table has some hundred.

        Each chunk that a statement touches takes locks, and PostgreSQL has room for so many only.
        """
        return max(self.shortest_chunk_days, self.keep_days / MOST_CHUNKS)


def time_tables(database: DatabaseSettings) -> list[TimeTable]:
    """Return every table that retention applies to."""
    readings = [
        TimeTable(
            f"readings_{kind}",
            "ts",
            database.readings_retention_days,
            database.chunk_days,
            segment_by="sensor_key",
        )
        for kind in KINDS
    ]
    keep, dead_letters = database.results_retention_days, database.dead_letters_retention_days
    # Results are some hundredths of the readings, so their chunks span a week of the readings'.
    week = 7 * database.chunk_days
    return [
        *readings,
        TimeTable("results_traffic", "window_start", keep, week, "segment"),
        TimeTable("results_environment", "window_start", keep, week, "area, kind, measure"),
        TimeTable("late_readings", "ts", keep, week, "sensor_key"),
        # As many rows as readings, or more: a row per segment, window and horizon.
        TimeTable(
            "forecasts",
            "made_at",
            database.forecasts_retention_days,
            database.chunk_days,
            "segment, horizon_min",
        ),
        *(
            TimeTable(name, "window_end", keep, week, by, hypertable=False)
            for name, by in (
                ("incidents", "id"),
                ("sensor_health", "sensor_key"),
                ("anomalies", "id"),
            )
        ),
        TimeTable("alerts", "updated_at", keep, week, "id", hypertable=False),
        *_citizens_tables(database),
        TimeTable("dead_letters", "received_at", dead_letters, week, "source", hypertable=False),
        TimeTable("frame_gaps", "at", dead_letters, week, "gateway", hypertable=False),
        TimeTable("kafka_gaps", "at", dead_letters, week, "topic", hypertable=False),
    ]


def time_columns() -> dict[str, str]:
    """Return table -> the column of time that its rows are kept by."""
    return {table.name: table.time_column for table in time_tables(DatabaseSettings())}


def _citizens_tables(database: DatabaseSettings) -> list[TimeTable]:
    keep, days = database.reports_retention_days, 7 * database.chunk_days
    units = database.units_retention_days
    plain = {
        "citizen_reports": "received_at",
        "cases": "updated_at",
        "allocations": "decided_at",
        "actions": "at",
        "tours": "updated_at",
    }
    return [
        *(TimeTable(name, at, keep, days, "id", hypertable=False) for name, at in plain.items()),
        TimeTable("units", "at", units, database.chunk_days, "id"),
        TimeTable("demand", "at", units, database.chunk_days, "area, service"),
        TimeTable("bin_forecasts", "at", units, database.chunk_days, "sensor_key"),
        TimeTable("parking_forecasts", "at", units, database.chunk_days, "sensor_key"),
        TimeTable(
            "sealed_records",
            "at",
            database.personal_retention_days,
            days,
            "pseudonym",
            hypertable=False,
            schema="private",
        ),
    ]


def reading_columns(kind: Kind) -> tuple[str, ...]:
    """Return the columns of ``readings_<kind>`` and ``latest_<kind>``, in order."""
    return ("sensor_key", "ts", *(m.column for m in kind.measures), "ingested_at")


def _measure_column(measure: Measure) -> str:
    sql_type = "integer" if measure.integer else "double precision"
    return f"{measure.column} {sql_type}" + (" NOT NULL" if measure.required else "")


def kind_statements(kind: Kind) -> list[str]:
    """Return the DDL of a kind's two tables; each statement does nothing where it is done."""
    measures = ", ".join(_measure_column(m) for m in kind.measures)
    columns = (
        f"sensor_key bigint NOT NULL, ts timestamptz NOT NULL, {measures}, "
        "ingested_at timestamptz NOT NULL"
    )
    readings, latest = f"readings_{kind.name}", f"latest_{kind.name}"
    statements = [
        f"CREATE TABLE IF NOT EXISTS {readings} ({columns}, UNIQUE (sensor_key, ts))",
        # Half-filled pages: an update of the newest reading stays on its page (HOT), so the
        # index is not touched and the table does not bloat.
        (
            f"CREATE TABLE IF NOT EXISTS {latest} ({columns}, PRIMARY KEY (sensor_key)) "
            "WITH (fillfactor = 50)"
        ),
    ]
    for table in (readings, latest):
        # A measure declared later is null in the rows that are already there.
        statements += [
            f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS "
            f"{m.column} {'integer' if m.integer else 'double precision'}"
            for m in kind.measures
        ]
    return statements


def writer_privileges() -> dict[str, tuple[str, ...]]:
    """Return table -> privileges that the sink needs there, and no more than these."""
    upsert: tuple[str, ...] = ("SELECT", "INSERT", "UPDATE")
    append: tuple[str, ...] = ("SELECT", "INSERT")
    read_only: tuple[str, ...] = ("SELECT",)
    needs = {f"{table}_{kind}": upsert for kind in KINDS for table in ("readings", "latest")}
    needs |= dict.fromkeys((*BOOKKEEPING_TABLES, *_CURRENT_TABLES), upsert)
    needs |= dict.fromkeys(_HISTORY_TABLES, append)
    needs["sensors"] = append
    needs |= dict.fromkeys(("areas", "segments", "schema_migrations", "retention"), read_only)
    return needs
