"""The way in from MQTT: one connection at a time, driven by the gateway's own loop.

Manual acknowledgement, a persistent session under the gateway's id, Receive Maximum as the
bound on what is in flight. Every connection gets a fresh paho client, so that nothing of a lost
one (packet ids above all) can reach the next.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable, Sequence
from typing import Any

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from civicstream.errors import ConfigurationError
from civicstream.retry import RetryTimer, ThrottledLog
from civicstream.settings import Settings
from ingest.buffered_socket import BufferedSocket

__all__ = ["MqttInput"]

log = logging.getLogger(__name__)

OnMessage = Callable[[str, bytes, int], None]
"""Topic, payload, packet id (0 for QoS 0)."""

V5, V311 = MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311

_PAUSES_S = (0.2, 10.0)
_PAUSE_SPREAD = 0.2
_CONNECT_TIMEOUT_S = 5.0
_CLOSE_TIMEOUT_S = 2.0
_SETTLED_AFTER_S = 5.0  # a connection that lasted this long was good: the next pause is short
_SUSPICIOUS_LOSSES = 3  # so many in a row soon after subscribing: somebody throws us out
_PUBACK = 0x4002  # packet type 4, remaining length 2 (MQTT 5 section 3.4, MQTT 3.1.1 section 3.4)
_REFUSED_FOR_GOOD = {
    "Bad user name or password": "CIVICSTREAM_MQTT__USERNAME and __PASSWORD",
    "Not authorized": "CIVICSTREAM_MQTT__USERNAME and __PASSWORD, and the broker's access list",
    "Banned": "the broker's access list",
    "Client identifier not valid": "CIVICSTREAM_GATEWAY__ID",
    "Bad authentication method": "the broker's authentication",
}


class _Client(paho.Client):
    """paho with two of its steps made cheaper; together they halve the cost of a message.

    ``tests/integration/test_gateway_versions.py`` fails when paho no longer takes these steps.
    """

    deliver: OnMessage

    def _create_socket(self) -> Any:
        return BufferedSocket(super()._create_socket())  # type: ignore[arg-type]

    def _handle_publish(self) -> MQTTErrorCode:
        """Hand a message on without the objects that paho makes of each, its properties above all.

        MQTT 5 section 3.3. The properties are skipped: no rule of ours depends on them.
        """
        packet: bytearray = self._in_packet["packet"]
        qos = self._in_packet["command"] >> 1 & 3
        if qos > 1:  # we subscribe at QoS 1, so no broker should
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        try:
            at = 2 + (packet[0] << 8 | packet[1])
            topic = packet[2:at].decode(errors="replace")
            packet_id = 0
            if qos:
                packet_id = packet[at] << 8 | packet[at + 1]
                at += 2
            if self._protocol == V5:
                at = _past_properties(packet, at)
        except IndexError:
            return MQTTErrorCode.MQTT_ERR_PROTOCOL
        self.deliver(topic, bytes(packet[at:]), packet_id)
        return MQTTErrorCode.MQTT_ERR_SUCCESS


def _past_properties(packet: bytearray, at: int) -> int:
    """Return where the payload begins: properties carry their length (MQTT 5 section 2.2.2.1)."""
    length, shift = 0, 0
    while True:
        byte = packet[at]
        at += 1
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return at + length


class MqttInput:
    """Keeps a connection to the broker and hands its messages on."""

    def __init__(
        self, settings: Settings, on_message: OnMessage, on_lost: Callable[[], None]
    ) -> None:
        self._mqtt, self._gateway = settings.mqtt, settings.gateway
        self._on_message, self._on_lost = on_message, on_lost
        self._client: _Client | None = None
        self._link: BufferedSocket | None = None
        self._protocol = V311 if settings.mqtt.protocol == "3.1.1" else V5
        self._proven = False
        """A broker that once spoke this version is not asked for another."""
        self._ever_connected = False
        self._answered = False
        self._why_lost = ""
        self._started_at = self._pinged_at = 0.0
        self._attempts = RetryTimer(*_PAUSES_S, spread=_PAUSE_SPREAD)
        self._away = ThrottledLog(log)
        self._short_lived = 0
        self.ready = False
        """Connected and subscribed."""

    @property
    def socket(self) -> BufferedSocket | None:
        """What to wait on, None while there is no connection."""
        return self._link

    @property
    def protocol(self) -> str:
        """The MQTT version of this connection, or of the next attempt."""
        return "5" if self._protocol == V5 else "3.1.1"

    @property
    def server(self) -> str:
        return f"{self._mqtt.host}:{self._mqtt.port}"

    def maintain(self, now: float) -> None:
        """Connect when it is time, keep alive, give up on a broker that does not answer."""
        if self._client is None:
            if self._attempts.is_due(now):
                self._connect(now)
            return
        if not self._answered and now - self._started_at > _CONNECT_TIMEOUT_S:
            self._lost("no answer to CONNECT", now)
            return
        self._client.loop_misc()
        self._check(now)

    def _connect(self, now: float) -> None:
        client = self._make_client()
        self._client, self._answered, self.ready = client, False, False
        self._started_at, self._why_lost = now, ""
        options: dict[str, Any] = {}
        if self._protocol == V5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = self._gateway.session_expiry_s
            properties.ReceiveMaximum = self._gateway.max_in_flight
            options = {"clean_start": False, "properties": properties}
        try:
            client.connect(self._mqtt.host, self._mqtt.port, self._mqtt.keepalive_s, **options)
        except (OSError, ValueError) as error:
            self._answered = True  # it was never asked: not a matter of protocol version
            self._lost(str(error), now)
            return
        link = client.socket()
        self._link = link if isinstance(link, BufferedSocket) else None
        self._check(now)

    def _make_client(self) -> _Client:
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._gateway.id,
            protocol=self._protocol,
            manual_ack=True,
            reconnect_on_failure=False,
            # MQTT 5 says this with the connection instead (clean_start, session expiry)
            clean_session=None if self._protocol == V5 else False,
        )
        client.connect_timeout = _CONNECT_TIMEOUT_S
        if self._mqtt.username is not None:
            secret = self._mqtt.password
            password = secret.get_secret_value() if secret is not None else None
            client.username_pw_set(self._mqtt.username, password)
        if self._mqtt.tls:
            client.tls_set(ca_certs=str(self._mqtt.ca_file) if self._mqtt.ca_file else None)
        client.on_connect = self._connected
        client.on_subscribe = self._subscribed
        client.on_disconnect = self._disconnected
        client.deliver = self._on_message
        return client

    def _connected(
        self, client: paho.Client, _data: object, flags: Any, reason: ReasonCode, _more: object
    ) -> None:
        name = reason.getName()
        if reason.is_failure:
            self._why_lost = f"refused: {name}"
            if name == "Unsupported protocol version":
                return  # `_lost` tries the other one
            self._answered = True
            if name in _REFUSED_FOR_GOOD and not self._ever_connected:
                raise ConfigurationError(
                    f"MQTT broker {self.server} refuses gateway {self._gateway.id!r}: {name}; "
                    f"check {_REFUSED_FOR_GOOD[name]}"
                )
            return
        self._answered = self._proven = self._ever_connected = True
        self._away = ThrottledLog(log)
        log.info(
            "connected to MQTT broker %s, MQTT %s, %s session",
            self.server,
            self.protocol,
            "earlier" if flags.session_present else "new",
        )
        tree = f"{self._mqtt.root}/#"
        if self._gateway.shared_group:
            tree = f"$share/{self._gateway.shared_group}/{tree}"
        # Also with a session: a broker restarted without its store has none of our subscriptions.
        if self._protocol == V5:
            client.subscribe(tree, options=SubscribeOptions(qos=1, retainHandling=1))
        else:
            client.subscribe(tree, qos=1)

    def _subscribed(
        self, _client: paho.Client, _data: object, _id: int, reasons: list[Any], _more: object
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            raise ConfigurationError(
                f"MQTT broker {self.server} refuses the subscription to {self._mqtt.root}/# "
                f"({reasons[0]}); check the broker's access list"
                + (" and that it has shared subscriptions" if self._gateway.shared_group else "")
            )
        if reasons[0].value == 0:
            log.warning(
                "MQTT broker %s grants only QoS 0: what it loses, nobody can count", self.server
            )
        self.ready = True

    def _disconnected(
        self, _client: paho.Client, _data: object, _flags: Any, reason: ReasonCode, _more: object
    ) -> None:
        name = reason.getName()
        self._why_lost = self._why_lost or ("" if name == "Unspecified error" else name)

    def read(self, max_packets: int, now: float) -> None:
        """Take in what has arrived, at most so many packets."""
        client, link = self._client, self._link
        if client is None or link is None:
            return
        for _ in range(max_packets):
            if client.loop_read() != MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._lost(self._why_lost or "connection lost", now)
                return
            if not link.pending():
                break
        self._check(now)

    def ack(self, packet_ids: Sequence[int]) -> None:
        """Acknowledge messages of the present connection, in this order."""
        if self._link is not None and packet_ids:
            words = [word for packet_id in packet_ids for word in (_PUBACK, packet_id)]
            self._link.send(struct.pack(f"!{len(words)}H", *words))

    def keep_alive_unread(self, now: float) -> None:
        """Stay connected while nothing is read: tell the broker, and do not expect answers."""
        if self._client is not None and now - self._pinged_at > self._mqtt.keepalive_s / 2:
            self._pinged_at = now
            self._client._send_pingreq()
            self._check(now)

    def flush(self) -> bool:
        """Send what is to be sent; return False when the socket takes no more now."""
        if self._client is None or self._link is None:
            return True
        if self._client.want_write():
            self._client.loop_write()
        try:
            return self._link.flush()
        except OSError as error:
            self._why_lost = self._why_lost or str(error)
            return True  # the next read finds the same and handles it

    def _check(self, now: float) -> None:
        """Notice that paho has closed the connection."""
        if self._client is not None and self._client.socket() is None:
            self._lost(self._why_lost or "connection lost", now)

    def _lost(self, why: str, now: float) -> None:
        if self.ready and now - self._started_at < _SETTLED_AFTER_S:
            self._short_lived += 1
        elif self.ready:
            self._short_lived = 0
        if self._short_lived >= _SUSPICIOUS_LOSSES or "taken over" in why:
            why += f" (does another client use the id {self._gateway.id!r}?)"
        client, self._client, self._link, self.ready = self._client, None, None, False
        if client is not None:
            client.on_disconnect = None
            _drop(client)
        unspoken = not self._answered and (not self._proven or "Unsupported protocol" in why)
        if unspoken and self._mqtt.protocol == "auto":
            self._protocol = V311 if self._protocol == V5 else V5
        if now - self._started_at > _SETTLED_AFTER_S:
            self._attempts.succeeded()
        self._away.warning(why, "MQTT broker %s: %s; it is tried again", self.server, why)
        self._attempts.failed(now)
        self._on_lost()

    def close(self) -> None:
        """End the connection in order; the session stays at the broker."""
        client, link = self._client, self._link
        if client is not None and link is not None:
            link.settimeout(_CLOSE_TIMEOUT_S)
            client.disconnect()
            self.flush()
        if client is not None:
            _drop(client)
        self._client = self._link = None


def _drop(client: _Client) -> None:
    """Close without a word: paho has no call for that."""
    link = client.socket()
    if link is not None:
        client._sock_close()
