"""Run a real feeds process on real servers, as the reader role, and read what it published."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
from kafka import TopicPartition

from civicstream.kafka.clients import consumer
from civicstream.service_events import Case, PersonalRecord, Report
from civicstream.settings import ENV_PREFIX, KafkaSettings
from civicstream.topics import topic_name
from feeds.api_keys import key_digest
from stack.servers.processes import Child, free_port, wait_until
from tests.kit.privacy_keys import SEALING
from tests.kit.sink_rows import Loader, as_role

API_KEY = "an-api-key-for-tests"


class Front:
    """A running feeds process."""

    def __init__(self, child: Child, port: int) -> None:
        self.child = child
        self.url = f"http://127.0.0.1:{port}/open311/v2"

    def get(self, path: str, **query: str) -> httpx.Response:
        return httpx.get(f"{self.url}/{path}", params=query, timeout=30, trust_env=False)

    def post(self, form: dict[str, Any], suffix: str = "json", **headers: str) -> httpx.Response:
        return httpx.post(
            f"{self.url}/requests.{suffix}",
            data=form,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
            timeout=30,
            trust_env=False,
        )


@contextmanager
def feeds(
    kafka: KafkaSettings, database_url: str, folder: Path, **settings: Any
) -> Iterator[Front]:
    """A feeds process that answers; ``database_url`` is the superuser's.

    ``settings`` as in ``feeds__id='f1'``, None: not set.
    """
    port = free_port()
    reader_url = as_role(database_url, "civicstream_reader").get_secret_value()
    chosen = {
        "kafka__bootstrap": kafka.bootstrap,
        "kafka__topic_prefix": kafka.topic_prefix,
        "kafka__partitions": kafka.partitions,
        "feeds__port": port,
        "feeds__id": "f1",
        "feeds__database_url": reader_url,
        "feeds__api_keys": f"test-app:{key_digest(API_KEY)}",
        **SEALING,
    } | settings
    environment = {k: v for k, v in os.environ.items() if not k.startswith(ENV_PREFIX)}
    environment |= {f"{ENV_PREFIX}{k.upper()}": str(v) for k, v in chosen.items() if v is not None}
    command = [sys.executable, "-m", "stack.cli", "feeds"]
    child = Child("feeds", command, folder / "feeds.log", environment)
    front = Front(child, port)

    def answers() -> bool:
        try:
            return front.get("services.json").status_code == 200
        except httpx.TransportError:
            return False

    try:
        child.wait_ready(answers, 60)
        yield front
    finally:
        child.stop()


class Published:
    """What lies on the topics of reports."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._topics = {
            name: TopicPartition(topic_name(kafka.topic_prefix, name), 0)
            for name in ("reports", "private", "units", "actions", "crew_actions")
        }
        self.raw: dict[str, list[Any]] = {name: [] for name in self._topics}
        self._consumer = consumer(kafka, group_id=None)
        self._consumer.assign(list(self._topics.values()))
        self._consumer.seek_to_beginning()

    def close(self) -> None:
        self._consumer.close()

    def refresh(self, wait_ms: int = 200) -> None:
        names = {partition.topic: name for name, partition in self._topics.items()}
        for at, records in self._consumer.poll(timeout_ms=wait_ms).items():
            self.raw[names[at.topic]] += records

    def wait_for(self, timeout_s: float = 30, **counts: int) -> None:
        """Return when each of the topics has at least so many records."""

        def arrived() -> bool:
            self.refresh()
            return all(len(self.raw[name]) >= count for name, count in counts.items())

        wait_until(arrived, f"{counts} on Kafka", timeout_s=timeout_s)

    @property
    def reports(self) -> list[Report]:
        return [msgspec.json.decode(r.value, type=Report) for r in self.raw["reports"]]

    @property
    def personal(self) -> list[PersonalRecord]:
        return [msgspec.json.decode(r.value, type=PersonalRecord) for r in self.raw["private"]]


def store(loader: Loader, *events: Report | Case) -> None:
    """Put reports and cases into the database as the sink does."""
    topics = {Report: "city.reports", Case: "city.cases"}
    loader.write(
        *(loader.record(topics[type(event)], msgspec.json.encode(event), []) for event in events)
    )
    assert not loader.dead_letters, loader.dead_letters
