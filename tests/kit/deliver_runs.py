"""Run a real `civicstream deliver`, publish alerts, and receive what it sends."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
from kafka import TopicPartition

from civicstream.clock import now_ms
from civicstream.events import Alert, DeadLetter, LedgerReport
from civicstream.kafka.clients import consumer, producer
from civicstream.kafka.topic_admin import create_topics
from civicstream.settings import ENV_PREFIX, KafkaSettings
from civicstream.topics import topic_name
from stack.servers.processes import Child, wait_until
from tests.kit.sink_events import alert

WEBHOOK_SECRET = "a webhook's secret of many bytes"


@dataclass
class Request:
    """One POST as it came."""

    path: str
    headers: dict[str, str]
    body: bytes
    at_ms: int


@dataclass
class WebServer:
    """A web server that keeps what is posted; ``answer`` says with which status, per request."""

    answer: Callable[[Request], tuple[int, dict[str, str]]] = lambda _: (200, {})
    requests: list[Request] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def alerts(self) -> list[tuple[str, int]]:
        """Return id and version of every alert posted so far."""
        return [
            (a["id"], a.get("version", 0))
            for a in (msgspec.json.decode(r.body)["alert"] for r in list(self.requests))
        ]


@contextmanager
def web_server(
    answer: Callable[[Request], tuple[int, dict[str, str]]] | None = None,
) -> Iterator[WebServer]:
    """A running server on a free port."""
    kept = WebServer(answer) if answer else WebServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers.get("content-length", 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.path, headers, self.rfile.read(size), now_ms())
            if len(request.body) < size:
                return  # the sender was killed while it sent
            status, more = kept.answer(request)
            kept.requests.append(request)
            self.send_response(status)
            for name, value in {**more, "Content-Length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield kept
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def webhook(name: str, url: str, **more: Any) -> dict[str, Any]:
    """Return the declaration of a webhook, its secret in the environment."""
    return {
        "name": name,
        "type": "webhook",
        "url": url,
        "secret": {"env": "WEBHOOK_SECRET"},
        **more,
    }


@contextmanager
def delivering(
    kafka: KafkaSettings,
    folder: Path,
    receivers: list[dict[str, Any]],
    *,
    tables: dict[str, Any] | None = None,
    wait_ready: bool = True,
    **settings: Any,
) -> Iterator[Child]:
    """A deliver process; returns once every receiver has its place in the log."""
    child = start_deliver(kafka, folder, receivers, tables=tables, **settings)
    try:
        if wait_ready:
            names = [r["name"] for r in receivers]
            names += [name for name in tables or {} if name == "citizens"]
            wait_ready_receivers(kafka, child, names)
        yield child
    finally:
        child.stop()


def start_deliver(
    kafka: KafkaSettings,
    folder: Path,
    receivers: list[dict[str, Any]],
    *,
    tables: dict[str, Any] | None = None,
    **settings: Any,
) -> Child:
    """Write the receivers' file and start `civicstream deliver`; topics are made."""
    create_topics(kafka)
    file = folder / "receivers.toml"
    declared = {"receiver": receivers} | (tables or {})
    file.write_text("".join(f"{name} = {_toml(value)}\n" for name, value in declared.items()))
    chosen = {
        "kafka__bootstrap": kafka.bootstrap,
        "kafka__topic_prefix": kafka.topic_prefix,
        "kafka__partitions": kafka.partitions,
        "kafka__session_timeout_ms": 2_000,
        "deliver__id": "d1",
        "deliver__receivers_file": file,
    } | settings
    environment = {k: v for k, v in os.environ.items() if not k.startswith(ENV_PREFIX)}
    environment |= {f"{ENV_PREFIX}{k.upper()}": str(v) for k, v in chosen.items()}
    environment["WEBHOOK_SECRET"] = WEBHOOK_SECRET
    command = [sys.executable, "-m", "stack.cli", "deliver"]
    return Child("deliver", command, folder / "deliver.log", environment)


def _toml(value: Any) -> str:
    """Return a value as TOML writes it inline; what is no table is written as JSON is."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value)


def wait_ready_receivers(kafka: KafkaSettings, child: Child, names: list[str]) -> None:
    """Return when the process reports that all have their place in the log."""
    started = now_ms()
    place = TopicPartition(topic_name(kafka.topic_prefix, "ledger"), 0)
    reader = consumer(kafka, group_id=None)
    latest: list[LedgerReport] = []

    def ready() -> bool:
        if not child.alive():
            raise AssertionError(child.last_words())
        for record in reader.poll(timeout_ms=200).get(place, ()):
            report = msgspec.json.decode(record.value, type=LedgerReport)
            if report.stage == "deliver" and report.at >= started:
                latest.append(report)
        return bool(latest) and all(latest[-1].gauges.get(f"{n}.ready") for n in names)

    try:
        reader.assign([place])
        reader.seek_to_beginning(place)
        wait_until(ready, "receivers", timeout_s=60)
    finally:
        reader.close()


def read_topic(kafka: KafkaSettings, name: str, of: type[Any], partitions: int = 1) -> list[Any]:
    """Return what lies on a topic, decoded."""
    places = [TopicPartition(topic_name(kafka.topic_prefix, name), p) for p in range(partitions)]
    reader = consumer(kafka, group_id=None)
    found: list[Any] = []
    try:
        reader.assign(places)
        reader.seek_to_beginning(*places)
        ends: dict[TopicPartition, int] = {}
        while len(ends) < len(places):
            for records in reader.poll(timeout_ms=100).values():
                found += [msgspec.json.decode(r.value, type=of) for r in records]
            for place in places:
                end = reader.highwater(place)
                if end is not None and reader.position(place) >= end:
                    ends[place] = end
    finally:
        reader.close()
    return found


def ledger_reports(kafka: KafkaSettings) -> list[LedgerReport]:
    return [r for r in read_topic(kafka, "ledger", LedgerReport) if r.stage == "deliver"]


def dead_letters(kafka: KafkaSettings) -> list[DeadLetter]:
    return read_topic(kafka, "deadletter", DeadLetter, kafka.partitions)


def send_alerts(kafka: KafkaSettings, *alerts: Alert) -> None:
    """Publish versions of alerts and return when Kafka has them."""
    with alert_sender(kafka) as send:
        for one in alerts:
            send(one)


@contextmanager
def alert_sender(kafka: KafkaSettings, topic: str = "alerts") -> Iterator[Callable[[Any], None]]:
    sender = producer(kafka)
    name = topic_name(kafka.topic_prefix, topic)

    def send(event: Any) -> None:
        value = msgspec.json.encode(event)
        sender.send(name, key=event.area.encode(), value=value).get(10)

    try:
        yield send
    finally:
        sender.close(timeout=5)


def life_of(name: str, **changes: Any) -> list[Alert]:
    """Return the three versions of an alert: raised, acknowledged, cleared."""
    now = now_ms()
    times = {"started_at": now - 60_000, "computed_at": now}
    first = alert(id=name, updated_at=now, **times, **changes)
    known = {"acknowledged_at": now + 1, "acknowledged_by": "operator-3"}
    return [
        first,
        msgspec.structs.replace(
            first, version=2, change="acknowledged", updated_at=now + 1, **known
        ),
        msgspec.structs.replace(
            first,
            version=3,
            change="cleared",
            state="cleared",
            updated_at=now + 2,
            cleared_at=now + 2,
            **known,
        ),
    ]
