"""Incidents, forecasts, sensor health and anomalies: their tables, and events as rows of these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from civicstream.events import Anomaly, ForecastRow, Incident, SensorHealth, TrafficForecast
from sinks.copy_binary import ColumnType, integers
from sinks.letters import printable
from sinks.tables import BulkTable

__all__ = [
    "ANOMALIES",
    "FORECASTS",
    "HISTORIES",
    "INCIDENTS",
    "SENSOR_HEALTH",
    "forecast_columns",
    "forecast_fault",
    "history_columns",
]

_TIMES = {
    *("estimated_start", "first_evidence", "last_evidence", "since", "started_at", "last_at"),
    *("window_end", "computed_at"),
}
_TYPES: dict[object, ColumnType] = {int: "int4", float: "float8"}


def _history(name: str, event: type[msgspec.Struct], key: tuple[str, ...]) -> BulkTable:
    """Return the table whose columns are the event's fields; of two rows the first one stays."""
    fields = msgspec.structs.fields(event)
    types = tuple(_column_type(field.name, field.type) for field in fields)
    return BulkTable(name, tuple(field.name for field in fields), types, key, "DO NOTHING")


def _column_type(name: str, of: object) -> ColumnType:
    if name in _TIMES:
        return "timestamptz"
    if name == "sensor_key":
        return "int8"
    return _TYPES.get(of, "text")


INCIDENTS = _history("incidents", Incident, ("id", "version"))
SENSOR_HEALTH = _history("sensor_health", SensorHealth, ("sensor_key", "window_end"))
ANOMALIES = _history("anomalies", Anomaly, ("id", "version"))

HISTORIES: dict[type[msgspec.Struct], BulkTable] = {
    Incident: INCIDENTS,
    SensorHealth: SENSOR_HEALTH,
    Anomaly: ANOMALIES,
}

_FORECAST_VALUES = tuple(name for name in ForecastRow.__struct_fields__ if name != "segment")

FORECASTS = BulkTable(
    "forecasts",
    (
        *("area", "segment", "made_at", "target", "horizon_min"),
        *_FORECAST_VALUES,
        "computed_at",
    ),
    (
        *("text", "text", "timestamptz", "timestamptz", "int4"),
        *("float8" for _ in _FORECAST_VALUES),  # type: ignore[arg-type]
        "timestamptz",
    ),
    ("segment", "made_at", "horizon_min"),
    "DO NOTHING",
)


def history_columns(events: Sequence[msgspec.Struct], table: BulkTable) -> list[Any]:
    """Return a column per field of the events, in the order of ``table``."""
    columns: list[Any] = []
    for name, of in zip(table.columns, table.types, strict=True):
        values = [getattr(event, name) for event in events]
        if of == "text":
            columns.append([printable(value) for value in values])
        else:
            columns.append(np.array(values, np.float64) if of == "float8" else integers(values))
    return columns


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
