"""What an event says of a task: that it is open, done, or has just arisen."""

from __future__ import annotations

import math
from dataclasses import dataclass

from civicstream.events import Anomaly, Incident
from civicstream.service_events import BinForecast, Case, ParkingForecast
from streams.dispatch.demand.tasks import OpenTask

__all__ = ["SourceEvent", "Told", "read_task", "task_key"]

SourceEvent = Case | Incident | Anomaly | BinForecast | ParkingForecast
"""What makes demand."""

_HOUR_MS = 3_600_000
_OPEN_CASE = frozenset({"received", "acknowledged", "assigned", "in_progress"})
_SERVICE_OF_KIND = {"water": "water_network", "energy": "power_grid"}
_COLLECT_AHEAD_MS = 12 * _HOUR_MS
"""A container that is full within this time belongs to the next tour: two tours a day."""
_SCARCE, _PLENTY = 0.03, 0.06
"""Shares of free spaces at which a car park begins and ends to be short of them."""
_INCIDENT_TARGET_MS = _HOUR_MS // 2
_NETWORK_TARGET_MS = 4 * _HOUR_MS
_PARKING_TARGET_MS = _HOUR_MS


@dataclass(frozen=True)
class Told:
    """``task`` None: it is done, or there is none. ``arises``: it counts as an arrival if new."""

    key: str
    task: OpenTask | None
    arises: bool = True


def read_task(event: SourceEvent, is_open: bool, now_ms: int) -> Told | None:
    """Return what the event says, None if nothing; ``is_open``: whether its task is now."""
    match event:
        case Case():
            return _of_case(event)
        case Incident():
            return _of_incident(event, is_open)
        case Anomaly():
            return _of_anomaly(event)
        case BinForecast():
            return _of_bin(event, now_ms)
        case ParkingForecast():
            return _of_car_park(event, is_open)


def task_key(event: SourceEvent) -> str:
    """Return what the task of an event is known by."""
    match event:
        case Case():
            return f"case/{event.id}"
        case Incident():
            return f"incident/{event.id}"
        case Anomaly():
            return f"anomaly/{event.id}"
        case BinForecast():
            return f"bin/{event.sensor_key}"
        case ParkingForecast():
            return f"parking/{event.sensor_key}"


def _of_case(case: Case) -> Told:
    if case.state not in _OPEN_CASE:
        return Told(task_key(case), None)
    task = OpenTask(
        case.area, case.service, case.priority, case.weight, case.opened_at, case.due_at
    )
    # A case that is reopened is not a new problem, nor is one whose beginning was missed.
    return Told(task_key(case), task, arises=case.version == 1)


def _of_incident(incident: Incident, is_open: bool) -> Told | None:
    if incident.state == "suspected" and not is_open:
        return None
    if incident.state == "cleared":
        return Told(task_key(incident), None)
    begun = incident.estimated_start
    priority = 1 if incident.severity >= 0.5 else 2
    # Half a kilometre of queue doubles it.
    weight = 1 + min(incident.queue_m / 500, 3.0)
    due = begun + _INCIDENT_TARGET_MS
    task = OpenTask(incident.area, "road_incident", priority, weight, begun, due)
    return Told(task_key(incident), task)


def _of_anomaly(anomaly: Anomaly) -> Told | None:
    service = _SERVICE_OF_KIND.get(anomaly.kind)
    if service is None:
        return None
    if anomaly.state == "closed":
        return Told(task_key(anomaly), None)
    half = max((anomaly.high - anomaly.low) / 2, 1e-9)
    # How far off in units of what is usual; at the edge of it, the weight is 1.
    off = min(abs(anomaly.value - anomaly.expected) / half, 15.0)
    begun = anomaly.started_at
    task = OpenTask(
        anomaly.area, service, 2, round(math.log2(1 + off), 4), begun, begun + _NETWORK_TARGET_MS
    )
    return Told(task_key(anomaly), task)


def _of_bin(forecast: BinForecast, now_ms: int) -> Told:
    full_at = forecast.predicted_full_at
    if full_at is None or full_at > now_ms + _COLLECT_AHEAD_MS:
        return Told(task_key(forecast), None)
    opened = min(full_at - _COLLECT_AHEAD_MS, forecast.at)
    task = OpenTask(forecast.area, "bin_collection", 3, 1.0, opened, max(full_at, opened + 1))
    return Told(task_key(forecast), task)


def _of_car_park(forecast: ParkingForecast, is_open: bool) -> Told:
    share = forecast.expected / max(forecast.total, 1.0)
    if share > (_PLENTY if is_open else _SCARCE):
        return Told(task_key(forecast), None)
    due = forecast.at + _PARKING_TARGET_MS
    # A large car park that fills sends more cars around: 100 spaces count one.
    weight = min(math.log2(1 + forecast.total / 100), 4.0)
    task = OpenTask(forecast.area, "parking_space", 4, round(weight, 4), forecast.at, due)
    return Told(task_key(forecast), task)
