"""The gateway loses nothing that its MQTT broker has acknowledged, whatever breaks."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError
from paho.mqtt import publish as paho_publish

from civicstream.clock import now_ms
from civicstream.kafka.clients import admin_client, producer
from civicstream.kafka.topic_admin import create_topics
from civicstream.partitioning import partition_of
from civicstream.settings import KafkaSettings, MqttSettings
from civicstream.topics import topic_name
from stack.servers.brokers import find_mosquitto, start_mqtt
from stack.servers.processes import free_port, wait_until
from tests.kit.gateway_runs import (
    Arrivals,
    Message,
    flood,
    gateway,
    keys_of,
    publish,
    start_gateway,
    traffic,
)
from tests.kit.kafka_brokers import KafkaCluster
from tests.kit.servers import TcpProxy, start_kafka

pytestmark = pytest.mark.fault


@pytest.fixture
def arrivals(kafka: KafkaSettings) -> Iterator[Arrivals]:
    create_topics(kafka)
    found = Arrivals(kafka)
    yield found
    found.close()


class Load:
    """Publishes at QoS 1, slice by slice, until told to stop or out of messages."""

    def __init__(self, port: int, *, total: int = 20_000, slice_size: int = 200) -> None:
        self._port = port
        self._messages = traffic(total)
        self._slice = slice_size
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.acked: list[Message] = []
        """What the broker has acknowledged."""
        self.attempted: list[Message] = []

    def _run(self) -> None:
        for start in range(0, len(self._messages), self._slice):
            part = self._messages[start : start + self._slice]
            self.attempted += part
            # a slice cut off half way: the broker has some of it, and owes us none
            with suppress(OSError):
                flood(self._port, part, timeout_s=20)
                self.acked += part
            if self._stop.wait(0.05):
                return

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)


def check_nothing_lost(load: Load, arrivals: Arrivals) -> None:
    assert len(load.acked) > 1_000
    arrivals.wait_for(keys_of(load.acked))
    assert arrivals.readings.keys() <= keys_of(load.attempted)


def check_frames_are_in_sequence(arrivals: Arrivals) -> None:
    for place, seqs in arrivals.sequences().items():
        assert seqs == list(range(len(seqs))), place


def test_a_gateway_killed_again_and_again_loses_nothing(
    mosquitto: MqttSettings, kafka: KafkaSettings, arrivals: Arrivals, tmp_path: Path
) -> None:
    with gateway(mosquitto, kafka, arrivals, tmp_path):
        pass  # leaves its session at the broker, which from now on keeps everything
    with Load(mosquitto.port) as load:
        for _ in range(5):
            child = start_gateway(mosquitto, kafka, tmp_path)
            arrivals.wait_ready(child)
            time.sleep(random.uniform(0.1, 1.0))  # the random moment is what is tested
            child.kill()
    with gateway(mosquitto, kafka, arrivals, tmp_path):
        check_nothing_lost(load, arrivals)
    check_frames_are_in_sequence(arrivals)


@contextmanager
def kafka_behind(proxy: TcpProxy, port: int, folder: Path) -> Iterator[KafkaSettings]:
    """A Kafka broker that sends its clients through the proxy."""
    child = start_kafka(port, folder, advertised_port=proxy.port)
    try:
        settings = KafkaSettings(bootstrap=f"127.0.0.1:{proxy.port}", partitions=4)
        create_topics(settings)
        yield settings
    finally:
        child.stop()


def test_a_kafka_link_cut_for_eight_seconds_loses_nothing_and_repeats_nothing(
    mosquitto: MqttSettings, tcp_proxy: type[TcpProxy], tmp_path: Path
) -> None:
    port = free_port()
    proxy = tcp_proxy(port)
    with kafka_behind(proxy, port, tmp_path / "kafka") as kafka:
        child = start_gateway(mosquitto, kafka, tmp_path)
        try:
            with closing(Arrivals(kafka)) as arrivals:
                arrivals.wait_ready(child)
            with Load(mosquitto.port, total=6_000) as load:
                wait_until(lambda: len(load.acked) > 500, "load", timeout_s=20)
                proxy.cut()
                time.sleep(8)  # the length of the outage is what is tested
                said = f"Kafka at {kafka.bootstrap} has confirmed nothing for"
                wait_until(lambda: said in child.last_words(100), said, timeout_s=30)
                proxy.restore()
                wait_until(lambda: len(load.acked) > 5_000, "load", timeout_s=60)
            with closing(Arrivals(kafka)) as arrivals:
                check_nothing_lost(load, arrivals)
                assert "confirms again" in child.last_words(100)
                assert child.stop() == 0
                check_frames_are_in_sequence(arrivals)
                assert set(arrivals.readings.values()) == {1}
                counts = arrivals.last_report().kinds["traffic"]
                assert (counts.received, counts.in_flight) == (len(load.acked), 0)
        finally:
            child.stop()


def takes_records(kafka: KafkaSettings) -> bool:
    """Whether a client that knows nothing yet gets a record into every partition of traffic."""
    with suppress(KafkaError, OSError):
        fresh = producer(kafka, bootstrap_timeout_ms=2_000, max_block_ms=2_000)
        try:
            topic = topic_name(kafka.topic_prefix, "late")
            sent = [fresh.send(topic, b"x", partition=n) for n in range(kafka.partitions)]
            for future in sent:
                future.get(timeout=5)
            return True
        finally:
            fresh.close(timeout=1)
    return False


def test_a_kafka_killed_and_back_on_its_log_is_gone_on_with_within_15_seconds(
    mosquitto: MqttSettings, tmp_path: Path
) -> None:
    port = free_port()
    kafka = KafkaSettings(bootstrap=f"127.0.0.1:{port}", partitions=4)
    broker = start_kafka(port, tmp_path / "kafka")
    child = None
    try:
        create_topics(kafka)
        child = start_gateway(mosquitto, kafka, tmp_path)
        with closing(Arrivals(kafka)) as arrivals:
            arrivals.wait_ready(child)
        with Load(mosquitto.port, total=15_000) as load:
            wait_until(lambda: len(load.acked) > 500, "load", timeout_s=30)
            broker.kill()
            time.sleep(10)  # the length of the outage is what is tested
            broker = start_kafka(port, tmp_path / "kafka")
            wait_until(lambda: takes_records(kafka), "Kafka taking records", timeout_s=60)
            back = time.monotonic()
            wait_until(
                lambda: "confirms again" in child.last_words(99), "the gateway", timeout_s=60
            )
            assert time.monotonic() - back < 15
        with closing(Arrivals(kafka)) as arrivals:
            check_nothing_lost(load, arrivals)
            assert set(arrivals.readings.values()) == {1}
            assert child.stop() == 0
            check_frames_are_in_sequence(arrivals)
        log = child.last_words(10_000).splitlines()
        assert len([line for line in log if "has confirmed nothing for" in line]) >= 1
        of_the_library = [line for line in log if "gateway ERROR" in line or "<" in line]
        assert len(of_the_library) <= 10, "a line for each state"
    finally:
        if child is not None:
            child.stop()
        broker.stop()


def test_a_kafka_that_forgot_everything_gets_what_it_had_not_confirmed(
    mosquitto: MqttSettings, tmp_path: Path
) -> None:
    """Restored on an empty disk it has none of our topics, producer ids and sequences."""
    port = free_port()
    kafka = KafkaSettings(bootstrap=f"127.0.0.1:{port}", partitions=4)
    broker = start_kafka(port, tmp_path / "kafka")
    child = None
    try:
        create_topics(kafka)
        child = start_gateway(mosquitto, kafka, tmp_path)
        before = traffic(500)
        with closing(Arrivals(kafka)) as arrivals:
            arrivals.wait_ready(child)
            flood(mosquitto.port, before, timeout_s=10)
            arrivals.wait_for(keys_of(before))
        broker.kill()
        during = traffic(500, start_ms=now_ms() - 7_200_000)
        flood(mosquitto.port, during, timeout_s=10)
        broker = start_kafka(port, tmp_path / "empty")
        create_topics(kafka)
        after = traffic(500, start_ms=now_ms() - 10_800_000)
        with closing(Arrivals(kafka)) as arrivals:
            arrivals.wait_for(keys_of(during))
            flood(mosquitto.port, after, timeout_s=10)
            arrivals.wait_for(keys_of(after))
    finally:
        if child is not None:
            child.stop()
        broker.stop()


def set_min_insync_replicas(kafka: KafkaSettings, topic: str, count: int) -> None:
    """With more than there are in sync every write is refused: NOT_ENOUGH_REPLICAS."""
    admin = admin_client(kafka)
    try:
        name = topic_name(kafka.topic_prefix, topic)
        wanted = {"min.insync.replicas": str(count)}
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, wanted)])
    finally:
        admin.close()


def test_a_topic_that_cannot_be_written_is_named_and_the_others_go_on_past_the_bound(
    mosquitto: MqttSettings, kafka_cluster: KafkaCluster, tmp_path: Path
) -> None:
    """MQTT acknowledges in the order of receipt, so what is stuck has to be on Kafka elsewhere."""
    kafka = kafka_cluster.settings()
    create_topics(kafka)
    first = now_ms() - 3_600_000
    noise = [("city/v1/noise/north/A7", f'{{"ts":{first},"LAeq":60}}'.encode())]
    others, more = traffic(300), traffic(2_000, start_ms=first - 7_200_000)
    bound = {"gateway__max_in_flight": 500}
    with (
        closing(Arrivals(kafka)) as arrivals,
        gateway(mosquitto, kafka, arrivals, tmp_path, **bound) as child,
    ):
        set_min_insync_replicas(kafka, "frames.noise", 3)
        kafka_cluster.kill(2)
        flood(mosquitto.port, noise + others, timeout_s=10)
        arrivals.wait_for(keys_of(others))
        named = f"but not {partition_of('north', 4)} of {kafka.topic_prefix}.frames.noise"
        wait_until(lambda: named in child.last_words(99), "the name of it", timeout_s=60)
        flood(mosquitto.port, more, timeout_s=30)
        arrivals.wait_for(keys_of(more))
        wait_until(
            lambda: arrivals.last_report().gauges["parked_noise"] == 1,
            "the parked reading",
            timeout_s=30,
        )
        assert not keys_of(noise) & arrivals.readings.keys()
        kafka_cluster.launch(2)
        kafka_cluster.wait_ready(kafka, timeout_s=120)
        arrivals.wait_for(keys_of(noise))
        assert child.alive()
        assert set(arrivals.readings.values()) == {1}
        check_frames_are_in_sequence(arrivals)


def test_an_mqtt_broker_restarted_with_its_store_loses_nothing(
    kafka: KafkaSettings, arrivals: Arrivals, tmp_path: Path
) -> None:
    if find_mosquitto() is None:
        pytest.skip("mosquitto is not installed; run tests/servers.sh")
    mqtt = MqttSettings(port=free_port())
    broker = start_mqtt(mqtt.port, tmp_path / "mosquitto")
    try:
        with gateway(mqtt, kafka, arrivals, tmp_path) as child:
            with Load(mqtt.port) as load:
                for wanted in (1_000, 2_000):
                    wait_until(lambda n=wanted: len(load.acked) > n, "load", timeout_s=30)  # type: ignore[misc]
                    broker.stop()
                    broker = start_mqtt(mqtt.port, tmp_path / "mosquitto")
                wait_until(lambda: len(load.acked) > 3_000, "load", timeout_s=30)
            check_nothing_lost(load, arrivals)
            assert child.alive()
        check_frames_are_in_sequence(arrivals)
    finally:
        broker.stop()


def test_a_flapping_mqtt_link_loses_nothing(
    mosquitto: MqttSettings,
    kafka: KafkaSettings,
    arrivals: Arrivals,
    tcp_proxy: type[TcpProxy],
    tmp_path: Path,
) -> None:
    proxy = tcp_proxy(mosquitto.port)
    through = MqttSettings(port=proxy.port)
    with gateway(through, kafka, arrivals, tmp_path) as child:
        with Load(mosquitto.port) as load:
            for resumed in range(1, 6):
                time.sleep(random.uniform(0.0, 0.4))  # the random moment is what is tested
                proxy.cut()
                proxy.restore()
                wait_until(
                    lambda n=resumed: child.last_words(99).count("earlier session") >= n,  # type: ignore[misc]
                    "the gateway connecting again",
                    timeout_s=20,
                )
        check_nothing_lost(load, arrivals)
    check_frames_are_in_sequence(arrivals)
    counts = arrivals.last_report().kinds["traffic"]
    assert counts.received >= len(load.acked)
    assert (counts.imbalance, counts.in_flight) == (0, 0)


def test_a_flood_at_qos_0_while_kafka_hangs_stays_within_bounds_and_connected(
    mosquitto: MqttSettings, tmp_path: Path
) -> None:
    port = free_port()
    kafka = KafkaSettings(bootstrap=f"127.0.0.1:{port}", partitions=4)
    broker = start_kafka(port, tmp_path / "kafka")
    limits = {"gateway__max_in_flight": 1_000, "mqtt__keepalive_s": 5}
    try:
        create_topics(kafka)
        with closing(Arrivals(kafka)) as arrivals:
            with gateway(mosquitto, kafka, arrivals, tmp_path, **limits) as child:
                at_rest = psutil.Process(child.pid).memory_info().rss
                os.kill(broker.pid, signal.SIGSTOP)
                careless = [(topic, payload, 0, False) for topic, payload in traffic(30_000)]
                paho_publish.multiple(careless, hostname="127.0.0.1", port=mosquitto.port)
                wait_until(
                    lambda: "not reading from MQTT" in child.last_words(100),
                    "the bound",
                    timeout_s=60,
                )
                reading = json.dumps({"ts": now_ms(), "intensity": 3, "period": 20})
                publish(mosquitto, "city/v1/traffic/north/careful", reading)
                time.sleep(12)  # more than twice the keepalive, which is what is tested
                assert psutil.Process(child.pid).memory_info().rss < at_rest + 50e6
                os.kill(broker.pid, signal.SIGCONT)
                careful = keys_of([("city/v1/traffic/north/careful", reading.encode())])
                arrivals.wait_for(careful)
                assert child.last_words(50).count("connected to MQTT") == 1
            counts = arrivals.last_report().kinds["traffic"]
            assert (counts.imbalance, counts.in_flight) == (0, 0)
    finally:
        os.kill(broker.pid, signal.SIGCONT)
        broker.stop()
