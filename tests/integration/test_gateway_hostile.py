"""Messages that once ended the gateway at every start, on a real MQTT broker and a real Kafka."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from civicstream.clock import now_ms
from civicstream.kafka.topic_admin import create_topics
from civicstream.kinds import sensor_key
from civicstream.settings import KafkaSettings, MqttSettings
from stack.servers.processes import wait_until
from tests.kit.gateway_runs import Arrivals, gateway, publish
from tests.kit.privacy_keys import SEALING

HUGE = 10**400
NOISE = "city/v1/noise/north/A7"
POISON = [
    (NOISE, b'{"ts":"\\ud800"}', "lone_surrogate"),
    (NOISE, b'{"ts":%d,"LAeq":60}' % HUGE, "number_too_large"),
    (NOISE, b'[{"n":"LAeq","v":%d,"bv":0.5}]' % HUGE, "number_too_large"),
    (NOISE, b'[{"n":"LAeq","u":"dBspl","v":%d}]' % HUGE, "number_too_large"),
    (NOISE, b"[" * 100_000, "not_json"),
    (
        "city/v1/report/north/p1",
        b'{"reference":1,"service":"x","ts":%d}' % HUGE,
        "number_too_large",
    ),
    (
        "city/v1/unit/north/u1",
        b'{"action":"done","task":"case/1","ts":%d}' % HUGE,
        "number_too_large",
    ),
    ("city/v1/unit/north/u1", b'{"action":"done","task":"\\udfff","ts":1}', "lone_surrogate"),
]


@pytest.fixture
def arrivals(kafka: KafkaSettings) -> Iterator[Arrivals]:
    create_topics(kafka)
    found = Arrivals(kafka)
    yield found
    found.close()


def test_no_message_ends_the_gateway_and_what_follows_it_arrives(
    mosquitto: MqttSettings, kafka: KafkaSettings, arrivals: Arrivals, tmp_path: Path
) -> None:
    with gateway(mosquitto, kafka, arrivals, tmp_path, **SEALING):
        pass  # leaves its session at the broker, which from now on keeps everything
    for topic, payload, _ in POISON:
        publish(mosquitto, topic, payload)
    ts = now_ms()
    publish(mosquitto, NOISE, json.dumps({"ts": ts, "LAeq": 60}))
    with gateway(mosquitto, kafka, arrivals, tmp_path, **SEALING) as child:
        arrivals.wait_for({(sensor_key("noise", "north", "A7"), ts)})
        arrivals.wait_for_dead_letters(len(POISON))
        assert child.alive()
        wait_until(
            lambda: arrivals.last_report().gauges["in_flight_messages"] == 0,
            "acknowledgements",
            timeout_s=30,
        )
    reasons = sorted(letter.reason for letter in arrivals.dead_letters)
    expected = sorted(
        reason.replace("number_too_large", "number_too_large") for *_, reason in POISON
    )
    assert reasons == [reason.replace("number_number", "number") for reason in expected]
    with gateway(mosquitto, kafka, arrivals, tmp_path, **SEALING) as child:
        wait_until(lambda: "earlier session" in child.last_words(99), "the session", timeout_s=30)
        assert arrivals.last_report().kinds == {}, "nothing is sent again"


def test_readings_older_than_their_retention_are_dead_letters_and_make_no_frame(
    mosquitto: MqttSettings, kafka: KafkaSettings, arrivals: Arrivals, tmp_path: Path
) -> None:
    day, now = 86_400_000, now_ms()
    days = [{"ts": now - n * day, "LAeq": 60} for n in range(1, 5_001)]
    kept = {"database__readings_retention_days": 40}
    with gateway(mosquitto, kafka, arrivals, tmp_path, **kept):
        publish(mosquitto, NOISE, json.dumps(days))
        arrivals.wait_for_dead_letters(1)
        key = sensor_key("noise", "north", "A7")
        arrivals.wait_for({(key, now - n * day) for n in range(1, 40)})
    (letter,) = arrivals.dead_letters
    assert (letter.reason, letter.count) == ("too_old", 4_961)
    assert "CIVICSTREAM_DATABASE__READINGS_RETENTION_DAYS" in letter.detail
    assert len(arrivals.readings) == 39
