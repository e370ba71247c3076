"""Real clients of the live feed for tests; each keeps a mirror of the state."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import msgspec
from kafka import KafkaProducer

from civicstream.kafka.clients import producer
from civicstream.settings import KafkaSettings
from civicstream.topics import topic_name
from tests.kit.live_mirror import Mirror

__all__ = ["Publisher", "SseClient", "following", "publishing", "raw_request", "reading"]

_PATIENCE_S = 60.0


class SseClient:
    """Reads the lines of an open stream of server-sent events; applies each to its mirror."""

    def __init__(self, lines: Iterator[str], answer: httpx.Response | None = None) -> None:
        self._answer = answer
        self.mirror = Mirror()
        self.last_id = ""
        self.data: list[dict[str, Any]] = []
        self._lines = lines

    @property
    def answer(self) -> httpx.Response:
        assert self._answer is not None
        return self._answer

    def next(self) -> str:
        """Wait for the next event and return its name; "" when the stream has ended."""
        fields: dict[str, str] = {}
        for line in self._lines:
            name, _, value = line.partition(": ")
            if line:
                fields[name] = value
            elif "event" in fields:
                break
            else:
                fields.clear()
        else:
            return ""
        self.last_id = fields["id"]
        self.data.append(json.loads(fields["data"]))
        self.mirror.apply(fields["event"], self.data[-1])
        return fields["event"]

    def until(self, holds: Callable[[Mirror], bool]) -> None:
        """Read on until ``holds``; heartbeats keep this from waiting for ever."""
        deadline = time.monotonic() + _PATIENCE_S
        while not holds(self.mirror):
            assert time.monotonic() < deadline, f"not within {_PATIENCE_S:g} s: {self.mirror.state}"
            assert self.next(), f"the stream has ended: {self.mirror.state}"

    def has(self, topic: str, identity: str, **fields: Any) -> None:
        """Read on until the item is there with these fields."""

        def there(mirror: Mirror) -> bool:
            item = mirror.state.get(topic, {}).get(identity)
            return item is not None and all(item[k] == v for k, v in fields.items())

        self.until(there)


@contextmanager
def following(
    url: str, *, last_id: str = "", gzip: bool = False, **query: str
) -> Iterator[SseClient]:
    """Open the feed of the process at ``url`` (its root)."""
    headers = {"accept-encoding": "gzip" if gzip else "identity"}
    if last_id:
        headers["last-event-id"] = last_id
    timeout = httpx.Timeout(_PATIENCE_S)
    with (
        httpx.Client(timeout=timeout, trust_env=False, headers=headers) as client,
        client.stream("GET", f"{url}/api/v1/live", params=query) as answer,
    ):
        assert answer.status_code == 200, answer.read()
        yield SseClient(answer.iter_lines(), answer)


def raw_request(url: str, *, receive_buffer: int, **query: str) -> socket.socket:
    """Send the request and leave the answer unread, with a small buffer of our own."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    link = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    link.settimeout(_PATIENCE_S)
    link.connect((parts.hostname, parts.port))
    path = f"/api/v1/live?{urlencode(query)}"
    link.sendall(f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
    return link


def reading(link: socket.socket) -> SseClient:
    """Begin to read what ``raw_request`` has asked for."""
    answer = HTTPResponse(link)
    answer.begin()
    return SseClient(line.decode().rstrip("\n") for line in answer)


class Publisher:
    """Puts events on Kafka as the parts do, without their CloudEvents headers."""

    def __init__(self, kafka: KafkaSettings, client: KafkaProducer) -> None:
        self._prefix = kafka.topic_prefix
        self._producer = client

    def send(self, topic: str, *events: msgspec.Struct, wait: bool = True) -> None:
        """``wait`` False: do not wait until Kafka has them."""
        sent = [
            self._producer.send(
                topic_name(self._prefix, topic),
                msgspec.json.encode(event),
                key=getattr(event, "area", "x").encode(),
            )
            for event in events
        ]
        for one in sent if wait else ():
            one.get(_PATIENCE_S)


@contextmanager
def publishing(kafka: KafkaSettings) -> Iterator[Publisher]:
    client = producer(kafka, metrics_enabled=False)
    try:
        yield Publisher(kafka, client)
    finally:
        client.close()
        client._sender.join(10)
