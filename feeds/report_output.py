"""Reports to Kafka: answered only when Kafka has confirmed all records of one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from kafka import KafkaProducer
from kafka.errors import KafkaError

from civicstream.errors import ServerUnavailable
from civicstream.kafka_clients import producer
from civicstream.settings import KafkaSettings
from civicstream.topics import topic_name

__all__ = ["KafkaRecord", "ReportOutput"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class KafkaRecord:
    """One record; ``topic`` without the prefix."""

    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


class ReportOutput:
    """An idempotent producer, made when it is first needed and anew after a failure."""

    def __init__(self, kafka: KafkaSettings, confirm_timeout_s: float) -> None:
        self._kafka = kafka
        self._timeout_s = confirm_timeout_s
        self._lock = threading.Lock()
        self._producer: KafkaProducer | None = None

    async def publish(self, records: Sequence[KafkaRecord]) -> None:
        """Return when Kafka has all of them; raise ServerUnavailable when not in time.

        What was not confirmed may have arrived all the same: sending it again must be harmless.
        """
        await asyncio.to_thread(self._publish, records)

    def _publish(self, records: Sequence[KafkaRecord]) -> None:
        deadline = time.monotonic() + self._timeout_s
        try:
            made = self._connected()
            futures = [
                made.send(
                    topic_name(self._kafka.topic_prefix, record.topic),
                    record.value,
                    key=record.key,
                    headers=record.headers,
                )
                for record in records
            ]
            for future in futures:
                future.get(timeout=max(0.01, deadline - time.monotonic()))
        except (KafkaError, OSError, ValueError) as error:
            self._drop()
            raise ServerUnavailable(
                f"Kafka at {self._kafka.bootstrap} has not confirmed in {self._timeout_s:g} s "
                f"({type(error).__name__}: {error})"
            ) from error

    def _connected(self) -> KafkaProducer:
        with self._lock:
            if self._producer is None:
                timeout_ms = round(self._timeout_s * 1000)
                self._producer = producer(
                    self._kafka,
                    delivery_timeout_ms=timeout_ms,
                    request_timeout_ms=max(500, timeout_ms // 2),
                    max_block_ms=max(500, timeout_ms // 2),
                    bootstrap_timeout_ms=min(2_000, timeout_ms),
                    reconnect_backoff_max_ms=1_000,
                    metrics_enabled=False,
                )
            return self._producer

    def _drop(self) -> None:
        """Give the producer up: after a failure its sequence numbers may be of no use."""
        with self._lock:
            dropped, self._producer = self._producer, None
        if dropped is not None:
            _close(dropped, timeout_s=1)

    def close(self) -> None:
        with self._lock:
            made, self._producer = self._producer, None
        if made is not None:
            _close(made, timeout_s=5)


def _close(made: KafkaProducer, timeout_s: float) -> None:
    with contextlib.suppress(KafkaError):
        made.close(timeout=timeout_s)
    sender = getattr(made, "_sender", None)
    if isinstance(sender, threading.Thread):
        sender.join(timeout_s + 5)
