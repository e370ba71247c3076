"""The city's local time: by the IANA database, summer time included."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from civicstream.errors import ConfigurationError
from civicstream.local_time import local_offset
from civicstream.settings import load_settings

HOUR = 3_600_000


def ms(*when: int) -> int:
    return round(datetime(*when, tzinfo=UTC).timestamp() * 1000)  # type: ignore[misc,arg-type]


def test_summer_time_begins_to_the_millisecond() -> None:
    berlin = local_offset("Europe/Berlin")
    begins = ms(2026, 3, 29, 1)
    assert (berlin(begins - 1), berlin(begins)) == (HOUR, 2 * HOUR)


def test_offsets_need_not_be_whole_hours() -> None:
    assert local_offset("Asia/Kathmandu")(ms(2026, 1, 1)) == 5.75 * HOUR
    assert local_offset("America/St_Johns")(ms(2026, 1, 1)) == -3.5 * HOUR


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Australia/Lord_Howe"])
def test_the_offset_is_that_of_the_standard_library_all_year(zone: str) -> None:
    from zoneinfo import ZoneInfo

    offset = local_offset(zone)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    while at.year == 2026:
        expected = at.astimezone(ZoneInfo(zone)).utcoffset()
        assert timedelta(milliseconds=offset(round(at.timestamp() * 1000))) == expected
        at += timedelta(minutes=45)


def test_a_zone_that_does_not_exist_is_refused_with_an_example() -> None:
    with pytest.raises(ConfigurationError, match=r"city.timezone.*'Berlin'.*Europe/Berlin"):
        load_settings(environ={"CIVICSTREAM_CITY__TIMEZONE": "Berlin"})
