"""Workers that are stopped, or cut off from Kafka, and come back after another took over.

Read committed: every window, case version and allocation version once, and no state goes back.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from civicstream.clock import now_ms
from civicstream.kafka.topic_admin import create_topics
from civicstream.service_events import Allocation, Case
from civicstream.settings import KafkaSettings
from stack.servers.kafka_broker import BrokerOptions, start_broker
from stack.servers.processes import Child, free_port, wait_until
from tests.faults.test_dispatch_killed import Citizens, check_versions, events
from tests.kit.servers import TcpProxy
from tests.kit.worker_runs import (
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
)

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(400)]

CITY = small_city()


class Street:
    """Sends reports of problems, and crews that move: the dispatch always has something to say."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._citizens = Citizens(kafka, CITY)
        self.sent = 0
        for number in range(3):
            self._citizens.unit(number, "available")

    def go_on(self) -> None:
        """Send some reports, and what crews say of themselves."""
        for number in range(5):
            place = self.sent % len(self._citizens.places)
            self._citizens.report(place, self.sent, "pothole")
            self._citizens.unit(number % 3, "available")
            self.sent += 1

    def close(self) -> None:
        self._citizens.close()


def all_reports_are_in_cases(kafka: KafkaSettings, reports: int) -> bool:
    newest = {c.id: c for c in sorted(events(kafka, "cases", Case), key=lambda c: c.version)}
    return sum(case.reports for case in newest.values()) == reports


def check_once(kafka: KafkaSettings, source: FrameSource) -> None:
    """Fail unless everything that was concluded was published once, and is right."""
    assert_results_equal_oracle(kafka, source.readings, CITY)
    assert {len(results) for results in final_results(kafka).values()} == {1}
    check_versions(events(kafka, "cases", Case))
    for topic, of in (("cases", Case), ("allocations", Allocation)):
        versions = Counter((e.id, e.version) for e in events(kafka, topic, of))
        assert set(versions.values()) <= {1}, topic
    for topic in ("results.traffic", "forecasts", "incidents", "demand"):
        ids = Counter(dict(r.headers)["ce_id"] for r in read_topic(kafka, topic))
        assert set(ids.values()) <= {1}, topic


def test_workers_stopped_in_turn_double_and_lose_nothing(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    create_topics(kafka)
    environment = worker_environment(kafka, tmp_path, CITY)
    workers = {name: start_worker(environment, tmp_path, name) for name in ("a", "b")}
    street = Street(kafka)
    try:
        for name in workers:
            wait_for_report(kafka, name, 0, timeout_s=90)
        with FrameSource(kafka, CITY, seed=5) as source:
            for name, worker in workers.items():
                other = next(other for other in workers if other != name)
                street.go_on()
                pause(2)
                psutil.Process(worker.pid).send_signal(signal.SIGSTOP)
                street.go_on()
                pause(kafka.session_timeout_ms / 1000 + 6)
                wait_for_report(kafka, other, now_ms(), timeout_s=60)
                psutil.Process(worker.pid).send_signal(signal.SIGCONT)
                street.go_on()
                wait_for_report(kafka, name, now_ms(), timeout_s=60)
        wait_until_all_published(kafka, source.readings, timeout_s=120)
        done = "every report in a case"
        wait_until(lambda: all_reports_are_in_cases(kafka, street.sent), done, timeout_s=60)
        check_once(kafka, source)
    finally:
        street.close()
        codes = {name: worker.stop() for name, worker in workers.items()}
    assert codes == {"a": 0, "b": 0}


@pytest.fixture
def linked(tmp_path: Path) -> Iterator[tuple[KafkaSettings, KafkaSettings, TcpProxy]]:
    """A broker, its settings directly and through a link that can be cut, and the link."""
    port, behind, controller = free_port(), free_port(), free_port()
    link = TcpProxy(behind)
    here = f"PLAINTEXT://127.0.0.1:{port}"
    properties = {
        "listeners": f"{here},LINK://127.0.0.1:{behind},CONTROLLER://127.0.0.1:{controller}",
        # Clients that come through the link are sent back to it.
        "advertised.listeners": f"{here},LINK://127.0.0.1:{link.port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,LINK:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
    }
    broker = start_broker(
        BrokerOptions(port, tmp_path / "kafka", fsync=False, properties=properties)
    )
    direct = KafkaSettings(
        bootstrap=f"127.0.0.1:{port}", partitions=4, session_timeout_ms=6000, topic_prefix="cut"
    )
    yield direct, direct.model_copy(update={"bootstrap": f"127.0.0.1:{link.port}"}), link
    link.close()
    broker.stop()


def test_a_worker_cut_off_for_half_a_minute_doubles_and_loses_nothing(
    linked: tuple[KafkaSettings, KafkaSettings, TcpProxy], tmp_path: Path
) -> None:
    kafka, through_link, link = linked
    create_topics(kafka)
    near = worker_environment(kafka, tmp_path, CITY)
    far = near | {"CIVICSTREAM_KAFKA__BOOTSTRAP": through_link.bootstrap}
    workers: list[Child] = []
    street = Street(kafka)
    try:
        workers.append(start_worker(far, tmp_path, "far"))
        wait_for_report(kafka, "far", 0, timeout_s=90)
        workers.append(start_worker(near, tmp_path, "near"))
        wait_for_report(kafka, "near", 0, timeout_s=90)
        with FrameSource(kafka, CITY, seed=6) as source:
            street.go_on()
            pause(3)
            link.cut()
            street.go_on()
            pause(30)
            wait_for_report(kafka, "near", now_ms())
            link.restore()
            street.go_on()
            wait_for_report(kafka, "far", now_ms(), timeout_s=90)
            pause(3)
        wait_until_all_published(kafka, source.readings, timeout_s=120)
        done = "every report in a case"
        wait_until(lambda: all_reports_are_in_cases(kafka, street.sent), done, timeout_s=60)
        check_once(kafka, source)
        assert all(worker.alive() for worker in workers), "nobody had to start again"
    finally:
        street.close()
        for worker in workers:
            worker.stop()
