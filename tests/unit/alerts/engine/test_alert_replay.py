"""Whatever comes again after a crash makes no other alert, and nothing is left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from alerts.engine.alert_state import Items, read
from alerts.engine.engine import AlertEngine
from alerts.engine.places import Places
from alerts.rules.rule_file import parse_rules
from civicstream.events import Alert
from tests.kit.alert_making import SLOW, health, incident, minute, traffic

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


class Store:
    """A compacted topic taken for what it is: the newest value of each key."""

    def __init__(self) -> None:
        self.items: dict[str, bytes] = {}

    def put(self, items: Items) -> None:
        for key, value in items.items():
            if value is None:
                self.items.pop(key, None)
            else:
                self.items[key] = value


def engine() -> AlertEngine:
    return AlertEngine(PARSED, Places())


def first_engine() -> AlertEngine:
    """Return an engine that has begun without a state store."""
    begun = engine()
    assert begun.resume(minute(0)) == []
    return begun


def run(alerts: AlertEngine, events: Sequence[Event]) -> list[list[Alert]]:
    """Return the versions that follow from each event."""
    return [alerts.apply(topic, event, minute(30)) for topic, event in events]


def flat(lists: list[list[Alert]]) -> list[Alert]:
    return [alert for made in lists for alert in made]


@settings(max_examples=10)
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


def time_of(event: Any) -> int:
    return int(getattr(event, "window_end", 0))


@settings(max_examples=40)
@given(histories(), st.data())
def test_after_a_crash_anywhere_every_version_is_that_of_an_undisturbed_run(
    events: list[Event], data: st.DataObject
) -> None:
    expected = run(engine(), events)
    committed = data.draw(st.integers(0, len(events)), "committed")
    first, store = first_engine(), Store()
    store.put(first.take_changes())
    for topic, event in events[:committed]:
        first.apply(topic, event, minute(30))
        store.put(first.take_changes())

    second = engine()
    second.restore(read(store.items))
    assert second.new_rules == frozenset()
    newest = max((time_of(event) for _, event in events[:committed]), default=0)
    since = newest - PARSED.memory_ms - (minute(1) - minute(0))
    for topic, event in events[:committed]:
        if time_of(event) >= since:
            second.observe(topic, event)
    assert second.resume(minute(30)) == []
    store.put(second.take_changes())
    assert run(second, events[committed:]) == expected[committed:]
    store.put(second.take_changes())
    undisturbed = engine()
    everything = Store()
    run(undisturbed, events)
    everything.put(undisturbed.take_changes())
    assert {k for k in store.items if k[:5] == "alert"} == {
        k for k in everything.items if k[:5] == "alert"
    }


@settings(max_examples=20)
@given(histories(), st.data())
def test_where_the_state_store_is_lost_the_published_versions_are_gone_on_from(
    events: list[Event], data: st.DataObject
) -> None:
    expected = run(engine(), events)
    committed = data.draw(st.integers(0, len(events)), "committed")
    second = engine()
    second.replay(flat(expected[:committed]))
    for topic, event in events[:committed]:
        second.observe(topic, event)
    again = second.resume(minute(30)) + flat(run(second, events[committed:]))
    found, wanted = story([*flat(expected[:committed]), *again]), story(flat(expected))
    assert {id_: told for id_, told in found.items() if told != wanted.get(id_)} == {}
    assert found.keys() == wanted.keys()


def test_the_state_store_has_nothing_of_what_does_not_hold() -> None:
    alerts, store = engine(), Store()
    for at, speed in ((1, 5.0), (2, 80.0)):
        alerts.apply("results.traffic", traffic(at, {"s1": speed}), minute(at))
        store.put(alerts.take_changes())
        held = [key for key in store.items if key.startswith("held/")]
        assert bool(held) == (at == 1), held
    alerts.tick(minute(2) + 40 * 24 * 3_600_000)
    store.put(alerts.take_changes())
    assert not [key for key in store.items if key.startswith("alert/")]


@settings(max_examples=10)
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


def test_an_alert_without_a_version_for_months_is_known_after_a_restart_and_cleared() -> None:
    first, store = first_engine(), Store()
    (raised,) = first.apply("incidents", incident(1, "confirmed", 1), minute(1))
    for day in range(1, 62, 10):
        assert first.tick(minute(day * 1440)) == []
    store.put(first.take_changes())
    second = engine()
    second.restore(read(store.items))
    later = minute(61 * 1440)
    assert second.resume(later) == []
    assert second.tick(later + 1000) == []
    (cleared,) = second.apply("incidents", incident(2, "cleared", 61 * 1440), later + 2000)
    assert (cleared.id, cleared.version, cleared.state) == (raised.id, 2, "cleared")
