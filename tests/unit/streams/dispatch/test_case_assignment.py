"""Somebody assigns a unit to a case: the dispatcher sends it there, or the case says why not."""

from __future__ import annotations

from typing import TypeVar

import msgspec
import pytest

from civicstream.city import City
from civicstream.events import DeadLetter
from civicstream.service_events import Action, Allocation, Case, Report, Unit
from civicstream.services import load_services
from sensors_sim.city_plan import plan_city
from streams.dispatch.dispatch import Dispatch
from streams.runtime.records import Record

NOW = 1_767_600_000_000
HOUR = 3_600_000
CITY = plan_city(60, 1)

E = TypeVar("E", bound=msgspec.Struct)


def unit(name: str, skill: str = "road", state: str = "available") -> Unit:
    lon, lat = CITY.segments[-1].line[0]
    return Unit(
        id=name,
        area="centre",
        state=state,
        skills=[skill],
        lon=lon,
        lat=lat,
        shift_end=NOW + 8 * HOUR,
        capacity=5.0,
        load=0.0,
        at=NOW,
    )  # type: ignore[arg-type]


def desk_with_a_case(*units: Unit, city: City = CITY) -> tuple[Dispatch, str]:
    desk = Dispatch(load_services(), city)
    segment = CITY.segments[0]
    lon, lat = segment.line[0]
    report = Report(
        id="r1",
        area=segment.area,
        service="pothole",
        lon=lon,
        lat=lat,
        description="a hole",
        reported_at=NOW,
        received_at=NOW,
        channel="mqtt",
        reporter="citizen",
        reference="1",
    )
    (case,) = read(desk.apply([*units, report], NOW), "cases", Case)
    return desk, case.id


def read(records: list[Record], topic: str, of: type[E]) -> list[E]:
    return [msgspec.json.decode(r.value, type=of) for r in records if r.topic == topic]


def assign(case: str, name: str, number: int = 1) -> Action:
    return Action(
        id=f"a{number}",
        subject=f"case/{case}",
        action="assign",
        area="centre",
        by="operator/anna",
        at=NOW,
        note="",
        value=name,
    )


def test_an_assigned_unit_is_sent_and_the_case_follows() -> None:
    desk, case = desk_with_a_case(unit("crew"))
    records = desk.apply([assign(case, "crew")], NOW)
    (sent,) = read(records, "allocations", Allocation)
    assert (sent.task, sent.unit, sent.state) == (f"case/{case}", "crew", "accepted")
    (told,) = read(records, "cases", Case)
    assert (told.state, told.changed_by, told.note) == ("assigned", "operator/anna", "unit crew")
    assert not read(records, "deadletter", DeadLetter)


def test_another_unit_takes_over_from_the_one_that_was_advised() -> None:
    desk, case = desk_with_a_case(unit("first"), unit("second"))
    (advice,) = read(desk.tick(NOW + 1_000), "allocations", Allocation)
    other = "second" if advice.unit == "first" else "first"
    versions = read(desk.apply([assign(case, other)], NOW + 2_000), "allocations", Allocation)
    assert [(a.unit, a.state) for a in versions] == [
        (advice.unit, "overridden"),
        (other, "accepted"),
    ]


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        ("nobody", "'nobody' is unknown"),
        ("tow", "cannot do 'road', it can do tow"),
        ("home", "is off duty"),
    ],
)
def test_a_unit_that_cannot_go_leaves_the_case_as_it_was_with_a_note(
    named: str, reason: str
) -> None:
    desk, case = desk_with_a_case(unit("tow", "tow"), unit("home", state="off_duty"))
    records = desk.apply([assign(case, named)], NOW)
    assert not read(records, "allocations", Allocation)
    (told,) = read(records, "cases", Case)
    assert told.state == "received"
    assert told.version == 2
    assert told.note.startswith(f"not assigned to {named}: ")
    assert reason in told.note
    (letter,) = read(records, "deadletter", DeadLetter)
    assert letter.reason == "refused_action"
    assert reason in letter.detail


def test_a_decision_sent_again_does_nothing_more() -> None:
    desk, case = desk_with_a_case(unit("crew"))
    desk.apply([assign(case, "crew")], NOW)
    assert desk.apply([assign(case, "crew")], NOW + 1_000) == []
    assert desk.apply([assign(case, "crew", 2)], NOW + 1_000) == [], "it is on its way already"


def test_a_closed_case_takes_no_unit() -> None:
    desk, case = desk_with_a_case(unit("crew"))
    no = Action(
        id="a0",
        subject=f"case/{case}",
        action="reject",
        area="centre",
        by="operator/anna",
        at=NOW,
        note="no hole there",
    )
    desk.apply([no], NOW)
    records = desk.apply([assign(case, "crew")], NOW)
    assert not read(records, "allocations", Allocation)
    (letter,) = read(records, "deadletter", DeadLetter)
    assert letter.reason == "forbidden_transition"


def test_without_roads_the_case_alone_remembers_its_unit() -> None:
    desk, case = desk_with_a_case(unit("crew"), city=City(CITY.areas))
    (told,) = read(desk.apply([assign(case, "crew")], NOW), "cases", Case)
    assert (told.state, told.note) == ("assigned", "unit crew")
