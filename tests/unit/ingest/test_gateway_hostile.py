"""Whatever is sent, an intake neither raises nor loses count, and a defect costs one message.

The same generator a million times: ``python -m tests.kit.fuzz_gateway --inputs 1000000``.
"""

from __future__ import annotations

import json
import logging
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.city_messages import CityMessages
from ingest.readings import ReadingDecoder
from tests.kit.hostile_messages import NOW, HostileIntake, hostile_message
from tests.kit.privacy_keys import unseal
from tests.kit.report_bench import REPORT, ReportBench

READING = {"ts": NOW, "intensity": 12, "period": 20}
NOISE = "city/v1/noise/north/A7"
TOPICS = ("city/v1/traffic/north/A7", "city/v1/report/north/phone-17", "city/v1/unit/north/tow-3")

json_like: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**400), 10**400),
        st.floats(),
        st.text(st.characters(codec=None)),
        st.sampled_from(["\ud800", "\0", "2026-11-21T17:39:00Z", NOW]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)
CITY_FIELDS = ("unit", "state", "skills", "shift_end", "action", "task", "reference", "service")
FIELDS = ("ts", "sensor", "LAeq", "v", "bv", "n", "t", "bt", "u", "bver", "lon", "lat", "note")
fields = st.sampled_from((*FIELDS, *CITY_FIELDS, "attributes"))
messages = st.dictionaries(fields, json_like, max_size=8)
topics = st.sampled_from([NOISE, *TOPICS])


@settings(max_examples=300)
@given(topics, st.one_of(messages, st.lists(messages, max_size=3), json_like))
def test_any_json_is_counted_and_acknowledged(topic: str, document: Any) -> None:
    bench = HostileIntake()
    bench.give(topic, json.dumps(document).encode())
    bench.check_guard()
    bench.settle()


@settings(max_examples=100)
@given(topics, st.binary(max_size=300))
def test_any_bytes_are_counted_and_acknowledged(topic: str, payload: bytes) -> None:
    bench = HostileIntake()
    bench.give(topic, payload)
    bench.check_guard()
    bench.settle()


@pytest.mark.parametrize("seed", range(5))
def test_thousands_of_spoilt_messages_need_no_guard(seed: int) -> None:
    rng, bench = Random(seed), HostileIntake()
    for _ in range(2_000):
        bench.give(*hostile_message(rng))
        bench.check_guard()
    bench.settle()
    assert bench.taken > 100, "most are spoilt, not all"
    assert {"number_too_large", "lone_surrogate", "not_json", "too_old"} <= bench.reasons.keys()


@pytest.mark.parametrize("topic", TOPICS)
def test_a_defect_makes_one_message_a_dead_letter_and_is_logged_once(
    topic: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def defect(*_: Any, **__: Any) -> Any:
        raise KeyError("Ada Muster")

    bench = ReportBench()
    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(ReadingDecoder, "decode", defect)
        patch.setattr(CityMessages, "_report", defect)
        patch.setattr(CityMessages, "_unit", defect)
        sent = REPORT if "report" in topic else READING
        packet_ids = [bench.receive(sent, topic) for _ in range(3)]
    letters = bench.dead_letters()
    assert [letter.reason for letter in letters] == ["internal_error"] * 3
    assert "KeyError in test_gateway_hostile.py" in letters[0].detail
    assert "Ada" not in letters[0].detail
    kept = letters[0].payload if sent is READING else unseal(letters[0].payload)
    assert json.loads(kept) == sent
    (record,) = caplog.records
    assert "please report it" in record.getMessage()
    assert "Ada" not in caplog.text
    packet_ids.append(bench.receive(READING, "city/v1/traffic/north/A7"))
    bench.intake.lanes.seal_due(bench.now, NOW, everything=True)
    bench.confirm_all()
    bench.acked += bench.intake.frame_confirmed(bench.intake.lanes.ready.popleft())
    assert bench.acked == packet_ids
