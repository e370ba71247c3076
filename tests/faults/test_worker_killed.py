"""Workers killed with -9 under load: every final window is the oracle's."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from civicstream import frames
from civicstream.clock import now_ms
from civicstream.kafka.topic_admin import create_topics
from civicstream.settings import KafkaSettings
from tests.kit.worker_runs import (
    FrameSource,
    assert_results_equal_oracle,
    pause,
    read_topic,
    small_city,
    start_worker,
    wait_for_report,
    wait_until_all_published,
    worker_environment,
    worker_reports,
)

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(400)]

KILLS = 5


def test_windows_survive_a_worker_killed_again_and_again(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    city = small_city()
    environment = worker_environment(kafka, tmp_path, city)
    create_topics(kafka)
    moments = random.Random(7)
    worker = start_worker(environment, tmp_path, "worker-1")
    try:
        with FrameSource(kafka, city, seed=1) as source:
            for _ in range(KILLS):
                wait_for_report(kafka, "worker-1", now_ms())
                pause(moments.uniform(0.5, 5.0))
                worker.kill()
                worker = start_worker(environment, tmp_path, "worker-1")
            wait_for_report(kafka, "worker-1", now_ms())
        wait_until_all_published(kafka, source.readings, timeout_s=90)
        assert_results_equal_oracle(kafka, source.readings, city)
        wait_for_report(kafka, "worker-1", now_ms() + 2_000)
        counts = worker_reports(kafka)["worker-1"].kinds["traffic"]
        assert (counts.imbalance, counts.in_flight) == (0, 0)
        assert counts.late == 0
        distinct = len({r[:3] for r in source.readings})
        on_kafka = sum(
            len(frames.decode(record.value, "traffic"))
            for record in read_topic(kafka, "frames.traffic")
        )
        assert (counts.accepted, counts.received) == (distinct, on_kafka)
        assert on_kafka == len(source.readings)
    finally:
        assert worker.stop() == 0


def test_another_worker_takes_over_the_windows_of_a_killed_one(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    city = small_city()
    environment = worker_environment(kafka, tmp_path, city)
    create_topics(kafka)
    first = start_worker(environment, tmp_path, "worker-1")
    second = None
    try:
        with FrameSource(kafka, city, seed=2) as source:
            wait_for_report(kafka, "worker-1", now_ms())
            pause(3)
            second = start_worker(environment, tmp_path, "worker-2")
            wait_for_report(kafka, "worker-2", now_ms())
            pause(5)
            second.kill()
            pause(8)
            second = start_worker(environment, tmp_path, "worker-2")
            wait_for_report(kafka, "worker-2", now_ms())
            pause(4)
            first.kill()
            pause(4)
        wait_until_all_published(kafka, source.readings, timeout_s=90)
        assert_results_equal_oracle(kafka, source.readings, city)
    finally:
        first.stop()
        if second:
            assert second.stop() == 0
