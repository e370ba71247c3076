"""What stands behind the operations page in its tests: real servers, feeds, sink and alerts."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
from kafka import KafkaProducer

from civicstream.city import City
from civicstream.clock import now_ms
from civicstream.cloudevents import cloud_headers
from civicstream.events import LedgerReport
from civicstream.geojson import read_city
from civicstream.kafka.clients import producer
from civicstream.kafka.topic_admin import create_topics
from civicstream.settings import ENV_PREFIX, CitySettings, KafkaSettings
from civicstream.topics import topic_name
from sinks.admin.init import init_database
from stack.servers.processes import Child, free_port, wait_until
from tests.kit.privacy_keys import SEALING
from tests.kit.servers import start_kafka
from tests.kit.sink_process import ask
from tests.kit.sink_rows import as_role, settings_for

__all__ = ["PageStack", "page_stack"]


@dataclass
class PageStack:
    """Kafka, PostgreSQL, sink, alerts and feeds, some with a worker.

    Events are put in as the parts do that do not run, and so are their ledger reports.
    """

    kafka: KafkaSettings
    database: str
    city: City
    url: str
    feeds: Child
    sink: Child
    worker: Child | None
    _start_feeds: Callable[..., Child]
    _producer: KafkaProducer

    def publish(self, topic: str, *events: Any) -> None:
        """Put events on a topic and wait until Kafka has them."""
        now = now_ms()
        for number, event in enumerate(events):
            headers = cloud_headers(topic, source="test", event_id=f"{now}/{number}", time_ms=now)
            name = topic_name(self.kafka.topic_prefix, topic)
            area = event.area.encode()
            self._producer.send(name, msgspec.json.encode(event), key=area, headers=headers)
        self._producer.flush(timeout=20)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return ask(self.database, query)

    def wait_for_row(self, query: str, timeout_s: float = 60) -> tuple[Any, ...]:
        """Return the first row as soon as there is one."""
        wait_until(lambda: bool(self.rows(query)), query, timeout_s=timeout_s, every_s=0.2)
        return self.rows(query)[0]

    def stop_feeds(self) -> None:
        self.feeds.kill()

    def start_feeds(self) -> None:
        """Start the feeds again, at the same address."""
        self.feeds = self._start_feeds()
        self.wait_ready()

    def wait_ready(self) -> None:
        self.feeds.wait_ready(lambda: _answers(f"{self.url}/api/v1/city"), 60)

    @contextmanager
    def guarded_feeds(self) -> Iterator[tuple[str, str]]:
        """Another feeds process, which wants tokens: its address, and a token."""
        port = free_port()
        more = {
            f"{ENV_PREFIX}FEEDS__PORT": str(port),
            f"{ENV_PREFIX}FEEDS__ID": "f2",
            f"{ENV_PREFIX}ACCESS__REQUIRED": "true",
        }
        child = self._start_feeds(more)
        url = f"http://127.0.0.1:{port}"
        child.wait_ready(lambda: _answers(url), 60)
        yield url, self._token()
        child.stop()

    def _token(self) -> str:
        known = {k: v for k, v in os.environ.items() if not k.startswith(ENV_PREFIX)}
        made = subprocess.run(
            [*_OURS, "token", "create", "page", "--scope", "read", "--expires", "1h"],
            env=known | {f"{ENV_PREFIX}DATABASE__OWNER_URL": self.database},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return made.stdout.strip()


def _answers(url: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(url, timeout=5, trust_env=False).status_code == 200
    return False


@contextmanager
def reports_of(stages: tuple[str, ...], kafka: KafkaSettings, to: KafkaProducer) -> Iterator[None]:
    """Publish every second that these stages live, until the block ends."""
    ended, epoch = threading.Event(), now_ms()
    topic = topic_name(kafka.topic_prefix, "ledger")

    def publish() -> None:
        while not ended.wait(1.0):
            for stage in stages:
                report = LedgerReport(stage, "test", epoch, now_ms(), {})  # type: ignore[arg-type]
                to.send(topic, msgspec.json.encode(report), key=report.key.encode())

    thread = threading.Thread(target=publish, name="reports")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def page_stack(
    database: str, folder: Path, started: Callable[[int], None], *, worker: bool = False
) -> Iterator[PageStack]:
    """The running stack; ``started`` is told the processes' ids."""
    children: list[Child] = []

    def begin(child: Child) -> Child:
        children.append(child)
        started(child.pid)
        return child

    try:
        kafka_port, port = free_port(), free_port()
        begin(start_kafka(kafka_port, folder / "kafka"))
        kafka = KafkaSettings(
            bootstrap=f"127.0.0.1:{kafka_port}", partitions=4, session_timeout_ms=6000
        )
        create_topics(kafka)
        city_file = folder / "city.geojson"
        making = Child("city", [*_OURS, "city", "--out", str(city_file)], folder / "city.log")
        wait_until(lambda: not making.alive(), "the city's model", timeout_s=60)
        settings = settings_for(database, kafka, CitySettings(file=city_file))
        init_database(settings)
        environment = _environment(kafka, database, city_file, folder, port)

        def run(part: str, role: str, more: dict[str, str] | None = None) -> Child:
            url = {f"{ENV_PREFIX}DATABASE__URL": as_role(database, role).get_secret_value()}
            log = folder / f"{part}-{len(children)}.log"
            return begin(Child(part, [*_OURS, part], log, environment | url | (more or {})))

        sink = run("sink", "civicstream_writer")
        working = run("worker", "civicstream_reader") if worker else None
        run("alerts", "civicstream_reader")
        feeds = run("feeds", "civicstream_reader")
        publisher = producer(kafka)
        stack = PageStack(
            kafka=kafka,
            database=database,
            city=read_city(city_file),
            url=f"http://127.0.0.1:{port}",
            feeds=feeds,
            sink=sink,
            worker=working,
            _start_feeds=partial(run, "feeds", "civicstream_reader"),
            _producer=publisher,
        )
        absent = ("gateway",) if worker else ("gateway", "worker")
        try:
            with reports_of(absent, kafka, publisher):
                stack.wait_ready()
                yield stack
        finally:
            publisher.close(timeout=10)
    finally:
        for child in reversed(children):
            if child.alive():
                child.kill()


_OURS = (sys.executable, "-m", "stack.cli")


def _environment(
    kafka: KafkaSettings, database: str, city_file: Path, folder: Path, port: int
) -> dict[str, str]:
    chosen = {
        "kafka__bootstrap": kafka.bootstrap,
        "kafka__topic_prefix": kafka.topic_prefix,
        "kafka__partitions": kafka.partitions,
        "kafka__session_timeout_ms": kafka.session_timeout_ms,
        "city__file": city_file,
        "feeds__port": port,
        "feeds__id": "f1",
        "sink__id": "sink-1",
        "worker__data_dir": folder / "worker",
        **SEALING,
    }
    environment = {k: v for k, v in os.environ.items() if not k.startswith(ENV_PREFIX)}
    return environment | {f"{ENV_PREFIX}{k.upper()}": str(v) for k, v in chosen.items()}


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Not pytest's folder: another run of pytest closes that to other users at any moment."""
    with tempfile.TemporaryDirectory(prefix="civicstream-page-") as folder:
        yield Path(folder)
