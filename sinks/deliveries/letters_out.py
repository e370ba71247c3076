"""What deliveries publish themselves: dead letters, confirmed, and the ledger's reports."""

from __future__ import annotations

import logging
import threading
from typing import Any

import msgspec
from kafka.errors import KafkaError

from civicstream.clock import now_ms
from civicstream.cloudevents import cloud_headers
from civicstream.errors import ServerUnavailable
from civicstream.events import DeadLetter, LedgerReport
from civicstream.kafka.clients import producer
from civicstream.settings import Settings
from civicstream.topics import topic_name

__all__ = ["LettersOut"]

log = logging.getLogger(__name__)

_CONFIRM_S = 15
_KEPT_BYTES = 4096
_SPARED_BYTES = 256 * 1024


class LettersOut:
    """A producer that all receivers share."""

    def __init__(self, settings: Settings) -> None:
        prefix = settings.kafka.topic_prefix
        self._instance = settings.deliver.id
        self._letters = topic_name(prefix, "deadletter")
        self._ledger = topic_name(prefix, "ledger")
        self._lock = threading.Lock()
        try:
            self._producer = producer(
                settings.kafka,
                max_block_ms=2_000,
                delivery_timeout_ms=_CONFIRM_S * 1000,
                request_timeout_ms=_CONFIRM_S * 1000 - 1000,
            )
        except KafkaError as error:
            raise ServerUnavailable(f"Kafka: {error!r}") from error
        self._report: Any = None

    def give_up(
        self, receiver: str, reason: str, detail: str, record: Any, *, withhold: bool = False
    ) -> None:
        """Publish the dead letter and return when Kafka has it; else raise ServerUnavailable."""
        value = b"" if withhold else record.value or b""
        letter = DeadLetter(
            stage="deliver",
            instance=self._instance,
            reason=reason,
            detail=detail,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            received_at=now_ms(),
            payload=value if len(value) <= _SPARED_BYTES else value[:_KEPT_BYTES],
            payload_bytes=len(record.value or b""),
        )
        headers = cloud_headers(
            "deadletter",
            source=f"deliver/{receiver}",
            event_id=f"{record.topic}/{record.partition}/{record.offset}",
            time_ms=letter.received_at,
            subject=record.topic,
        )
        try:
            self._producer.send(
                self._letters,
                key=record.topic.encode(),
                value=msgspec.json.encode(letter),
                headers=headers,
            ).get(timeout=_CONFIRM_S)
        except KafkaError as error:
            raise ServerUnavailable(f"Kafka did not confirm a dead letter: {error!r}") from error
        log.error("dead letter: %s", detail)

    def report(self, report: LedgerReport) -> None:
        """Publish a report unless the one before still waits for Kafka; the next will do."""
        if self._report is not None and not self._report.is_done:
            return
        headers = cloud_headers(
            "ledger",
            source=f"deliver/{self._instance}",
            event_id=f"{report.key}/{report.at}",
            time_ms=report.at,
        )
        try:
            self._report = self._producer.send(
                self._ledger,
                key=report.key.encode(),
                value=msgspec.json.encode(report),
                headers=headers,
                partition=0,
            )
        except KafkaError as error:
            log.warning("ledger report not sent, Kafka is away: %r", error)

    def close(self) -> None:
        """Send what waits and close."""
        try:
            self._producer.flush(timeout=5)
        except KafkaError as error:
            log.warning("last ledger report not confirmed: %r", error)
        self._producer.close(timeout=5)
