"""The gateway between real brokers: what comes in by MQTT is on Kafka, or a dead letter is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from civicstream.city import Area, City, Sensors
from civicstream.clock import now_ms
from civicstream.geojson import write_city
from civicstream.kafka.topic_admin import create_topics
from civicstream.kinds import sensor_key
from civicstream.settings import KafkaSettings, MqttSettings
from stack.servers.processes import free_port, wait_until
from tests.kit.gateway_runs import (
    Arrivals,
    flood,
    gateway,
    keys_of,
    publish,
    start_gateway,
    traffic,
)
from tests.kit.servers import start_kafka


@pytest.fixture
def arrivals(kafka: KafkaSettings) -> Iterator[Arrivals]:
    create_topics(kafka)
    found = Arrivals(kafka)
    yield found
    found.close()


def reading(**changes: Any) -> str:
    return json.dumps({"ts": now_ms(), "intensity": 3, "period": 20} | changes)


def test_readings_arrive_in_frames_once_each_and_in_sequence(
    mosquitto: MqttSettings, kafka: KafkaSettings, arrivals: Arrivals, tmp_path: Path
) -> None:
    messages = traffic(5_000)
    with gateway(mosquitto, kafka, arrivals, tmp_path):
        flood(mosquitto.port, messages, timeout_s=30)
        arrivals.wait_for(keys_of(messages))
    arrivals.refresh()
    assert arrivals.readings.keys() == keys_of(messages)
    assert set(arrivals.readings.values()) == {1}
    assert all(seqs == list(range(len(seqs))) for seqs in arrivals.sequences().values())
    counts = arrivals.last_report().kinds["traffic"]
    assert (counts.received, counts.accepted, counts.in_flight) == (5_000, 5_000, 0)


def test_every_kind_of_bad_input_is_a_dead_letter_and_the_next_reading_still_arrives(
    mosquitto: MqttSettings, kafka: KafkaSettings, arrivals: Arrivals, tmp_path: Path
) -> None:
    huge = b'{"x":"' + b"x" * 10_000_000 + b'"}'
    bad: list[tuple[str, bytes | str, str]] = [
        ("traffic/north/A7", "not json", "not_json"),
        ("traffic/north/A7", '"text"', "wrong_shape"),
        ("traffic/north/A7", b'{"sensor":"\xff"}', "invalid_utf8"),
        ("traffic/north/A7", reading(sensor="B9"), "sensor_mismatch"),
        ("traffic/north/A7", reading(occupancy=45), "out_of_range"),
        ("traffic/north/A7", reading(intensity="3"), "wrong_type"),
        ("traffic/north/A7", reading(occupancy=float("nan")), "not_a_number"),
        ("traffic/north/A7", reading(ts=now_ms() + 3_600_000), "time_in_future"),
        ("traffic/north/A7", reading(ts=now_ms() // 1000), "time_in_seconds"),
        ("traffic/north/A7", reading(ts=86_400_000), "too_old"),
        ("traffic/north/A7", reading(ts="2026-11-21T12:00:00"), "time_without_offset"),
        ("traffic/north/A7", huge, "payload_too_large"),
        ("weight/north/A7", '{"kg":3}', "unknown_kind"),
        ("traffic/north", reading(), "unknown_topic"),
    ]
    with gateway(mosquitto, kafka, arrivals, tmp_path):
        for tail, payload, _ in bad:
            publish(mosquitto, f"city/v1/{tail}", payload)
        one_bad = [json.loads(reading()), json.loads(reading(occupancy=45))]
        publish(mosquitto, "city/v1/traffic/north/C1", json.dumps(one_bad))
        publish(mosquitto, "city/v1/traffic/north/C2", reading(ts=one_bad[0]["ts"]))
        good = {(sensor_key("traffic", "north", s), one_bad[0]["ts"]) for s in ("C1", "C2")}
        arrivals.wait_for(good)
        arrivals.wait_for_dead_letters(len(bad) + 1)
    reasons = sorted(letter.reason for letter in arrivals.dead_letters)
    assert reasons == sorted([*(reason for *_, reason in bad), "out_of_range"])
    kept = {(letter.topic, letter.payload) for letter in arrivals.dead_letters}
    for tail, payload, _ in bad:
        raw = payload.encode() if isinstance(payload, str) else payload
        assert (f"city/v1/{tail}", raw if len(raw) < 10_000 else raw[:4096]) in kept
    by_reason = {letter.reason: letter for letter in arrivals.dead_letters}
    assert by_reason["payload_too_large"].payload_bytes == len(huge)
    assert arrivals.readings.keys() == good
    report = arrivals.last_report()
    assert report.kinds["traffic"].rejected == len(bad) - 2 + 1
    assert report.kinds["unknown"].rejected == 2
    assert all(counts.imbalance == counts.in_flight == 0 for counts in report.kinds.values())


def test_what_is_published_while_the_gateway_is_away_arrives_when_it_is_back(
    mosquitto: MqttSettings, kafka: KafkaSettings, arrivals: Arrivals, tmp_path: Path
) -> None:
    with gateway(mosquitto, kafka, arrivals, tmp_path) as child:
        pass
    assert child.returncode == 0
    messages = traffic(2_000)
    flood(mosquitto.port, messages, timeout_s=30)
    with gateway(mosquitto, kafka, arrivals, tmp_path) as child:
        arrivals.wait_for(keys_of(messages))
        assert "earlier session" in child.last_words()
    assert set(arrivals.readings.values()) == {1}


def test_two_gateways_share_the_load_and_no_reading_arrives_twice(
    mosquitto: MqttSettings, kafka: KafkaSettings, arrivals: Arrivals, tmp_path: Path
) -> None:
    messages = traffic(4_000)
    shared = {"gateway__shared_group": "civicstream"}
    with (
        gateway(mosquitto, kafka, arrivals, tmp_path, gateway__id="g1", **shared),
        gateway(mosquitto, kafka, arrivals, tmp_path, gateway__id="g2", **shared),
    ):
        flood(mosquitto.port, messages, timeout_s=30)
        arrivals.wait_for(keys_of(messages))
    arrivals.refresh()
    assert set(arrivals.readings.values()) == {1}
    shares = [arrivals.last_report(g).kinds["traffic"].accepted for g in ("g1", "g2")]
    assert sum(shares) == len(messages)
    assert min(shares) > len(messages) / 10


def test_kafka_unreachable_at_start_is_waited_for_with_a_clear_message(
    mosquitto: MqttSettings, tmp_path: Path
) -> None:
    port = free_port()
    kafka = KafkaSettings(bootstrap=f"127.0.0.1:{port}", partitions=4)
    child = start_gateway(mosquitto, kafka, tmp_path)
    broker = None
    try:
        expected = f"waiting: Kafka at 127.0.0.1:{port} does not answer"
        child.wait_ready(lambda: expected in child.last_words())
        assert "CIVICSTREAM_KAFKA__BOOTSTRAP" in child.last_words()
        child.wait_ready(lambda: "connected to MQTT" in child.last_words())
        messages = traffic(10)
        flood(mosquitto.port, messages, timeout_s=10)
        broker = start_kafka(port, tmp_path / "kafka")
        create_topics(kafka)
        with closing(Arrivals(kafka)) as arrivals:
            arrivals.wait_ready(child, since_ms=0)
            arrivals.wait_for(keys_of(messages))
    finally:
        child.stop()
        if broker is not None:
            broker.stop()


def test_topics_with_other_partitions_end_the_gateway_with_a_remedy(
    mosquitto: MqttSettings, kafka: KafkaSettings, tmp_path: Path
) -> None:
    create_topics(kafka)
    child = start_gateway(mosquitto, kafka, tmp_path, kafka__partitions=8)
    wait_until(lambda: not child.alive(), "the gateway ending", timeout_s=20)
    assert child.returncode == 2
    assert "has 4 partitions, the settings say 8" in child.last_words()


def test_missing_topics_are_waited_for(
    mosquitto: MqttSettings, kafka: KafkaSettings, tmp_path: Path
) -> None:
    child = start_gateway(mosquitto, kafka, tmp_path)
    try:
        child.wait_ready(lambda: "run `civicstream init`" in child.last_words())
        create_topics(kafka)
        with closing(Arrivals(kafka)) as found:
            found.wait_ready(child, since_ms=0)
    finally:
        child.stop()


def test_strict_mode_needs_a_city_model(
    mosquitto: MqttSettings, kafka: KafkaSettings, tmp_path: Path
) -> None:
    child = start_gateway(mosquitto, kafka, tmp_path, gateway__strict_sensors="true")
    wait_until(lambda: not child.alive(), "the gateway ending", timeout_s=20)
    assert child.returncode == 2
    assert "needs a city model; set CIVICSTREAM_CITY__FILE" in child.last_words()


def test_strict_mode_takes_only_the_sensors_of_the_city_model(
    mosquitto: MqttSettings, kafka: KafkaSettings, arrivals: Arrivals, tmp_path: Path
) -> None:
    ring = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 0.0))
    known = Sensors.from_rows([("A7", 0, 0, -1, 0, 20.0, 0.5, 0.5)])
    write_city(City((Area("north", "North", ring),), (), known), tmp_path / "city.geojson")
    strict = {"gateway__strict_sensors": "true", "city__file": tmp_path / "city.geojson"}
    with gateway(mosquitto, kafka, arrivals, tmp_path, **strict):
        for sensor in ("A7", "B9"):
            publish(mosquitto, f"city/v1/traffic/north/{sensor}", reading())
        arrivals.wait_for_dead_letters(1)
        wait_until(lambda: _any_reading(arrivals), "A7", timeout_s=10)
    assert [key for key, _ in arrivals.readings] == [sensor_key("traffic", "north", "A7")]
    assert arrivals.dead_letters[0].reason == "unknown_sensor"


def _any_reading(arrivals: Arrivals) -> bool:
    arrivals.refresh()
    return bool(arrivals.readings)
