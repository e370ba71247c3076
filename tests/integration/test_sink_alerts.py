"""What the sink makes of alerts and of frames that never came."""

from __future__ import annotations

import msgspec

from sinks.event_tables import ALERTS, FRAME_GAPS
from tests.integration.test_sink_citizens import fields, read_back, send
from tests.kit.sink_events import AT, MINUTE, alert, gap
from tests.kit.sink_rows import loader

CLEARED = alert(
    version=2,
    state="cleared",
    change="cleared",
    cleared_at=AT + MINUTE,
    updated_at=AT + MINUTE,
    acknowledged_at=AT + 1,
    acknowledged_by="operator-3",
    silenced_until=AT + 5 * MINUTE,
    silenced_by="operator-4",
    value=None,
    threshold=None,
    lon=None,
    lat=None,
    children=3,
    escalation=1,
    note="seen",
)


def test_versions_and_gaps_read_back_as_they_were_sent_and_once(database: str) -> None:
    with loader(database) as loaded:
        for topic, table, events in (
            ("alerts", ALERTS, [alert(), CLEARED, alert(id="l2", parent="l3")]),
            ("gaps", FRAME_GAPS, [gap(), gap(epoch=2**60, first=2**40)]),
        ):
            again = msgspec.structs.replace(events[0])
            assert send(loaded, topic, *events, again) == {table.name: len(events)}
            assert send(loaded, topic, *reversed(events)) == {table.name: 0}
            stored = read_back(loaded, table)
            assert sorted(stored, key=str) == sorted(map(fields, events), key=str)


def test_the_current_alerts_are_the_newest_version_of_each(database: str) -> None:
    with loader(database) as loaded:
        send(loaded, "alerts", CLEARED, alert(), alert(id="l2", version=10), alert(id="l2"))
        current = "SELECT id, version, state FROM alerts_current ORDER BY id"
        assert loaded.seen_by_reader(current) == [("l1", 2, "cleared"), ("l2", 10, "active")]


def test_a_time_no_column_holds_is_one_dead_letter_and_the_rest_is_written(database: str) -> None:
    with loader(database) as loaded:
        bad = alert(version=3, cleared_at=2**80)
        assert send(loaded, "alerts", alert(), bad, CLEARED) == {"alerts": 2}
        (dead_letter,) = loaded.dead_letters
        assert (dead_letter.reason, dead_letter.topic) == ("refused_by_database", "alerts")
