"""A thread that reads the ledger topic, so that a slow Kafka never holds up the supervisor."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from typing import TypeVar

import msgspec
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from civicstream.events import LedgerReport
from civicstream.kafka.clients import consumer
from civicstream.settings import KafkaSettings
from civicstream.topics import topic_name
from stack.up.figures import LedgerHistory

__all__ = ["LedgerWatch"]

log = logging.getLogger(__name__)

T = TypeVar("T")


class LedgerWatch:
    """Keeps a ``LedgerHistory`` up to date from topic ``ledger``; a context manager.

    It reads from the start of the topic once ``open`` says that the topic exists, and goes on
    after the broker was away.
    """

    def __init__(self, kafka: KafkaSettings, since_ms: int) -> None:
        self._kafka = kafka
        self._history = LedgerHistory(since_ms)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._exists = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ledger-watch")

    def __enter__(self) -> LedgerWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def open(self) -> None:
        """Begin to read: the topic exists."""
        self._exists.set()

    def ask(self, question: Callable[[LedgerHistory], T]) -> T:
        """Return ``question`` of the history, which no one changes meanwhile."""
        with self._lock:
            return question(self._history)

    def _run(self) -> None:
        reader: KafkaConsumer | None = None
        while not self._stop.is_set():
            if not self._exists.wait(0.1):
                continue
            try:
                reader = reader or self._open()
                self._read(reader)
            except (KafkaError, OSError) as error:
                log.debug("reading the ledger: %s", error)
                _close(reader)
                reader = None
                self._stop.wait(0.5)
        _close(reader)

    def _open(self) -> KafkaConsumer:
        reader = consumer(self._kafka, group_id=None, request_timeout_ms=5_000)
        partition = TopicPartition(topic_name(self._kafka.topic_prefix, "ledger"), 0)
        reader.assign([partition])
        reader.seek_to_beginning(partition)
        return reader

    def _read(self, reader: KafkaConsumer) -> None:
        for records in reader.poll(timeout_ms=200).values():
            for record in records:
                if record.value is None:
                    continue  # of a process that ended long ago
                with contextlib.suppress(msgspec.MsgspecError), self._lock:
                    self._history.add(msgspec.json.decode(record.value, type=LedgerReport))


def _close(reader: KafkaConsumer | None) -> None:
    if reader is not None:
        with contextlib.suppress(KafkaError, OSError):
            reader.close()
