"""What the database knows of the present, as the events that Kafka carried.

Window results and forecasts: the newest of each key, of the last day. The rest: what stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

import msgspec

from civicstream.events import (
    Alert,
    Anomaly,
    EnvironmentResult,
    EnvironmentRow,
    ForecastRow,
    Incident,
    SensorHealth,
    TrafficForecast,
    TrafficResult,
    TrafficRow,
)
from civicstream.kinds import KINDS
from civicstream.service_events import Allocation, Case, Demand, Unit

__all__ = ["OFFSETS_QUERY", "STORED", "Stored"]

Row = dict[str, Any]
Event = msgspec.Struct

OFFSETS_QUERY = "SELECT topic, partition, next_offset FROM sink_offsets"


@dataclass(frozen=True)
class Stored:
    """One topic (its Kafka name without prefix): its query, and rows -> events."""

    topic: str
    query: str
    events: Callable[[Iterable[Row]], Iterable[Event]]


def _plain(value: Any) -> Any:
    """Return times as epoch ms; all else as it is."""
    if isinstance(value, datetime):
        return round(value.timestamp() * 1000)
    return value


def _fields(held: type[Event], row: Mapping[str, Any]) -> dict[str, Any]:
    # Null where the event left a member out that has a default.
    return {
        name: _plain(row[name])
        for name in held.__struct_fields__
        if name in row and row[name] is not None
    }


def _made(held: type[Event], row: Mapping[str, Any]) -> Event:
    """Return the event of a row; members without default that are null stay null."""
    nulls = dict.fromkeys(_required(held))
    return msgspec.convert({**nulls, **_fields(held, row)}, held)


def _required(held: type[Event]) -> list[str]:
    fields = msgspec.structs.fields(held)
    return [f.name for f in fields if f.required]


def _versions(topic: str, held: type[Event], relation: str, condition: str = "TRUE") -> Stored:
    columns = ", ".join(f'"{name}"' for name in held.__struct_fields__)
    return Stored(
        topic,
        f"SELECT {columns} FROM {relation} WHERE {condition}",  # noqa: S608 names from below
        lambda rows: [_made(held, row) for row in rows],
    )


# Segment by segment down the unique index: of years of results only a row each is read.
_TRAFFIC = """
SELECT r.* FROM segments s CROSS JOIN LATERAL (
    SELECT * FROM results_traffic r
    WHERE r.segment = s.id AND r.window_start > (SELECT city_now()) - INTERVAL '1 day'
    ORDER BY r.window_start DESC LIMIT 1) r
ORDER BY r.area, r.window_start, r.computed_at"""

_ENVIRONMENT = f"""
SELECT r.* FROM areas a
CROSS JOIN (VALUES {", ".join(f"('{k.name}', '{m.name}')" for k in KINDS.values() for m in k.measures)}) AS wanted (kind, measure)
CROSS JOIN LATERAL (
    SELECT * FROM results_environment r
    WHERE r.area = a.id AND r.kind = wanted.kind AND r.measure = wanted.measure
        AND r.window_start > (SELECT city_now()) - INTERVAL '1 day'
    ORDER BY r.window_start DESC LIMIT 1) r
ORDER BY r.area, r.kind, r.window_start"""  # noqa: E501, S608 names from the declarations

_FORECASTS = """
SELECT f.* FROM segments s CROSS JOIN LATERAL (
    SELECT max(made_at) AS made_at FROM forecasts f
    WHERE f.segment = s.id AND f.made_at > (SELECT city_now()) - INTERVAL '1 day') newest
JOIN forecasts f ON f.segment = s.id AND f.made_at = newest.made_at
ORDER BY f.area, f.made_at, f.segment, f.horizon_min"""


def _traffic(rows: Iterable[Row]) -> Iterable[Event]:
    for _, found in groupby(rows, lambda r: (r["area"], r["window_start"], r["computed_at"])):
        several = list(found)
        segments = [_made(TrafficRow, row) for row in several]
        yield _made(TrafficResult, {**several[0], "status": "final", "segments": segments})


def _environment(rows: Iterable[Row]) -> Iterable[Event]:
    for _, found in groupby(rows, lambda r: (r["area"], r["kind"], r["window_start"])):
        several = list(found)
        whole = {
            **several[0],
            "status": "final",
            "readings": several[0]["window_readings"],
            "sensors": several[0]["window_sensors"],
            "measures": [_made(EnvironmentRow, row) for row in several],
        }
        yield _made(EnvironmentResult, whole)


def _forecasts(rows: Iterable[Row]) -> Iterable[Event]:
    """Yield one forecast per area and time; all its segments have the same horizons."""
    for _, found in groupby(rows, lambda r: (r["area"], r["made_at"], r["computed_at"])):
        by_horizons: dict[tuple[int, ...], list[ForecastRow]] = {}
        several = list(found)
        for segment, own in groupby(several, lambda r: r["segment"]):
            ahead = list(own)
            columns = {
                name: [row[name] for row in ahead]
                for name in ForecastRow.__struct_fields__
                if name != "segment"
            }
            horizons = tuple(row["horizon_min"] for row in ahead)
            by_horizons.setdefault(horizons, []).append(ForecastRow(segment, **columns))
        for horizons, segments in by_horizons.items():
            whole = {**several[0], "horizons_min": list(horizons), "segments": segments}
            yield _made(TrafficForecast, whole)


STORED = (
    Stored("results.traffic", _TRAFFIC, _traffic),
    Stored("results.environment", _ENVIRONMENT, _environment),
    Stored("forecasts", _FORECASTS, _forecasts),
    _versions("incidents", Incident, "incidents_current", "state <> 'cleared'"),
    _versions("anomalies", Anomaly, "anomalies_current", "state = 'open'"),
    _versions("alerts", Alert, "alerts_current", "state = 'active'"),
    _versions(
        "cases",
        Case,
        "cases_current",
        "state NOT IN ('resolved', 'rejected', 'duplicate')",
    ),
    _versions(
        "allocations", Allocation, "allocations_current", "state IN ('proposed', 'accepted')"
    ),
    _versions("health", SensorHealth, "sensor_health_current"),
    _versions("units", Unit, "units_current", "at > (SELECT city_now()) - INTERVAL '12 hours'"),
    _versions("demand", Demand, "demand_current"),
)
