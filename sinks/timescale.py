"""What TimescaleDB adds, as SQL: hypertables with either licence; with the ``timescale``
licence also columnstore compression, retention policies and continuous aggregates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sinks.rollups import Rollup
from sinks.schema import TimeTable

__all__ = ["Timescale", "continuous_aggregate", "hypertable", "policies"]

_COMPRESS_AFTER_CHUNKS = 7
"""Late readings come within days; a compressed chunk takes them more slowly."""


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


def hypertable(table: TimeTable) -> list[str]:
    """Return the statements that make the table a hypertable; nothing happens if it is one.

    No index on time alone: chunk exclusion does its work, and it would cost a third of the
    write speed.
    """
    return [
        (
            f"SELECT create_hypertable('{table.name}', "
            f"by_range('{table.time_column}', {_days(table.chunk_days)}), "
            "create_default_indexes => false, if_not_exists => true, migrate_data => true)"
        ),
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


def continuous_aggregate(rollup: Rollup, select: str) -> list[str]:
    """Return the statements that make a roll-up a continuous aggregate with its refresh policy.

    ``materialized_only = false``: rows not yet refreshed are added when it is read, so that it
    answers like the view it stands for.
    """
    span = rollup.span
    return [
        (
            f"CREATE MATERIALIZED VIEW {rollup.name} "
            f"WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS {select} "
            "WITH NO DATA"
        ),
        (
            f"SELECT add_continuous_aggregate_policy('{rollup.name}', "
            f"start_offset => INTERVAL '{span.refresh_from}', "
            f"end_offset => INTERVAL '{span.width}', "
            f"schedule_interval => INTERVAL '{span.refresh_every}')"
        ),
    ]
