"""Topic ``ledger`` stays small, and what leaves it is added up: no false loss after any time."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec
import psycopg
import pytest
from kafka.admin import ConfigResource, ConfigResourceType

from civicstream.clock import wall_ms
from civicstream.events import (
    Counts,
    LedgerReport,
    ReadPosition,
    ReadSequence,
    WrittenSequence,
)
from civicstream.kafka.clients import admin_client, producer
from civicstream.kafka.ledger_report import report_record
from civicstream.kafka.numbering import NumberedProducer
from civicstream.kafka.sequences import Stream
from civicstream.kafka.topic_admin import create_topics
from civicstream.postgres import connect
from civicstream.settings import KafkaSettings, Settings
from civicstream.topics import topic_name
from sinks.admin.init import init_database
from sinks.admin.ledger import LedgerReader, read_balance
from sinks.admin.settling import settle_reports
from sinks.records_seen import load_sequences, store_sequences
from tests.kit.sink_rows import settings_for

HOUR = 3_600_000
PROCESSES = ("gateway", "worker", "sink", "feeds", "alerts", "deliver")


class Reports:
    """Publishes reports."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._topic = topic_name(kafka.topic_prefix, "ledger")
        self._producer: NumberedProducer = producer(kafka, linger_ms=5)

    def send(self, report: LedgerReport) -> None:
        made = report_record(self._kafka, report)
        self._producer.send(
            self._topic, made.value, key=made.key, headers=made.headers, partition=0
        )

    def flush(self) -> None:
        self._producer.flush(timeout=60)

    def close(self) -> None:
        self._producer.close(timeout=10)


@pytest.fixture
def reports(kafka: KafkaSettings) -> Iterator[Reports]:
    create_topics(kafka)
    made = Reports(kafka)
    yield made
    made.close()


def busy_report(kafka: KafkaSettings, stage: str, epoch: int, at: int) -> LedgerReport:
    """Return the report of a process that writes to 8 kinds in 8 partitions."""
    written = [
        WrittenSequence("gateway-1", epoch, f"{kafka.topic_prefix}.frames.kind{k}", p, at)
        for k in range(8)
        for p in range(8)
    ]
    kinds = {f"kind{k}": Counts(at, at) for k in range(8)}
    gauges = {f"gauge{g}": float(at) for g in range(20)}
    return LedgerReport(
        stage=stage,  # type: ignore[arg-type]
        instance=f"{stage}-1",
        epoch=epoch,
        at=at,
        kinds=kinds,
        gauges=gauges,
        written=written,
    )


def test_what_is_kept_of_a_year_is_read_in_about_a_second(
    kafka: KafkaSettings, reports: Reports
) -> None:
    """Compaction leaves the newest of each key and what is younger than a quarter of an hour."""
    for epoch in range(200):  # starts of processes that are not settled yet
        reports.send(busy_report(kafka, PROCESSES[epoch % 6], epoch, 1))
    for second in range(900):
        for stage in PROCESSES:
            reports.send(busy_report(kafka, stage, 1_000, second))
    reports.flush()
    began = time.perf_counter()
    reader = LedgerReader(Settings(kafka=kafka))
    found = reader.read()
    took_s = time.perf_counter() - began
    reader.close()
    assert len(found) == 206
    assert {r.at for r in found if r.epoch == 1_000} == {899}
    assert took_s < 5  # 1.2 s under the load of several test runs


def test_kafka_compacts_the_topic_and_drops_the_keys_that_were_taken_off(
    kafka: KafkaSettings, reports: Reports
) -> None:
    topic = topic_name(kafka.topic_prefix, "ledger")
    hurry = {"segment.ms": "500", "max.compaction.lag.ms": "500", "delete.retention.ms": "0"}
    admin = admin_client(kafka)
    admin.alter_configs(
        [ConfigResource(ConfigResourceType.TOPIC, topic, {"cleanup.policy": "compact", **hurry})]
    )
    admin.close()

    def records() -> int:
        reader = LedgerReader(Settings(kafka=kafka))
        began = reader.records
        reader.read()
        reader.close()
        return reader.records - began

    deadline = time.monotonic() + 90
    for at in range(300):
        reports.send(busy_report(kafka, "sink", at % 3, at))
    while True:
        time.sleep(0.6)  # the segment before is closed by the next record only
        reports.send(busy_report(kafka, "sink", 1, 1_000))
        reports.flush()
        if records() < 100:
            break
        assert time.monotonic() < deadline, records()


# --- what has ended


@pytest.fixture
def settings(postgres: str, kafka: KafkaSettings) -> Settings:
    made = settings_for(postgres, kafka)
    init_database(made)
    return made


def gateway(settings: Settings, epoch: int, at: int, frames: int) -> LedgerReport:
    """Return a report of a gateway that has put frames of ten readings on Kafka."""
    topic = f"{settings.kafka.topic_prefix}.frames.air"
    counts = Counts(10 * frames + 5, 10 * frames, in_flight=5)
    written = [WrittenSequence("gateway-1", epoch, topic, 0, frames)]
    return LedgerReport("gateway", "gateway-1", epoch, at, {"air": counts}, written=written)


def stored(settings: Settings, epoch: int, frames: int) -> None:
    """Have the database say that so many frames of a gateway came."""
    topic = f"{settings.kafka.topic_prefix}.frames.air"
    sequence = ReadSequence(
        "gateway-1", epoch, topic, 0, next=frames, records=frames, events=10 * frames
    )
    with connect(settings.database.url, "test") as connection:
        store_sequences(connection, {Stream("gateway-1", epoch, topic, 0): sequence})


def test_after_a_restart_and_ninety_days_nothing_is_lost_and_the_old_report_is_gone(
    settings: Settings, reports: Reports, postgres: str
) -> None:
    now = wall_ms()
    old, new = now - 3 * HOUR, now - 2 * HOUR
    stored(settings, old, 7)
    stored(settings, new, 2)
    reports.send(gateway(settings, old, old + 1, 7))
    reports.send(gateway(settings, new, now, 2))
    reports.flush()
    before = read_balance(settings, wait_s=0)
    assert (before.problems, len(before.stages)) == ([], 2)

    assert settle_reports(settings) == 1
    assert settle_reports(settings) == 0
    after = read_balance(settings, wait_s=0)
    assert [r.epoch for r in after.stages] == [new]
    assert after.kinds[0].gateway == before.kinds[0].gateway
    assert after.kinds[0].gateway.received == 70 + 25

    with psycopg.connect(postgres) as owner:
        owner.execute("UPDATE records_seen SET updated_at = now() - interval '91 days'")
    settle_reports(settings)
    with connect(settings.database.url, "test") as connection:
        kept = [stream.epoch for stream in load_sequences(connection)]
    assert kept == [new], "what a report still speaks of is kept, whatever its age"
    assert read_balance(settings, wait_s=0).problems == []


def test_a_loss_outlives_the_report_that_proved_it(settings: Settings, reports: Reports) -> None:
    old = wall_ms() - 30 * HOUR
    stored(settings, old, 5)
    reports.send(gateway(settings, old, old, 7))
    reports.flush()
    topic = f"{settings.kafka.topic_prefix}.frames.air"
    lost = f"sink: {topic} partition 0: 2 records never came: numbers 5 to 6"
    assert read_balance(settings, wait_s=0).problems[0].startswith(lost)
    assert settle_reports(settings) == 1
    found = read_balance(settings, wait_s=0)
    assert found.stages == []
    assert found.problems[0].startswith(lost)


def test_what_a_settled_writer_gave_up_is_no_loss_of_any_reader(
    settings: Settings, reports: Reports
) -> None:
    old, now = wall_ms() - 30 * HOUR, wall_ms()
    units = f"{settings.kafka.topic_prefix}.units"
    place = ("gateway/gateway-1", old, units, 0)
    had = ReadSequence(*place, next=6, records=4, events=4, missing=[(2, 3)])
    with connect(settings.database.url, "test") as connection:
        store_sequences(connection, {Stream(*place): had})
    written = [WrittenSequence(*place, 6, [(2, 3)])]
    reports.send(LedgerReport("gateway", "gateway-1", old, old, {}, written=written))
    read_to = [ReadPosition(units, 0, 0)]
    reports.send(LedgerReport("worker", "w", now, now, {}, read=[had], read_to=read_to))
    reports.flush()
    for settled in (1, 0):
        assert read_balance(settings, wait_s=0).problems == []
        assert settle_reports(settings) == settled
    records = read_balance(settings, wait_s=0).records
    assert {(r.stage, r.counts.received, r.counts.accepted, r.lost) for r in records} == {
        ("sink", 4, 4, 0),
        ("worker", 4, 4, 0),
    }


def test_a_report_that_was_added_up_and_not_taken_off_counts_once(
    settings: Settings, reports: Reports
) -> None:
    old = wall_ms() - 30 * HOUR
    stored(settings, old, 7)
    report = gateway(settings, old, old, 7)
    for _ in range(2):  # the second time as after a crash before Kafka had the null record
        reports.send(report)
        reports.flush()
        assert settle_reports(settings) == 1
    reports.send(report)
    reports.flush()
    found = read_balance(settings, wait_s=0)
    assert found.kinds[0].gateway.received == 70
    assert msgspec.to_builtins(found.kinds[0].gateway)["in_flight"] == 0
