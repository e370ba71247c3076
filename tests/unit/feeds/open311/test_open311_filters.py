"""Which requests a query asks for (GeoReport v2, GET service requests)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from feeds.open311.errors import Open311Error
from feeds.open311.filters import RequestFilter, read_filter

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAYS_90 = timedelta(days=90)


def test_nothing_given_means_the_last_ninety_days_of_everything() -> None:
    assert read_filter({}, NOW) == RequestFilter(start=NOW - DAYS_90)


def test_ids_override_everything_else() -> None:
    query = {"service_request_id": "a, b,,c", "status": "nonsense", "start_date": "x"}
    assert read_filter(query, NOW) == RequestFilter(ids=("a", "b", "c"))


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        # the specification's example
        (
            "2010-05-24T00:00:00Z",
            "2010-06-24T00:00:00Z",
            (datetime(2010, 5, 24, tzinfo=UTC), datetime(2010, 6, 24, tzinfo=UTC)),
        ),
        (
            "2010-05-24T02:00:00+02:00",
            "",
            (datetime(2010, 5, 24, tzinfo=UTC), datetime(2010, 8, 22, tzinfo=UTC)),
        ),
        # a plus sign that was not escaped
        (
            "2010-05-24T02:00 02:00",
            "",
            (datetime(2010, 5, 24, tzinfo=UTC), datetime(2010, 8, 22, tzinfo=UTC)),
        ),
        (
            "",
            "2010-05-24T00:00:00.5Z",
            (
                datetime(2010, 2, 23, 0, 0, 0, 500_000, tzinfo=UTC),
                datetime(2010, 5, 24, 0, 0, 0, 500_000, tzinfo=UTC),
            ),
        ),
        (
            "0001-01-01T00:00:00Z",
            "",
            (datetime(1, 1, 1, tzinfo=UTC), datetime(1, 4, 1, tzinfo=UTC)),
        ),
    ],
)
def test_dates_span_what_they_say_and_at_most_ninety_days(
    start: str, end: str, expected: tuple[datetime, datetime]
) -> None:
    found = read_filter({"start_date": start, "end_date": end}, NOW)
    assert (found.start, found.end) == expected


def test_exactly_ninety_days_are_allowed_and_a_second_more_is_not() -> None:
    start, end = "2026-01-01T00:00:00Z", "2026-04-01T00:00:00Z"
    assert read_filter({"start_date": start, "end_date": end}, NOW).end is not None
    with pytest.raises(Open311Error, match="at most 90 are allowed"):
        read_filter({"start_date": start, "end_date": "2026-04-01T00:00:01Z"}, NOW)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"start_date": "yesterday"}, "start_date: expected a W3C date"),
        ({"start_date": "2010-05-24"}, "with time and offset"),
        ({"end_date": "2010-05-24T00:00:00"}, "end_date: expected"),
        ({"end_date": "2010-13-24T00:00:00Z"}, "end_date: expected"),
        (
            {"start_date": "2010-05-24T00:00:00Z", "end_date": "2010-05-23T00:00:00Z"},
            "start_date is after end_date",
        ),
        ({"status": "open,asleep"}, "status: expected open, closed"),
        ({"service_request_id": ", ,"}, "service_request_id: give 1 to 1000"),
        ({"service_code": ",".join(map(str, range(1001)))}, "service_code: give 1 to 1000"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_400(query: dict[str, str], words: str) -> None:
    with pytest.raises(Open311Error) as caught:
        read_filter(query, NOW)
    assert caught.value.status == 400
    assert words in caught.value.description


def test_statuses_and_codes_are_lists() -> None:
    found = read_filter({"status": "Open, closed", "service_code": "a,b"}, NOW)
    assert found.statuses == {"open", "closed"}
    assert found.services == ("a", "b")
