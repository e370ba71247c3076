"""Alerts over MQTT: retained while they are active, taken away when they are over."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from pydantic import SecretStr

from alerts.deliveries.outcomes import TryAgain
from alerts.deliveries.receivers import (
    Context,
    Port,
    Receiver,
    SecretText,
    Sender,
    Text,
)
from civicstream.events import Alert
from civicstream.settings import MqttSettings

__all__ = ["MqttReceiver", "MqttTopics", "alert_topic", "broker_of"]

# What has a meaning in topics; the percent sign, so that the id can be had back.
_ESCAPED = str.maketrans({c: f"%{ord(c):02X}" for c in "%/+#\0"})


class MqttReceiver(Receiver, frozen=True, kw_only=True, tag="mqtt"):
    """``<root>/alert/<area>/<id>``, retained while the alert is active."""

    host: Text | None = None
    """None: the broker of the mqtt section; the fields below are for another one."""
    port: Port = 1883
    username: Text | None = None
    password: SecretText | None = None
    tls: bool = False
    ca_file: Text | None = None
    root: Annotated[str, Meta(pattern=r"^[^#+]*[^/#+]$")] | None = None

    mirrors: ClassVar[bool] = True

    def open(self, context: Context) -> Sender:
        settings = context.settings
        return MqttTopics(self, settings.mqtt, f"{settings.deliver.id}-{self.name}")


def alert_topic(root: str, alert: Alert) -> str:
    """Return ``<root>/alert/<area>/<id>``, ``/``, ``+``, ``#`` and ``%`` in the parts escaped."""
    return f"{root}/alert/{alert.area.translate(_ESCAPED)}/{alert.id.translate(_ESCAPED)}"


def broker_of(receiver: MqttReceiver, ours: MqttSettings) -> MqttSettings:
    """Return how to reach the receiver's broker, and the root of its topics."""
    if receiver.host is None:
        return ours.model_copy(update={"root": receiver.root or ours.root})
    return MqttSettings(
        host=receiver.host,
        port=receiver.port,
        username=receiver.username,
        password=SecretStr(receiver.password.read()) if receiver.password else None,
        tls=receiver.tls,
        ca_file=Path(receiver.ca_file) if receiver.ca_file else None,
        root=receiver.root or ours.root,
    )


class MqttTopics:
    """Publishes at QoS 1 and waits for the broker's word."""

    def __init__(self, receiver: MqttReceiver, ours: MqttSettings, client_id: str) -> None:
        self._broker, self._client_id = broker_of(receiver, ours), client_id
        self._timeout_s = receiver.timeout_s
        self._client: paho.Client | None = None

    def send(self, alert: Alert) -> None:
        """Return when the broker has confirmed; raise TryAgain."""
        payload = b"" if alert.state == "cleared" else msgspec.json.encode(alert)
        try:
            client = self._connected()
            message = client.publish(alert_topic(self._broker.root, alert), payload, 1, retain=True)
            message.wait_for_publish(self._timeout_s)
            confirmed = message.is_published()
        except (OSError, RuntimeError, ValueError) as error:
            self.close()
            raise TryAgain(f"{type(error).__name__}: {error}") from error
        if not confirmed:
            self.close()
            raise TryAgain(f"the broker did not confirm in {self._timeout_s:g} s")

    def _connected(self) -> paho.Client:
        """Return a client that the broker has accepted; a clean session, since we repeat."""
        if self._client is not None and self._client.is_connected():
            return self._client
        self.close()
        broker = self._broker
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            self._client_id,
            clean_session=True,
            protocol=MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        if broker.username is not None:
            password = broker.password
            client.username_pw_set(
                broker.username, password.get_secret_value() if password else None
            )
        if broker.tls:
            client.tls_set(ca_certs=str(broker.ca_file) if broker.ca_file else None)
        client.connect_timeout = self._timeout_s
        refused: list[str] = []
        client.on_connect = lambda _c, _d, _f, code, _p: (
            refused.append(str(code)) if code.is_failure else None
        )
        client.connect(broker.host, broker.port, broker.keepalive_s)
        client.loop_start()
        self._client = client
        deadline = time.monotonic() + self._timeout_s
        while not client.is_connected():
            if refused or time.monotonic() > deadline:
                self.close()
                raise TryAgain(f"the broker refuses: {refused[0] if refused else 'no answer'}")
            time.sleep(0.005)
        return client

    def close(self) -> None:
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()
            self._client = None
