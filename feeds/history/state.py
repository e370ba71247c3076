"""The city's state at a moment of the past, topic by topic, in the shape of a live snapshot.

What happened after the moment is left out, whenever it was written; times are those of the events.
What has ended is shown for some minutes more (``linger_s``), as the live feed does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from civicstream.statistics import ENVIRONMENT, TRAFFIC
from feeds.history.columns import Column, columns
from feeds.history.encodings import Row, items
from feeds.history.listings import MIDDLE, MIDDLE_JOIN
from feeds.history.road_lists import ANOMALIES, INCIDENTS
from feeds.history.service_lists import ALERTS, ALLOCATIONS, CASES, DEMAND, UNITS
from feeds.history.statements import moment, selected

__all__ = ["TOPICS", "Topic", "state_items", "state_statements"]

_AT = "%(at)s"
_ENDED = "%(ended)s"
_RECENT = f"({_AT} - INTERVAL '15 minutes')"
"""Windows older than that say nothing of the moment."""
_OPEN_SINCE = f"({_AT} - INTERVAL '90 days')"
"""A case that nobody has touched for this long is not looked for."""


@dataclass(frozen=True)
class Topic:
    """One topic of the state: its columns over the rows ``h`` of ``relation``."""

    relation: str
    columns: tuple[Column, ...]

    @property
    def statement(self) -> str:
        return f"SELECT {selected(self.columns)} FROM {self.relation}"  # noqa: S608


def _newest(table: str, by: str, alive: str, since: str) -> str:
    """Return SQL of the newest versions at the moment, of those alive or ended just now."""
    return (
        f"(SELECT v.* FROM {table} v WHERE v.{by} <= {_AT} AND v.{by} > {since} "  # noqa: S608
        f"AND (({alive}) OR v.{by} > {_ENDED}) AND NOT EXISTS (SELECT FROM {table} newer "
        f"WHERE newer.id = v.id AND newer.version > v.version AND newer.{by} <= {_AT})) h"
    )


_FINAL = Column("status", "text", "Always final.", sql="'final'")

# One look into the index (segment, window_start) for each segment: no index on time is needed,
# and what it costs does not grow with the history.
_SEGMENTS = Topic(
    "segments s CROSS JOIN LATERAL (SELECT * FROM results_traffic r WHERE r.segment = s.id "  # noqa: S608
    f"AND r.window_start < {_AT} AND r.window_start > {_RECENT} AND r.window_end <= {_AT} "
    "ORDER BY r.window_start DESC LIMIT 1) h",
    columns(
        Column("id", "text", "Road segment.", sql="h.segment"),
        "area",
        "window_start",
        "window_end",
        _FINAL,
        "computed_at",
        *(s.name for s in TRAFFIC),
        *MIDDLE,
    ),
)

_ENVIRONMENT = Topic(
    "(SELECT DISTINCT ON (area, kind, measure) * FROM results_environment "  # noqa: S608
    f"WHERE window_start < {_AT} AND window_start > {_RECENT} AND window_end <= {_AT} "
    "ORDER BY area, kind, measure, window_start DESC) h",
    columns(
        Column("id", "text", "area/kind/measure", sql="concat_ws('/', h.area, h.kind, h.measure)"),
        "area",
        "kind",
        "measure",
        "window_start",
        "window_end",
        _FINAL,
        "computed_at",
        *(s.name for s in ENVIRONMENT),
    ),
)

_HEALTH = Topic(
    "(SELECT c.*, s.lon, s.lat FROM sensor_health c LEFT JOIN sensors s USING (sensor_key) "  # noqa: S608
    f"WHERE c.health <> 'ok' AND c.window_end <= {_AT} AND NOT EXISTS (SELECT FROM sensor_health "
    f"newer WHERE newer.sensor_key = c.sensor_key AND newer.window_end > c.window_end "
    f"AND newer.window_end <= {_AT})) h",
    columns(
        Column("id", "text", "sensor_key as text.", sql="h.sensor_key::text"),
        "sensor_key",
        "kind",
        "area",
        "sensor",
        "health",
        "reason",
        "since",
        "before",
        "window_end",
        "computed_at",
        "lon",
        "lat",
    ),
)

_FORECAST = (
    "speed_kmh",
    "speed_low_kmh",
    "speed_high_kmh",
    "flow_veh_h",
    "flow_low_veh_h",
    "flow_high_veh_h",
)
_FORECASTS = Topic(
    "segments s CROSS JOIN LATERAL (SELECT max(f.area) AS area, f.made_at, "  # noqa: S608
    "max(f.computed_at) AS computed_at, array_agg(f.horizon_min ORDER BY f.horizon_min) "
    "AS horizons_min, "
    + ", ".join(f"array_agg(f.{name} ORDER BY f.horizon_min) AS {name}" for name in _FORECAST)
    + " FROM forecasts f WHERE f.segment = s.id AND f.made_at = (SELECT made_at FROM forecasts m "  # noqa: S608
    f"WHERE m.segment = s.id AND m.made_at <= {_AT} AND m.made_at > {_RECENT} "
    "ORDER BY m.made_at DESC LIMIT 1) GROUP BY f.made_at) h",
    columns(
        Column("id", "text", "Road segment.", sql="s.id"),
        "area",
        "made_at",
        "computed_at",
        Column("horizons_min", "list", "How far ahead each value is [min]."),
        *(Column(name, "list", "A value for each horizon.") for name in _FORECAST),
    ),
)

_UNITS = Topic(
    "units_current u CROSS JOIN LATERAL (SELECT * FROM units v WHERE v.id = u.id "  # noqa: S608
    f"AND v.at <= {_AT} AND v.at > {_AT} - INTERVAL '1 day' ORDER BY v.at DESC LIMIT 1) h",
    UNITS.columns,
)
_DEMAND = Topic(
    "demand_current d CROSS JOIN LATERAL (SELECT * FROM demand v WHERE v.area = d.area "  # noqa: S608
    f"AND v.service = d.service AND v.at <= {_AT} AND v.at > {_AT} - INTERVAL '1 day' "
    "ORDER BY v.at DESC LIMIT 1) h",
    DEMAND.columns,
)

TOPICS: dict[str, Topic] = {
    "segments": _SEGMENTS,
    "environment": _ENVIRONMENT,
    "incidents": Topic(
        _newest("incidents", "window_end", "v.state <> 'cleared'", _OPEN_SINCE) + f" {MIDDLE_JOIN}",
        INCIDENTS.columns,
    ),
    "anomalies": Topic(
        "(SELECT n.*, s.segment, s.lon, s.lat FROM "  # noqa: S608
        + _newest("anomalies", "window_end", "v.state = 'open'", _OPEN_SINCE).removesuffix(" h")
        + " n LEFT JOIN sensors s USING (sensor_key)) h",
        ANOMALIES.columns,
    ),
    "alerts": Topic(
        _newest("alerts", "updated_at", "v.state = 'active'", _OPEN_SINCE), ALERTS.columns
    ),
    "cases": Topic(
        _newest(
            "cases",
            "updated_at",
            "v.state NOT IN ('resolved', 'rejected', 'duplicate')",
            _OPEN_SINCE,
        ),
        CASES.columns,
    ),
    "units": _UNITS,
    "allocations": Topic(
        _newest("allocations", "decided_at", "v.state IN ('proposed', 'accepted')", _OPEN_SINCE),
        ALLOCATIONS.columns,
    ),
    "forecasts": _FORECASTS,
    "health": _HEALTH,
    "demand": _DEMAND,
}


def state_statements(
    topics: Sequence[str], at: int, linger_s: float
) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the statements whose rows are the topics' items at ``at`` [epoch ms], in order."""
    values = {"at": moment(at), "ended": moment(at - round(linger_s * 1000))}
    return [(TOPICS[topic].statement, values) for topic in topics]


def state_items(
    topics: Sequence[str], found: Sequence[Sequence[Row]]
) -> dict[str, list[dict[str, Any]]]:
    """Return topic -> items."""
    return {
        topic: items(TOPICS[topic].columns, rows) for topic, rows in zip(topics, found, strict=True)
    }
