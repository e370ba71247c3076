"""What TimescaleDB adds, as SQL: hypertables with either licence; with the ``timescale``
licence also columnstore compression, retention policies and continuous aggregates.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from civicstream.errors import ConfigurationError
from civicstream.settings import DatabaseSettings
from sinks.database.rollups import Rollup
from sinks.database.schema import TimeTable

__all__ = [
    "SHORTEST_RETENTION_DAYS",
    "Timescale",
    "check_retention",
    "continuous_aggregate",
    "create_hypertable",
    "fill",
    "fill_from",
    "hypertable",
    "policies",
    "refresh_policy",
]

_COMPRESS_AFTER_CHUNKS = 7
"""Late readings come within days; a compressed chunk takes them more slowly."""

_REFRESH_DAYS = 7
"""How far back a refresh looks, at every span. What is older and was not refreshed before is
in no continuous aggregate, so this must cover the longest time for which rows may be held up:
an MQTT broker keeps them for a gateway so long (``gateway.session_expiry_s``). Only buckets
that have changed are computed again."""

SHORTEST_RETENTION_DAYS = _REFRESH_DAYS + 1
"""A refresh of a bucket whose rows are gone would empty it."""


@dataclass(frozen=True)
class Timescale:
    """The extension as installed: its version, and the licence of this server."""

    version: tuple[int, ...]
    license: Literal["apache", "timescale"]

    @property
    def full(self) -> bool:
        """Whether compression, policies and continuous aggregates may be used."""
        return self.license == "timescale"


def _days(days: float) -> str:
    return f"INTERVAL '{round(days * 86_400)} seconds'"


def create_hypertable(table: TimeTable, name: str) -> list[str]:
    """Return the statement that makes the empty table ``name`` a hypertable, as ``table`` says.

    Nothing happens if it is one. No index on time alone: chunk exclusion does its work, and it
    would cost a third of the write speed.
    """
    return [
        (
            f"SELECT create_hypertable('{name}', "
            f"by_range('{table.time_column}', {_days(table.chunk_days)}), "
            "create_default_indexes => false, if_not_exists => true)"
        ),
    ]


def hypertable(table: TimeTable) -> list[str]:
    """Return the statements that make the table a hypertable with chunks of its width."""
    return [
        *create_hypertable(table, table.name),
        f"SELECT set_chunk_time_interval('{table.name}', {_days(table.chunk_days)})",
    ]


def policies(table: TimeTable, timescale: Timescale) -> list[str]:
    """Return the statements for compression and retention; none with the apache licence."""
    if not timescale.full:
        return []
    after = _days(_COMPRESS_AFTER_CHUNKS * table.chunk_days)
    keep = _days(table.keep_days)
    if timescale.version >= (2, 18):
        compression = [
            (
                f"ALTER TABLE {table.name} SET (timescaledb.enable_columnstore = true, "
                f"timescaledb.segmentby = '{table.segment_by}', "
                f"timescaledb.orderby = '{table.time_column}')"
            ),
            f"CALL remove_columnstore_policy('{table.name}', if_exists => true)",
            f"CALL add_columnstore_policy('{table.name}', after => {after})",
        ]
    else:
        compression = [
            (
                f"ALTER TABLE {table.name} SET (timescaledb.compress, "
                f"timescaledb.compress_segmentby = '{table.segment_by}', "
                f"timescaledb.compress_orderby = '{table.time_column}')"
            ),
            f"SELECT remove_compression_policy('{table.name}', if_exists => true)",
            f"SELECT add_compression_policy('{table.name}', {after})",
        ]
    return [
        *compression,
        f"SELECT remove_retention_policy('{table.name}', if_exists => true)",
        f"SELECT add_retention_policy('{table.name}', {keep})",
    ]


def check_retention(database: DatabaseSettings, timescale: Timescale | None) -> None:
    """Raise ConfigurationError where a refresh would reach back to rows that are gone."""
    if not (timescale and timescale.full):
        return
    for name in ("readings_retention_days", "results_retention_days"):
        days = getattr(database, name)
        if days < SHORTEST_RETENTION_DAYS:
            raise ConfigurationError(
                f"CIVICSTREAM_DATABASE__{name.upper()} is {days}; with TimescaleDB's timescale "
                f"licence the roll-ups are refreshed {_REFRESH_DAYS} days back, and a refresh "
                "empties the buckets whose rows retention has taken; set it to "
                f"{SHORTEST_RETENTION_DAYS} or more"
            )


def continuous_aggregate(rollup: Rollup, select: str) -> list[str]:
    """Return the statements that make a roll-up a continuous aggregate, still empty.

    ``materialized_only = false``: rows newer than the last refresh are added when it is read,
    so that it answers like the view it stands for.
    """
    return [
        (
            f"CREATE MATERIALIZED VIEW {rollup.name} "
            f"WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS {select} "
            "WITH NO DATA"
        ),
    ]


def refresh_policy(rollup: Rollup) -> list[str]:
    """Return the statements that keep a continuous aggregate up to date."""
    span = rollup.span
    return [
        f"SELECT remove_continuous_aggregate_policy('{rollup.name}', if_exists => true)",
        (
            f"SELECT add_continuous_aggregate_policy('{rollup.name}', "
            f"start_offset => {_days(_REFRESH_DAYS)}, "
            f"end_offset => INTERVAL '{span.width}', "
            f"schedule_interval => INTERVAL '{span.refresh_every}')"
        ),
    ]


def fill_from(rollup: Rollup) -> str:
    """Return the query for where to start filling a new one; no row where its policy will do."""
    at, width = rollup.time_column, f"INTERVAL '{rollup.span.width}'"
    return (
        f"SELECT min({at}) - {width} FROM {rollup.source} "  # noqa: S608 from declarations
        f"HAVING min({at}) < now() - 3 * {width}"
    )


def fill(rollup: Rollup, start: datetime) -> str:
    """Return the call that computes a new continuous aggregate from all rows there are.

    Its policy looks only so far back, and what lies before is not seen once it has run. The
    newest bucket is left out, or rows still to come into it would be seen only after the next
    refresh. Must not run in a transaction.
    """
    return (
        f"CALL refresh_continuous_aggregate('{rollup.name}', TIMESTAMPTZ '{start.isoformat()}', "
        f"now() - INTERVAL '{rollup.span.width}')"
    )
