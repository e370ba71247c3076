"""From events of the result topics to items."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from civicstream.city import Point
from civicstream.event_topics import EVENTS
from civicstream.events import (
    Alert,
    Anomaly,
    EnvironmentResult,
    Incident,
    LedgerReport,
    SensorHealth,
    TrafficForecast,
    TrafficResult,
)
from civicstream.service_events import Allocation, Case, Demand, Unit
from feeds.live.filters import SEVERITIES, severity_of_priority, severity_of_share
from feeds.live.item import Item
from feeds.live.places import Box, Places

__all__ = ["EVENT_TYPES", "decode_event", "items_of"]

Event = msgspec.Struct

_encode = msgspec.json.Encoder().encode
_fields = msgspec.structs.asdict

_SHOWN = (
    "results.traffic",
    "results.environment",
    "incidents",
    "anomalies",
    "alerts",
    "cases",
    "units",
    "allocations",
    "forecasts",
    "health",
    "demand",
    "ledger",
)

EVENT_TYPES: dict[str, type[Event]] = {topic: EVENTS[topic] for topic in _SHOWN}
"""Kafka topic without the prefix -> what it holds."""

_DECODERS = {topic: msgspec.json.Decoder(held) for topic, held in EVENT_TYPES.items()}

_CLOSED_CASES = {"resolved", "rejected", "duplicate"}
_OPEN_ALLOCATIONS = {"proposed", "accepted"}


def decode_event(topic: str, value: bytes) -> Event:
    """Return the event of a record; raise msgspec.DecodeError for one that is none."""
    event: Event = _DECODERS[topic].decode(value)
    return event


def items_of(event: Event, places: Places) -> Iterator[Item]:
    """Yield the items that an event makes."""
    return _MAKERS[type(event)](event, places)


def _segments(result: TrafficResult, places: Places) -> Iterator[Item]:
    order = (result.window_start, int(result.status == "final"), result.computed_at)
    shared = _without(_fields(result), "segments")
    for row in result.segments:
        data = {"id": row.segment, **shared, **_without(_fields(row), "segment")}
        box = places.segment_box(row.segment) or places.area_box(result.area)
        yield Item(
            "segments",
            row.segment,
            _placed(data, places.segment(row.segment)),
            order,
            result.area,
            box,
        )


def _environment(result: EnvironmentResult, places: Places) -> Iterator[Item]:
    order = (result.window_start, int(result.status == "final"), result.computed_at)
    # readings and sensors of a row are those that have the measure
    shared = _without(_fields(result), "measures")
    box = places.area_box(result.area)
    for row in result.measures:
        identity = f"{result.area}/{result.kind}/{row.measure}"
        data = _encode({"id": identity, **shared, **_fields(row)})
        yield Item("environment", identity, data, order, result.area, box)


def _forecasts(forecast: TrafficForecast, places: Places) -> Iterator[Item]:
    order = (forecast.made_at, forecast.computed_at)
    shared = _without(_fields(forecast), "segments")
    for row in forecast.segments:
        data = {"id": row.segment, **shared, **_without(_fields(row), "segment")}
        box = places.segment_box(row.segment) or places.area_box(forecast.area)
        yield Item(
            "forecasts",
            row.segment,
            _placed(data, places.segment(row.segment)),
            order,
            forecast.area,
            box,
        )


def _incident(incident: Incident, places: Places) -> Iterator[Item]:
    yield Item(
        topic="incidents",
        id=incident.id,
        data=_placed(_fields(incident), places.segment(incident.segment)),
        order=(incident.version,),
        area=incident.area,
        box=places.segment_box(incident.segment) or places.area_box(incident.area),
        severity=severity_of_share(incident.severity),
        closed=incident.state == "cleared",
    )


def _anomaly(anomaly: Anomaly, places: Places) -> Iterator[Item]:
    place = places.sensor(anomaly.sensor_key)
    yield Item(
        "anomalies",
        anomaly.id,
        _placed(_fields(anomaly), place),
        (anomaly.version,),
        anomaly.area,
        _point_box(place) or places.area_box(anomaly.area),
        closed=anomaly.state == "closed",
    )


def _alert(alert: Alert, places: Places) -> Iterator[Item]:
    place = None
    if alert.lon is not None and alert.lat is not None:
        place = alert.lon, alert.lat
    else:
        place = _subject_place(alert.subject, places)
    yield Item(
        topic="alerts",
        id=alert.id,
        data=_placed(_fields(alert), place),
        order=(alert.version,),
        area=alert.area,
        box=_point_box(place) or places.area_box(alert.area),
        severity=SEVERITIES.index(alert.severity),
        closed=alert.state == "cleared",
    )


def _subject_place(subject: str, places: Places) -> Point | None:
    kind, _, identity = subject.partition("/")
    if kind == "segment":
        return places.segment(identity)
    if kind == "sensor" and identity.lstrip("-").isdigit() and len(identity) <= 20:
        return places.sensor(int(identity))
    return None


def _case(case: Case, _places: Places) -> Iterator[Item]:
    yield Item(
        topic="cases",
        id=case.id,
        data=_encode(_fields(case)),
        order=(case.version,),
        area=case.area,
        box=Box(case.lon, case.lat, case.lon, case.lat),
        severity=severity_of_priority(case.priority),
        closed=case.state in _CLOSED_CASES,
    )


def _unit(unit: Unit, _places: Places) -> Iterator[Item]:
    box = Box(unit.lon, unit.lat, unit.lon, unit.lat)
    yield Item("units", unit.id, _encode(_fields(unit)), (unit.at,), unit.area, box)


def _allocation(allocation: Allocation, places: Places) -> Iterator[Item]:
    yield Item(
        topic="allocations",
        id=allocation.id,
        data=_encode(_fields(allocation)),
        order=(allocation.version,),
        area=allocation.area,
        box=places.route_box(allocation.route) or places.area_box(allocation.area),
        severity=severity_of_priority(allocation.priority),
        closed=allocation.state not in _OPEN_ALLOCATIONS,
    )


def _health(health: SensorHealth, places: Places) -> Iterator[Item]:
    place = places.sensor(health.sensor_key)
    yield Item(
        "health",
        str(health.sensor_key),
        _placed({"id": str(health.sensor_key), **_fields(health)}, place),
        (health.window_end, health.computed_at),
        health.area,
        _point_box(place) or places.area_box(health.area),
        closed=health.health == "ok",
    )


def _demand(demand: Demand, places: Places) -> Iterator[Item]:
    identity = f"{demand.area}/{demand.service}"
    data = _encode({"id": identity, **_fields(demand)})
    yield Item("demand", identity, data, (demand.at,), demand.area, places.area_box(demand.area))


def _ledger(report: LedgerReport, _places: Places) -> Iterator[Item]:
    data = _encode({"id": report.key, **_fields(report)})
    yield Item("ledger", report.key, data, (report.at,))


_MAKERS: Mapping[type[Event], Callable[[Any, Places], Iterator[Item]]] = {
    TrafficResult: _segments,
    EnvironmentResult: _environment,
    Incident: _incident,
    Anomaly: _anomaly,
    Alert: _alert,
    Case: _case,
    Unit: _unit,
    Allocation: _allocation,
    TrafficForecast: _forecasts,
    SensorHealth: _health,
    Demand: _demand,
    LedgerReport: _ledger,
}


def _without(fields: dict[str, Any], name: str) -> dict[str, Any]:
    del fields[name]
    return fields


def _placed(data: dict[str, Any], place: Point | None) -> bytes:
    if place is not None:
        data["lon"], data["lat"] = place
    return _encode(data)


def _point_box(place: Point | None) -> Box | None:
    return place and Box(*place, *place)
