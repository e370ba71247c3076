"""Warnings before the target of a case and at it."""

from __future__ import annotations

from civicstream.service_events import Case
from tests.kit.case_making import (
    act_on,
    at,
    make_case_processor,
    make_evidence,
    make_report,
    report_case,
)


def _ticks(desk: object, hours: list[float]) -> list[tuple[float, str, int]]:
    return [
        (h, case.breach, case.version)
        for h in hours
        for case in desk.tick(at(h))  # type: ignore[attr-defined]
    ]


def test_a_case_is_warned_of_once_before_its_target_and_once_at_it() -> None:
    desk = make_case_processor()
    report_case(desk, make_report(1))
    told = _ticks(desk, [float(h) for h in range(60)])
    assert told == [(18.0, "near", 2), (24.0, "breached", 3)]


def test_after_a_pause_over_both_moments_only_the_breach_is_told() -> None:
    desk = make_case_processor()
    report_case(desk, make_report(1))
    assert _ticks(desk, [1, 30, 31]) == [(30, "breached", 2)]


def test_a_closed_case_is_not_warned_of_and_leaves_memory_after_a_while() -> None:
    desk = make_case_processor(closed_memory_h=100)
    case = report_case(desk, make_report(1))
    act_on(desk, "acknowledge", case, 1)
    act_on(desk, "resolve", case, 10)
    assert _ticks(desk, [20, 30, 109]) == []
    assert len(desk) == 1
    assert _ticks(desk, [110]) == []
    assert len(desk) == 0


def test_a_reopened_case_is_warned_of_anew() -> None:
    desk = make_case_processor()
    case = report_case(desk, make_report(1))
    assert len(_ticks(desk, [19, 25])) == 2
    act_on(desk, "acknowledge", case, 26)
    act_on(desk, "resolve", case, 27)
    again = report_case(desk, make_report(2, hours=30))
    assert again.breach == "none"
    assert [told[:2] for told in _ticks(desk, [47, 48, 53, 54, 90])] == [
        (48, "near"),
        (54, "breached"),
    ]


def test_a_case_that_becomes_more_urgent_is_due_earlier() -> None:
    desk = make_case_processor()
    case = report_case(desk, make_report(1, service="flooding"))
    assert case.due_at == at(4)
    (confirmed,) = desk.apply(make_evidence(0.5), at(0.5))
    assert isinstance(confirmed, Case)
    assert (confirmed.priority, confirmed.due_at) == (1, at(2))
    assert _ticks(desk, [1.4, 1.5, 2.0]) == [(1.5, "near", 3), (2.0, "breached", 4)]


def test_warnings_of_several_cases_come_in_the_order_of_their_targets() -> None:
    desk = make_case_processor()
    slow = report_case(desk, make_report(1, east_m=1000))
    fast = report_case(desk, make_report(2, service="leak"))
    assert [case.id for case in desk.tick(at(100))] == [fast.id, slow.id]
