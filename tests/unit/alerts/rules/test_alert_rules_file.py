"""A rules file is refused with line, rule, field and what to write instead."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from alerts.rules.rule_file import load_rules, parse_rules
from alerts.rules.rule_values import WrongValue, duration_ms, schedule
from alerts.rules.rules_watch import RulesWatch
from civicstream.errors import ConfigurationError
from tests.kit.alert_making import SLOW, minute


def problem(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse_rules(text, "my.toml")
    return str(caught.value)


def test_the_packaged_rules_are_valid_and_look_at_every_kind_of_source() -> None:
    rules = load_rules(None)
    assert {"results.traffic", "results.environment", "incidents", "cases", "health"} <= (
        rules.sources
    )
    assert {"anomalies", "demand", "allocations", "gaps", "ledger"} <= rules.sources


@pytest.mark.parametrize(
    ("change", "to", "told"),
    [
        ("below = 20", 'below = "slow"', "my.toml:6: rule 'slow', field 'below': 'slow' is not a"),
        ("below = 20", "belwo = 20", "my.toml:6: rule 'slow', field 'belwo': no such field; did"),
        ("clear_above = 30", "clear_above = 10", "my.toml:7: rule 'slow', field 'clear_above'"),
        (
            "clear_above = 30",
            "clear_below = 10",
            "does not go with below; write clear_above",
        ),
        ('"space_mean_speed_kmh"', '"speed"', "my.toml:5: rule 'slow', field 'field': results"),
        ('"results.traffic"', '"results.trafic"', "did you mean 'results.traffic'?"),
        ('"moderate"', '"bad"', "is none of minor, moderate, severe, extreme"),
        ("{segment}", "{sement}", "my.toml:9: rule 'slow', field 'message': {sement} is not kn"),
        (":.0f}", ":.0q}", "Unknown format code"),
        ('name = "slow"', 'name = "Slow!"', "use small letters"),
        ("below = 20", 'below = 20\nis = "F"', "here is below and is"),
        ("below = 20", 'below = 20\nfor = "5 parsecs"', 'is not a duration; write e.g. "90s"'),
        ("below = 20", "below = 20\nat_least = 3", "say within what"),
        ("below = 20", 'below = 20\nwhere = { kin = "x" }', "'where.kin': results.traffic has no"),
        ("below = 20", 'below = 20\nwithin = "town"', 'write "area", "segment" or "city"'),
        ("below = 20", "below = 20\nworse = { severe = 30 }", "30 is milder than 20"),
        ("below = 20", "below = 20\ngroup = { more_than = 0 }", "'group.more_than'"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(change: str, to: str, told: str) -> None:
    assert told in problem(SLOW.replace(change, to))


def test_every_wrong_rule_is_told_at_once() -> None:
    text = problem(SLOW.replace("below = 20", "") + SLOW.replace('"moderate"', '"bad"'))
    assert len(text.splitlines()) == 2


def test_two_rules_cannot_share_a_name() -> None:
    assert "my.toml:12: rule 'slow', field 'name': the rule of line 2 has" in problem(SLOW + SLOW)


def test_what_is_not_toml_says_so() -> None:
    assert "my.toml is not TOML" in problem("[[rule]\n")


def test_a_combination_names_its_conditions_and_how_they_are_joined() -> None:
    text = """
[[rule]]
name = "both"
severity = "minor"
message = "{area}"
all = ["jam", "smgo"]
[rule.condition.jam]
source = "results.traffic"
field = "level_of_service"
is = "F"
[rule.condition.smog]
source = "results.environment"
field = "mean"
above = 50
"""
    assert "my.toml:6: rule 'both', field 'all': no condition 'smgo'; did you mean 'smog'?" in (
        problem(text)
    )
    fixed = text.replace("smgo", "smog")
    assert parse_rules(fixed).rules[0].join == "area"
    segment = fixed.replace('severity = "minor"', 'severity = "minor"\njoin = "segment"')
    assert "results.environment has no segments" in problem(segment)


def test_a_duration_has_a_unit() -> None:
    assert [duration_ms("for", text) for text in ("90s", "5m", "1.5h", "1d")] == [
        90_000,
        300_000,
        5_400_000,
        86_400_000,
    ]
    for wrong in ("5", 5, "0s", "8d", "m"):
        with pytest.raises(WrongValue):
            duration_ms("for", wrong)


def test_a_schedule_over_midnight_belongs_to_the_day_it_began() -> None:
    nights = schedule("schedule", {"days": "fri-sat", "hours": "22:00-05:00", "zone": "UTC"})
    friday_eight = minute(0)
    hour = 3_600_000
    assert not nights.covers(friday_eight)
    assert nights.covers(friday_eight + 14 * hour)
    assert nights.covers(friday_eight + 20 * hour)
    assert not nights.covers(friday_eight - 4 * hour)
    vienna = schedule("schedule", {"hours": "09:00-10:00", "zone": "Europe/Vienna"})
    assert vienna.covers(friday_eight)
    assert not vienna.covers(friday_eight + hour)


def test_a_changed_file_is_taken_and_a_wrong_one_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(SLOW, encoding="utf-8")
    watch = RulesWatch(path)
    assert not watch.changed()
    path.write_text(SLOW.replace("below = 20", "below = true"), encoding="utf-8")
    os.utime(path, ns=(1, 1))
    with caplog.at_level(logging.ERROR):
        assert not watch.changed()
    assert "the old ones go on" in caplog.text
    assert watch.rules.rules[0].conditions[0].below == 20
    path.write_text(SLOW.replace("20", "25"), encoding="utf-8")
    os.utime(path, ns=(2, 2))
    assert watch.changed()
    assert watch.rules.rules[0].conditions[0].below == 25
