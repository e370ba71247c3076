"""What crews say over MQTT: place and state, or a decision."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from civicstream.service_events import CrewAction, Unit
from tests.kit.report_bench import NOW, ReportBench

TOPIC = "city/v1/unit/north/tow-3"
UNIT: dict[str, Any] = {
    "ts": NOW - 1_000,
    "state": "available",
    "lon": 13.4,
    "lat": 52.5,
    "skills": ["tow", "road"],
    "shift_end": NOW + 4 * 3_600_000,
    "capacity": 2,
    "load": 0.5,
}
ACCEPT: dict[str, Any] = {"ts": NOW, "action": "accept", "allocation": "a1b2"}


def test_a_unit_goes_on_with_its_place_and_state() -> None:
    bench = ReportBench(public_key=None)  # crews need no key
    packet_id = bench.receive(
        UNIT | {"task": "case/77", "shift_end": "2026-11-22T06:00:00Z"}, TOPIC
    )
    (pending,) = bench.events("units")
    unit = msgspec.json.decode(pending.event.value, type=Unit)
    assert unit == Unit(
        id="tow-3",
        area="north",
        state="available",
        skills=["tow", "road"],
        lon=13.4,
        lat=52.5,
        shift_end=1_795_327_200_000,
        capacity=2.0,
        load=0.5,
        at=NOW - 1_000,
        task="case/77",
    )
    assert pending.event.key == b"north"
    assert dict(pending.event.headers)["ce_id"] == f"tow-3/{NOW - 1_000}".encode()
    bench.confirm_all()
    assert bench.acked == [packet_id]
    assert bench.intake.ledger.report(NOW).kinds["unit"].accepted == 1


@pytest.mark.parametrize(
    ("said", "subject"),
    [
        (ACCEPT, "allocation/a1b2"),
        (ACCEPT | {"allocation": "allocation/a1b2"}, "allocation/a1b2"),
        ({"ts": NOW, "action": "done", "task": "case/77", "note": "mended\x07"}, "case/77"),
        ({"ts": NOW, "action": "start", "task": "incident/i1"}, "incident/i1"),
    ],
)
def test_a_decision_is_an_action_on_its_subject(said: dict[str, Any], subject: str) -> None:
    bench = ReportBench()
    bench.receive(said, TOPIC)
    (pending,) = bench.events("crew_actions")
    action = msgspec.json.decode(pending.event.value, type=CrewAction)
    assert (action.subject, action.action, action.by) == (subject, said["action"], "unit/tow-3")
    assert (action.area, action.at) == ("north", NOW)
    assert action.note == said.get("note", "").replace("\x07", "")


def test_a_decision_sent_again_has_the_same_id_and_another_one_another() -> None:
    bench = ReportBench()
    for said in (ACCEPT, ACCEPT, ACCEPT | {"action": "reject"}, ACCEPT | {"ts": NOW - 1}):
        bench.receive(said, TOPIC)
    bench.receive(ACCEPT, "city/v1/unit/north/tow-4")
    ids = [
        msgspec.json.decode(e.event.value, type=CrewAction).id for e in bench.events("crew_actions")
    ]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 4


@pytest.mark.parametrize(
    ("said", "reason", "words"),
    [
        (UNIT | {"state": "\0" * 10_000}, "wrong_shape", r"Invalid enum value '\x00"),
        (UNIT | {"state": "asleep"}, "wrong_shape", "Invalid enum value 'asleep'"),
        (UNIT | {"lat": 91}, "wrong_shape", "$.lat"),
        (UNIT | {"skills": "tow"}, "wrong_shape", "Expected `array`, got `str` - at `$.skills`"),
        (UNIT | {"skills": ["tow truck"]}, "wrong_shape", "$.skills[0]"),
        (UNIT | {"load": -1}, "wrong_shape", "$.load"),
        (UNIT | {"unit": "tow-4"}, "unit_mismatch", "the payload says unit 'tow-4'"),
        (UNIT | {"ts": NOW + 60_000}, "time_in_future", "unit 'tow-3': ts"),
        (UNIT | {"shift_end": NOW // 1000}, "time_in_seconds", "unit 'tow-3': shift_end"),
        (UNIT | {"ts": 10**400}, "number_too_large", "unit 'tow-3': ts 1000000"),
        (UNIT | {"ts": NOW - 31 * 86_400_000}, "too_old", "UNITS_RETENTION_DAYS"),
        (UNIT | {"shift_end": 10**400}, "number_too_large", "unit 'tow-3': shift_end 1000000"),
        (UNIT | {"shift_end": 5}, "too_old", "unit 'tow-3': shift_end"),
        (UNIT | {"lon": 10**400}, "wrong_shape", "out of range - at `$.lon`"),
        (UNIT | {"unit": "\ud800"}, "lone_surrogate", "half of a surrogate pair"),
        (UNIT | {"shift_end": None}, "time_missing", "unit 'tow-3': shift_end is missing"),
        (ACCEPT | {"action": "sleep"}, "wrong_shape", "Invalid enum value 'sleep'"),
        (ACCEPT | {"task": "case/1"}, "subject_missing", "either 'allocation' or 'task'"),
        ({"ts": NOW, "action": "done"}, "subject_missing", "either 'allocation' or 'task'"),
        ({"ts": NOW, "action": "done", "task": "77"}, "subject_malformed", "case/<id>"),
        ([UNIT], "wrong_shape", "Expected `object`"),
    ],
)
def test_what_is_wrong_is_a_dead_letter_with_the_bytes(said: Any, reason: str, words: str) -> None:
    bench = ReportBench()
    bench.receive(said, TOPIC)
    (letter,) = bench.dead_letters()
    assert letter.reason == reason
    assert words in letter.detail
    assert letter.detail.startswith("unit 'tow-3'")
    assert letter.detail.isprintable()
    assert len(letter.detail) < 300
    assert json.loads(letter.payload) == said
    assert (letter.topic, letter.kind) == (TOPIC, "unit")
