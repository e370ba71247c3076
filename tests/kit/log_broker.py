"""Apache Kafka whose log can be put back to what it was before."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from kafka import KafkaAdminClient, TopicPartition

from civicstream.kafka.clients import admin_client
from civicstream.kafka.topic_admin import create_topics
from civicstream.settings import KafkaSettings
from stack.servers.processes import Child, free_port, wait_until
from tests.kit.servers import start_kafka

T = TypeVar("T")


@dataclass
class LogBroker:
    """One broker. A copy is of all its log, or of one partition: as a replica that lacks records
    has it, or a disk after a power cut, while the other topics know what came after.
    """

    folder: Path
    prefix: str = "city"
    port: int = field(default_factory=free_port)
    child: Child | None = None

    @property
    def settings(self) -> KafkaSettings:
        return KafkaSettings(
            bootstrap=f"127.0.0.1:{self.port}",
            topic_prefix=self.prefix,
            partitions=4,
            session_timeout_ms=6000,
        )

    def start(self) -> None:
        self.child = start_kafka(self.port, self.folder / "kafka")

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()

    def kill(self) -> None:
        assert self.child is not None
        self.child.kill()

    def _log(self, place: TopicPartition | None) -> Path:
        if place is None:
            return self.folder / "kafka"
        name = f"{place.topic}-{place.partition}"
        (found,) = (path for path in (self.folder / "kafka").rglob(name) if path.is_dir())
        return found

    def keep_copy(self, place: TopicPartition | None = None) -> None:
        self.stop()
        shutil.copytree(self._log(place), self.folder / "copy")
        self.start()

    def restore_copy(self, place: TopicPartition | None = None) -> None:
        self.stop()
        log = self._log(place)
        shutil.rmtree(log)
        shutil.move(self.folder / "copy", log)
        self.start()

    def admin(self, call: Callable[[KafkaAdminClient], T]) -> T:
        admin = admin_client(self.settings)
        try:
            return call(admin)
        finally:
            admin.close()

    def make_anew(self, topic: str) -> None:
        """Delete a topic, and make it as `init` does."""
        self.admin(lambda admin: admin.delete_topics([topic]))
        gone = lambda admin: topic not in admin.list_topics()  # noqa: E731
        wait_until(lambda: self.admin(gone), "the topic to go", timeout_s=30)
        assert create_topics(self.settings) == [topic]

    def delete_records(self, place: TopicPartition, before: int) -> None:
        self.admin(lambda admin: admin.delete_records({place: before}))
