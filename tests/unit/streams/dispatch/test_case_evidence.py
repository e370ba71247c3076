"""What sensors and the road say confirms what people say, whichever comes first."""

from __future__ import annotations

from typing import Any

import pytest

from civicstream.city import Area, City, Segment, Sensors
from civicstream.events import Anomaly, Incident
from civicstream.kinds import KINDS, sensor_key
from civicstream.service_events import BinForecast, Case
from streams.dispatch.cases import CaseProcessor
from tests.kit.case_making import (
    LAT,
    LON,
    act_on,
    at,
    make_case_processor,
    make_evidence,
    make_report,
    metres_east,
    report_case,
)

RING = ((5.0, 52.0), (5.2, 52.0), (5.2, 52.2), (5.0, 52.0))


def _city() -> City:
    line = ((LON, LAT), (metres_east(400), LAT))
    segment = Segment(
        id="s1",
        area="d1",
        corridor="c1",
        position=0,
        road_class="street",
        lanes=1,
        length_m=400.0,
        free_flow_kmh=50.0,
        line=line,
    )
    water = list(KINDS).index("water")
    sensors = Sensors.from_rows([("w1", water, 0, -1, 0, 60.0, metres_east(100), LAT)])
    return City((Area("d1", "One", RING),), (segment,), sensors)


def _incident(state: str, hours: float, **changes: Any) -> Incident:
    fields: dict[str, Any] = {
        "id": "s0/1",
        "version": 1,
        "state": state,
        "algorithm": "queue_discharge",
        "area": "d1",
        "corridor": "c1",
        "segment": "s1",
        "upstream_segment": "s0",
        "downstream_segment": "s1",
        "position": 0.5,
        "severity": 0.5,
        "confidence": 0.9,
        "estimated_start": at(hours),
        "first_evidence": at(hours),
        "last_evidence": at(hours),
        "delay_veh_h": 0.0,
        "queue_m": 100.0,
        "window_end": at(hours),
        "computed_at": at(hours),
    }
    return Incident(**fields | changes)


def _anomaly(value: float, hours: float, **changes: Any) -> Anomaly:
    fields: dict[str, Any] = {
        "id": "water/d1/x/level/1",
        "version": 1,
        "state": "open",
        "kind": "water",
        "area": "d1",
        "sensor_key": sensor_key("water", "d1", "w1"),
        "sensor": "w1",
        "measure": "level",
        "score": 0.8,
        "value": value,
        "expected": 1.0,
        "low": 0.8,
        "high": 1.2,
        "started_at": at(hours),
        "last_at": at(hours),
        "window_end": at(hours),
        "computed_at": at(hours),
    }
    return Anomaly(**fields | changes)


def _one(desk: CaseProcessor, event: Any, hours: float) -> Case:
    (case,) = desk.apply(event, at(hours))
    assert isinstance(case, Case)
    return case


def test_a_high_water_level_confirms_a_flooding_report_that_came_before() -> None:
    desk = make_case_processor(_city())
    case = report_case(desk, make_report(1, service="flooding"))
    confirmed = _one(desk, _anomaly(2.0, 0.2), 0.2)
    assert (confirmed.id, confirmed.confirmed_by) == (case.id, ["water/d1/w1"])
    assert confirmed.weight > case.weight
    assert confirmed.priority < case.priority
    assert desk.apply(_anomaly(2.5, 0.3, version=2), at(0.3)) == []


def test_a_high_water_level_known_before_confirms_the_report_at_once() -> None:
    desk = make_case_processor(_city())
    assert desk.apply(_anomaly(2.0, 0.0), at(0)) == []
    case = report_case(desk, make_report(1, hours=0.5, service="flooding"))
    assert (case.version, case.confirmed_by) == (1, ["water/d1/w1"])
    assert "confirmed by water/d1/w1" in case.note


def test_a_low_water_level_confirms_no_flooding() -> None:
    desk = make_case_processor(_city())
    report_case(desk, make_report(1, service="flooding"))
    assert desk.apply(_anomaly(0.2, 0.2), at(0.2)) == []


def test_a_confirmed_incident_confirms_and_a_suspicion_does_not() -> None:
    desk = make_case_processor(_city())
    report_case(desk, make_report(1, service="flooding"))
    assert desk.apply(_incident("suspected", 0.1), at(0.1)) == []
    assert _one(desk, _incident("confirmed", 0.2), 0.2).confirmed_by == ["incident/s0/1"]


def test_two_sources_weigh_more_than_one() -> None:
    desk = make_case_processor(_city())
    report_case(desk, make_report(1, service="flooding"))
    once = _one(desk, _anomaly(2.0, 0.1), 0.1)
    twice = _one(desk, _incident("confirmed", 0.2), 0.2)
    assert twice.confirmed_by == ["water/d1/w1", "incident/s0/1"]
    assert twice.weight > once.weight


@pytest.mark.parametrize(
    ("report", "evidence"),
    [
        ({"service": "pothole"}, {}),
        ({"service": "flooding"}, {"east_m": 2000}),
        ({"service": "flooding"}, {"hours": 5}),
    ],
    ids=["another service", "too far", "too late"],
)
def test_evidence_of_something_else_confirms_nothing(
    report: dict[str, Any], evidence: dict[str, Any]
) -> None:
    desk = make_case_processor()
    report_case(desk, make_report(1, **report))
    assert desk.apply(make_evidence(**evidence), at(5)) == []


def test_evidence_that_ended_long_before_the_report_confirms_nothing() -> None:
    desk = make_case_processor()
    desk.apply(make_evidence(0), at(0))
    desk.apply(make_evidence(1, ended=True), at(1))
    within = report_case(desk, make_report(1, hours=2.5, service="flooding"))
    assert within.confirmed_by
    desk.tick(at(4))
    after = report_case(desk, make_report(2, hours=4, service="flooding", east_m=400))
    assert after.confirmed_by == []


def test_what_was_high_stays_evidence_of_high_water_when_it_ends_at_a_usual_level() -> None:
    desk = make_case_processor(_city())
    desk.apply(_anomaly(2.0, 0.0), at(0))
    desk.apply(_anomaly(0.9, 1.0, version=2, state="closed"), at(1))
    case = report_case(desk, make_report(1, hours=1.5, service="flooding"))
    assert case.confirmed_by == ["water/d1/w1"]


def test_a_closed_case_is_not_confirmed_any_more() -> None:
    desk = make_case_processor()
    case = report_case(desk, make_report(1, service="flooding"))
    act_on(desk, "reject", case, 0.1, note="a puddle")
    assert desk.apply(make_evidence(0.2), at(0.2)) == []


def _bin(level: float, hours: float) -> BinForecast:
    return BinForecast(
        sensor_key=7,
        area="d1",
        sensor="b7",
        lon=LON,
        lat=LAT,
        at=at(hours),
        level=level,
        fill_per_h=0.01,
        emptied_at=None,
        predicted_full_at=None,
        full_low=None,
        full_high=None,
    )


def test_only_a_container_that_is_full_confirms() -> None:
    desk = make_case_processor()
    case = report_case(desk, make_report(1, service="flooding"))
    assert desk.apply(_bin(0.4, 0.1), at(0.1)) == []
    assert _one(desk, _bin(0.95, 0.2), 0.2).id == case.id
