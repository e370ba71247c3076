"""Run a real feeds process on a real Kafka and PostgreSQL, and read what it published."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg
from kafka import TopicPartition

from civicstream.embedded.processes import Child, free_port, wait_until
from civicstream.kafka_clients import consumer
from civicstream.service_events import PersonalRecord, Report
from civicstream.settings import ENV_PREFIX, KafkaSettings
from civicstream.topics import topic_name
from feeds.api_keys import key_digest

API_KEY = "an-api-key-for-tests"
PRIVACY_KEY = "a privacy key for tests, long enough".replace(",", "")

# What `feeds` reads of the operational tables; the sink's migrations make the real ones.
TABLES = """
CREATE TABLE IF NOT EXISTS reports (
    id text PRIMARY KEY, area text NOT NULL, service text NOT NULL,
    lon double precision NOT NULL, lat double precision NOT NULL, description text NOT NULL,
    reported_at timestamptz NOT NULL, received_at timestamptz NOT NULL, channel text NOT NULL,
    reporter text NOT NULL, reference text NOT NULL, address text, media_url text,
    attributes jsonb NOT NULL DEFAULT '{}', case_id text);
CREATE TABLE IF NOT EXISTS cases_current (
    id text PRIMARY KEY, version integer, state text, service text, agency text,
    priority integer, lon double precision, lat double precision, description text,
    reports integer, opened_at timestamptz, updated_at timestamptz, due_at timestamptz, note text);
"""


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
    """A feeds process that answers; ``settings`` as in ``feeds__id='f1'``, None: not set."""
    port = free_port()
    chosen = {
        "kafka__bootstrap": kafka.bootstrap,
        "kafka__partitions": kafka.partitions,
        "feeds__port": port,
        "feeds__id": "f1",
        "feeds__database_url": database_url,
        "feeds__api_keys": f"test-app:{key_digest(API_KEY)}",
        "privacy__key": PRIVACY_KEY,
    } | settings
    environment = {k: v for k, v in os.environ.items() if not k.startswith(ENV_PREFIX)}
    environment |= {f"{ENV_PREFIX}{k.upper()}": str(v) for k, v in chosen.items() if v is not None}
    command = [sys.executable, "-m", "civicstream.cli", "feeds"]
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
            for name in ("reports", "private", "units", "actions")
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


def store(database_url: str, report: Report, case_id: str | None = None) -> None:
    """Put a report where the sink would."""
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO reports VALUES (%s, %s, %s, %s, %s, %s, to_timestamp(%s / 1000.0), "
            "to_timestamp(%s / 1000.0), %s, %s, %s, %s, %s, %s, %s)",
            (
                *(report.id, report.area, report.service, report.lon, report.lat),
                *(report.description, report.reported_at, report.received_at, report.channel),
                *(report.reporter, report.reference, report.address, report.media_url),
                *(json.dumps(report.attributes), case_id),
            ),
        )


def store_case(
    database_url: str, case_id: str, state: str, updated_at: datetime, note: str = ""
) -> None:
    """Put the newest version of a case where the sink's view would show it."""
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO cases_current (id, version, state, agency, note, updated_at, due_at) "
            "VALUES (%s, 1, %s, 'Public Works', %s, %s, %s)",
            (case_id, state, note, updated_at, updated_at),
        )
