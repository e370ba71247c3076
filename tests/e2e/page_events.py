"""Events of a city in trouble, in the places of a simulated city's model."""

from __future__ import annotations

from typing import Any

from civicstream.city import City, Segment
from civicstream.events import (
    EnvironmentResult,
    EnvironmentRow,
    Incident,
    SensorHealth,
    TrafficResult,
    TrafficRow,
)
from civicstream.service_events import Allocation, Alternative, Case, Unit
from tests.kit import citizen_events, sink_events

__all__ = ["allocation", "case", "environment", "incident", "sick_sensor", "traffic", "unit"]

MINUTE = 60_000


def traffic(city: City, now: int, jammed: str | None = None) -> list[TrafficResult]:
    """Return the final window that ended before ``now`` for every area; one segment may be F."""
    end = now - now % MINUTE
    rows: dict[str, list[TrafficRow]] = {}
    for segment in city.segments:
        rows.setdefault(segment.area, []).append(_row(segment, jam=segment.id == jammed))
    return [
        TrafficResult(area, end - MINUTE, end, "final", now, found) for area, found in rows.items()
    ]


def _row(segment: Segment, *, jam: bool) -> TrafficRow:
    speed = segment.free_flow_kmh * (0.2 if jam else 0.9)
    return TrafficRow(
        segment=segment.id,
        readings=9,
        vehicles=20.0,
        flow_veh_h=1200.0,
        time_mean_speed_kmh=speed + 2,
        space_mean_speed_kmh=speed,
        p85_speed_kmh=speed + 9,
        occupancy=0.1,
        density_veh_km_lane=60.0 if jam else 6.0,
        level_of_service="F" if jam else "A",
        travel_time_index=segment.free_flow_kmh / speed,
        coverage=1.0,
    )


def environment(city: City, now: int) -> EnvironmentResult:
    """Return one area's air."""
    end = now - now % MINUTE
    row = EnvironmentRow(
        measure="pm25", readings=30, sensors=3, mean=11.5, min=9.0, max=14.0, p95=13.8
    )
    area = city.areas[0].id
    return EnvironmentResult(
        kind="air",
        area=area,
        window_start=end - MINUTE,
        window_end=end,
        status="final",
        computed_at=now,
        readings=30,
        sensors=3,
        measures=[row],
    )


def incident(segment: Segment, now: int, **changes: Any) -> Incident:
    """Return a confirmed incident on ``segment``."""
    return sink_events.incident(
        **{
            "id": f"incident-{now}",
            "state": "confirmed",
            "area": segment.area,
            "corridor": segment.corridor,
            "segment": segment.id,
            "upstream_segment": segment.id,
            "downstream_segment": segment.id,
            "estimated_start": now - 6 * MINUTE,
            "first_evidence": now - 4 * MINUTE,
            "last_evidence": now,
            "window_end": now,
            "computed_at": now,
            **changes,
        }
    )


def case(segment: Segment, now: int, **changes: Any) -> Case:
    """Return an open case beside ``segment``."""
    lon, lat = segment.line[0]
    return citizen_events.case(
        **{
            "id": f"case-{now}",
            "area": segment.area,
            "lon": lon,
            "lat": lat,
            "description": "A deep hole <b>beside</b> the kerb.",
            "opened_at": now - 30 * MINUTE,
            "updated_at": now,
            "due_at": now + 90 * MINUTE,
            **changes,
        }
    )


def unit(segment: Segment, now: int, name: str, **changes: Any) -> Unit:
    """Return a crew at the beginning of ``segment``."""
    lon, lat = segment.line[0]
    return citizen_events.unit(
        **{
            "id": name,
            "area": segment.area,
            "state": "available",
            "lon": lon,
            "lat": lat,
            "at": now,
            "shift_end": now + 300 * MINUTE,
            "task": None,
            **changes,
        }
    )


def allocation(one: Case, crew: str, other: str, route: list[str], now: int) -> Allocation:
    """Return the proposal to send ``crew`` to a case, or ``other`` instead."""
    return citizen_events.allocation(
        id=f"allocation-{now}",
        task=f"case/{one.id}",
        unit=crew,
        area=one.area,
        route=route,
        reason=f"{crew} can be there in 9 min; the next best, {other}, 3 min later.",
        proposed_at=now,
        decided_at=now,
        arrival_at=now + 9 * MINUTE,
        alternatives=[Alternative(other, now + 12 * MINUTE, 6.0)],
    )


def sick_sensor(city: City, now: int) -> SensorHealth:
    """Return that the city's first sensor is stuck."""
    sensors = city.sensors
    return sink_events.health(
        sensor_key=int(city.sensor_keys[0]),
        kind=sensors.kind_names[int(sensors.kind[0])],
        area=city.areas[int(sensors.area[0])].id,
        sensor=sensors.ids[0],
        health="stuck",
        since=now - 10 * MINUTE,
        window_end=now,
        computed_at=now,
    )
