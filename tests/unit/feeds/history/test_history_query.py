"""What a request asks of the history is checked, and refused with parameter, value and remedy."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.history.listings import Filter
from feeds.history.query import (
    Limits,
    Span,
    read_bbox,
    read_filters,
    read_limit,
    read_span,
    read_time,
    refuse_unknown,
)
from feeds.problems import Problem

NOW = 1_780_000_020_000
HOUR = 3_600_000


def refusal(call: object, *arguments: object) -> Problem:
    with pytest.raises(Problem) as caught:
        call(*arguments)  # type: ignore[operator]
    assert caught.value.status == 400
    return caught.value


@given(st.integers(0, 253_370_764_799_999))
def test_a_time_reads_the_same_as_epoch_ms_and_as_rfc_3339(at: int) -> None:
    text = datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds")
    assert read_time({"at": str(at)}, "at", 0) == at
    assert abs(read_time({"at": text}, "at", 0) - at) <= 1


def test_an_offset_is_taken_into_account_even_when_its_plus_came_as_a_space() -> None:
    wanted = 1_777_876_200_000
    for text in ("2026-05-04T08:30:00+02:00", "2026-05-04T08:30:00 02:00", "2026-05-04T06:30:00Z"):
        assert read_time({"at": text}, "at", 0) == wanted


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2026-05-04", "2026-05-04T08:30:00", "-5", "1e12", "9" * 30, "²"]
)
def test_a_time_that_is_none_is_refused_with_its_name_and_an_example(text: str) -> None:
    problem = refusal(read_time, {"from": text}, "from", 0)
    assert problem.more["parameter"] == "from"
    assert "from is" in problem.detail


def test_the_span_is_the_last_hour_unless_something_else_is_said() -> None:
    assert read_span({}, NOW, 3600, 31) == Span(NOW - HOUR, NOW)
    assert read_span({"to": "7200000"}, NOW, 3600, 31) == Span(HOUR, 2 * HOUR)
    assert read_span({"from": "5", "to": "6"}, NOW, 3600, 31) == Span(5, 6)


def test_a_span_that_is_too_long_is_refused_with_the_longest_there_is() -> None:
    problem = refusal(read_span, {"from": "0", "to": str(32 * 24 * HOUR)}, NOW, 3600, 31)
    assert "32 days" in problem.detail
    assert "31 at most" in problem.detail


def test_a_span_that_ends_before_it_begins_is_refused() -> None:
    assert "before to" in refusal(read_span, {"from": "9", "to": "9"}, NOW, 3600, 31).detail


def test_a_parameter_that_the_path_does_not_have_is_refused_not_ignored() -> None:
    problem = refusal(refuse_unknown, {"stat": "open"}, {"state", "area"})
    assert "area, state" in problem.detail
    assert problem.more == {"parameter": "stat", "value": "open"}


@pytest.mark.parametrize("text", ["0", "-1", "11", "1.5", "x", ""])
def test_a_limit_outside_its_range_is_refused_with_the_range(text: str) -> None:
    assert "1 to 10" in refusal(read_limit, {"limit": text}, Limits(max_rows=10)).detail


STATES = Filter("state", "", choices=("open", "closed"))
SEVERITY = Filter("min_severity", "", choices=("minor", "severe", "extreme"), rule="at_least")
SHARE = Filter("min_share", "", type="float", rule="at_least")
NUMBERS = Filter("priority", "", type="int")


def test_filters_become_lists_of_values_and_least_values() -> None:
    query = {"state": "open,closed", "min_severity": "severe", "min_share": "0.5", "priority": "1"}
    assert read_filters(query, [STATES, SEVERITY, SHARE, NUMBERS]) == {
        "state": ["open", "closed"],
        "min_severity": ["severe", "extreme"],
        "min_share": 0.5,
        "priority": [1],
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("state", "opne"),
        ("state", ","),
        ("state", ""),
        ("min_severity", "bad"),
        ("min_share", "nan"),
        ("min_share", "inf"),
        ("priority", "1.5"),
        ("priority", "9" * 30),
        ("state", "open," * 300),
    ],
)
def test_a_filter_value_that_cannot_be_is_refused(name: str, value: str) -> None:
    problem = refusal(read_filters, {name: value}, [STATES, SEVERITY, SHARE, NUMBERS])
    assert problem.more["parameter"] == name


def test_a_name_with_a_nul_never_reaches_the_database() -> None:
    refusal(read_filters, {"area": "a\0b"}, [Filter("area", "")])


@pytest.mark.parametrize("text", ["", "1,2,3", "5,1,4,2", "1,2,3,95", "a,b,c,d", "nan,1,2,3"])
def test_a_bounding_box_that_is_none_is_refused(text: str) -> None:
    refusal(read_bbox, {"bbox": text})


def test_a_bounding_box_is_west_south_east_north() -> None:
    assert read_bbox({"bbox": "13.3,52.4,13.5,52.6"}) == (13.3, 52.4, 13.5, 52.6)
    assert read_bbox({}) is None
