"""Every part that reads Kafka and remembers how far, behind one face: fed, and asked for gaps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import msgspec
from kafka import TopicPartition

from civicstream import frames
from civicstream.clock import now_ms
from civicstream.events import EnvironmentResult, FrameGap
from civicstream.frames import FrameHeaders
from civicstream.kafka.clients import producer
from civicstream.partitioning import partition_of
from civicstream.settings import KafkaSettings
from civicstream.topics import frames_topic, topic_name
from sinks.admin.init import init_database
from stack.servers.processes import Child
from tests.kit.alert_runs import Results, published, start_alerts, wait_at_work
from tests.kit.deliver_runs import WebServer, delivering, life_of, send_alerts, webhook
from tests.kit.frame_making import make_frame
from tests.kit.sink_process import ask, received, sink_running
from tests.kit.sink_rows import settings_for
from tests.kit.worker_runs import (
    WINDOW_MS,
    read_topic,
    small_city,
    start_worker,
    wait_for_report,
    worker_environment,
)

Gap = tuple[str, int, int]
"""Reason, first offset, how many records as far as that is known."""

_BACK_MS = 3_600_000
_STEP_MS = 10_000
"""Of the time of two readings: a window of its own for each, closed by the next."""


class LogReader(Protocol):
    """A part, and the one partition that the test looks at; a record of it is an event."""

    place: TopicPartition

    def running(self) -> AbstractContextManager[Child]:
        """Return the part's process, once it reads."""

    def send(self, count: int) -> None:
        """Put so many records on the partition."""

    def seen(self) -> int:
        """Return how many of the events have come out of the part."""

    def gaps(self) -> list[Gap]:
        """Return those recorded of the partition."""


class _Frames:
    """Frames of one noise reading each, for worker and sink."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._sent = 0
        self._begin = now_ms() // _STEP_MS * _STEP_MS - _BACK_MS
        self.place = TopicPartition(
            topic_name(kafka.topic_prefix, frames_topic("noise")),
            partition_of("north", kafka.partitions),
        )

    def send(self, count: int) -> None:
        sender = producer(self._kafka)
        for _ in range(count):
            ts = self._begin + self._sent * _STEP_MS
            headers = FrameHeaders("test", 1, self._sent, 1, now_ms()).to_kafka()
            self._sent += 1
            value = frames.encode(make_frame("noise", [("north", "s", ts, {"LAeq": 50.0})]))
            at = self.place
            sender.send(at.topic, value, partition=at.partition, headers=headers).get(30)
        sender.close()


class SinkReads(_Frames):
    """What it has seen is in the database."""

    def __init__(self, kafka: KafkaSettings, folder: Path, database: str) -> None:
        super().__init__(kafka)
        self._settings, self._folder, self._database = (
            settings_for(database, kafka),
            folder,
            database,
        )
        init_database(self._settings)

    def running(self) -> AbstractContextManager[Child]:
        return sink_running(self._settings, self._folder)

    def seen(self) -> int:
        return received(self._database)

    def gaps(self) -> list[Gap]:
        return [
            (reason, first, missing)
            for reason, first, missing in ask(
                self._database,
                "SELECT reason, first_offset, coalesce(next_offset - first_offset, 0) "
                f"FROM kafka_gaps WHERE topic = '{self.place.topic}' "
                f"AND partition = {self.place.partition} ORDER BY at",
            )
        ]


def _recorded(kafka: KafkaSettings, place: TopicPartition) -> list[Gap]:
    found = [msgspec.json.decode(r.value, type=FrameGap) for r in read_topic(kafka, "gaps")]
    here = (place.topic, place.partition)
    return [(g.gateway, g.first, g.missing) for g in found if (g.topic, g.partition) == here]


class WorkerReads(_Frames):
    """What it has seen are final windows, and readings that are published as late."""

    def __init__(self, kafka: KafkaSettings, folder: Path, _database: str) -> None:
        super().__init__(kafka)
        self._folder = folder

    @contextmanager
    def running(self) -> Iterator[Child]:
        began = now_ms()
        environment = worker_environment(self._kafka, self._folder, small_city())
        child = start_worker(environment, self._folder, "worker")
        try:
            wait_for_report(self._kafka, "worker", began)
            yield child
        finally:
            child.stop()

    def seen(self) -> int:
        results = [
            msgspec.json.decode(r.value, type=EnvironmentResult)
            for r in read_topic(self._kafka, "results.environment")
        ]
        windows = {r.window_start for r in results if r.status == "final"}
        # What went before records that were read first comes after its window was closed.
        for record in read_topic(self._kafka, "late"):
            late = frames.decode(record.value, "noise")
            windows |= {int(ts) // WINDOW_MS * WINDOW_MS for ts in late.ts}
        return len(windows)

    def gaps(self) -> list[Gap]:
        return _recorded(self._kafka, self.place)


class AlertsRead:
    """A window in which the alert of a segment comes or goes is a version."""

    def __init__(self, kafka: KafkaSettings, folder: Path, _database: str) -> None:
        self._kafka, self._folder = kafka, folder
        self._sent = 0
        self._begin = now_ms() // 60_000 * 60_000 - _BACK_MS
        self.place = TopicPartition(
            topic_name(kafka.topic_prefix, "results.traffic"),
            partition_of("north", kafka.partitions),
        )

    @contextmanager
    def running(self) -> Iterator[Child]:
        began = now_ms()
        child = start_alerts(self._kafka, self._folder)
        try:
            wait_at_work(self._kafka, "alerts-0", began)
            yield child
        finally:
            child.stop()

    def send(self, count: int) -> None:
        results = Results(self._kafka)
        for _ in range(count):
            self._sent += 1
            speed = 10.0 if self._sent % 2 else 50.0
            results.window("north", self._begin + self._sent * 60_000, {"s1": speed})
        results.close()

    def seen(self) -> int:
        return len(published(self._kafka))

    def gaps(self) -> list[Gap]:
        return _recorded(self._kafka, self.place)


class DeliverReads:
    """An alert that was raised is a post to a web server."""

    def __init__(self, kafka: KafkaSettings, folder: Path, server: WebServer) -> None:
        self._kafka, self._folder, self._server = kafka, folder, server
        self._sent = 0
        self.place = TopicPartition(topic_name(kafka.topic_prefix, "alerts"), 0)

    def running(self) -> AbstractContextManager[Child]:
        return delivering(self._kafka, self._folder, [webhook("ops", self._server.url)])

    def send(self, count: int) -> None:
        raised = [life_of(f"l{self._sent + n}")[0] for n in range(count)]
        self._sent += count
        send_alerts(self._kafka, *raised)

    def seen(self) -> int:
        return len(set(self._server.alerts()))

    def gaps(self) -> list[Gap]:
        return _recorded(self._kafka, self.place)
