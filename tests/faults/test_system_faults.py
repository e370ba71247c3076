"""The whole system under load with parts killed and links cut: the database equals the truth."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from civicstream.clock import now_ms
from civicstream.settings import KafkaSettings, MqttSettings
from stack.servers.brokers import start_mqtt
from stack.servers.processes import free_port, wait_until
from tests.kit.servers import TcpProxy, TimescaleServer, start_kafka
from tests.kit.system_runs import PARTS, System, assert_everything_arrived, running_system
from tests.kit.worker_runs import pause

pytestmark = [pytest.mark.fault, pytest.mark.slow, pytest.mark.timeout(600)]

SENSORS = 400
RATE = 600


@contextmanager
def load(system: System, rate: float = RATE) -> Iterator[Path]:
    """A simulated city that publishes, some of it twice or out of order, until the block ends."""
    truth = system.folder / "truth"
    simulator = system.launch(
        "simulate",
        "simulate",
        "--city",
        system.city_file,
        "--kinds",
        "traffic,weather",
        "--rate",
        rate,
        "--duplicates",
        0.03,
        "--out-of-order",
        0.03,
        "--malformed",
        0.005,
        "--truth",
        truth,
    )
    try:
        pause(3)
        yield truth
    finally:
        code = simulator.stop(timeout_s=60)
        assert code == 0, simulator.last_words(30)


def test_every_part_killed_five_times_loses_nothing_and_doubles_nothing(
    mosquitto: MqttSettings, kafka: KafkaSettings, timescaledb: str, tmp_path: Path
) -> None:
    chance = random.Random(20)
    with running_system(mosquitto, kafka, timescaledb, tmp_path, sensors=SENSORS) as system:
        with load(system) as truth:
            for _ in range(5):
                for part in chance.sample(PARTS, len(PARTS)):
                    pause(chance.uniform(0.3, 2.5))
                    system.kill(part)
                    system.start(part)
        assert_everything_arrived(system, truth)


def test_a_database_away_for_twenty_seconds_loses_nothing(
    mosquitto: MqttSettings,
    kafka: KafkaSettings,
    timescale_server: TimescaleServer,
    tmp_path: Path,
) -> None:
    server = timescale_server
    with running_system(mosquitto, kafka, server.url, tmp_path, sensors=SENSORS) as system:
        with load(system) as truth:
            server.stop()
            pause(20)
            server.restart()
            pause(3)
        assert_everything_arrived(system, truth)


def test_kafka_cut_off_for_ten_seconds_loses_nothing(
    mosquitto: MqttSettings, tcp_proxy: type[TcpProxy], timescaledb: str, tmp_path: Path
) -> None:
    port = free_port()
    proxy = tcp_proxy(port)
    broker = start_kafka(port, tmp_path / "kafka", advertised_port=proxy.port)
    kafka = KafkaSettings(
        bootstrap=f"127.0.0.1:{proxy.port}", partitions=4, session_timeout_ms=6000
    )
    try:
        with running_system(mosquitto, kafka, timescaledb, tmp_path, sensors=SENSORS) as system:
            with load(system) as truth:
                proxy.cut()
                pause(10)
                proxy.restore()
                pause(8)
            assert_everything_arrived(system, truth)
    finally:
        broker.stop()


def test_an_mqtt_broker_restarted_with_its_sessions_loses_nothing(
    kafka: KafkaSettings, timescaledb: str, tmp_path: Path
) -> None:
    port = free_port()
    broker = start_mqtt(port, tmp_path / "mosquitto")
    try:
        mqtt = MqttSettings(port=port)
        with running_system(mqtt, kafka, timescaledb, tmp_path, sensors=SENSORS) as system:
            with load(system) as truth:
                for _ in range(2):
                    broker.stop()
                    pause(1)
                    broker = start_mqtt(port, tmp_path / "mosquitto")
                    pause(4)
            assert_everything_arrived(system, truth)
    finally:
        broker.stop()


def test_two_workers_share_the_load_and_one_takes_over_when_the_other_is_killed(
    mosquitto: MqttSettings, kafka: KafkaSettings, timescaledb: str, tmp_path: Path
) -> None:
    with running_system(mosquitto, kafka, timescaledb, tmp_path, sensors=SENSORS) as system:
        with load(system) as truth:
            system.environment["CIVICSTREAM_WORKER__ID"] = "worker-2"
            system.environment["CIVICSTREAM_WORKER__DATA_DIR"] = str(tmp_path / "worker-2")
            since = now_ms()
            system.children["second"] = system.launch("second", "worker")
            wait_until(lambda: _reports(system, "worker-2", since), "worker-2", timeout_s=60)
            pause(5)
            killed = now_ms()
            system.kill("second")
            del system.children["second"]
            wait_until(
                lambda: _reports(system, "worker-1", killed + 8_000), "worker-1", timeout_s=60
            )
        assert_everything_arrived(system, truth)


def _reports(system: System, worker: str, since_ms: int) -> bool:
    from tests.kit.worker_runs import worker_reports

    report = worker_reports(system.kafka).get(worker)
    return report is not None and report.at >= since_ms
