"""Incidents, forecasts, sensor health and anomalies: their tables, and forecasts as rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from civicstream.events import Anomaly, ForecastRow, Incident, SensorHealth, TrafficForecast
from sinks.database.copy_binary import integers
from sinks.dead_letters import printable
from sinks.histories import history_table
from sinks.tables import BulkTable

__all__ = [
    "ANOMALIES",
    "FORECASTS",
    "INCIDENTS",
    "SENSOR_HEALTH",
    "forecast_columns",
    "forecast_fault",
]

INCIDENTS = history_table("incidents", Incident, ("id", "version"))
SENSOR_HEALTH = history_table("sensor_health", SensorHealth, ("sensor_key", "window_end"))
ANOMALIES = history_table("anomalies", Anomaly, ("id", "version"))

_FORECAST_VALUES = tuple(name for name in ForecastRow.__struct_fields__ if name != "segment")

FORECASTS = BulkTable(
    "forecasts",
    (
        "area",
        "segment",
        "made_at",
        "target",
        "horizon_min",
        *_FORECAST_VALUES,
        "computed_at",
    ),
    (
        "text",
        "text",
        "timestamptz",
        "timestamptz",
        "int4",
        *("float8" for _ in _FORECAST_VALUES),  # type: ignore[arg-type]
        "timestamptz",
    ),
    ("segment", "made_at", "horizon_min"),
    "DO NOTHING",
)


def forecast_fault(forecast: TrafficForecast) -> str | None:
    """Return what keeps a forecast from being rows, or None: every list has all horizons."""
    horizons = len(forecast.horizons_min)
    for row in forecast.segments:
        for name in _FORECAST_VALUES:
            if len(getattr(row, name)) != horizons:
                return (
                    f"segment {row.segment!r}: {name} has {len(getattr(row, name))} values for "
                    f"{horizons} horizons"
                )
    return None


def forecast_columns(forecasts: Sequence[TrafficForecast]) -> list[Any]:
    """Return the columns of ``FORECASTS``: a row per segment and horizon."""
    made = [(f, row, m) for f in forecasts for row in f.segments for m in f.horizons_min]
    rows = [row for f in forecasts for row in f.segments]
    at = integers([f.made_at for f, _, _ in made])
    minutes = integers([m for _, _, m in made])
    return [
        [printable(f.area) for f, _, _ in made],
        [printable(row.segment) for _, row, _ in made],
        at,
        at + minutes * 60_000,
        minutes,
        *(
            np.array([v for row in rows for v in getattr(row, name)], np.float64)
            for name in _FORECAST_VALUES
        ),
        integers([f.computed_at for f, _, _ in made]),
    ]
