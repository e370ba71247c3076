"""Publishes readings over MQTT faster than any subscriber takes them: QoS 1, one a message."""

from __future__ import annotations

import select
import socket
import struct
import time

import numpy as np

__all__ = ["flood", "payloads"]

_AREAS = 16
_WINDOW = 20_000  # unacknowledged at a time; packet ids repeat only after 65,535
_PIECE = 256 * 1024


def payloads(count: int, *, sensors: int, start_ms: int, seed: int = 1) -> list[tuple[str, bytes]]:
    """Return ``count`` (topic, JSON) of traffic readings from so many sensors, in turn."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 40, count).tolist()
    speeds = rng.normal(70, 12, count).clip(5, 140).round(1).tolist()
    occupancies = rng.uniform(0, 0.6, count).round(3).tolist()
    found = []
    for i in range(count):
        turn, sensor = divmod(i, sensors)
        topic = f"city/v1/traffic/area-{sensor % _AREAS:02d}/detector-{sensor:05d}"
        # one a second from each, so that no two readings of a sensor share a time
        json = (
            f'{{"ts":{start_ms + turn * 1000},"intensity":{counts[i]},'
            f'"averageVehicleSpeed":{speeds[i]},"occupancy":{occupancies[i]},"period":20}}'
        )
        found.append((topic, json.encode()))
    return found


def flood(port: int, messages: list[tuple[str, bytes]], *, timeout_s: float) -> None:
    """Publish all and return when the broker has acknowledged each."""
    packets = [
        _publish(topic.encode(), payload, 1 + i % 65_000)
        for i, (topic, payload) in enumerate(messages)
    ]
    with socket.create_connection(("127.0.0.1", port), timeout=5) as link:
        link.sendall(_connect(b"flood"))
        if link.recv(4)[3:] != b"\0":
            raise ConnectionError("the MQTT broker refuses the bench's publisher")
        link.setblocking(False)
        _exchange(link, packets, time.monotonic() + timeout_s)
        link.setblocking(True)
        link.sendall(b"\xe0\x00")  # DISCONNECT


def _exchange(link: socket.socket, packets: list[bytes], deadline: float) -> None:
    sent, acked_bytes, unsent = 0, 0, bytearray()
    while acked_bytes < 4 * len(packets):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the MQTT broker took {acked_bytes // 4} of {len(packets)}")
        while len(unsent) < _PIECE and sent < len(packets) and sent - acked_bytes // 4 < _WINDOW:
            unsent += packets[sent]
            sent += 1
        readable, writable, _ = select.select([link], [link] if unsent else [], [], 1.0)
        if readable:
            received = link.recv(65536)
            if not received:
                raise ConnectionError("the MQTT broker closed the bench's publisher")
            acked_bytes += len(received)
        if writable:
            del unsent[: link.send(unsent)]


def _connect(client_id: bytes) -> bytes:
    """MQTT 3.1.1 CONNECT, clean session, keepalive 0 (never times out)."""
    body = b"\0\4MQTT\4\2\0\0" + struct.pack("!H", len(client_id)) + client_id
    return b"\x10" + _length(len(body)) + body


def _publish(topic: bytes, payload: bytes, packet_id: int) -> bytes:
    body = struct.pack("!H", len(topic)) + topic + struct.pack("!H", packet_id) + payload
    return b"\x32" + _length(len(body)) + body


def _length(value: int) -> bytes:
    out = bytearray()
    while True:
        value, low = divmod(value, 128)
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)
