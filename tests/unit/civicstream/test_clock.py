"""The city's clock: the machine's, unless the settings declare another."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from civicstream import clock
from civicstream.clock import REAL, Clock
from civicstream.errors import ConfigurationError
from civicstream.settings import load_settings

WALL, CITY = 1_795_000_000_000, 1_794_400_000_000


@pytest.fixture(autouse=True)
def _real_again() -> Iterator[None]:
    yield
    clock.declare(REAL)


def test_without_a_declaration_the_citys_time_is_the_machines() -> None:
    assert load_settings(None, {}).clock.clock() == REAL
    assert [REAL.at(wall) for wall in (0, WALL)] == [0, WALL]
    assert REAL.speed_at(WALL) == 1
    before, city, after = clock.wall_ms(), clock.now_ms(), clock.wall_ms()
    assert before <= city <= after


def test_a_declared_clock_stands_until_its_beginning_and_then_runs_at_its_speed() -> None:
    fast = Clock(WALL, CITY, 60)
    assert fast.at(WALL - 30_000) == CITY
    assert fast.at(WALL) == CITY
    assert fast.at(WALL + 1_500) == CITY + 90_000
    assert [fast.speed_at(WALL + ms) for ms in (-1, 0, 1_500)] == [0, 60, 60]


def test_it_is_never_ahead_of_the_machines_clock_and_goes_on_in_real_time() -> None:
    fast = Clock(WALL, CITY, 60)
    caught_up = WALL + -(-(WALL - CITY) // 59)
    assert fast.at(caught_up - 1_000) < caught_up - 1_000
    assert fast.at(caught_up) == caught_up
    assert fast.at(caught_up + 5_000) == caught_up + 5_000
    assert fast.speed_at(caught_up + 5_000) == 1


def test_every_reader_of_the_time_goes_by_the_declared_clock_but_wall_time_does_not() -> None:
    environment = {
        "CIVICSTREAM_CLOCK__WALL_MS": str(WALL),
        "CIVICSTREAM_CLOCK__CITY_MS": str(CITY),
    }
    present = clock.wall_ms()
    declared = load_settings(None, environment).clock.clock()
    assert declared == Clock(WALL, CITY, 1)
    clock.declare(declared)
    assert clock.city_clock() == declared
    assert 0 <= clock.now_ms() - declared.at(present) < 60_000
    assert 0 <= clock.wall_ms() - present < 60_000


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"WALL_MS": "5", "CITY_MS": "6"}, "never ahead of the machine's"),
        ({"SPEED": "0"}, "clock.speed"),
    ],
)
def test_a_clock_that_cannot_be_is_refused(settings: dict[str, str], problem: str) -> None:
    environment = {f"CIVICSTREAM_CLOCK__{name}": value for name, value in settings.items()}
    with pytest.raises(ConfigurationError, match=problem):
        load_settings(None, environment)
