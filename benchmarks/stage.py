"""The servers and processes a bench runs against, all in a temporary folder of its own."""

from __future__ import annotations

import os
import signal
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from kafka import TopicPartition

from civicstream.errors import ServerUnavailable
from civicstream.events import LedgerReport
from civicstream.kafka.clients import consumer
from civicstream.kafka.topic_admin import create_topics
from civicstream.settings import ENV_PREFIX, KafkaSettings
from civicstream.topics import topic_name
from stack.servers.kafka_broker import BrokerOptions, start_broker
from stack.servers.processes import Child, free_port

__all__ = ["LedgerWatch", "check_alive", "embedded_kafka", "environment", "running"]

_SESSION_TIMEOUT_MS = 6_000


@contextmanager
def embedded_kafka(folder: Path, *, partitions: int = 8) -> Iterator[KafkaSettings]:
    """Run a broker of the bench's own with all topics; everything in it is gone afterwards."""
    port = free_port()
    broker = start_broker(BrokerOptions(port, folder))
    try:
        kafka = KafkaSettings(
            bootstrap=f"127.0.0.1:{port}",
            partitions=partitions,
            session_timeout_ms=_SESSION_TIMEOUT_MS,
        )
        create_topics(kafka)
        yield kafka
    finally:
        broker.stop()


def environment(**settings: object) -> dict[str, str]:
    """Return this process's environment with only ``settings`` (``kafka__bootstrap=…``) set."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(ENV_PREFIX)}
    return inherited | {f"{ENV_PREFIX}{k.upper()}": str(v) for k, v in settings.items()}


@contextmanager
def running(
    name: str,
    arguments: list[str],
    folder: Path,
    environment: dict[str, str] | None = None,
    *,
    orphan_signal: int = signal.SIGKILL,
) -> Iterator[Child]:
    """Run ``python -m`` with ``arguments``; it is stopped at the end however that comes.

    If this process is killed, it gets ``orphan_signal``: an orderly end would wait for servers
    that end too.
    """
    child = Child(
        name,
        [sys.executable, "-m", *arguments],
        folder / f"{name}.log",
        environment,
        orphan_signal=orphan_signal,
    )
    try:
        yield child
    finally:
        child.stop()


class LedgerWatch:
    """Reads the ledger topic from where it is opened; no group, so nobody notices."""

    def __init__(self, kafka: KafkaSettings) -> None:
        partition = TopicPartition(topic_name(kafka.topic_prefix, "ledger"), 0)
        self._consumer = consumer(kafka, group_id=None)
        self._consumer.assign([partition])
        self._consumer.seek_to_beginning(partition)
        self._waiting: deque[LedgerReport] = deque()

    def __enter__(self) -> LedgerWatch:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def reports(self, wait_ms: int = 100) -> list[LedgerReport]:
        """Return the reports that have come since the last call, oldest first."""
        if self._waiting:
            found = list(self._waiting)
            self._waiting.clear()
            return found
        return [
            msgspec.json.decode(record.value, type=LedgerReport)
            for batch in self._consumer.poll(timeout_ms=wait_ms).values()
            for record in batch
        ]

    def next_report(self, wait_ms: int = 100) -> LedgerReport | None:
        """Return the next report, or None when none comes within ``wait_ms``."""
        self._waiting.extend(self.reports(wait_ms))
        return self._waiting.popleft() if self._waiting else None


def check_alive(child: Child) -> None:
    """Raise ServerUnavailable with the child's last words when it has ended."""
    if not child.alive():
        raise ServerUnavailable(
            f"{child.name} ended with code {child.returncode}:\n{child.last_words()}"
        )
