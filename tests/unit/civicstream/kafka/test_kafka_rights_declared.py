"""The rights declared for each part are what its code reads and writes, no less and no more."""

from __future__ import annotations

import pytest

from alerts.rules.sources import SOURCES
from civicstream.kafka.rights import RIGHTS
from civicstream.kinds import KINDS
from civicstream.topics import TOPICS, frames_topic
from feeds.live.event_items import EVENT_TYPES
from sinks.event_tables import STORED_EVENTS
from streams.dispatch.dispatch import INPUTS

FRAMES = {frames_topic(kind) for kind in KINDS}


def _topics(names: tuple[str, ...]) -> set[str]:
    return {
        topic
        for topic in TOPICS
        for name in names
        if topic == name or (name.endswith("*") and topic.startswith(name[:-1]))
    }


def _reads(part: str) -> set[str]:
    return _topics(RIGHTS[part].reads)


def test_what_each_part_reads_is_what_its_code_asks_for() -> None:
    assert _reads("feeds") == set(EVENT_TYPES)
    assert _reads("sink") == FRAMES | set(STORED_EVENTS) | {
        "late",
        "private",
        "deadletter",
        "ledger",
        "network",
        "levels",  # for `ledger`
    }
    assert _reads("alerts") == set(SOURCES) | {"actions", "alerts", "state.alerts"}
    tasks = {"state.frames", "state.network", "state.dispatch"}
    assert _reads("worker") == FRAMES | set(INPUTS) | tasks | {"network", "ledger"}


@pytest.mark.parametrize("part", RIGHTS)
def test_every_name_is_a_declared_topic(part: str) -> None:
    for name in (*RIGHTS[part].reads, *RIGHTS[part].writes):
        assert _topics((name,)), name


def test_personal_data_and_decisions_are_in_few_hands() -> None:
    assert [part for part in RIGHTS if "private" in _reads(part)] == ["sink"]
    writers = {name: {p for p in RIGHTS if name in _topics(RIGHTS[p].writes)} for name in TOPICS}
    assert writers["private"] == {"gateway", "feeds", "forget"}
    assert writers["actions"] == {"feeds"}
    assert writers["crew_actions"] == {"gateway"}
    assert writers["alerts"] == {"alerts"}
    assert all(writers[name] == {"gateway"} for name in FRAMES)
    assert all(writers.values()), "somebody writes each topic"
    assert not RIGHTS["reader"].writes
