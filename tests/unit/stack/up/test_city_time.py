"""Which clock `civicstream up` gives the city, and that a folder keeps it."""

from __future__ import annotations

from datetime import UTC, datetime, time
from pathlib import Path

import pytest

from civicstream.clock import REAL, Clock
from civicstream.errors import ConfigurationError
from civicstream.settings import load_settings
from stack.data_folder import DataFolder
from stack.up.city_time import choose_city_time, last_working_day_at
from stack.up.options import StackOptions


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


SUNDAY = ms("2026-11-29T10:00")
OWN = load_settings(None, {})


def chosen(folder: Path, present_ms: int = SUNDAY, **options: object) -> Clock:
    wanted = StackOptions(folder, **options)  # type: ignore[arg-type]
    with DataFolder(folder) as data:
        return choose_city_time(wanted, OWN, data, present_ms).clock


def test_the_hour_is_that_of_the_last_working_day() -> None:
    assert last_working_day_at(time(8), SUNDAY, "UTC") == ms("2026-11-27T08:00")
    assert last_working_day_at(time(8), ms("2026-11-25T07:59"), "UTC") == ms("2026-11-24T08:00")
    assert last_working_day_at(time(8), ms("2026-11-25T08:00"), "UTC") == ms("2026-11-25T08:00")


def test_the_hour_is_the_citys_own_in_summer_and_winter() -> None:
    monday_after_clocks_went_back = ms("2026-10-26T03:00")
    asked = (time(8), monday_after_clocks_went_back, "Europe/Berlin")
    assert last_working_day_at(*asked) == ms("2026-10-23T06:00")
    tokyo = last_working_day_at(time(8), ms("2026-11-29T23:30"), "Asia/Tokyo")
    assert tokyo == ms("2026-11-29T23:00"), "Monday morning there"


def test_a_simulated_city_starts_at_a_busy_hour_or_at_the_one_asked_for(tmp_path: Path) -> None:
    assert chosen(tmp_path / "a") == Clock(SUNDAY, ms("2026-11-27T07:45"), 1)
    assert chosen(tmp_path / "b", time="17:00") == Clock(SUNDAY, ms("2026-11-27T17:00"), 1)
    assert chosen(tmp_path / "c", time="now") == REAL
    assert chosen(tmp_path / "d", simulator=False) == REAL, "readings of your own are of now"


def test_a_folder_keeps_the_clock_that_its_readings_are_of(tmp_path: Path) -> None:
    first = chosen(tmp_path)
    assert chosen(tmp_path, present_ms=SUNDAY + 3_600_000) == first
    with pytest.raises(ConfigurationError, match="--fresh"):
        chosen(tmp_path, time="09:00")


@pytest.mark.parametrize("wrong", ["8", "24:00", "08:60", "noon"])
def test_an_hour_that_is_none_is_refused(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(ConfigurationError, match="expected HH:MM"):
        chosen(tmp_path, time=wrong)


def test_a_replay_wants_a_folder_without_an_earlier_run(tmp_path: Path) -> None:
    chosen(tmp_path)
    with pytest.raises(ConfigurationError, match="holds an earlier run"):
        chosen(tmp_path, replay=Path("recording"))


def test_options_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="part of a --replay"):
        chosen(tmp_path, begin="2014-08-04T06:00")
    with pytest.raises(ConfigurationError, match="with --from"):
        chosen(tmp_path, replay=Path("recording"), time="08:00")
