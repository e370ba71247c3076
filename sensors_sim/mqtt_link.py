"""One MQTT connection that publishes at QoS 1 and forgets nothing until it is acked.

What was sent and not yet acked when the connection breaks is sent again, in order, on the next
one; the broker may then have it twice, which the receiver's deduplication by sensor and time
absorbs, and the truth marks it as resent.
"""

from __future__ import annotations

import logging
import uuid
from typing import Any, Protocol

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from civicstream.errors import ConfigurationError, ServerUnavailable
from civicstream.settings import MqttSettings
from sensors_sim.truth import ACKED, REFUSED, SENT

__all__ = ["Link", "Receipts"]

log = logging.getLogger(__name__)

_WINDOW = 2_000
"""Messages in flight on one connection: enough to never wait for a round trip to a distant
broker at some thousands a second, far below the 65,535 that MQTT can number."""

_BACKOFF_S = (0.2, 5.0)
_CONNACK_WITHIN_S = 10.0
_COMPLAIN_EVERY_S = 5.0
_FAILED = 0x80
"""MQTT 5 reason codes from here on are failures; below, e.g. 0x10 is 'no subscriber'."""

_BAD_CREDENTIALS = {"Bad user name or password", "Not authorized"}


class Receipts(Protocol):
    """Where a link notes what became of messages, by position."""

    state: bytearray
    resent: bytearray

    def settle(self, position: int, state: int) -> None:
        """Record the broker's answer."""
        ...


class Link:
    """One connection; ``keep_alive`` must be called often, it is what (re)connects."""

    def __init__(self, settings: MqttSettings, number: int) -> None:
        self._settings = settings
        self._number = number
        self._id = f"simulator-{uuid.uuid4().hex[:10]}-{number}"
        self._pending: dict[int, tuple[Receipts, int]] = {}
        self._window = _WINDOW
        self._pause_s = _BACKOFF_S[0]
        self._next_try = self._tried_at = 0.0
        self._complained_at = -_COMPLAIN_EVERY_S
        self._problem = "not connected"
        self._greeting_failed = False
        self._ever_connected = False
        self.connected = False
        self.fatal: ConfigurationError | None = None
        """Why trying again is no use."""
        self.acked = 0
        """Messages."""
        old = settings.protocol == "3.1.1"
        self._speak(MQTTProtocolVersion.MQTTv311 if old else MQTTProtocolVersion.MQTTv5)

    def _speak(self, protocol: MQTTProtocolVersion) -> None:
        settings = self._settings
        self._protocol = protocol
        clean = True if protocol == MQTTProtocolVersion.MQTTv311 else None
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, self._id, clean_session=clean, protocol=protocol
        )
        if settings.username is not None:
            secret = settings.password.get_secret_value() if settings.password else None
            client.username_pw_set(settings.username, secret)
        if settings.tls:
            client.tls_set(ca_certs=str(settings.ca_file) if settings.ca_file else None)
        client.max_inflight_messages_set(0)  # ``room`` bounds them
        client.connect_timeout = 3.0
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        # With these set, paho leaves writing to our loop.
        client.on_socket_register_write = lambda *_: None
        client.on_socket_unregister_write = lambda *_: None
        client.connect_async(settings.host, settings.port, settings.keepalive_s)
        self.client = client

    @property
    def _place(self) -> str:
        return f"{self._settings.host}:{self._settings.port}"

    @property
    def pending(self) -> int:
        """Messages published and not yet acked."""
        return len(self._pending)

    @property
    def room(self) -> int:
        """How many messages may be published now."""
        return self._window - len(self._pending) if self.connected else 0

    def publish(self, topic: str, payload: bytes, outgoing: Receipts, position: int) -> None:
        """Publish at QoS 1; only while there is ``room``."""
        info = self.client.publish(topic, payload, 1)
        if info.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
            # Brokers ack in order (MQTT 4.6), so a number comes round again only after its ack.
            raise ServerUnavailable(
                f"the MQTT broker at {self._place} left message {info.mid} unacked while it acked "
                "65,000 later ones"
            )
        self._pending[info.mid] = (outgoing, position)
        outgoing.state[position] = SENT

    def keep_alive(self, now: float) -> None:
        """Connect when it is time to, give up an attempt that takes too long, send pings.

        ``now`` is monotonic [s].
        """
        if self.client.socket() is None:
            if now >= self._next_try:
                self._try_to_connect(now)
        elif not self.connected and now - self._tried_at > _CONNACK_WITHIN_S:
            self._problem = f"no answer within {_CONNACK_WITHIN_S:g} s"
            self.disconnect()
        else:
            self.client.loop_misc()

    def _try_to_connect(self, now: float) -> None:
        if self._greeting_failed:
            self._fall_back()
        self._next_try = now + self._pause_s
        self._pause_s = min(self._pause_s * 2, _BACKOFF_S[1])
        self._tried_at = now
        try:
            self.client.reconnect()
        except OSError as error:
            self._problem = str(error)
            # All wait for the same broker: the first one says so.
            if self._number == 0 and now - self._complained_at >= _COMPLAIN_EVERY_S:
                self._complained_at = now
                log.warning("waiting for the MQTT broker at %s: %s", self._place, self._problem)

    def disconnect(self) -> None:
        self.connected = False
        self.client.disconnect()
        self.client.loop_write()

    def _fall_back(self) -> None:
        """Speak MQTT 3.1.1 after a broker has refused our very first MQTT 5 greeting."""
        self._greeting_failed = False
        if self._settings.protocol == "auto" and self._protocol == MQTTProtocolVersion.MQTTv5:
            log.info("the broker does not take MQTT 5 (%s); trying 3.1.1", self._problem)
            self._speak(MQTTProtocolVersion.MQTTv311)

    def _on_connect(
        self, _client: mqtt.Client, _data: Any, _flags: Any, reason: Any, properties: Any
    ) -> None:
        if reason.is_failure:
            self._refused(str(reason))
            return
        if self._ever_connected:
            log.info("connected again; sending %d unacked messages again", self.pending)
        for outgoing, position in self._pending.values():
            outgoing.resent[position] = 1
        limit = getattr(properties, "ReceiveMaximum", None)
        self._window = min(_WINDOW, limit or _WINDOW)
        self.connected = self._ever_connected = True
        self._pause_s = _BACKOFF_S[0]

    def _refused(self, reason: str) -> None:
        self._problem = reason
        if reason in _BAD_CREDENTIALS:
            self.fatal = ConfigurationError(
                f"the MQTT broker at {self._place} refuses user {self._settings.username!r}: "
                f"{reason}; check mqtt.username and mqtt.password"
            )

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _p: Any) -> None:
        if self.connected:
            log.warning("connection to the MQTT broker at %s lost: %s", self._place, reason)
            self._problem = str(reason)
        elif not self._ever_connected:
            self._greeting_failed = True
        self.connected = False

    def _on_publish(self, _client: Any, _data: Any, mid: int, reason: Any, _p: Any) -> None:
        outgoing, position = self._pending.pop(mid)
        if reason.value >= _FAILED:
            outgoing.settle(position, REFUSED)
            return
        outgoing.settle(position, ACKED)
        self.acked += 1
