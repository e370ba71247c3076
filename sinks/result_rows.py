"""Final results and late readings: the results' tables, and their rows as columns for COPY."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from civicstream.events import EnvironmentResult, TrafficResult
from sinks.batching import LateFrame
from sinks.database.event_columns import RESULTS, result_columns
from sinks.histories import column_values
from sinks.tables import BulkTable

__all__ = [
    "RESULTS_ENVIRONMENT",
    "RESULTS_TRAFFIC",
    "environment_rows",
    "late_columns",
    "traffic_rows",
]


def _result_table(name: str, key: tuple[str, ...]) -> BulkTable:
    """Return the table of a result's rows.

    Of two final results for a window the first one stays: it is what alerts and people acted on.
    """
    columns = result_columns(RESULTS[name])
    return BulkTable(
        name, tuple(c.name for c in columns), tuple(c.type for c in columns), key, "DO NOTHING"
    )


RESULTS_TRAFFIC = _result_table("results_traffic", ("segment", "window_start"))
RESULTS_ENVIRONMENT = _result_table(
    "results_environment", ("area", "kind", "measure", "window_start")
)


def traffic_rows(results: Sequence[TrafficResult]) -> list[Any]:
    """Return the columns of ``RESULTS_TRAFFIC``, a row per segment and window."""
    return _columns(RESULTS_TRAFFIC, [(r, row) for r in results for row in r.segments])


def environment_rows(results: Sequence[EnvironmentResult]) -> list[Any]:
    """Return the columns of ``RESULTS_ENVIRONMENT``, a row per measure and window."""
    return _columns(RESULTS_ENVIRONMENT, [(r, row) for r in results for row in r.measures])


def _columns(table: BulkTable, rows: Sequence[tuple[msgspec.Struct, msgspec.Struct]]) -> list[Any]:
    return [
        column_values([getattr(pair[column.of_row], column.field) for pair in rows], column.type)
        for column in result_columns(RESULTS[table.name])
    ]


def late_columns(frames: Sequence[LateFrame]) -> list[Any]:
    """Return the columns of ``tables.LATE``."""
    counts = [len(f.frame) for f in frames]
    return [
        np.concatenate([f.frame.sensor_key for f in frames]),
        np.concatenate([f.frame.ts for f in frames]),
        [f.frame.kind.name for f, n in zip(frames, counts, strict=True) for _ in range(n)],
        np.repeat(np.array([f.headers.ingested_at for f in frames], np.int64), counts),
        np.repeat(np.array([f.closed_until for f in frames], np.int64), counts),
    ]
