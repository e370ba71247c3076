"""Whatever comes again after a crash makes no other alert, and nothing is left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from civicstream.events import Alert
from streams.alerts.engine import AlertEngine
from streams.alerts.places import Places
from streams.alerts.rule_file import parse_rules
from tests.unit.alert_making import SLOW, health, incident, minute, traffic

RULES = (
    SLOW
    + """group = { more_than = 1, over = "2m" }

[[rule]]
name = "slow-for-long"
source = "results.traffic"
field = "space_mean_speed_kmh"
below = 25
for = "2m"
severity = "severe"
message = "{segment}"

[[rule]]
name = "drop"
source = "results.traffic"
field = "space_mean_speed_kmh"
change_over = "4m"
below = -30
severity = "minor"
message = "{segment}"

[[rule]]
name = "many-slow"
source = "results.traffic"
field = "space_mean_speed_kmh"
below = 25
at_least = 2
within = "area"
severity = "severe"
message = "{value:.0f} segments of {area}"

[[rule]]
name = "shared"
source = "results.traffic"
field = "space_mean_speed_kmh"
below = 10
key = "{area}"
severity = "minor"
message = "{segment}"

[[rule]]
name = "incident"
source = "incidents"
field = "state"
in = ["confirmed", "clearing"]
severity = "severe"
message = "{segment}"

[[rule]]
name = "broken"
source = "health"
field = "health"
is_not = "ok"
at_least = 2
within = "area"
severity = "moderate"
message = "{value:.0f} in {area}"
"""
)

PARSED = parse_rules(RULES)
SPEEDS = st.lists(
    st.sampled_from([5.0, 12.0, 22.0, 28.0, 45.0, 80.0, None]), min_size=3, max_size=3
)
STATES = ("suspected", "confirmed", "clearing", "cleared")
AREAS = ("north", "south")

Event = tuple[str, Any]


@st.composite
def histories(draw: st.DrawFn) -> list[Event]:
    """Some minutes of windows, an incident and sensors' health."""
    events: list[Event] = []
    for at in range(1, draw(st.integers(4, 8))):
        for area in AREAS:
            speeds = dict(zip((f"{area}-{i}" for i in range(3)), draw(SPEEDS), strict=True))
            events.append(("results.traffic", traffic(at, speeds, area)))
        if at <= len(STATES):
            events.append(("incidents", incident(at, STATES[at - 1], at // 2)))
        for sensor in (1, 2):
            state = draw(st.sampled_from(["ok", "stuck", None]))
            if state is not None:
                events.append(("health", health(sensor, state, at + sensor / 10)))
    return events


def engine() -> AlertEngine:
    return AlertEngine(PARSED, Places())


def run(alerts: AlertEngine, events: Sequence[Event]) -> list[list[Alert]]:
    """Return the versions that follow from each event."""
    return [alerts.apply(topic, event, minute(30)) for topic, event in events]


def flat(lists: list[list[Alert]]) -> list[Alert]:
    return [alert for made in lists for alert in made]


@settings(max_examples=10, deadline=None)
@given(histories())
def test_versions_have_no_gaps_and_at_most_one_alert_of_a_key_is_active(
    events: list[Event],
) -> None:
    versions: dict[str, int] = defaultdict(int)
    active: dict[str, str] = {}
    for alert in flat(run(engine(), events)):
        versions[alert.id] += 1
        assert alert.version == versions[alert.id]
        assert active.get(alert.key, alert.id) == alert.id
        active[alert.key] = alert.id
        if alert.state == "cleared":
            del active[alert.key]


@settings(max_examples=20, deadline=None)
@given(histories(), st.data())
def test_after_a_crash_anywhere_the_alerts_are_those_of_an_undisturbed_run(
    events: list[Event], data: st.DataObject
) -> None:
    expected = run(engine(), events)
    committed = data.draw(st.integers(0, len(events)), "committed")
    read = data.draw(st.integers(committed, len(events)), "read")
    kept = flat(expected[:read])
    lost = data.draw(st.integers(0, len(flat(expected[committed:read]))), "not published")
    kept = kept[: len(kept) - lost]

    second = engine()
    kept += second.restore(kept)
    for topic, event in events[:committed]:
        second.observe(topic, event)
    again = flat(run(second, events[committed:])) + second.settle(minute(30))
    found, wanted = story([*kept, *again]), story(flat(expected))
    assert {id_: told for id_, told in found.items() if told != wanted.get(id_)} == {}
    assert found.keys() == wanted.keys()


@settings(max_examples=10, deadline=None)
@given(histories(), st.data())
def test_events_that_come_again_make_no_version(events: list[Event], data: st.DataObject) -> None:
    alerts = engine()
    run(alerts, events)
    begin = data.draw(st.integers(0, len(events)), "again from")
    assert flat(run(alerts, events[begin:])) == []


def story(alerts: list[Alert]) -> dict[str, list[tuple[Any, ...]]]:
    """Return what happened to each alert; of parents only its ends."""
    found: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for alert in alerts:
        if not alert.children:
            told = (alert.version, alert.change, alert.key, alert.updated_at, alert.parent is None)
            found[alert.id].append(told)
        elif alert.change in {"raised", "cleared"}:
            found[alert.id].append((alert.change, alert.key, alert.updated_at))
    return found
