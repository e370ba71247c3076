"""An alert's life: raised, updated when it matters, decided on by people, cleared."""

from __future__ import annotations

from civicstream.events import Alert
from tests.kit.alert_making import (
    SLOW,
    action,
    brief,
    case,
    engine,
    incident,
    minute,
    traffic,
)


def test_an_alert_is_raised_told_and_cleared_with_its_times() -> None:
    alerts = engine(SLOW)
    assert alerts.apply("results.traffic", traffic(1, {"s1": 50.0}), minute(1.6)) == []
    (raised,) = alerts.apply("results.traffic", traffic(2, {"s1": 15.0}), minute(2.6))
    assert (raised.change, raised.state, raised.version) == ("raised", "active", 1)
    assert raised.key == "slow:segment/s1"
    assert raised.headline == "s1 in north at 15 km/h"
    assert (raised.value, raised.threshold) == (15.0, 20.0)
    assert (raised.started_at, raised.updated_at) == (minute(2), minute(2))
    assert raised.computed_at == minute(2.6)
    (cleared,) = alerts.apply("results.traffic", traffic(3, {"s1": 45.0}), minute(3.6))
    assert brief([cleared]) == [("segment/s1", "cleared", 2)]
    assert (cleared.id, cleared.state, cleared.cleared_at) == (raised.id, "cleared", minute(3))


def test_between_the_two_thresholds_nothing_changes() -> None:
    alerts = engine(SLOW)
    assert alerts.apply("results.traffic", traffic(1, {"s1": 25.0}), minute(1)) == []
    assert len(alerts.apply("results.traffic", traffic(2, {"s1": 19.0}), minute(2))) == 1
    for at, speed in ((3, 20.5), (4, 29.9), (5, 30.0)):
        news = alerts.apply("results.traffic", traffic(at, {"s1": speed}), minute(at))
        assert "cleared" not in [alert.change for alert in news]
    (cleared,) = alerts.apply("results.traffic", traffic(6, {"s1": 30.1}), minute(6))
    assert cleared.change == "cleared"


def test_only_a_value_that_moved_by_its_share_is_told_and_at_most_once_a_minute() -> None:
    alerts = engine(SLOW)
    alerts.apply("results.traffic", traffic(1, {"s1": 18.0}), minute(1))
    assert alerts.apply("results.traffic", traffic(2, {"s1": 16.0}), minute(2)) == []
    (updated,) = alerts.apply("results.traffic", traffic(3, {"s1": 10.0}), minute(3))
    assert (updated.change, updated.value) == ("updated", 10.0)
    assert updated.headline == "s1 in north at 10 km/h"
    assert alerts.apply("results.traffic", traffic(3.5, {"s1": 2.0}), minute(3.5)) == []


def test_a_worse_value_raises_the_severity_at_once() -> None:
    alerts = engine(SLOW + "worse = { severe = 10, extreme = 5 }\n")
    (raised,) = alerts.apply("results.traffic", traffic(1, {"s1": 12.0}), minute(1))
    (worse,) = alerts.apply("results.traffic", traffic(1.1, {"s1": 4.0}), minute(1.1))
    assert (raised.severity, worse.severity) == ("moderate", "extreme")


def test_provisional_and_older_results_raise_nothing() -> None:
    alerts = engine(SLOW)
    provisional = traffic(1, {"s1": 5.0}, status="provisional")
    assert alerts.apply("results.traffic", provisional, minute(1)) == []
    alerts.apply("results.traffic", traffic(5, {"s1": 50.0}), minute(5))
    assert alerts.apply("results.traffic", traffic(4, {"s1": 5.0}), minute(5)) == []


def test_a_null_leaves_an_alert_as_it_is_until_its_value_is_too_old() -> None:
    alerts = engine(SLOW)
    alerts.apply("results.traffic", traffic(1, {"s1": 5.0}), minute(1))
    for at in range(2, 16):
        assert alerts.apply("results.traffic", traffic(at, {"s1": None}), minute(at)) == []
    assert alerts.tick(minute(15.9)) == []
    (cleared,) = alerts.tick(minute(16.5))
    assert (cleared.change, cleared.cleared_at) == ("cleared", minute(16))


def test_an_acknowledgement_counts_once_and_says_who() -> None:
    alerts = engine(SLOW)
    (raised,) = alerts.apply("results.traffic", traffic(1, {"s1": 5.0}), minute(1))
    seen = action(1, raised.id, "acknowledge", 2)
    (taken,) = alerts.apply("actions", seen, minute(2))
    assert (taken.change, taken.acknowledged_by, taken.acknowledged_at, taken.note) == (
        "acknowledged",
        "anna",
        minute(2),
        "seen",
    )
    assert alerts.apply("actions", seen, minute(2)) == []
    assert alerts.apply("actions", action(2, raised.id, "acknowledge", 3), minute(3)) == []
    (cleared,) = alerts.apply("results.traffic", traffic(3, {"s1": 50.0}), minute(3))
    assert (cleared.acknowledged_by, cleared.note) == ("anna", "")


def test_a_silence_ends_by_itself_or_by_a_person() -> None:
    alerts = engine(SLOW)
    (raised,) = alerts.apply("results.traffic", traffic(1, {"s1": 5.0}), minute(1))
    (silenced,) = alerts.apply("actions", action(1, raised.id, "silence", 2, "10"), minute(2))
    assert (silenced.silenced_until, silenced.silenced_by) == (minute(12), "anna")
    assert alerts.tick(minute(11.9)) == []
    (loud,) = alerts.tick(minute(12))
    assert (loud.change, loud.silenced_until, loud.updated_at) == ("unsilenced", None, minute(12))
    alerts.apply("actions", action(2, raised.id, "silence", 13, "60"), minute(13))
    (early,) = alerts.apply("actions", action(3, raised.id, "unsilence", 14), minute(14))
    assert (early.change, early.version) == ("unsilenced", 5)
    assert alerts.apply("actions", action(4, raised.id, "silence", 15, "often"), minute(15)) == []


def test_what_nobody_acknowledges_escalates_until_it_is_extreme() -> None:
    alerts = engine(SLOW + 'escalate_after = "10m"\nforget_after = "never"\n')
    (raised,) = alerts.apply("results.traffic", traffic(1, {"s1": 5.0}), minute(1))
    assert alerts.tick(minute(10.9)) == []
    made: list[Alert] = []
    for at in range(11, 60):
        made += alerts.tick(minute(at))
    assert [(a.change, a.severity, a.escalation) for a in made] == [
        ("escalated", "severe", 1),
        ("escalated", "extreme", 2),
    ]
    assert [a.updated_at for a in made] == [minute(11), minute(21)]
    assert {a.id for a in made} == {raised.id}


def test_an_acknowledged_or_silenced_alert_does_not_escalate() -> None:
    alerts = engine(SLOW + 'escalate_after = "10m"\nforget_after = "never"\n')
    (raised,) = alerts.apply("results.traffic", traffic(1, {"s1": 5.0}), minute(1))
    alerts.apply("actions", action(1, raised.id, "acknowledge", 2), minute(2))
    assert alerts.tick(minute(30)) == []


def test_an_incident_is_one_alert_from_its_confirmation_to_its_end() -> None:
    alerts = engine(
        '[[rule]]\nname = "incident"\nsource = "incidents"\nfield = "state"\n'
        'in = ["confirmed", "clearing"]\nseverity = "severe"\n'
        'message = "{segment}: {source_severity:.0%}"\n'
    )
    made: list[Alert] = []
    for version, state in enumerate(("suspected", "confirmed", "clearing", "cleared"), 1):
        made += alerts.apply("incidents", incident(version, state, version), minute(version))
    assert brief(made) == [("incident/i1", "raised", 1), ("incident/i1", "cleared", 2)]
    assert made[0].headline == "s1: 40%"
    again = incident(2, "confirmed", 2)
    assert alerts.apply("incidents", again, minute(9)) == []


def test_a_case_without_a_crew_raises_by_the_clock() -> None:
    alerts = engine(
        '[[rule]]\nname = "waits"\nsource = "cases"\nwhere = { state = ["received"] }\n'
        'field = "priority"\nis = 1\nfor = "10m"\nseverity = "severe"\nmessage = "{service}"\n'
    )
    assert alerts.apply("cases", case(1, "received", 0), minute(0)) == []
    assert alerts.tick(minute(9.9)) == []
    (raised,) = alerts.tick(minute(10.4))
    assert (raised.started_at, raised.updated_at) == (minute(0), minute(10))
    assert (raised.lon, raised.lat) == (16.4, 48.2)
    (cleared,) = alerts.apply("cases", case(2, "assigned", 12), minute(12))
    assert cleared.change == "cleared"
