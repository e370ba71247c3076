"""The embedded MQTT broker: mosquitto, else amqtt; on loopback only."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from stack.servers.processes import Child, check_port_free, port_answers

__all__ = ["find_mosquitto", "launch_mqtt", "start_mqtt"]


def find_mosquitto() -> str | None:
    """Return the mosquitto program, also where Debian hides it from ordinary users' PATH."""
    return shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def start_mqtt(port: int, folder: Path, *, prefer_mosquitto: bool = True) -> Child:
    """Start an MQTT broker with persistent sessions and return it when it answers."""
    child = launch_mqtt(port, folder, prefer_mosquitto=prefer_mosquitto)
    child.wait_ready(lambda: port_answers(port))
    return child


def launch_mqtt(port: int, folder: Path, *, prefer_mosquitto: bool = True) -> Child:
    """Start an MQTT broker with persistent sessions; it may not answer yet."""
    folder.mkdir(parents=True, exist_ok=True)
    check_port_free(port, "the MQTT broker")
    program = find_mosquitto() if prefer_mosquitto else None
    return _launch_mosquitto(program, port, folder) if program else _launch_amqtt(port, folder)


def _launch_mosquitto(program: str, port: int, folder: Path) -> Child:
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\n"
        "allow_anonymous true\n"
        "persistence true\n"
        f"persistence_location {folder}/\n"
        "autosave_interval 5\n"
        # The gateway bounds what is in flight; what it has not acked waits here, unlimited.
        "max_inflight_messages 0\n"
        "max_queued_messages 0\n"
        + (f"user {os.environ.get('USER', 'root')}\n" if os.geteuid() == 0 else "")
    )
    return Child("mosquitto", [program, "-c", config], folder / "mosquitto.log")


def _launch_amqtt(port: int, folder: Path) -> Child:
    config = folder / "amqtt.yaml"
    config.write_text(
        "listeners:\n"
        f"  default: {{type: tcp, bind: '127.0.0.1:{port}', max_connections: 1000}}\n"
        "plugins:\n"
        "  amqtt.plugins.authentication.AnonymousAuthPlugin: {allow_anonymous: true}\n"
    )
    program = Path(sys.executable).with_name("amqtt")
    return Child("amqtt", [program, "-c", config], folder / "amqtt.log")
