"""Tasks made of open incidents and cases."""

from __future__ import annotations

import numpy as np

from civicstream.city import City
from civicstream.events import Incident
from civicstream.service_events import Case, Priority, Task
from civicstream.services import ServiceType

__all__ = ["task_of_case", "task_of_incident"]

_CLOSED_CASES = frozenset({"resolved", "rejected", "duplicate"})
_INCIDENT_SKILL = "tow"
_INCIDENT_WORK_S = 30 * 60.0
"""Median time to clear a lane, Giuliano 1989."""

_SEVERE = 0.5
"""From half of the capacity lost on, an incident is urgent."""

_INCIDENT_TARGET_MS = 30 * 60_000


def task_of_case(case: Case, service: ServiceType) -> Task | None:
    """Return what a unit has to do about the case, None when nothing is left to do.

    The target is to be there early enough to be done by the case's own target.
    """
    if case.state in _CLOSED_CASES:
        return None
    work_s = service.work_min * 60
    return Task(
        id=f"case/{case.id}",
        area=case.area,
        lon=case.lon,
        lat=case.lat,
        skill=service.skill,
        priority=case.priority,
        weight=case.weight,
        opened_at=case.opened_at,
        due_at=case.due_at - int(work_s * 1000),
        work_s=work_s,
    )


def task_of_incident(incident: Incident, city: City) -> Task | None:
    """Return what a unit has to do about a confirmed incident, None when there is nothing."""
    if incident.state != "confirmed" or incident.segment not in city.segment_index:
        return None
    line = np.array(city.segments[city.segment_index[incident.segment]].line, np.float64)
    lon, lat = line.mean(axis=0).tolist()
    priority: Priority = 1 if incident.severity >= _SEVERE else 2
    return Task(
        id=f"incident/{incident.id}",
        area=incident.area,
        lon=lon,
        lat=lat,
        skill=_INCIDENT_SKILL,
        priority=priority,
        weight=1.0,
        opened_at=incident.estimated_start,
        due_at=incident.estimated_start + _INCIDENT_TARGET_MS,
        work_s=_INCIDENT_WORK_S,
        segment=incident.segment,
    )
