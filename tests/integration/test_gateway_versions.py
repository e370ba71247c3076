"""MQTT 5, MQTT 3.1.1, TLS and passwords: the gateway on the brokers that exist."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt import client as paho
from paho.mqtt import publish as paho_publish
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from civicstream.clock import now_ms
from civicstream.errors import ConfigurationError
from civicstream.kafka.topic_admin import create_topics
from civicstream.settings import GatewaySettings, KafkaSettings, MqttSettings, Settings
from ingest.buffered_socket import BufferedSocket
from ingest.mqtt import MqttInput
from stack.servers.brokers import find_mosquitto, start_mqtt
from stack.servers.processes import Child, free_port, port_answers, wait_until
from tests.kit.gateway_runs import Arrivals, flood, gateway, keys_of, publish, start_gateway

TOPIC = "city/v1/traffic/north/A7"


@pytest.fixture
def arrivals(kafka: KafkaSettings) -> Iterator[Arrivals]:
    create_topics(kafka)
    found = Arrivals(kafka)
    yield found
    found.close()


@pytest.fixture
def amqtt(tmp_path: Path) -> Iterator[MqttSettings]:
    """The embedded fallback broker, which speaks MQTT 3.1.1 only."""
    port = free_port()
    child = start_mqtt(port, tmp_path / "amqtt", prefer_mosquitto=False)
    yield MqttSettings(port=port)
    child.stop()


def readings(count: int) -> list[tuple[str, bytes]]:
    first = now_ms() - 60_000
    return [
        (TOPIC, json.dumps({"ts": first + i, "intensity": 3, "period": 20}).encode())
        for i in range(count)
    ]


def test_a_broker_without_mqtt_5_is_spoken_to_in_3_1_1(
    amqtt: MqttSettings, kafka: KafkaSettings, arrivals: Arrivals, tmp_path: Path
) -> None:
    sent = readings(50)
    with gateway(amqtt, kafka, arrivals, tmp_path) as child:
        assert "MQTT 3.1.1, new session" in child.last_words()
        for topic, payload in sent:
            publish(amqtt, topic, payload)
        publish(amqtt, TOPIC, "not json")
        arrivals.wait_for(keys_of(sent))
        arrivals.wait_for_dead_letters(1)
    assert set(arrivals.readings.values()) == {1}


@pytest.mark.parametrize(("protocol", "said"), [("auto", "MQTT 5,"), ("3.1.1", "MQTT 3.1.1,")])
def test_the_newest_version_is_used_unless_one_is_asked_for(
    mosquitto: MqttSettings,
    kafka: KafkaSettings,
    arrivals: Arrivals,
    tmp_path: Path,
    protocol: str,
    said: str,
) -> None:
    (sent,) = readings(1)
    with gateway(mosquitto, kafka, arrivals, tmp_path, mqtt__protocol=protocol) as child:
        assert said in child.last_words()
        publish(mosquitto, *sent)
        arrivals.wait_for(keys_of([sent]))


class Listener:
    """An MqttInput driven by the test, as the gateway's loop drives it."""

    def __init__(self, mqtt: MqttSettings, **options: Any) -> None:
        self.received: list[tuple[str, bytes, int]] = []
        self.lost = 0
        settings = Settings(mqtt=mqtt, gateway=GatewaySettings(id="listener", **options))
        self.input = MqttInput(settings, self._take, self._note_loss)

    def _take(self, *message: Any) -> None:
        self.received.append(message)

    def _note_loss(self) -> None:
        self.lost += 1

    def turn(self) -> None:
        link = self.input.socket
        select.select([link] if link else [], [], [], 0.05)
        self.input.read(100, time.monotonic())
        self.input.maintain(time.monotonic())
        self.input.flush()

    def until(self, done: Any, what: str) -> None:
        def turned() -> bool:
            self.turn()
            return bool(done())

        wait_until(turned, what, timeout_s=15, every_s=0)


def test_messages_come_by_the_short_way_through_paho(mosquitto: MqttSettings) -> None:
    listener = Listener(mosquitto)
    listener.until(lambda: listener.input.ready, "subscription")
    assert isinstance(listener.input.socket, BufferedSocket)
    publish(mosquitto, "city/v1/noise/ä/B 1", b"\x00payload", qos=1)
    publish(mosquitto, "city/v1/noise/ä/B 1", b"", qos=0)
    publish(mosquitto, "city/v1/noise/ä/B 1", b"twice", qos=2)  # arrives at QoS 1, as subscribed
    listener.until(lambda: len(listener.received) == 3, "three messages")
    (first, second, third) = listener.received
    assert first[:2] == ("city/v1/noise/ä/B 1", b"\x00payload")
    assert second == ("city/v1/noise/ä/B 1", b"", 0)
    assert third[1] == b"twice"
    assert 0 < first[2] < third[2]
    listener.input.close()


def test_the_properties_of_a_message_are_skipped(mosquitto: MqttSettings) -> None:
    listener = Listener(mosquitto)
    listener.until(lambda: listener.input.ready, "subscription")
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.ContentType = "application/json"
    properties.UserProperty = [("n" * 100, "v" * 100)]  # the length takes two bytes
    message: Any = {"topic": TOPIC, "payload": b"{}", "qos": 1}
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.connect(mosquitto.host, mosquitto.port)
    client.loop_start()
    client.publish(**message, properties=properties).wait_for_publish(5)
    client.disconnect()
    client.loop_stop()
    listener.until(lambda: listener.received, "the message")
    assert listener.received[0][:2] == (TOPIC, b"{}")
    listener.input.close()


def test_what_was_not_acknowledged_comes_again_after_a_new_connection(
    mosquitto: MqttSettings,
) -> None:
    sent = readings(8)
    listener = Listener(mosquitto, max_in_flight=5)
    listener.until(lambda: listener.input.ready, "subscription")
    flood(mosquitto.port, sent, timeout_s=10)
    listener.until(lambda: len(listener.received) >= 5, "five messages")
    assert len(listener.received) == 5  # Receive Maximum, which mosquitto keeps until the first ack
    listener.input.ack([packet_id for *_, packet_id in listener.received[:2]])
    listener.until(lambda: len(listener.received) >= 7, "two more messages")
    listener.input.close()
    again = Listener(mosquitto, max_in_flight=100)
    again.until(lambda: len(again.received) == 6, "all that were not acknowledged")
    assert [(topic, payload) for topic, payload, _ in again.received] == sent[2:]
    again.input.close()


def test_a_second_gateway_with_the_same_id_is_named_in_the_log(
    mosquitto: MqttSettings, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = Listener(mosquitto), Listener(mosquitto)
    asked = "does another client use the id 'listener'?"

    def both_turn_until_one_asks() -> bool:
        first.turn()
        second.turn()
        return asked in caplog.text

    wait_until(both_turn_until_one_asks, "the suspicion", timeout_s=30, every_s=0)
    first.input.close()
    second.input.close()


@contextmanager
def guarded_mosquitto(folder: Path) -> Iterator[MqttSettings]:
    """A mosquitto with TLS and a password, for 'gateway' / 'secret'."""
    program = find_mosquitto()
    if program is None:
        pytest.skip("mosquitto is not installed; run tests/servers.sh")
    port = free_port()
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=127.0.0.1",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            folder / "key.pem",
            "-out",
            folder / "cert.pem",
        ],
        check=True,
        capture_output=True,
    )
    passwords = folder / "passwords"
    command = ["mosquitto_passwd", "-b", "-c", str(passwords), "gateway", "secret"]
    subprocess.run(command, check=True, capture_output=True)
    config = folder / "guarded.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\n"
        f"certfile {folder}/cert.pem\nkeyfile {folder}/key.pem\nuser root\n"
    )
    child = Child("mosquitto", [program, "-c", config], folder / "guarded.log")
    try:
        child.wait_ready(lambda: port_answers(port))
        yield MqttSettings(port=port, tls=True, ca_file=folder / "cert.pem")
    finally:
        child.stop()


def test_tls_and_a_password_are_used_when_set(
    kafka: KafkaSettings, arrivals: Arrivals, tmp_path: Path
) -> None:
    sent = readings(20)
    with guarded_mosquitto(tmp_path) as mqtt:
        login = {"mqtt__username": "gateway", "mqtt__password": "secret"}
        tls = {"mqtt__tls": "true", "mqtt__ca_file": mqtt.ca_file}
        with gateway(mqtt, kafka, arrivals, tmp_path, **login, **tls):
            paho_publish.multiple(
                [(topic, payload, 1, False) for topic, payload in sent],
                hostname=mqtt.host,
                port=mqtt.port,
                auth={"username": "gateway", "password": "secret"},
                tls={"ca_certs": str(mqtt.ca_file)},
            )
            arrivals.wait_for(keys_of(sent))


def test_refused_credentials_end_the_gateway_with_a_remedy(
    kafka: KafkaSettings, tmp_path: Path
) -> None:
    create_topics(kafka)
    with guarded_mosquitto(tmp_path) as mqtt:
        tls = {"mqtt__tls": "true", "mqtt__ca_file": mqtt.ca_file}
        login = {"mqtt__username": "gateway", "mqtt__password": "wrong-word"}
        child = start_gateway(mqtt, kafka, tmp_path, **login, **tls)
        try:
            wait_until(lambda: not child.alive(), "the gateway ending", timeout_s=20)
        finally:
            child.stop()
    assert child.returncode == 2
    log = child.last_words()
    assert "refuses gateway 'g1': Not authorized; check CIVICSTREAM_MQTT__USERNAME" in log
    assert "wrong-word" not in log


def test_an_untrusted_certificate_is_not_accepted(kafka: KafkaSettings, tmp_path: Path) -> None:
    create_topics(kafka)
    with guarded_mosquitto(tmp_path) as mqtt:
        child = start_gateway(mqtt, kafka, tmp_path, mqtt__tls="true")
        try:
            child.wait_ready(lambda: "certificate verify failed" in child.last_words())
            assert child.alive()  # a certificate can be mended while the gateway runs
        finally:
            child.stop()


class ScriptedBroker:
    """Answers each packet of one connection from a list: for refusals mosquitto never gives."""

    def __init__(self, *answers: bytes) -> None:
        self._answers = answers
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.settings = MqttSettings(port=self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        link, _ = self._listener.accept()
        with link:
            for answer in self._answers:
                link.recv(4096)
                link.sendall(answer)
            link.recv(4096)  # until the client goes

    def close(self) -> None:
        self._listener.close()
        self._thread.join(5)


def test_a_refused_subscription_names_the_access_list() -> None:
    broker = ScriptedBroker(b"\x20\x03\x00\x00\x00", b"\x90\x04\x00\x01\x00\x87")
    listener = Listener(broker.settings)
    with pytest.raises(ConfigurationError, match=r"refuses the subscription to city/v1/#.*access"):
        listener.until(lambda: listener.input.ready, "subscription")
    listener.input.close()
    broker.close()


@pytest.mark.parametrize("refusal", [b"\x20\x03\x00\x84\x00", b"\x20\x02\x00\x01"])
def test_a_broker_that_says_it_has_no_mqtt_5_is_asked_in_3_1_1_at_once(refusal: bytes) -> None:
    broker = ScriptedBroker(refusal)
    listener = Listener(broker.settings)
    listener.until(lambda: listener.lost, "the refusal")
    broker.close()
    assert listener.input.protocol == "3.1.1"
    listener.input.close()


def test_a_malformed_packet_ends_the_connection_and_not_the_gateway() -> None:
    broker = ScriptedBroker(b"\x20\x03\x00\x00\x00", b"\x32\x03\x00\xffA")
    listener = Listener(broker.settings)
    listener.until(lambda: listener.lost, "the end of the connection")
    listener.input.close()
    broker.close()
    assert listener.received == []
