"""How every process publishes its ledger report: when it is due, what the record is, sending it."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError

from civicstream.cloudevents import cloud_headers
from civicstream.events import LedgerReport
from civicstream.kafka.numbering import written_by_this_process
from civicstream.settings import KafkaSettings
from civicstream.topics import topic_name

__all__ = ["LedgerReporter", "ReportPace", "ReportRecord", "report_record"]

log = logging.getLogger(__name__)

_CHANGED_S = 1.0
_UNCHANGED_S = 3.0
"""Readers take a process that says nothing for ten seconds for dead, or Kafka for away."""


@dataclass(frozen=True, slots=True)
class ReportRecord:
    """A record for topic ``ledger``, whose only partition is 0."""

    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]
    partition: int = 0


def report_record(kafka: KafkaSettings, report: LedgerReport) -> ReportRecord:
    """Return the record of a report, with what this process has written; ``topic`` unprefixed."""
    written = [*report.written, *written_by_this_process(kafka)]
    whole = msgspec.structs.replace(report, written=written)
    headers = cloud_headers(
        "ledger",
        source=f"{report.stage}/{report.instance}",
        event_id=f"{report.key}/{report.at}",
        time_ms=report.at,
    )
    return ReportRecord("ledger", report.key.encode(), msgspec.json.encode(whole), headers)


class ReportPace:
    """Says when a report is due: a second after the last if counts changed, else some seconds."""

    def __init__(self) -> None:
        self._sent_s: float | None = None
        self._counts = b""

    def due(self, report: LedgerReport) -> bool:
        """Return whether to send it now, and count it as sent."""
        now_s = time.monotonic()
        # Encoded: the report may share its counts with the process that goes on counting.
        counts = msgspec.json.encode((report.kinds, report.written, report.read))
        if self._sent_s is not None:
            wait_s = _UNCHANGED_S if counts == self._counts else _CHANGED_S
            # The caller's own rhythm is a second too: a little early is in time.
            if now_s - self._sent_s < wait_s - 0.1:
                return False
        self._sent_s, self._counts = now_s, counts
        return True


class LedgerReporter:
    """Sends reports when Kafka is there: no pile while it is away, for the next one says more."""

    def __init__(self, kafka: KafkaSettings, producer: KafkaProducer) -> None:
        self._kafka = kafka
        self._producer = producer
        self._topic = topic_name(kafka.topic_prefix, "ledger")
        self._pace = ReportPace()
        self._last: Any = None

    def send(self, report: LedgerReport, *, last: bool = False) -> None:
        """Hand the report over if it is due or the ``last``; not while one before still waits."""
        if self._last is not None and not self._last.is_done:
            return
        if not (last or self._pace.due(report)):
            return
        record = report_record(self._kafka, report)
        try:
            self._last = self._producer.send(
                self._topic,
                key=record.key,
                value=record.value,
                headers=record.headers,
                partition=record.partition,
            )
        except (KafkaError, OSError) as error:
            log.warning("ledger report not sent, Kafka is away: %r", error)
