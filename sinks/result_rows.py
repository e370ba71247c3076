"""Final results and late readings as columns for COPY."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from civicstream.events import EnvironmentResult, TrafficResult
from sinks.batching import LateFrame
from sinks.database.copy_binary import integers
from sinks.dead_letters import printable

__all__ = ["environment_columns", "late_columns", "traffic_columns"]

_TRAFFIC_NUMBERS_BEFORE = ("readings", "vehicles", "flow_veh_h")
_TRAFFIC_NULLABLE = (
    "time_mean_speed_kmh",
    "space_mean_speed_kmh",
    "p85_speed_kmh",
    "occupancy",
    "density_veh_km_lane",
)


def _numbers(values: list[float | None]) -> Any:
    return np.array([np.nan if v is None else v for v in values], np.float64)


def traffic_columns(results: Sequence[TrafficResult]) -> list[Any]:
    """Return the columns of ``tables.RESULTS_TRAFFIC``, a row per segment and window."""
    rows = [(result, row) for result in results for row in result.segments]
    segments = [row for _, row in rows]
    return [
        [printable(result.area) for result, _ in rows],
        [printable(row.segment) for row in segments],
        integers([result.window_start for result, _ in rows]),
        integers([result.window_end for result, _ in rows]),
        *(_numbers([getattr(s, n) for s in segments]) for n in _TRAFFIC_NUMBERS_BEFORE),
        *(_numbers([getattr(s, n) for s in segments]) for n in _TRAFFIC_NULLABLE),
        [printable(row.level_of_service) for row in segments],
        _numbers([row.travel_time_index for row in segments]),
        _numbers([row.coverage for row in segments]),
        integers([result.computed_at for result, _ in rows]),
    ]


def environment_columns(results: Sequence[EnvironmentResult]) -> list[Any]:
    """Return the columns of ``tables.RESULTS_ENVIRONMENT``, a row per measure and window."""
    rows = [(result, row) for result in results for row in result.measures]
    return [
        [printable(result.area) for result, _ in rows],
        [printable(result.kind) for result, _ in rows],
        [printable(row.measure) for _, row in rows],
        integers([result.window_start for result, _ in rows]),
        integers([result.window_end for result, _ in rows]),
        integers([result.readings for result, _ in rows]),
        integers([result.sensors for result, _ in rows]),
        integers([row.readings for _, row in rows]),
        integers([row.sensors for _, row in rows]),
        *(_numbers([getattr(row, n) for _, row in rows]) for n in ("mean", "min", "max", "p95")),
        integers([result.computed_at for result, _ in rows]),
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
