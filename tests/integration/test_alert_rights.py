"""The access list of deploy/mosquitto: only `deliver` publishes alerts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from stack.servers.brokers import find_mosquitto
from stack.servers.processes import Child, free_port, port_answers, wait_until

ACL = Path(__file__).parents[2] / "deploy" / "mosquitto" / "acl"


def _publish(port: int, user: str, *topics: str) -> None:
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311)
    client.username_pw_set(user, user)
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        for topic in topics:
            client.publish(topic, user, qos=1).wait_for_publish(10)
    finally:
        client.disconnect()
        client.loop_stop()


def test_only_deliver_publishes_alerts(tmp_path: Path) -> None:
    program = find_mosquitto()
    if program is None:
        pytest.skip("mosquitto is not installed; run tests/servers.sh")
    users = ("gateway", "field", "deliver", "tow-3")
    passwords = tmp_path / "passwords"
    passwords.write_text("".join(f"{user}:{user}\n" for user in users))
    subprocess.run(["mosquitto_passwd", "-U", passwords], check=True)
    port = free_port()
    config = tmp_path / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\n"
        f"acl_file {ACL}\nuser root\n"
    )
    child = Child("mosquitto", [program, "-c", config], tmp_path / "mosquitto.log")
    try:
        child.wait_ready(lambda: port_answers(port))
        got: list[tuple[str, bytes]] = []
        ready: list[object] = []
        reader = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311)
        reader.username_pw_set("gateway", "gateway")
        reader.on_connect = lambda c, *_: c.subscribe("city/v1/#", 1)
        reader.on_subscribe = lambda *a: ready.append(a)
        reader.on_message = lambda _c, _d, m: got.append((m.topic, bytes(m.payload)))
        reader.connect("127.0.0.1", port)
        reader.loop_start()
        try:
            wait_until(lambda: bool(ready), "the subscription", timeout_s=10)
            _publish(port, "tow-3", "city/v1/alert/north/tow-3", "city/v1/unit/north/tow-3")
            _publish(port, "field", "city/v1/alert/north/l1", "city/v1/air/north/a1")
            _publish(port, "deliver", "city/v1/air/north/a2", "city/v1/alert/north/l2")
            wait_until(lambda: len(got) >= 3, "what may be published", timeout_s=10)
        finally:
            reader.disconnect()
            reader.loop_stop()
        assert got == [
            ("city/v1/unit/north/tow-3", b"tow-3"),
            ("city/v1/air/north/a1", b"field"),
            ("city/v1/alert/north/l2", b"deliver"),
        ]
    finally:
        child.stop()
