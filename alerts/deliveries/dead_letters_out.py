"""What deliveries publish themselves: dead letters, confirmed, and the ledger's reports."""

from __future__ import annotations

import logging
import threading
from typing import Any

from kafka.errors import KafkaError

from civicstream.clock import now_ms
from civicstream.errors import ServerUnavailable
from civicstream.events import LedgerReport
from civicstream.kafka.clients import confirming_producer
from civicstream.kafka.dead_letter import Origin, dead_letter_record, make_dead_letter
from civicstream.kafka.ledger_report import LedgerReporter
from civicstream.kafka.transactional import Outgoing
from civicstream.settings import Settings
from civicstream.topics import topic_name

__all__ = ["DeadLettersOut"]

log = logging.getLogger(__name__)

_CONFIRM_S = 15


class DeadLettersOut:
    """A producer that all receivers share."""

    def __init__(self, settings: Settings) -> None:
        prefix = settings.kafka.topic_prefix
        self._instance = settings.deliver.id
        self._dead_letters = topic_name(prefix, "deadletter")
        self._lock = threading.Lock()
        self._producer = confirming_producer(
            settings.kafka, _CONFIRM_S, writer=f"deliver/{settings.deliver.id}"
        )
        self._reporter = LedgerReporter(settings.kafka, self._producer)

    def dead_letter(
        self, receiver: str, reason: str, detail: str, record: Any, *, withhold: bool = False
    ) -> Outgoing:
        """Return the dead letter of what ``receiver`` does not get."""
        dead_letter = make_dead_letter(
            "deliver",
            self._instance,
            Origin(record.topic, record.partition, record.offset),
            record.value or b"",
            reason,
            detail,
            at_ms=now_ms(),
            withhold=withhold,
        )
        made = dead_letter_record(dead_letter, f"deliver/{receiver}")
        log.error("dead letter: %s", dead_letter.detail)
        return Outgoing(self._dead_letters, made.value, made.key, made.headers)

    def give_up(
        self, receiver: str, reason: str, detail: str, record: Any, *, withhold: bool = False
    ) -> None:
        """Publish the dead letter and return when Kafka has it; else raise ServerUnavailable."""
        self.publish([self.dead_letter(receiver, reason, detail, record, withhold=withhold)])

    def publish(self, records: list[Outgoing]) -> None:
        """Return when Kafka has the records; raise ServerUnavailable."""
        try:
            sent = [
                self._producer.send(r.topic, key=r.key, value=r.value, headers=r.headers)
                for r in records
            ]
            for future in sent:
                future.get(timeout=_CONFIRM_S)
        except KafkaError as error:
            raise ServerUnavailable(f"Kafka did not confirm a record: {error!r}") from error

    def report(self, report: LedgerReport, *, last: bool = False) -> None:
        """Publish a ledger report when it is due, or the ``last``."""
        self._reporter.send(report, last=last)

    def close(self) -> None:
        """Send what waits and close."""
        try:
            self._producer.flush(timeout=5)
        except KafkaError as error:
            log.warning("last ledger report not confirmed: %r", error)
        self._producer.close(timeout=5)
