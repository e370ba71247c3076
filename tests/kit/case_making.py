"""Reports, actions and a desk for tests of cases; times in hours after an arbitrary start."""

from __future__ import annotations

import math
from typing import Any

from civicstream.city import City
from civicstream.service_events import Action, Case, Report
from civicstream.services import ServiceType
from streams.dispatch.cases import CaseProcessor, CaseRules, Evidence

START = 1_760_000_000_000
HOUR = 3_600_000
LON, LAT = 5.12, 52.09


def at(hours: float) -> int:
    return START + round(hours * HOUR)


def metres_east(metres: float) -> float:
    """Return the longitude so far east of the usual place."""
    return LON + metres / (111_195 * math.cos(math.radians(LAT)))


def make_service(code: str, **changes: Any) -> ServiceType:
    fields: dict[str, Any] = {
        "code": code,
        "name": code,
        "description": code,
        "group": "test",
        "agency": f"{code} agency",
        "skill": code,
        "priority": 3,
        "target_h": 24,
        "duplicate_radius_m": 50,
        "duplicate_window_h": 48,
        "work_min": 30,
    }
    return ServiceType(**fields | changes)


SERVICES = {
    s.code: s
    for s in (
        make_service("pothole", keywords=("pothole", "Schlagloch")),
        make_service("leak", priority=2, target_h=8, keywords=("leak", "burst pipe", "fuite")),
        make_service("sign", keywords=("sign",)),
        make_service("signal", keywords=("traffic signal", "señal")),
        make_service(
            "flooding",
            priority=2,
            target_h=4,
            duplicate_radius_m=200,
            confirmed_by=("water.level.high", "incident", "waste.fillingLevel.high"),
        ),
    )
}


def make_case_processor(city: City | None = None, **rules: Any) -> CaseProcessor:
    return CaseProcessor(SERVICES, city or City(), CaseRules(**rules))


def make_report(number: int, hours: float = 0.0, *, east_m: float = 0.0, **changes: Any) -> Report:
    fields: dict[str, Any] = {
        "id": f"report-{number}",
        "area": "d1",
        "service": "pothole",
        "lon": metres_east(east_m),
        "lat": LAT,
        "description": "it is bad",
        "reported_at": at(hours),
        "received_at": at(hours),
        "channel": "mqtt",
        "reporter": f"person-{number}",
        "reference": str(number),
    }
    return Report(**fields | changes)


def make_action(name: str, case: Case, hours: float = 1.0, **changes: Any) -> Action:
    fields: dict[str, Any] = {
        "id": f"{name}-{case.id}-{hours}",
        "subject": f"case/{case.id}",
        "action": name,
        "area": case.area,
        "by": "operator-1",
        "at": at(hours),
    }
    return Action(**fields | changes)


def make_evidence(hours: float = 0.0, *, east_m: float = 0.0, **changes: Any) -> Evidence:
    fields: dict[str, Any] = {
        "id": "anomaly/w1",
        "source": "water/d1/w1",
        "type": "water.level.high",
        "lon": metres_east(east_m),
        "lat": LAT,
        "reach_m": 250.0,
        "since": at(hours),
        "last_seen": at(hours),
        "ended": False,
    }
    return Evidence(**fields | changes)


def report_case(desk: CaseProcessor, report: Report, hours: float | None = None) -> Case:
    """Apply a report when it is received, or so late; return the one version it makes."""
    now = report.received_at if hours is None else at(hours)
    (case,) = desk.apply(report, now)
    assert isinstance(case, Case)
    return case


def act_on(desk: CaseProcessor, name: str, case: Case, hours: float = 1.0, **changes: Any) -> Case:
    """Apply an action that must be allowed; return the case's new version."""
    made = desk.apply(make_action(name, case, hours, **changes), at(hours))
    assert isinstance(made[0], Case), made
    return made[0]
