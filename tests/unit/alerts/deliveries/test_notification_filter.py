"""What a receiver hears of follows from its filters and from what it has heard before."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from alerts.deliveries.channels.email import EmailReceiver
from alerts.deliveries.channels.kafka_topic import KafkaReceiver
from alerts.deliveries.channels.mqtt_topics import MqttReceiver
from alerts.deliveries.receivers import NotificationFilter, Receiver
from civicstream.events import Alert
from tests.kit.sink_events import AT, alert


def kafka(**filters: Any) -> Receiver:
    return KafkaReceiver(name="k", topic="t", **filters)


def version(number: int, change: str, **more: Any) -> Alert:
    state = "cleared" if change == "cleared" else "active"
    return alert(**{"version": number, "change": change, "state": state, **more})


def taken(receiver: Receiver, *versions: Alert) -> list[int]:
    told = NotificationFilter(receiver)
    return [v.version for v in versions if told.take(v)]


def test_filters_by_area_rule_severity_and_change() -> None:
    life = [version(1, "raised"), version(2, "updated"), version(3, "cleared")]
    assert taken(kafka(), *life) == [1, 2, 3]
    assert taken(kafka(areas=["south"]), *life) == []
    assert taken(kafka(areas=["south", "north"], rules=["queue"]), *life) == [1, 2, 3]
    assert taken(kafka(rules=["flood"]), *life) == []
    assert taken(kafka(min_severity="extreme"), *life) == []
    assert taken(kafka(min_severity="severe"), *life) == [1, 2, 3]
    assert taken(kafka(on=["raised", "cleared"]), *life) == [1, 3]


def test_the_first_version_that_passes_counts_as_raised_and_its_end_is_told() -> None:
    life = [
        version(1, "raised", severity="minor"),
        version(2, "escalated", severity="extreme"),
        version(3, "updated", severity="minor"),
        version(4, "cleared", severity="minor"),
    ]
    assert taken(kafka(min_severity="severe", on=["raised", "cleared"]), *life) == [2, 4]


def test_the_end_of_what_it_never_heard_of_is_told_only_to_who_mirrors_the_state() -> None:
    end = version(7, "cleared")
    assert taken(kafka(), end) == []
    assert taken(MqttReceiver(name="m"), end) == [7]


def test_children_of_a_group_are_left_out_unless_asked_for() -> None:
    life = [version(1, "raised"), version(2, "updated", parent="p"), version(3, "cleared")]
    child = version(1, "raised", id="c", parent="p")
    assert taken(kafka(), *life, child) == [1, 3]
    assert taken(kafka(include_children=True), *life, child) == [1, 2, 3, 1]


def test_what_is_silenced_sends_no_mail_and_goes_to_machines_as_ever() -> None:
    silent = {"silenced_until": AT + 60_000, "updated_at": AT}
    life = [
        version(1, "raised"),
        version(2, "silenced", **silent),
        version(3, "escalated", **silent),
        version(4, "escalated", silenced_until=AT, updated_at=AT),
        version(5, "cleared"),
    ]
    mail = EmailReceiver(name="e", to=["a@city.example"])
    assert taken(mail, *life) == [1, 4, 5]
    assert taken(kafka(), *life) == [1, 2, 3, 4, 5]
    informed = EmailReceiver(name="e", to=["a@city.example"], on=["raised", "silenced", "cleared"])
    assert taken(informed, *life) == [1, 2, 5]


changes = st.sampled_from(["raised", "updated", "escalated", "acknowledged", "cleared"])
severities = st.sampled_from(["minor", "moderate", "severe", "extreme"])


@given(st.lists(st.tuples(st.sampled_from("abc"), changes, severities), max_size=30), st.data())
def test_after_a_restart_it_decides_as_one_that_never_stopped(
    events: list[tuple[str, str, str]], data: st.DataObject
) -> None:
    receiver = kafka(min_severity=data.draw(severities), on=["raised", "escalated", "cleared"])
    sent = [version(n, c, id=i, severity=s) for n, (i, c, s) in enumerate(events, 1)]
    cut = data.draw(st.integers(0, len(sent)))
    whole, before, after = (
        NotificationFilter(receiver),
        NotificationFilter(receiver),
        NotificationFilter(receiver),
    )
    decided = [whole.take(v) for v in sent]
    assert [before.take(v) for v in sent[:cut]] == decided[:cut]
    for shown_again in sent[:cut]:
        after.take(shown_again)
    assert [after.take(v) for v in sent[cut:]] == decided[cut:]
    assert set(after.active) == set(whole.active)
