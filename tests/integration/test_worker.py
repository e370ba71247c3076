"""One worker on a real broker: results, late readings, corrupt records, counts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from civicstream import frames
from civicstream.clock import now_ms
from civicstream.frames import FrameHeaders
from civicstream.kafka import clients as kafka_clients
from civicstream.kafka.topic_admin import create_topics
from civicstream.partitioning import partition_of
from civicstream.settings import KafkaSettings
from civicstream.topics import topic_name
from stack.servers.processes import Child, wait_until
from tests.kit.frame_making import make_frame
from tests.kit.window_oracle import Reading
from tests.kit.worker_runs import (
    WINDOW_MS,
    FrameSource,
    assert_results_equal_oracle,
    final_results,
    pause,
    read_topic,
    small_city,
    start_worker,
    wait_for_report,
    wait_until_all_published,
    worker_environment,
    worker_reports,
)

CITY = small_city()


@pytest.fixture
def worker(kafka: KafkaSettings, tmp_path: Path) -> Iterator[Child]:
    create_topics(kafka)
    child = start_worker(worker_environment(kafka, tmp_path, CITY), tmp_path, "worker")
    yield child
    assert child.stop() == 0, child.last_words()


def send(kafka: KafkaSettings, values: list[tuple[bytes, list[tuple[str, bytes]]]]) -> None:
    producer = kafka_clients.producer(kafka)
    partition = partition_of("north", kafka.partitions)
    topic = topic_name(kafka.topic_prefix, "frames.traffic")
    for value, headers in values:
        sent = producer.send(topic, value, partition=partition, headers=headers)
        sent.get(30)
    producer.close()


def framed(readings: list[Reading], seq: int) -> tuple[bytes, list[tuple[str, bytes]]]:
    headers = FrameHeaders("test", 1, seq, len(readings), readings[0][4])
    return frames.encode(make_frame("traffic", [r[:4] for r in readings])), headers.to_kafka()


def reading(sensor: str, ts: int) -> Reading:
    measures = {"intensity": 2.0, "averageVehicleSpeed": 60.0, "occupancy": 0.1, "period": 1.0}
    return ("north", sensor, ts, measures, ts)


def test_final_windows_of_a_stream_equal_the_oracle(worker: Child, kafka: KafkaSettings) -> None:
    with FrameSource(kafka, CITY, seed=3) as source:
        wait_for_report(kafka, "worker", 0)
        pause(6)
    wait_until_all_published(kafka, source.readings)
    assert_results_equal_oracle(kafka, source.readings, CITY)
    assert worker.alive()
    assert all(len(results) == 1 for results in final_results(kafka).values())


def test_provisional_results_come_before_the_final_and_never_after(
    worker: Child, kafka: KafkaSettings
) -> None:
    with FrameSource(kafka, CITY, seed=4) as source:
        wait_for_report(kafka, "worker", 0)
        pause(6)
    wait_until_all_published(kafka, source.readings)
    assert worker.alive()
    statuses: dict[bytes, list[bytes]] = {}
    for record in read_topic(kafka, "results.traffic"):
        event_id = dict(record.headers)["ce_id"]
        kind, area, start, status = event_id.split(b"/")[:4]
        statuses.setdefault(b"/".join((kind, area, start)), []).append(status)
    assert any(b"provisional" in seen for seen in statuses.values())
    for seen in statuses.values():
        assert seen[-1] == b"final"
        assert seen.count(b"final") == 1


def test_a_corrupt_record_is_passed_over_and_a_late_reading_goes_to_late(
    worker: Child, kafka: KafkaSettings
) -> None:
    start = now_ms() // WINDOW_MS * WINDOW_MS
    on_time = [reading("north-0-0", start + 10), reading("north-1-1", start + 20)]
    later = [reading("north-0-0", start + 10 * WINDOW_MS)]
    late = [reading("north-2-0", start + 30)]
    noise = frames.encode(make_frame("noise", [("north", "x", start, {"LAeq": 1.0})]))
    headers = FrameHeaders("test", 1, 9, 1, 1).to_kafka()
    send(
        kafka,
        [
            framed(on_time, 0),
            (b"garbage", headers),
            (noise, headers),
            (framed(on_time, 1)[0], []),
            framed(later, 1),
            framed(late, 2),
        ],
    )
    wait_until_all_published(kafka, on_time + later)
    assert_results_equal_oracle(kafka, on_time + later, CITY)
    wait_until(lambda: bool(read_topic(kafka, "late")), "the late reading", timeout_s=20)
    (record,) = read_topic(kafka, "late")
    found = frames.decode(record.value, "traffic")
    assert found.ts.tolist() == [start + 30]
    tags = dict(record.headers)
    assert tags["kind"] == b"traffic"
    assert int(tags["closed_until"]) > start + 30
    assert (tags["gateway"], tags["seq"], tags["count"]) == (b"test", b"2", b"1")
    wait_for_report(kafka, "worker", now_ms())
    report = worker_reports(kafka)["worker"]
    assert report.gauges["corrupt_frames"] == 3
    counts = report.kinds["traffic"]
    assert (counts.received, counts.accepted, counts.late, counts.in_flight) == (4, 3, 1, 0)
    assert worker.alive()


def test_a_worker_waits_for_kafka_with_a_clear_message(
    tmp_path: Path, kafka: KafkaSettings
) -> None:
    from stack.servers.processes import free_port
    from tests.kit.servers import start_kafka

    port = free_port()
    absent = kafka.model_copy(update={"bootstrap": f"127.0.0.1:{port}"})
    child = start_worker(worker_environment(absent, tmp_path, CITY), tmp_path, "patient")
    try:
        wait_until(
            lambda: f"waiting for Kafka at 127.0.0.1:{port}" in child.last_words(50),
            "the message",
            timeout_s=30,
        )
        broker = start_kafka(port, tmp_path / "second")
        try:
            create_topics(absent)
            wait_for_report(absent, "patient", 0)
        finally:
            child.stop()
            broker.stop()
    finally:
        child.stop()
