"""What the gateway is measured beside: paho as its documentation writes it.

``bare``: a callback that only counts, acknowledged by paho as soon as it returns.
``bridge``: the bridge everybody writes first, json.loads and one KafkaProducer.send a message.
Both connect as the gateway does (MQTT 5, persistent session, Receive Maximum, QoS 1), say
``ready`` when subscribed, and ``done`` with the monotonic time after so many messages.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from kafka import KafkaProducer
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

TOPIC = "naive"


def say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


class Bare:
    """Counts messages."""

    def __init__(self, count: int) -> None:
        self._left = count

    def on_message(self, _client: Any, _data: Any, _message: paho.MQTTMessage) -> None:
        self._left -= 1
        if self._left == 0:
            self.finish()

    def finish(self) -> None:
        say(f"done {time.monotonic()}")


class Bridge(Bare):
    """Sends each message on to Kafka, keyed by its area."""

    def __init__(self, count: int, bootstrap: str) -> None:
        super().__init__(count)
        self._producer = KafkaProducer(bootstrap_servers=bootstrap)

    def on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        reading = json.loads(message.payload)
        area, sensor = message.topic.split("/")[-2:]
        reading["sensor"] = sensor
        self._producer.send(TOPIC, json.dumps(reading).encode(), key=area.encode())
        super().on_message(_client, _data, message)

    def finish(self) -> None:
        self._producer.flush()
        super().finish()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("peer", choices=["bare", "bridge"])
    parser.add_argument("--mqtt-port", type=int, required=True)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--messages", type=int, required=True)
    parser.add_argument("--in-flight", type=int, required=True)
    parser.add_argument("--keepalive", type=int, required=True)
    given = parser.parse_args()
    peer = Bare(given.messages)
    if given.peer == "bridge":
        peer = Bridge(given.messages, given.bootstrap)
    client = paho.Client(
        CallbackAPIVersion.VERSION2, client_id=given.peer, protocol=MQTTProtocolVersion.MQTTv5
    )
    client.on_connect = lambda client, *_: client.subscribe("city/v1/#", qos=1)
    client.on_subscribe = lambda *_: say("ready")
    client.on_message = peer.on_message
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 3600
    properties.ReceiveMaximum = given.in_flight
    client.connect(
        "127.0.0.1", given.mqtt_port, given.keepalive, clean_start=False, properties=properties
    )
    client.loop_forever()


if __name__ == "__main__":
    main()
