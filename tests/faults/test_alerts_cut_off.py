"""An alert process cut off and back, a log that is not what was read, a broker that is gone."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from kafka.admin import NewTopic

from civicstream.clock import now_ms
from civicstream.events import Alert, FrameGap
from civicstream.kafka.clients import admin_client
from civicstream.kafka.topic_admin import create_topics
from civicstream.settings import KafkaSettings
from civicstream.topics import topic_name
from stack.servers.processes import Child, free_port, wait_until
from tests.kit.alert_runs import Results, published, start_alerts, wait_at_work
from tests.kit.servers import TcpProxy, start_kafka
from tests.kit.worker_runs import read_topic

pytestmark = [pytest.mark.fault, pytest.mark.slow]

SESSION_S = 6


@contextmanager
def processes(kafka: KafkaSettings, folder: Path, count: int) -> Iterator[list[Child]]:
    """Alert processes, the first of them at work."""
    begun, started = now_ms(), []
    try:
        for number in range(count):
            started.append(start_alerts(kafka, folder, f"alerts-{number}"))
            if number == 0:
                wait_at_work(kafka, "alerts-0", begun)
        yield started
    finally:
        for child in started:
            if child.alive():
                os.kill(child.pid, signal.SIGCONT)
            child.kill()


class Segments:
    """Windows in which each segment's alert comes and goes: one version a window."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self._begin = now_ms() // 60_000 * 60_000 - 3_600_000
        self.sent = 0

    @contextmanager
    def apart(self, kafka: KafkaSettings) -> Iterator[None]:
        """Have no client here while Kafka is away: kafka-python leaves refused sockets open."""
        self.results.close()
        yield
        self.results = Results(kafka)

    def send(self, count: int) -> None:
        for _ in range(count):
            self.sent += 1
            speed = 10.0 if self.sent % 2 else 50.0
            end = self._begin + self.sent * 60_000
            self.results.window("north", end, {"s1": speed})

    def wait_for_all(self, kafka: KafkaSettings) -> list[Alert]:
        wait_until(lambda: len(published(kafka)) >= self.sent, "all", timeout_s=90, every_s=0.5)
        return published(kafka)


def assert_each_once(alerts: list[Alert]) -> None:
    counts = Counter((a.id, a.version) for a in alerts)
    assert set(counts.values()) == {1}, [k for k, n in counts.items() if n > 1]
    for id_ in {a.id for a in alerts}:
        assert [a.version for a in alerts if a.id == id_] == [1, 2], id_


def test_who_was_stopped_for_longer_than_the_session_publishes_nothing_when_it_goes_on(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    create_topics(kafka)
    results = Results(kafka)
    segments = Segments(results)
    try:
        with processes(kafka, tmp_path, 2) as (first, second):
            segments.send(10)
            segments.wait_for_all(kafka)
            segments.send(3)
            os.kill(first.pid, signal.SIGSTOP)
            stopped = now_ms()
            segments.send(7)
            wait_at_work(kafka, "alerts-1", stopped, timeout_s=90)
            segments.wait_for_all(kafka)
            os.kill(first.pid, signal.SIGCONT)
            segments.send(10)
            alerts = segments.wait_for_all(kafka)
            assert_each_once(alerts)
            assert len(alerts) == segments.sent
            time.sleep(SESSION_S)  # whatever it would still publish
            assert len(published(kafka)) == segments.sent
            assert first.alive(), first.last_words()
            assert second.stop() == 0, second.last_words()
            segments.send(4)
            assert_each_once(segments.wait_for_all(kafka))
    finally:
        segments.results.close()


def test_a_link_that_is_cut_for_half_a_minute_costs_and_doubles_no_version(
    tmp_path: Path, tcp_proxy: type[TcpProxy]
) -> None:
    port = free_port()
    link = tcp_proxy(port)
    broker = start_kafka(port, tmp_path / "kafka", advertised_port=link.port)
    kafka = KafkaSettings(
        bootstrap=f"127.0.0.1:{link.port}", partitions=2, session_timeout_ms=1000 * SESSION_S
    )
    try:
        create_topics(kafka)
        results = Results(kafka)
        segments = Segments(results)
        with processes(kafka, tmp_path, 2):
            segments.send(11)
            with segments.apart(kafka):
                link.cut()
                time.sleep(30)
                link.restore()
            restored = time.monotonic()
            segments.send(10)
            assert_each_once(segments.wait_for_all(kafka)[:20])
            assert time.monotonic() - restored < 60
        segments.results.close()
    finally:
        broker.kill()


def gaps(kafka: KafkaSettings) -> list[FrameGap]:
    return [msgspec.json.decode(r.value, type=FrameGap) for r in read_topic(kafka, "gaps")]


def test_a_topic_that_is_made_again_is_a_recorded_gap_and_is_read_from_its_beginning(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    create_topics(kafka)
    results = Results(kafka)
    segments = Segments(results)
    topic = topic_name(kafka.topic_prefix, "results.traffic")
    try:
        with processes(kafka, tmp_path, 1) as (child,):
            segments.send(2)
            segments.wait_for_all(kafka)
            with segments.apart(kafka):
                admin = admin_client(kafka)
                admin.delete_topics([topic])
                wait_until(lambda: topic not in admin.list_topics(), "no topic", timeout_s=30)
                admin.create_topics([NewTopic(topic, kafka.partitions, 1)])
                admin.close()
            segments.send(2)
            segments.wait_for_all(kafka)
            assert {gap.gateway for gap in gaps(kafka)} == {"topic_recreated"}
            assert {gap.topic for gap in gaps(kafka)} == {topic}
            assert child.alive(), child.last_words()
    finally:
        segments.results.close()


def test_alerts_go_on_within_15_s_of_the_return_of_a_broker_that_was_killed(
    tmp_path: Path,
) -> None:
    port = free_port()
    broker = start_kafka(port, tmp_path / "kafka")
    kafka = KafkaSettings(
        bootstrap=f"127.0.0.1:{port}", partitions=2, session_timeout_ms=1000 * SESSION_S
    )
    try:
        create_topics(kafka)
        results = Results(kafka)
        segments = Segments(results)
        with processes(kafka, tmp_path, 1):
            segments.send(2)
            segments.wait_for_all(kafka)
            with segments.apart(kafka):
                broker.kill()
                time.sleep(15)
                broker = start_kafka(port, tmp_path / "kafka")
                back = time.monotonic()
            segments.send(2)
            assert_each_once(segments.wait_for_all(kafka))
            took_s = time.monotonic() - back
            assert took_s < 15, took_s
        segments.results.close()
    finally:
        broker.kill()
