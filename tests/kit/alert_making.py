"""Rules and events for tests of alerts."""

from __future__ import annotations

from alerts.engine.engine import AlertEngine
from alerts.engine.places import Places
from alerts.rules.rule_file import parse_rules
from civicstream.events import (
    Alert,
    EnvironmentResult,
    EnvironmentRow,
    Incident,
    SensorHealth,
    TrafficResult,
    TrafficRow,
)
from civicstream.service_events import Action, Case
from tests.kit import sink_events

T0 = 1_800_000_000_000
"""A whole minute; a Friday, 08:00 UTC."""
MINUTE = 60_000

SLOW = """
[[rule]]
name = "slow"
source = "results.traffic"
field = "space_mean_speed_kmh"
below = 20
clear_above = 30
severity = "moderate"
message = "{segment} in {area} at {value:.0f} km/h"
"""


def engine(rules: str, places: Places | None = None) -> AlertEngine:
    """Return an engine that has begun without a state store."""
    begun = AlertEngine(parse_rules(rules), places or Places())
    begun.resume(0)
    return begun


def minute(number: float) -> int:
    return T0 + round(number * MINUTE)


def traffic(
    at: float,
    speeds: dict[str, float | None],
    area: str = "north",
    status: str = "final",
    level: str | None = "A",
) -> TrafficResult:
    """The window that ends at minute ``at``."""
    rows = [
        TrafficRow(
            segment=name,
            readings=5,
            vehicles=5.0,
            flow_veh_h=300.0,
            time_mean_speed_kmh=speed,
            space_mean_speed_kmh=speed,
            p85_speed_kmh=speed,
            occupancy=0.1,
            density_veh_km_lane=10.0,
            level_of_service=level,
            travel_time_index=1.0,
            coverage=1.0,
        )
        for name, speed in speeds.items()
    ]
    end = minute(at)
    return TrafficResult(area, end - MINUTE, end, status, end + 35_000, rows)  # type: ignore[arg-type]


def air(at: float, mean: float, area: str = "north", measure: str = "pm25") -> EnvironmentResult:
    end = minute(at)
    row = EnvironmentRow(
        measure=measure, readings=5, sensors=5, mean=mean, min=mean, max=mean, p95=mean
    )
    return EnvironmentResult(
        kind="air",
        area=area,
        window_start=end - MINUTE,
        window_end=end,
        status="final",
        computed_at=end + 35_000,
        readings=5,
        sensors=5,
        measures=[row],
    )


def incident(version: int, state: str, at: float, id_: str = "i1") -> Incident:
    return sink_events.incident(
        id=id_,
        version=version,
        state=state,
        corridor="c1",
        segment="s1",
        upstream_segment="s1",
        downstream_segment="s2",
        severity=0.4,
        confidence=0.9,
        estimated_start=minute(at),
        first_evidence=minute(at),
        last_evidence=minute(at),
        window_end=minute(at),
        computed_at=minute(at),
    )


def health(sensor: int, state: str, at: float, area: str = "north") -> SensorHealth:
    return SensorHealth(
        sensor_key=sensor,
        kind="traffic",
        area=area,
        sensor=f"d{sensor}",
        health=state,  # type: ignore[arg-type]
        reason="a reason",
        since=minute(at),
        before="ok",
        window_end=minute(at),
        computed_at=minute(at),
    )


def case(version: int, state: str, at: float, priority: int = 1) -> Case:
    return Case(
        id="c1",
        version=version,
        state=state,  # type: ignore[arg-type]
        area="north",
        service="pothole",
        agency="roads",
        priority=priority,  # type: ignore[arg-type]
        lon=16.4,
        lat=48.2,
        description="a hole",
        reports=1,
        reporters=1,
        weight=1.0,
        opened_at=minute(0),
        updated_at=minute(at),
        due_at=minute(60),
        changed_by="system",
    )


def action(number: int, alert: str, what: str, at: float, value: str | None = None) -> Action:
    return Action(
        id=f"a{number}",
        subject=f"alert/{alert}",
        action=what,
        area="north",
        by="anna",
        at=minute(at),
        note="seen",
        value=value,
    )


def brief(alerts: list[Alert]) -> list[tuple[str, str, int]]:
    """Return (subject, change, version) of each."""
    return [(alert.subject, alert.change, alert.version) for alert in alerts]
