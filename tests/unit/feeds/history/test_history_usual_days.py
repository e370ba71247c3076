"""Which earlier days a day is compared with."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feeds.history.usual import comparable_days, day_type, days_span, read_date
from feeds.problems import Problem

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = 3_600_000


@given(st.dates(dt.date(1990, 1, 1), dt.date(2100, 1, 1)), st.integers(1, 60))
def test_days_of_the_same_sort_before_the_day_are_compared_the_newest_first(
    day: dt.date, count: int
) -> None:
    days = comparable_days(day, count)
    assert len(set(days)) == count
    assert days == sorted(days, reverse=True)
    assert days[0] < day
    assert {day_type(d) for d in days} == {day_type(day)}
    between = [day - dt.timedelta(days=n) for n in range(1, (day - days[-1]).days + 1)]
    assert [d for d in between if day_type(d) == day_type(day)] == days


def test_days_begin_at_local_midnight_also_when_the_clock_changes() -> None:
    changed = days_span([dt.date(2026, 3, 29)], BERLIN)
    assert changed.end - changed.start == 23 * HOUR
    assert days_span([dt.date(2026, 7, 2), dt.date(2026, 7, 1)], BERLIN).end == int(
        dt.datetime(2026, 7, 2, 22, tzinfo=dt.UTC).timestamp() * 1000
    )


def test_the_day_is_today_where_the_city_is() -> None:
    late = int(dt.datetime(2026, 7, 1, 23, tzinfo=dt.UTC).timestamp() * 1000)
    assert read_date({}, late, BERLIN) == dt.date(2026, 7, 2)
    assert read_date({"date": "2026-05-04"}, late, BERLIN) == dt.date(2026, 5, 4)


@pytest.mark.parametrize("text", ["", "today", "2026-02-30", "0001-01-01", "9999-01-01"])
def test_a_day_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Problem, match="date is"):
        read_date({"date": text}, 0, BERLIN)
