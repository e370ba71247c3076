"""A subscriber that keeps what it gets, on a session that outlives its connections."""

from __future__ import annotations

import uuid
from types import TracebackType

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from civicstream.settings import MqttSettings
from stack.servers.processes import wait_until


class MqttReader:
    """``received``: (topic, payload) in order of receipt. Use as a context manager."""

    def __init__(self, settings: MqttSettings, topic: str = "#") -> None:
        self.received: list[tuple[str, bytes]] = []
        self.subscriptions = 0
        self._settings = settings
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            f"reader-{uuid.uuid4().hex[:10]}",
            clean_session=False,
            protocol=MQTTProtocolVersion.MQTTv311,
        )
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe(topic, 1)
        self._client.on_subscribe = self._subscribed
        self._client.on_message = lambda _c, _d, m: self.received.append((m.topic, m.payload))

    def _subscribed(self, *_: object) -> None:
        self.subscriptions += 1

    def __enter__(self) -> MqttReader:
        self._client.connect(self._settings.host, self._settings.port)
        self._client.loop_start()
        wait_until(lambda: self.subscriptions > 0, "the subscription", timeout_s=10)
        return self

    def __exit__(
        self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def wait_for(self, count: int, timeout_s: float = 20) -> None:
        wait_until(lambda: len(self.received) >= count, f"{count} messages", timeout_s=timeout_s)
