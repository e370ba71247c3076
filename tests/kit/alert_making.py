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
        TrafficRow(name, 5, 5.0, 300.0, speed, speed, speed, 0.1, 10.0, level, 1.0, 1.0)
        for name, speed in speeds.items()
    ]
    end = minute(at)
    return TrafficResult(area, end - MINUTE, end, status, end + 35_000, rows)  # type: ignore[arg-type]


def air(at: float, mean: float, area: str = "north", measure: str = "pm25") -> EnvironmentResult:
    end = minute(at)
    row = EnvironmentRow(measure, 5, 5, mean, mean, mean, mean)
    return EnvironmentResult("air", area, end - MINUTE, end, "final", end + 35_000, 5, 5, [row])


def incident(version: int, state: str, at: float, id_: str = "i1") -> Incident:
    return Incident(
        *(id_, version, state, "test", "north", "c1", "s1", "s1", "s2", 0.5),  # type: ignore[arg-type]
        *(0.4, 0.9, minute(at), minute(at), minute(at), 1.0, 100.0, minute(at), minute(at)),
    )


def health(sensor: int, state: str, at: float, area: str = "north") -> SensorHealth:
    return SensorHealth(
        *(sensor, "traffic", area, f"d{sensor}", state, "a reason"),  # type: ignore[arg-type]
        *(minute(at), "ok", minute(at), minute(at)),
    )


def case(version: int, state: str, at: float, priority: int = 1) -> Case:
    return Case(
        *("c1", version, state, "north", "pothole", "roads", priority),  # type: ignore[arg-type]
        *(16.4, 48.2, "a hole", 1, 1, 1.0, minute(0), minute(at), minute(60), "system"),
    )


def action(number: int, alert: str, what: str, at: float, value: str | None = None) -> Action:
    return Action(f"a{number}", f"alert/{alert}", what, "north", "anna", minute(at), "seen", value)


def brief(alerts: list[Alert]) -> list[tuple[str, str, int]]:
    """Return (subject, change, version) of each."""
    return [(alert.subject, alert.change, alert.version) for alert in alerts]
