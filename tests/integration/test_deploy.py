"""The scripts of the production shape, run outside containers on real servers."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from civicstream.kafka.topic_admin import create_topics
from civicstream.personal import Privacy, PrivateKeys
from civicstream.settings import load_settings
from stack.servers.brokers import find_mosquitto
from stack.servers.processes import Child, free_port, port_answers, wait_until
from tests.kit.secured_kafka import make_secrets, secured_kafka

DEPLOY = Path(__file__).parents[2] / "deploy"


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of secrets as the generator makes it, with an account for one device."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("deploy") / "secrets"
    make_secrets(folder)
    (folder / "mqtt_devices").write_text("A7:device-password\n")
    return folder


@dataclass(frozen=True)
class Broker:
    """Mosquitto as deployed; ``environment`` is what its scripts run with."""

    port: int
    secrets: Path
    run: Path
    environment: dict[str, str]

    def password(self, user: str) -> str:
        return (self.secrets / f"mqtt_{user}_password").read_text()


@pytest.fixture
def broker(secrets: Path, tmp_path: Path) -> Iterator[Broker]:
    if find_mosquitto() is None:
        pytest.skip("mosquitto is not installed; run tests/servers.sh")
    run, data, port = tmp_path / "run", tmp_path / "data", free_port()
    run.mkdir()
    data.mkdir()
    config = tmp_path / "config"
    shutil.copytree(DEPLOY / "mosquitto", config)
    if os.geteuid() == 0:
        # The container starts as mosquitto's own user; started by root it would become that
        # user, which may not read this folder.
        with (config / "mosquitto.conf").open("a") as file:
            file.write("user root\n")
    environment = {
        "PATH": os.environ["PATH"] + ":/usr/sbin",
        "SECRETS_DIR": str(secrets),
        "CONFIG_DIR": str(config),
        "RUN_DIR": str(run),
        "DATA_DIR": str(data),
        "PORT": str(port),
    }
    child = Child("mosquitto", [config / "entrypoint.sh"], tmp_path / "log", environment)
    child.wait_ready(lambda: port_answers(port))
    yield Broker(port, secrets, run, environment)
    child.stop()


class Client:
    """A paho client over TLS: what it may do, by the broker's own reason codes."""

    def __init__(self, broker: Broker, user: str | None, password: str | None) -> None:
        self.connected: bool | None = None
        self.received: list[str] = []
        self._published: dict[int, ReasonCode] = {}
        self._subscribed: list[int] = []
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.tls_set(str(broker.secrets / "ca.crt"), tls_version=ssl.PROTOCOL_TLS_CLIENT)
        if user is not None:
            self._client.username_pw_set(user, password)
        self._client.on_connect = self._on_connect
        self._client.on_publish = lambda _c, _u, mid, code, _p: self._published.update({mid: code})
        self._client.on_subscribe = lambda _c, _u, mid, _codes, _p: self._subscribed.append(mid)
        self._client.on_message = lambda _c, _u, message: self.received.append(message.topic)
        self._client.connect("localhost", broker.port)
        self._client.loop_start()
        wait_until(lambda: self.connected is not None, "CONNACK", timeout_s=10)

    def _on_connect(
        self, _c: mqtt.Client, _u: object, _f: object, code: ReasonCode, _p: Properties | None
    ) -> None:
        self.connected = not code.is_failure

    def may_publish(self, topic: str) -> bool:
        mid = self._client.publish(topic, b"{}", qos=1).mid
        wait_until(lambda: mid in self._published, "PUBACK", timeout_s=10)
        return self._published[mid].getName() != "Not authorized"

    def subscribe(self, topic: str) -> None:
        _, mid = self._client.subscribe(topic, qos=1)
        wait_until(lambda: mid in self._subscribed, "SUBACK", timeout_s=10)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def client(broker: Broker) -> Iterator[type[Client]]:
    made: list[Client] = []

    class WindowClose(Client):
        def __init__(self, user: str | None, password: str | None) -> None:
            super().__init__(broker, user, password)
            made.append(self)

    yield WindowClose
    for one in made:
        one.close()


def test_a_device_sends_for_itself_and_for_nobody_else(client: type[Client]) -> None:
    device = client("A7", "device-password")  # type: ignore[call-arg, arg-type]
    assert device.connected
    assert device.may_publish("city/v1/air/north/A7")
    assert not device.may_publish("city/v1/air/north/A8")
    assert not device.may_publish("other/A7")


def test_a_concentrator_sends_and_the_gateway_receives_and_may_not_send(
    broker: Broker, client: type[Client]
) -> None:
    gateway = client("gateway", broker.password("gateway"))  # type: ignore[call-arg, arg-type]
    gateway.subscribe("$share/civicstream/city/v1/#")
    field = client("field", broker.password("field"))  # type: ignore[call-arg, arg-type]
    assert field.may_publish("city/v1/noise/south/n1")
    wait_until(lambda: bool(gateway.received), "the message", timeout_s=10)
    assert gateway.received == ["city/v1/noise/south/n1"]
    assert not gateway.may_publish("city/v1/noise/south/n1")


@pytest.mark.parametrize(
    ("user", "password"), [(None, None), ("gateway", "wrong"), ("stranger", "x")]
)
def test_nobody_comes_in_without_the_right_password(
    client: type[Client], user: str | None, password: str | None
) -> None:
    assert not client(user, password).connected  # type: ignore[call-arg, arg-type]


def test_health_check_passes_on_a_live_broker_and_fails_on_none(broker: Broker) -> None:
    if shutil.which("mosquitto_sub") is None:
        pytest.skip("mosquitto_sub is not installed (Debian: mosquitto-clients)")
    command = [DEPLOY / "mosquitto" / "health.sh"]
    assert subprocess.run(command, env=broker.environment, check=False).returncode == 0
    nowhere = broker.environment | {"PORT": str(free_port())}
    done = subprocess.run(command, env=nowhere, check=False, capture_output=True)
    assert done.returncode != 0


def test_passwords_are_hashed_and_private(broker: Broker) -> None:
    file = broker.run / "passwords"
    assert file.stat().st_mode & 0o077 == 0
    text = file.read_text()
    assert "A7:$" in text
    assert "device-password" not in text


def test_making_secrets_again_keeps_them(secrets: Path, tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    shutil.copytree(secrets, folder)
    before = {f.name: f.read_bytes() for f in folder.iterdir()}
    assert "nothing, all is there" in make_secrets(folder)
    assert {f.name: f.read_bytes() for f in folder.iterdir()} == before
    (folder / "database_writer_password").unlink()
    assert "database_writer_password, database_writer_url" in make_secrets(folder)
    password = (folder / "database_writer_password").read_text()
    assert f":{password}@database" in (folder / "database_writer_url").read_text()
    assert folder.stat().st_mode & 0o077 == 0


def test_secret_files_become_settings(secrets: Path, tmp_path: Path) -> None:
    mounted = tmp_path / "run-secrets"
    mounted.mkdir()
    shutil.copy(secrets / "database_writer_url", mounted / "civicstream_database__url")
    shutil.copy(secrets / "ca.crt", mounted / "ca.crt")
    settings = load_settings(None, {"CIVICSTREAM_SECRETS_DIR": str(mounted)})
    expected = (secrets / "database_writer_url").read_text()
    assert settings.database.url.get_secret_value() == expected


def test_the_keys_of_personal_data_belong_together(secrets: Path) -> None:
    keys = {n: (secrets / f"privacy_{n}_key").read_text() for n in ("public", "private")}
    sealed = Privacy(keys["public"], b"x" * 32).seal(b"Ada")
    assert PrivateKeys([keys["private"]]).unseal(sealed) == b"Ada"
    assert len((secrets / "privacy_pseudonym_key").read_text()) >= 32


def test_kafka_starts_with_its_secrets_and_keeps_its_log_over_a_restart(tmp_path: Path) -> None:
    """The rights that it then grants are tested in test_kafka_rights.py."""
    with secured_kafka(tmp_path) as kafka:
        properties = kafka.run / "server.properties"
        filled = [x for x in properties.read_text().splitlines() if not x.startswith("#")]
        assert not [x for x in filled if re.search("@[A-Z_]+@", x)]
        assert properties.stat().st_mode & 0o077 == 0
        pem = (kafka.run / "kafka.pem").read_text()
        assert pem.index("BEGIN PRIVATE KEY") < pem.index("BEGIN CERTIFICATE")
        create_topics(kafka.admin())
        kafka.restart()
        wait_until(lambda: port_answers(kafka.port), "the broker again", timeout_s=60)
        assert create_topics(kafka.admin()) == []
    del kafka.environment["CLUSTER_ID"]
    script = DEPLOY / "kafka" / "entrypoint.sh"
    refused = subprocess.run(
        [script], env=kafka.environment, check=False, capture_output=True, text=True
    )
    assert refused.returncode != 0
    assert "made by deploy/make_secrets.py" in refused.stderr
