"""The states of a case, and who may move it where."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from civicstream.events import DeadLetter
from civicstream.service_events import Allocation, Case, CaseState, Unit
from streams.dispatch.cases.life import MOVES
from streams.dispatch.cases.processor import CaseEvent
from streams.dispatch.cases.records import OPEN
from tests.kit.case_making import (
    act_on,
    at,
    make_action,
    make_case_processor,
    make_report,
    report_case,
)


def test_a_case_goes_from_received_to_resolved_and_each_step_says_who_and_when() -> None:
    desk = make_case_processor()
    case = report_case(desk, make_report(1))
    steps = [("acknowledge", {}), ("assign", {"value": "u1"}), ("start", {}), ("resolve", {})]
    for hours, (name, changes) in enumerate(steps, 1):
        case = act_on(desk, name, case, hours, by=f"who-{hours}", **changes)
        assert (case.version, case.changed_by, case.updated_at) == (
            hours + 1,
            f"who-{hours}",
            at(hours),
        )
    assert case.state == "resolved"


@pytest.mark.parametrize("state", get_args(CaseState))
@pytest.mark.parametrize("name", sorted(MOVES))
def test_only_allowed_transitions_happen_and_others_are_refused_in_words(
    state: CaseState, name: str
) -> None:
    desk = make_case_processor()
    other = report_case(desk, make_report(1, east_m=500))
    case = report_case(desk, make_report(2))
    paths: dict[CaseState, list[str]] = {
        "received": [],
        "acknowledged": ["acknowledge"],
        "assigned": ["assign"],
        "in_progress": ["assign", "start"],
        "resolved": ["acknowledge", "resolve"],
        "rejected": ["reject"],
        "duplicate": ["duplicate"],
    }
    values = {"assign": "u1", "duplicate": other.id, "reclassify": "sign"}
    for hours, step in enumerate(paths[state], 1):
        case = act_on(desk, step, case, hours, note="because", value=values.get(step))
    assert case.state == state
    action = make_action(name, case, 9, note="because", value=values.get(name))
    made = desk.apply(action, at(9))[0]
    if state in MOVES[name].sources:
        assert isinstance(made, Case)
        assert made.state == (MOVES[name].to or state)
        assert made.version == case.version + 1
    else:
        assert isinstance(made, DeadLetter)
        assert made.reason == "forbidden_transition"
        assert state in made.detail
        # What was refused did not touch the case: the next version follows without a gap.
        note = desk.apply(make_action("note", case, 10, note="x"), at(10))[0]
        assert isinstance(note, Case)
        assert (note.state, note.version) == (state, case.version + 1)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"action": "fly"}, "unknown_action"),
        ({"action": "reject", "note": " "}, "missing_note"),
        ({"action": "assign"}, "missing_value"),
        ({"action": "duplicate", "value": "c-nothing"}, "bad_value"),
        ({"action": "reclassify", "value": "dragons"}, "bad_value"),
        ({"subject": "case/c-nothing"}, "unknown_case"),
    ],
)
def test_an_action_that_lacks_something_is_refused_with_the_remedy(
    changes: dict[str, Any], reason: str
) -> None:
    desk = make_case_processor()
    case = report_case(desk, make_report(1))
    (letter,) = desk.apply(make_action("acknowledge", case, **changes), at(1))
    assert isinstance(letter, DeadLetter)
    assert (letter.reason, letter.topic) == (reason, "actions")
    assert "operator-1" in letter.detail


def test_an_action_sent_again_and_actions_on_other_things_do_nothing() -> None:
    desk = make_case_processor()
    case = report_case(desk, make_report(1))
    action = make_action("acknowledge", case)
    assert len(desk.apply(action, at(1))) == 1
    assert desk.apply(action, at(2)) == []
    assert desk.apply(make_action("accept", case, subject="allocation/a1"), at(2)) == []


def test_a_merged_case_gives_its_people_to_the_other_and_later_reports_follow() -> None:
    desk = make_case_processor()
    kept = report_case(desk, make_report(1))
    merged = report_case(desk, make_report(2, east_m=200))
    made = desk.apply(make_action("duplicate", merged, value=kept.id), at(1))
    gone, grown = made
    assert isinstance(gone, Case)
    assert isinstance(grown, Case)
    assert (gone.state, gone.duplicate_of) == ("duplicate", kept.id)
    assert (grown.id, grown.reporters, grown.version) == (kept.id, 2, 2)
    assert grown.weight > kept.weight
    assert report_case(desk, make_report(3, hours=2, east_m=200)).id == kept.id
    (letter,) = desk.apply(make_action("duplicate", grown, 3, value=merged.id), at(3))
    assert isinstance(letter, DeadLetter)
    assert letter.reason == "bad_value"


def test_a_new_report_soon_after_the_resolution_reopens_with_a_new_target() -> None:
    desk = make_case_processor()
    case = report_case(desk, make_report(1))
    act_on(desk, "acknowledge", case, 1)
    closed = act_on(desk, "resolve", case, 10)
    again = report_case(desk, make_report(2, hours=30))
    assert (again.id, again.state, again.version) == (case.id, "received", closed.version + 1)
    assert again.due_at == at(30 + 24)
    assert "reopened" in again.note


def test_a_report_made_before_the_resolution_is_counted_but_does_not_reopen() -> None:
    desk = make_case_processor()
    case = report_case(desk, make_report(1))
    act_on(desk, "acknowledge", case, 1)
    act_on(desk, "resolve", case, 10)
    late = report_case(desk, make_report(2, hours=9, received_at=at(11)))
    assert (late.id, late.state, late.reports) == (case.id, "resolved", 2)


def test_nobody_reopens_the_same_case_twice_by_reporting() -> None:
    desk = make_case_processor()
    case = report_case(desk, make_report(1))
    states = []
    for round_ in range(3):
        hours = 10 * round_
        if case.state == "received":
            act_on(desk, "acknowledge", case, hours + 1)
            case = act_on(desk, "resolve", case, hours + 2)
        again = make_report(10 + round_, hours=hours + 5, reporter="person-1")
        case = report_case(desk, again)
        states.append(case.state)
    assert states == ["received", "resolved", "resolved"]


def test_a_rejected_case_is_reopened_by_a_second_person_and_not_by_the_first() -> None:
    desk = make_case_processor()
    case = report_case(desk, make_report(1))
    act_on(desk, "reject", case, 1, note="private ground")
    same = report_case(desk, make_report(2, hours=2, reporter="person-1"))
    assert (same.id, same.state) == (case.id, "rejected")
    assert report_case(desk, make_report(3, hours=3)).state == "received"


def test_a_report_long_after_the_resolution_is_a_new_problem() -> None:
    desk = make_case_processor(reopen_h=72)
    case = report_case(desk, make_report(1))
    act_on(desk, "acknowledge", case, 1)
    act_on(desk, "resolve", case, 10)
    assert report_case(desk, make_report(2, hours=10 + 73)).id != case.id


def test_correcting_the_service_changes_agency_and_target_and_where_it_is_found() -> None:
    desk = make_case_processor()
    case = report_case(desk, make_report(1, description="a burst pipe, it leaks"))
    assert (case.service, case.suggested_service) == ("pothole", "leak")
    changed = act_on(desk, "reclassify", case, 1, value="leak")
    assert (changed.service, changed.agency, changed.priority) == ("leak", "leak agency", 2)
    assert (changed.due_at, changed.suggested_service) == (at(8), None)
    assert "from pothole to leak" in changed.note
    assert report_case(desk, make_report(2, hours=2, service="leak")).id == case.id
    assert report_case(desk, make_report(3, hours=2)).id != case.id


def test_a_case_that_turns_out_to_be_something_less_urgent_is_less_urgent() -> None:
    desk = make_case_processor()
    case = report_case(desk, make_report(1, service="leak"))
    assert case.priority == 2
    changed = act_on(desk, "reclassify", case, 1, value="sign")
    assert (changed.priority, changed.due_at) == (3, at(24))


def _allocation(case: Case, state: str, unit: str = "u1") -> Allocation:
    return Allocation(
        id="a1",
        version=1,
        state=state,  # type: ignore[arg-type]
        policy="optimal",
        task=f"case/{case.id}",
        unit=unit,
        area="d1",
        priority=3,
        proposed_at=at(1),
        arrival_at=at(2),
        route=[],
        reason="",
        alternatives=[],
        decided_by="operator-2",
        decided_at=at(1),
    )


def _unit(case: Case, state: str) -> Unit:
    return Unit(
        id="u1",
        area="d1",
        state=state,  # type: ignore[arg-type]
        skills=["pothole"],
        lon=5.0,
        lat=52.0,
        shift_end=at(8),
        capacity=0,
        load=0,
        at=at(2),
        task=f"case/{case.id}",
    )


def test_a_case_follows_the_crew_that_is_sent_to_it() -> None:
    desk = make_case_processor()
    case = report_case(desk, make_report(1))
    events: list[CaseEvent] = [
        _allocation(case, "proposed"),
        _allocation(case, "accepted"),
        _allocation(case, "accepted"),
        _unit(case, "en_route"),
        _unit(case, "on_site"),
        _unit(case, "on_site"),
        _allocation(case, "completed"),
        _allocation(case, "completed"),
    ]
    made = [version for event in events for version in desk.apply(event, at(3))]
    assert all(isinstance(version, Case) for version in made)
    assert [(v.state, v.changed_by) for v in made if isinstance(v, Case)] == [
        ("assigned", "operator-2"),
        ("in_progress", "u1"),
        ("resolved", "u1"),
    ]


def test_another_crew_may_take_over_from_one_that_works_already() -> None:
    desk = make_case_processor()
    case = report_case(desk, make_report(1))
    events: list[CaseEvent] = [
        _allocation(case, "accepted"),
        _unit(case, "on_site"),
        _allocation(case, "overridden"),
        _allocation(case, "accepted", unit="u2"),
        _allocation(case, "completed"),
        _allocation(case, "completed", unit="u2"),
    ]
    made = [version for event in events for version in desk.apply(event, at(3))]
    states = [version.state for version in made if isinstance(version, Case)]
    assert states == ["assigned", "in_progress", "acknowledged", "assigned", "resolved"]


def test_a_case_whose_crew_is_withdrawn_waits_for_another_one() -> None:
    desk = make_case_processor()
    case = report_case(desk, make_report(1))
    desk.apply(_allocation(case, "accepted"), at(1))
    assert desk.apply(_allocation(case, "withdrawn", unit="u9"), at(2)) == []
    (back,) = desk.apply(_allocation(case, "withdrawn"), at(2))
    assert isinstance(back, Case)
    assert back.state == "acknowledged"
    assert back.state in OPEN
