"""Deliveries whose process is stopped or killed, and whose topic is not the one that was read."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from kafka.admin import NewTopic

from civicstream.events import Alert
from civicstream.kafka.clients import admin_client
from civicstream.kafka.replay import read_to_end
from civicstream.kafka.topic_admin import create_topics
from civicstream.settings import KafkaSettings
from stack.servers.processes import Child, free_port, wait_until
from tests.kit.deliver_runs import (
    Request,
    delivering,
    life_of,
    send_alerts,
    start_deliver,
    wait_ready_receivers,
    web_server,
    webhook,
)
from tests.kit.servers import start_kafka

pytestmark = [pytest.mark.fault, pytest.mark.slow]


def test_who_was_stopped_and_replaced_sends_nothing_more_than_what_was_on_its_way(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    def slowly(_: Request) -> tuple[int, dict[str, str]]:
        time.sleep(0.05)
        return 200, {}

    with web_server(slowly) as server:
        receivers = [webhook("ops", server.url)]
        (tmp_path / "first").mkdir()
        (tmp_path / "second").mkdir()
        first = start_deliver(kafka, tmp_path / "first", receivers)
        second: Child | None = None
        try:
            wait_ready_receivers(kafka, first, ["ops"])
            versions = [v for n in range(50) for v in life_of(f"l{n}")]
            send_alerts(kafka, *versions)
            wait_until(lambda: len(server.requests) > 20, "some posts", timeout_s=30)
            os.kill(first.pid, signal.SIGSTOP)
            second = start_deliver(kafka, tmp_path / "second", receivers, deliver__id="d2")
            expected = [(v.id, v.version) for v in versions]
            wait_until(lambda: set(server.alerts()) >= set(expected), "all of them", timeout_s=60)
            before = len(server.requests)
            os.kill(first.pid, signal.SIGCONT)
            send_alerts(kafka, *life_of("last"))
            wait_until(lambda: ("last", 3) in server.alerts(), "the last", timeout_s=30)
            wait_until(
                lambda: "assigned anew" in first.last_words() or "given" in first.last_words(),
                "the first to notice",
                timeout_s=30,
            )
            # The answer to the one that was on its way was never read: once more at most.
            assert len(server.requests) - before <= 3 + 1, server.alerts()[before:]
            # The new one repeats what was sent within the 0.2 s before its predecessor stopped.
            assert len(server.requests) <= len(expected) + 3 + 12
        finally:
            os.kill(first.pid, signal.SIGCONT)
            first.kill()
            if second is not None:
                second.kill()


def test_a_receiver_on_our_own_kafka_gets_each_version_once_whatever_is_killed(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    create_topics(kafka)
    theirs = f"{kafka.topic_prefix}.theirs"
    admin = admin_client(kafka)
    admin.create_topics([NewTopic(theirs, 1, 1)])
    admin.close()
    receivers = [{"name": "theirs", "type": "kafka", "topic": theirs}]

    def got() -> Counter[tuple[str, int]]:
        found = [msgspec.json.decode(r.value, type=Alert) for r in read_to_end(kafka, theirs)]
        return Counter((a.id, a.version) for a in found)

    expected: Counter[tuple[str, int]] = Counter()
    child = start_deliver(kafka, tmp_path, receivers)
    try:
        wait_ready_receivers(kafka, child, ["theirs"])
        for turn in range(3):
            versions = [v for n in range(15) for v in life_of(f"l{turn}-{n}")]
            expected.update((v.id, v.version) for v in versions)
            before = got().total()
            send_alerts(kafka, *versions)
            wait_until(lambda before=before: got().total() > before + 5, "some", timeout_s=60)  # type: ignore[misc]
            child.kill()
            child = start_deliver(kafka, tmp_path, receivers)
        wait_until(lambda: got().total() >= expected.total(), "all", timeout_s=90, every_s=0.5)
        assert child.stop() == 0, child.last_words()
        assert got() == expected
    finally:
        child.kill()


def test_deliveries_go_on_within_15_s_of_the_return_of_a_broker_that_was_killed(
    tmp_path: Path,
) -> None:
    port = free_port()
    broker = start_kafka(port, tmp_path / "kafka")
    kafka = KafkaSettings(bootstrap=f"127.0.0.1:{port}", partitions=1, session_timeout_ms=6_000)
    try:
        with web_server() as server, delivering(kafka, tmp_path, [webhook("ops", server.url)]):
            send_alerts(kafka, *life_of("l1"))
            wait_until(lambda: len(server.requests) >= 3, "posts", timeout_s=30)
            broker.kill()
            time.sleep(15)
            broker = start_kafka(port, tmp_path / "kafka")
            back = time.monotonic()
            send_alerts(kafka, *life_of("l2"))
            wait_until(lambda: ("l2", 3) in server.alerts(), "the rest", timeout_s=60)
            assert time.monotonic() - back < 15
    finally:
        broker.kill()
