"""The real sink process on real Kafka and a real database, and the ledger it is accounted in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import psycopg
import pytest

from civicstream.clock import now_ms
from civicstream.cloudevents import cloud_headers
from civicstream.events import Counts, LedgerReport
from civicstream.kafka.clients import consumer
from civicstream.kafka.topic_admin import create_topics
from civicstream.partitioning import partition_of
from civicstream.settings import KafkaSettings, Settings
from sinks.admin.init import init_database
from stack.servers.processes import wait_until
from tests.kit.sink_events import anomaly, forecast, forecast_row, health, incident
from tests.kit.sink_input import Gateway, frame_of, sensors
from tests.kit.sink_process import AREAS, Feed, ask, sink_running, start_sink, wait_received
from tests.kit.sink_rows import noise, settings_for


@pytest.fixture
def ready(database: str, kafka: KafkaSettings) -> tuple[str, Settings]:
    create_topics(kafka)
    quick = kafka.model_copy(update={"session_timeout_ms": 2000})
    settings = settings_for(database, quick)
    init_database(settings)
    return database, settings


def ledger(settings: Settings, *options: str) -> tuple[int, str]:
    """Run `civicstream ledger`; return its exit code and output."""
    variables = {
        "CIVICSTREAM_KAFKA__BOOTSTRAP": settings.kafka.bootstrap,
        "CIVICSTREAM_KAFKA__TOPIC_PREFIX": settings.kafka.topic_prefix,
        "CIVICSTREAM_KAFKA__PARTITIONS": str(settings.kafka.partitions),
        "CIVICSTREAM_DATABASE__URL": settings.database.url.get_secret_value(),
    }
    done = subprocess.run(
        [sys.executable, "-m", "stack.cli", "ledger", *options],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | variables,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


def report(gateway: Gateway, **kinds: int) -> None:
    """Publish what the gateway says it has put on Kafka."""
    counts = {kind: Counts(received=n, accepted=n) for kind, n in kinds.items()}
    page = LedgerReport("gateway", gateway.name, gateway.epoch, now_ms(), counts)
    headers = cloud_headers("ledger", source="test", event_id="1", time_ms=page.at)
    gateway.raw(
        "ledger", msgspec.json.encode(page), key=page.key.encode(), headers=headers, partition=0
    )


def test_a_quiet_system_is_balanced_and_a_lost_frame_is_not(
    ready: tuple[str, Settings], tmp_path: Path
) -> None:
    url, settings = ready
    with sink_running(settings, tmp_path) as sink, Feed(settings, every_s=0.01) as feed:
        wait_received(url, 1000, sink)
        feed.finish()
        per_kind = feed.gateway.sent // 2
        report(feed.gateway, traffic=per_kind, noise=per_kind)
        feed.gateway.flush()
        code, out = ledger(settings, "--json", "--wait", "20", "--rows")
        found = json.loads(out)
        assert (code, found["problems"], found["in_flight"]) == (0, [], 0), found
        rows = {k["kind"]: (k["sink"]["accepted"], k["rows"]) for k in found["kinds"]}
        stored = ask(url, "SELECT count(*) FROM readings_noise")[0][0]
        assert rows["noise"] == (stored, stored)
        assert {r["stage"] for r in found["stages"]} == {"gateway", "sink"}

        feed.gateway.skip("noise", AREAS[0])
        feed.publish_once()
        for _ in AREAS:
            feed.publish_once()
        per_kind = feed.gateway.sent // 2
        report(feed.gateway, traffic=per_kind, noise=per_kind + 7)
        feed.gateway.flush()
        wait_received(url, feed.gateway.sent, sink)
        code, out = ledger(settings, "--wait", "1")
    assert code == 1
    said = " ".join(out.split())
    assert (
        f"sink: {feed.gateway.topic('noise')} partition {partition_of(AREAS[0], 4)}: "
        "1 records never came: numbers"
    ) in said
    assert "noise: 7 readings confirmed on Kafka are not in the database" in said
    # The feed publishes gaps of a gateway "g" too.
    gaps = _gaps_of(settings.kafka, "gateway-1")
    assert [gap["missing"] for gap in gaps] == [1]


def _gaps_of(kafka: KafkaSettings, gateway: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    reader = consumer(kafka, group_id=None)

    def collect() -> bool:
        for records in reader.poll(timeout_ms=500).values():
            events = [json.loads(record.value) for record in records]
            found.extend(event for event in events if event["gateway"] == gateway)
        return bool(found)

    try:
        reader.subscribe([f"{kafka.topic_prefix}.gaps"])
        wait_until(collect, f"a gap of {gateway}", timeout_s=20)
    finally:
        reader.close()
    return found


EVENTS: dict[str, msgspec.Struct] = {
    "incidents": incident(),
    "forecasts": forecast(forecast_row("s1", [50.0]), horizons_min=(15,)),
    "health": health(),
    "anomalies": anomaly(),
}
TOPICS_TO_SPOIL = ("frames.noise", "results.traffic", "late", "deadletter", *EVENTS)


def test_corrupt_records_go_to_the_dead_letters_and_the_rest_goes_on(
    ready: tuple[str, Settings], tmp_path: Path
) -> None:
    url, settings = ready
    with sink_running(settings, tmp_path) as sink, Gateway(settings.kafka) as gateway:
        for topic in TOPICS_TO_SPOIL:
            gateway.raw(topic, b"\x00\xffgarbage", partition=0)
            if topic in EVENTS:
                gateway.raw(topic, msgspec.json.encode(EVENTS[topic]), partition=0)
        gateway.raw("frames.noise", None, key=b"k", partition=1)  # type: ignore[arg-type]
        gateway.publish("north", noise("north", [(0, 1_780_000_000_000, 50)]))
        gateway.flush()
        wait_received(url, 1, sink)
        wait_until(
            lambda: ask(url, "SELECT count(*) FROM dead_letters")[0][0] >= 9,
            "dead letters in the database",
            timeout_s=30,
        )
        for table in ("incidents", "forecasts", "sensor_health", "anomalies"):
            count = f"SELECT count(*) FROM {table}"
            wait_until(lambda q=count: ask(url, q) == [(1,)], table, timeout_s=30)  # type: ignore[misc]
    dead_letters = ask(
        url, "SELECT topic, reason, payload FROM dead_letters ORDER BY topic, reason"
    )
    prefix = settings.kafka.topic_prefix
    assert [(topic.replace(prefix, "city", 1), reason) for topic, reason, _ in dead_letters] == [
        ("city.anomalies", "foreign_record"),
        ("city.deadletter", "foreign_record"),
        ("city.forecasts", "foreign_record"),
        ("city.frames.noise", "empty_record"),
        ("city.frames.noise", "frame_headers"),
        ("city.health", "foreign_record"),
        ("city.incidents", "foreign_record"),
        ("city.late", "frame_headers"),
        ("city.results.traffic", "foreign_record"),
    ]
    assert bytes(dead_letters[0][2]) == b"\x00\xffgarbage"


def test_a_sink_without_rights_ends_with_code_2_and_says_which(
    ready: tuple[str, Settings], tmp_path: Path
) -> None:
    _, settings = ready
    reader = settings.database.url.get_secret_value().replace("_writer", "_reader")
    child = start_sink(settings, tmp_path, CIVICSTREAM_DATABASE__URL=reader)
    wait_until(lambda: not child.alive(), "the sink to end", timeout_s=30)
    child.stop()
    assert child.returncode == 2
    assert "role 'civicstream_reader' lacks INSERT on" in child.last_words()
    assert "Traceback" not in child.last_words(100)


@pytest.mark.slow
def test_at_5000_readings_a_second_a_row_is_there_within_two_seconds(
    ready: tuple[str, Settings], tmp_path: Path
) -> None:
    url, settings = ready
    names, keys = sensors("traffic", "north", 500)
    rng = np.random.default_rng(1)
    waiting: list[int] = []
    delays: list[int] = []
    newest = "SELECT coalesce(max((extract(epoch FROM ts) * 1000)::bigint), 0) FROM latest_traffic"
    with (
        sink_running(settings, tmp_path) as sink,
        Gateway(settings.kafka) as gateway,
        psycopg.connect(url, autocommit=True) as probe,
    ):

        def publish() -> None:
            at = now_ms()
            ts = np.full(500, at)
            frame = frame_of("traffic", "north", names, keys, np.arange(500), ts, rng)
            gateway.publish("north", frame, ingested_at=at)
            waiting.append(at)

        def look() -> bool:
            row = probe.execute(newest.encode()).fetchone()
            seen = row[0] if row else 0
            delays.extend(now_ms() - at for at in waiting if at <= seen)
            waiting[:] = [at for at in waiting if at > seen]
            return not waiting

        publish()  # the first one waits for the sink to start
        wait_received(url, 500, sink)
        look()
        delays.clear()
        started = now_ms()
        for number in range(60):
            publish()
            tick = started + 100 * (number + 1)  # 500 readings every tenth of a second
            wait_until(
                lambda tick=tick: (look(), now_ms() >= tick)[1],  # type: ignore[misc]
                "the next tenth of a second",
                timeout_s=10,
                every_s=0.01,
            )
        wait_until(look, "the last rows", timeout_s=20)
        wait_received(url, gateway.sent, sink)
        assert sink.alive()
    assert len(delays) == 60
    assert np.percentile(delays, 99) < 2000, sorted(delays)
