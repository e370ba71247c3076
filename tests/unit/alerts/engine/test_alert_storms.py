"""A storm of alerts is one parent alert; its children name it."""

from __future__ import annotations

from alerts.engine.alert_state import read
from alerts.engine.engine import AlertEngine
from alerts.engine.places import Places
from alerts.rules.rule_file import parse_rules
from civicstream.events import Alert
from tests.kit.alert_making import SLOW, action, engine, minute, traffic

GROUPED = SLOW + 'group = { more_than = 3, over = "5m" }\n'


def segments(count: int, speed: float) -> dict[str, float | None]:
    return {f"s{i}": speed for i in range(count)}


def newest(alerts: list[Alert]) -> dict[str, Alert]:
    return {alert.id: alert for alert in alerts}


def test_more_than_so_many_at_once_get_a_parent_that_all_children_name() -> None:
    alerts = engine(GROUPED)
    made = alerts.apply("results.traffic", traffic(1, segments(5, 5.0)), minute(1))
    parents = [a for a in newest(made).values() if a.children]
    (parent,) = parents
    assert (parent.subject, parent.rule, parent.area) == ("area/north", "slow", "north")
    assert parent.headline == "4 alerts of the rule slow in north"
    children = [a for a in newest(made).values() if not a.children]
    assert [a.parent for a in children] == [parent.id] * 5
    more = alerts.apply("results.traffic", traffic(3, segments(5, 5.0) | {"late": 1.0}), minute(3))
    assert {a.parent for a in newest(more).values() if not a.children} == {parent.id}
    assert [a.children for a in more if a.id == parent.id] == [6]


def test_as_many_as_allowed_or_too_far_apart_are_no_storm() -> None:
    alerts = engine(GROUPED)
    made = alerts.apply("results.traffic", traffic(1, segments(3, 5.0)), minute(1))
    late = alerts.apply("results.traffic", traffic(20, {"z": 5.0}), minute(20))
    assert not [a for a in made + late if a.children or a.parent]


def test_the_parent_ends_with_its_last_child() -> None:
    alerts = engine(GROUPED)
    made = alerts.apply("results.traffic", traffic(1, segments(5, 5.0)), minute(1))
    (parent,) = {a.id for a in made if a.children}
    some = segments(4, 50.0) | {"s4": 5.0}
    made = alerts.apply("results.traffic", traffic(2, some), minute(2))
    assert newest(made)[parent].state == "active"
    made = alerts.apply("results.traffic", traffic(3, segments(5, 50.0)), minute(3))
    assert newest(made)[parent].state == "cleared"
    assert newest(made)[parent].cleared_at == minute(3)
    assert alerts.active_count == 0


def test_alerts_of_different_rules_of_an_area_are_grouped_too() -> None:
    other = SLOW.replace('"slow"', '"slower"').replace("below = 20", "below = 10")
    alerts = engine('[grouping]\nmore_than = 3\nover = "5m"\n' + SLOW + other)
    made = alerts.apply("results.traffic", traffic(1, segments(2, 5.0)), minute(1))
    (parent,) = [a for a in newest(made).values() if a.children]
    assert (parent.rule, parent.headline) == ("grouping", "4 alerts in north")


def continued(first: AlertEngine, rules: str) -> AlertEngine:
    """Return an engine that goes on from what the first has put into its state store."""
    second = AlertEngine(parse_rules(rules), Places())
    store = {key: value for key, value in first.take_changes().items() if value is not None}
    second.restore(read(store))
    return second


def test_a_storm_goes_on_after_a_restart() -> None:
    alerts = engine(GROUPED)
    made = alerts.apply("results.traffic", traffic(1, segments(5, 5.0)), minute(1))
    (parent,) = {a.id for a in made if a.children}
    second = continued(alerts, GROUPED)
    assert second.resume(minute(2)) == []
    more = second.apply("results.traffic", traffic(2, {"s9": 5.0}), minute(2))
    assert {a.parent for a in newest(more).values() if not a.children} == {parent}


def test_a_parent_can_be_acknowledged() -> None:
    alerts = engine(GROUPED)
    made = alerts.apply("results.traffic", traffic(1, segments(5, 5.0)), minute(1))
    (parent,) = {a.id for a in made if a.children}
    (seen,) = alerts.apply("actions", action(1, parent, "acknowledge", 2), minute(2))
    assert (seen.change, seen.children) == ("acknowledged", 4)


def test_alerts_of_a_rule_that_is_gone_are_cleared() -> None:
    alerts = engine(GROUPED)
    made = alerts.apply("results.traffic", traffic(1, segments(5, 5.0)), minute(1))
    second = continued(alerts, SLOW.replace('"slow"', '"other"'))
    ended = second.resume(minute(2))
    assert {a.id for a in ended if a.state == "cleared"} == {a.id for a in made}
    assert second.active_count == 0


def test_children_stand_alone_when_rules_no_longer_group_them() -> None:
    alerts = engine(GROUPED)
    alerts.apply("results.traffic", traffic(1, segments(5, 5.0)), minute(1))
    ended = newest(continued(alerts, SLOW).resume(minute(2)))
    assert [a.state for a in ended.values() if a.children] == ["cleared"]
    assert {(a.state, a.parent) for a in ended.values() if not a.children} == {("active", None)}
