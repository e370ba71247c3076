"""Reports to Kafka: answered only when Kafka has confirmed all records of one."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaError

from civicstream.errors import ServerUnavailable
from civicstream.kafka.clients import close_producer, producer
from civicstream.settings import KafkaSettings
from civicstream.topics import topic_name

__all__ = ["KafkaRecord", "ReportOutput"]

# While Kafka is away an attempt takes seconds; those that come meanwhile are refused at once.
_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class KafkaRecord:
    """One record; ``topic`` without the prefix."""

    topic: str
    key: bytes
    value: bytes | None
    headers: list[tuple[str, bytes]]


class ReportOutput:
    """An idempotent producer, made when it is first needed, and again after a failure."""

    def __init__(self, kafka: KafkaSettings, writer: str, confirm_timeout_s: float) -> None:
        self._kafka = kafka
        self._writer = writer
        self._timeout_s = confirm_timeout_s
        self._lock = threading.Lock()
        self._producer: KafkaProducer | None = None
        self._try_again_at = 0.0

    async def publish(self, records: Sequence[KafkaRecord]) -> None:
        """Return when Kafka has all of them; raise ServerUnavailable when not in time.

        What was not confirmed may have arrived all the same: sending it again must be harmless.
        """
        made: KafkaProducer | None = None
        try:
            async with asyncio.timeout(self._timeout_s):
                made = await asyncio.to_thread(self._connected)
                sent = await asyncio.to_thread(self._send, made, records)
                await asyncio.gather(*map(_confirmed, sent))
        except (KafkaError, OSError, ValueError) as error:  # TimeoutError is an OSError
            if made is not None:
                await asyncio.to_thread(self._drop, made)
            raise ServerUnavailable(
                f"Kafka at {self._kafka.bootstrap} takes no records "
                f"({str(error) or type(error).__name__})"
            ) from error

    def _send(self, made: KafkaProducer, records: Sequence[KafkaRecord]) -> list[Any]:
        """Hand the records over; this waits for metadata, so it runs on a thread of its own."""
        return [
            made.send(
                topic_name(self._kafka.topic_prefix, record.topic),
                record.value,
                key=record.key,
                headers=record.headers,
            )
            for record in records
        ]

    def _connected(self) -> KafkaProducer:
        with self._lock:
            if self._producer is not None:
                return self._producer
            if time.monotonic() < self._try_again_at:
                raise ConnectionError("did not answer a moment ago")
            timeout_ms = round(self._timeout_s * 1000)
            try:
                self._producer = producer(
                    self._kafka,
                    writer=self._writer,
                    delivery_timeout_ms=timeout_ms,
                    request_timeout_ms=max(500, timeout_ms // 2),
                    max_block_ms=max(500, timeout_ms // 2),
                    bootstrap_timeout_ms=min(2_000, timeout_ms),
                    reconnect_backoff_max_ms=1_000,
                    metrics_enabled=False,
                )
            except BaseException:
                self._try_again_at = time.monotonic() + _PAUSE_S
                raise
            return self._producer

    def _drop(self, failed: KafkaProducer) -> None:
        """Give a producer up: after a failure its sequence numbers may be of no use."""
        with self._lock:
            if self._producer is not failed:
                return  # another report met the same failure
            self._producer = None
        close_producer(failed, timeout_s=1)

    def close(self) -> None:
        """End the producer; what it still holds gets five seconds."""
        with self._lock:
            made, self._producer = self._producer, None
        if made is not None:
            close_producer(made, timeout_s=5)


async def _confirmed(sent: Any) -> None:
    """Wait for a record's outcome, which comes from the producer's thread; raise KafkaError."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[None] = loop.create_future()

    def set_outcome(result: object) -> None:
        if outcome.done():
            return
        if isinstance(result, BaseException):
            outcome.set_exception(result)
        else:
            outcome.set_result(None)

    def from_thread(result: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
            loop.call_soon_threadsafe(set_outcome, result)

    sent.add_callback(from_thread)
    sent.add_errback(from_thread)
    await outcome
