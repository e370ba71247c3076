"""Which reports make one case, and how much that case weighs."""

from __future__ import annotations

from typing import Any

import pytest

from civicstream.events import DeadLetter
from civicstream.service_events import Case
from tests.kit.case_making import HOUR, at, make_case_processor, make_report, report_case


def test_a_report_sent_again_makes_nothing() -> None:
    desk = make_case_processor()
    first = report_case(desk, make_report(1))
    assert (first.version, first.state, first.latest_report) == (1, "received", "report-1")
    assert desk.apply(make_report(1), at(5)) == []


def test_reports_of_different_people_near_in_place_and_time_join_and_weigh_more() -> None:
    desk = make_case_processor()
    first = report_case(desk, make_report(1))
    second = report_case(desk, make_report(2, hours=10, east_m=40))
    assert second.id == first.id
    assert (second.version, second.reports, second.reporters) == (2, 2, 2)
    assert second.weight > first.weight == 1.0
    assert second.latest_report == "report-2"


@pytest.mark.parametrize(
    "other",
    [
        {"east_m": 60},
        {"hours": 49},
        {"service": "sign"},
    ],
    ids=["too far", "too late", "another service"],
)
def test_a_report_of_something_else_opens_its_own_case(other: dict[str, Any]) -> None:
    desk = make_case_processor()
    first = report_case(desk, make_report(1))
    assert report_case(desk, make_report(2, **other)).id != first.id


def test_reports_join_over_the_border_of_two_areas_and_two_cells() -> None:
    desk = make_case_processor()
    first = report_case(desk, make_report(1, east_m=-24))
    second = report_case(desk, make_report(2, east_m=24, area="d2"))
    assert second.id == first.id
    assert second.area == "d1"


def test_of_two_cases_the_nearer_takes_the_report() -> None:
    desk = make_case_processor()
    west = report_case(desk, make_report(1, east_m=0))
    east = report_case(desk, make_report(2, east_m=80))
    assert east.id != west.id
    assert report_case(desk, make_report(3, east_m=45)).id == east.id
    assert report_case(desk, make_report(4, east_m=35)).id == west.id


def test_the_same_reporter_again_does_not_raise_the_weight() -> None:
    desk = make_case_processor()
    first = report_case(desk, make_report(1))
    again = report_case(desk, make_report(2, hours=1, reporter="person-1"))
    assert again.id == first.id
    assert (again.reports, again.reporters, again.weight) == (2, 1, first.weight)


def test_a_flood_from_one_reporter_weighs_little_and_does_not_push_real_cases_aside() -> None:
    desk = make_case_processor()
    flood = [
        report_case(desk, make_report(i, hours=i / 60, east_m=1000 * i, reporter="flooder"))
        for i in range(100)
    ]
    assert len({case.id for case in flood}) == 100
    assert [case.weight for case in flood[:5]] == [1.0] * 5
    assert flood[-1].weight < 0.08
    # Other people count fully in a case that the flood began.
    assert report_case(desk, make_report(200, hours=2, east_m=99_000)).weight > 1.0
    # And after some quiet days the flooder is as good as anyone.
    later = make_report(300, hours=24 * 12, east_m=500_000, reporter="flooder")
    assert report_case(desk, later).weight == 1.0


def test_many_people_raise_the_priority_but_never_to_the_one_that_takes_crews_away() -> None:
    desk = make_case_processor()
    pothole = [report_case(desk, make_report(i, hours=i / 10)) for i in range(30)][-1]
    leak = [report_case(desk, make_report(100 + i, service="leak")) for i in range(30)][-1]
    assert (pothole.priority, leak.priority) == (2, 2)
    assert pothole.due_at == at(0) + 12 * HOUR


def test_the_weight_of_a_crowd_is_bounded_and_its_memory_too() -> None:
    desk = make_case_processor(max_reporters=20)
    case = [report_case(desk, make_report(i)) for i in range(40)][-1]
    assert (case.reports, case.reporters) == (40, 20)


def test_a_report_older_than_the_memory_is_refused_because_it_may_have_been_counted() -> None:
    desk = make_case_processor(report_memory_h=100)
    report = make_report(1)
    report_case(desk, report)
    desk.tick(at(99))
    assert desk.apply(report, at(99)) == []
    desk.tick(at(101))
    (letter,) = desk.apply(report, at(101))
    assert isinstance(letter, DeadLetter)
    assert letter.reason == "too_old"
    assert len(desk) == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"service": "dragons"}, "unknown_service"),
        ({"lon": float("nan")}, "bad_position"),
        ({"lat": 91.0}, "bad_position"),
    ],
)
def test_a_report_that_makes_no_case_becomes_a_letter_that_says_why(
    changes: dict[str, Any], reason: str
) -> None:
    desk = make_case_processor()
    (letter,) = desk.apply(make_report(1, **changes), at(0))
    assert isinstance(letter, DeadLetter)
    assert (letter.reason, letter.topic, letter.kind) == (reason, "reports", "report")
    assert "report-1" in letter.detail


def test_a_late_report_still_joins_the_case_of_its_own_time() -> None:
    desk = make_case_processor()
    first = report_case(desk, make_report(1, hours=100))
    early = make_report(2, hours=60, received_at=at(101))
    assert report_case(desk, early).id == first.id
    too_early = make_report(3, hours=5, received_at=at(102))
    assert report_case(desk, too_early).id != first.id


def test_ids_and_versions_are_the_same_in_another_life() -> None:
    def run() -> list[Case]:
        desk = make_case_processor()
        return [report_case(desk, make_report(i, hours=i, east_m=20 * i)) for i in range(20)]

    assert run() == run()
