"""Truth and detections in the database: what is compared, and the tables of the comparison."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from civicstream.errors import ConfigurationError
from civicstream.postgres import Connection
from sinks.database.comments import set_comments
from sinks.truth.matching import (
    Detection,
    FaultOutcome,
    IncidentOutcome,
    Unhealthy,
)

__all__ = [
    "detections",
    "flows_before",
    "newest_window",
    "places_in_detectors",
    "unhealthy_changes",
    "write_faults",
    "write_incidents",
]

_INCIDENTS = """CREATE TABLE IF NOT EXISTS simulation_incidents (
    outcome      text NOT NULL,        -- detected, missed, pending, repeated, false_alarm
    truth        text,                 -- the simulator's id; null: a false alarm
    incident     text,                 -- our id; null: not detected
    area         text NOT NULL,
    corridor     text NOT NULL,
    segment      text NOT NULL,        -- the true one, of a false alarm the supposed one
    started_at   timestamptz,
    ended_at     timestamptz,
    severity     double precision,     -- true share of the capacity lost
    demand_share double precision,     -- flow of the five minutes before, as share of capacity
    detected_at  timestamptz,          -- end of the window that confirmed it
    published_at timestamptz,
    delay_s      double precision,     -- from start to detected_at
    compared_at  timestamptz NOT NULL DEFAULT now())"""

_FAULTS = """CREATE TABLE IF NOT EXISTS simulation_sensor_faults (
    outcome     text NOT NULL,         -- detected, missed, pending, repeated, false_alarm
    sensor_key  bigint NOT NULL,
    kind        text NOT NULL,
    area        text NOT NULL,
    sensor      text,
    fault       text,                  -- null: a false alarm
    started_at  timestamptz,
    ended_at    timestamptz,
    health      text,                  -- what it was taken for
    reason      text,
    detected_at timestamptz,
    delay_s     double precision,
    compared_at timestamptz NOT NULL DEFAULT now())"""

# The first version to be confirmed is the detection; suspicions are no decision.
_CONFIRMED = """
    SELECT DISTINCT ON (id) id, area, corridor, segment, upstream_segment, downstream_segment,
        (extract(epoch FROM window_end) * 1000)::bigint,
        (extract(epoch FROM computed_at) * 1000)::bigint, severity
    FROM incidents WHERE state = 'confirmed' ORDER BY id, version"""

_UNHEALTHY = """
    SELECT h.sensor_key, h.kind, h.area, coalesce(h.sensor, s.sensor), h.health, h.reason,
        (extract(epoch FROM h.window_end) * 1000)::bigint
    FROM sensor_health h LEFT JOIN sensors s USING (sensor_key)
    WHERE h.before = 'ok' AND h.health <> 'ok'"""

# In detectors from the start of the corridor; half way between two where there is none.
_PLACES = """
    SELECT id, count(*) FILTER (WHERE has_one) OVER (
            PARTITION BY corridor ORDER BY position) + CASE WHEN has_one THEN 0 ELSE 0.5 END
    FROM segments g CROSS JOIN LATERAL (SELECT EXISTS (
        SELECT FROM sensors s WHERE s.segment = g.id AND s.kind = 'traffic')) d (has_one)"""

# Capacity per lane: freeways 2,200 veh/h (HCM 2010), streets 1,900 through a green of 45 %.
_DEMAND = """
    SELECT i.id, avg(r.flow_veh_h)
        / max(g.lanes * CASE g.road_class WHEN 'freeway' THEN 2200 ELSE 850 END)
    FROM unnest(%s::text[], %s::text[], %s::bigint[]) AS i (id, segment, start_ms)
    JOIN segments g ON g.id = i.segment
    JOIN results_traffic r ON r.segment = i.segment
        AND r.window_start >= to_timestamp(i.start_ms / 1000.0) - INTERVAL '5 minutes'
        AND r.window_start < to_timestamp(i.start_ms / 1000.0)
        AND r.window_end <= to_timestamp(i.start_ms / 1000.0)
    GROUP BY i.id"""


def newest_window(connection: Connection) -> int | None:
    """Return the end of the newest final traffic window [ms], None where there is none."""
    row = connection.execute(
        "SELECT (extract(epoch FROM max(window_end)) * 1000)::bigint FROM results_traffic"
    ).fetchone()
    return row[0] if row else None


def detections(connection: Connection) -> list[Detection]:
    return [Detection(*row) for row in connection.execute(_CONFIRMED).fetchall()]


def unhealthy_changes(connection: Connection) -> list[Unhealthy]:
    return [Unhealthy(*row) for row in connection.execute(_UNHEALTHY).fetchall()]


def places_in_detectors(connection: Connection, needed: Sequence[str]) -> dict[str, float]:
    """Return every segment's place along its corridor, counted in detectors.

    Raise ConfigurationError where one of ``needed`` is not in the city model that was loaded.
    """
    places = {segment: float(at) for segment, at in connection.execute(_PLACES).fetchall()}
    missing = sorted(set(needed) - set(places))
    if missing:
        raise ConfigurationError(
            f"the database has no segment {', '.join(missing[:3])}; set CIVICSTREAM_CITY__FILE to "
            "the city that was simulated and run civicstream init"
        )
    return places


def flows_before(
    connection: Connection, incidents: Sequence[tuple[str, str, int]]
) -> dict[str, float]:
    """Return id -> flow before (id, segment, start [ms]) as a share of capacity, where known."""
    columns = [list(column) for column in zip(*incidents, strict=True)] or [[], [], []]
    return dict(connection.execute(_DEMAND, columns).fetchall())


def write_incidents(
    connection: Connection, outcomes: Sequence[IncidentOutcome], demand: dict[str, float]
) -> None:
    """Replace what ``simulation_incidents`` holds, in the caller's transaction."""
    rows = []
    for one in outcomes:
        truth, found = one.truth, one.detection
        place = truth or found
        assert place is not None  # noqa: S101 an outcome is of one of the two
        rows.append(
            (
                one.outcome,
                truth and truth.id,
                found and found.id,
                place.area,
                place.corridor,
                place.segment,
                truth and truth.start_ms / 1000,
                truth and truth.end_ms / 1000,
                truth and truth.severity,
                truth and demand.get(truth.id),
                found and found.detected_at / 1000,
                found and found.published_at / 1000,
                one.delay_s,
            )
        )
    times = {6, 7, 10, 11}
    _replace(connection, "simulation_incidents", _INCIDENTS, rows, times)


def write_faults(connection: Connection, outcomes: Sequence[FaultOutcome]) -> None:
    """Replace what ``simulation_sensor_faults`` holds, in the caller's transaction."""
    rows = []
    for one in outcomes:
        truth, change = one.truth, one.change
        of = truth or change
        assert of is not None  # noqa: S101 an outcome is of one of the two
        ended = truth.end_ms if truth else None
        rows.append(
            (
                one.outcome,
                of.sensor_key,
                of.kind,
                of.area,
                of.sensor,
                truth and truth.fault,
                truth and truth.start_ms / 1000,
                None if ended is None else ended / 1000,
                change and change.health,
                change and change.reason,
                change and change.detected_at / 1000,
                one.delay_s,
            )
        )
    _replace(connection, "simulation_sensor_faults", _FAULTS, rows, {6, 7, 10})


def _replace(
    connection: Connection,
    table: str,
    create: str,
    rows: Sequence[tuple[Any, ...]],
    times: set[int],
) -> None:
    connection.execute(create.encode())
    set_comments(connection)
    connection.execute(f"GRANT SELECT ON {table} TO civicstream_reader".encode())
    connection.execute(f"DELETE FROM {table}".encode())  # noqa: S608 name from above
    if rows:
        places = ("to_timestamp(%s)" if i in times else "%s" for i in range(len(rows[0])))
        insert = f"INSERT INTO {table} VALUES ({', '.join(places)}, now())"  # noqa: S608 name from above
        connection.cursor().executemany(insert, rows)
