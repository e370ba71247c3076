"""Results that come seldom, by the city's clock, are neither missed nor forgotten too soon."""

from __future__ import annotations

import pytest

from alerts.engine.engine import AlertEngine
from alerts.engine.patience import patient, result_age_ms
from alerts.engine.places import Places
from alerts.rules.rule_file import load_rules, parse_rules
from civicstream.clock import REAL, Clock
from civicstream.settings import WindowSettings
from tests.kit.alert_making import MINUTE, T0, traffic

RULES = """
[[rule]]
name = "absent"
source = "results.traffic"
no_data_for = "5m"
severity = "severe"
message = "nothing from {area}"

[[rule]]
name = "slow"
source = "results.traffic"
field = "space_mean_speed_kmh"
below = 20
severity = "moderate"
message = "{segment}"
"""
PERIOD = 300_000


def test_a_city_in_real_time_with_windows_of_a_minute_has_its_rules_as_they_are_written() -> None:
    age_ms = result_age_ms(WindowSettings(), REAL)
    assert age_ms == 165_000
    assert patient(load_rules(None), age_ms) == load_rules(None)


def test_results_that_are_all_behind_the_clock_are_not_absent_and_one_area_of_them_is() -> None:
    """A stack that started late works off hours of a replay."""
    clock = Clock(wall_ms=T0, city_ms=T0, speed=3_000)
    age_ms = result_age_ms(WindowSettings(size_s=300), clock)
    engine = AlertEngine(patient(parse_rules(RULES), age_ms), Places(), clock)
    engine.resume(T0)
    made = []
    for number in range(1, 200):
        now = T0 + 90_000_000 + number * PERIOD
        for area in ("north", "south") if number < 50 else ("north",):
            made += engine.apply("results.traffic", traffic(5 * number, {area: 30.0}, area), now)
        made += engine.tick(now)
    (south,) = made
    assert (south.area, south.started_at) == ("south", T0 + 49 * PERIOD)
    stopped = now + age_ms
    assert [alert.area for alert in engine.tick(stopped)] == ["north"]


@pytest.mark.parametrize("speed", [60.0, 3_000.0])
def test_a_replay_misses_and_forgets_nothing_between_its_windows_and_does_later(
    speed: float,
) -> None:
    """A window's result comes when the next has ended, and some seconds of the machine later."""
    clock = Clock(wall_ms=T0, city_ms=T0, speed=speed)
    age_ms = result_age_ms(WindowSettings(size_s=300), clock)
    engine = AlertEngine(patient(parse_rules(RULES), age_ms), Places(), clock)
    engine.resume(T0)
    made = []
    wait_ms = max(PERIOD, round(5_000 * speed))
    for number in range(1, 40):
        end = T0 + number * wait_ms // PERIOD * PERIOD
        now = end + wait_ms
        made += engine.apply("results.traffic", traffic((end - T0) / MINUTE, {"s1": 10.0}), now)
        made += engine.tick(now + wait_ms // 2)
    assert [(alert.rule, alert.change) for alert in made] == [("slow", "raised")]
    late = end + wait_ms + age_ms + 900_000
    assert {a.rule: a.change for a in engine.tick(late)} == {"slow": "cleared", "absent": "raised"}
