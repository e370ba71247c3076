"""What the alert process writes: versions of alerts, its state and how far it has read, at once.

All of it is one Kafka transaction of one transactional id. Whoever begins to work opens it and so
fences the one before; what that one has not committed never was.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Mapping, Sequence

import msgspec
from kafka import KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaError
from kafka.structs import ConsumerGroupMetadata

from civicstream.clock import now_ms
from civicstream.cloudevents import cloud_headers
from civicstream.errors import RecordTooLarge
from civicstream.events import Alert, LedgerReport
from civicstream.kafka.clients import producer
from civicstream.kafka.dead_letter import Origin, dead_letter, letter_record
from civicstream.kafka.ledger_report import LedgerReporter
from civicstream.kafka.log_gaps import LogGap, Position, gap_record
from civicstream.kafka.replay import read_to_end
from civicstream.kafka.transactional import Outgoing, TransactionalSender
from civicstream.settings import Settings
from civicstream.topics import topic_name
from streams.alerts.alert_input import Received
from streams.alerts.alert_state import Items

__all__ = ["CAUSE", "AlertOutput", "Version"]

log = logging.getLogger(__name__)

CAUSE = "cause"
"""Header with the id of the action that made a version."""

Version = tuple[Alert, str | None]
"""A version and the action that made it."""

_INPUT = "input/"
# Of an event or record that is kept whole in a dead letter; beyond it its beginning.
_WHOLE_BYTES = 64 * 1024
# Within it a broker that was killed is back, or its partitions have another leader.
_COMMIT_S = 10

_encode = msgspec.json.Encoder().encode


class AlertOutput:
    """The task's transactional sender, its state store, and the ledger."""

    def __init__(self, settings: Settings) -> None:
        self._kafka = settings.kafka
        self._instance = settings.alerts.id
        self._source = f"alerts/{settings.alerts.id}"
        prefix = settings.kafka.topic_prefix
        self._alerts = topic_name(prefix, "alerts")
        self._state = topic_name(prefix, "state.alerts")
        self._letters = topic_name(prefix, "deadletter")
        # Only for those who look at the group's lag: where to go on is in the state.
        self._group = ConsumerGroupMetadata(settings.kafka.scoped(settings.alerts.group))
        self._sender = TransactionalSender(settings.kafka, "alerts", _COMMIT_S)
        self._producer: KafkaProducer | None = None
        self._reporter: LedgerReporter | None = None

    def open(
        self, stop: threading.Event
    ) -> tuple[dict[str, bytes], dict[TopicPartition, Position]]:
        """Fence whoever worked before; return the state's items and how far it has read.

        Raise ServerUnavailable, Fenced.
        """
        self._sender.open()
        items: dict[str, bytes] = {}
        for record in read_to_end(self._kafka, self._state, stop=stop):
            if record.value is None:
                items.pop(record.key.decode(), None)
            else:
                items[record.key.decode()] = record.value
        read = {}
        for key in [key for key in items if key.startswith(_INPUT)]:
            _, topic, number = key.split("/")
            value = msgspec.json.decode(items.pop(key), type=Position)
            read[TopicPartition(topic, int(number))] = value
        return items, read

    def published(self, stop: threading.Event) -> list[Version]:
        """Return every version that the topic has, oldest first; raise ServerUnavailable."""
        found: list[Version] = []
        for record in read_to_end(self._kafka, self._alerts, stop=stop):
            cause = dict(record.headers).get(CAUSE)
            alert = msgspec.json.decode(record.value, type=Alert)
            found.append((alert, None if cause is None else cause.decode()))
        return found

    def commit(
        self,
        versions: Sequence[Version],
        items: Items,
        read: Mapping[TopicPartition, Position],
        gaps: Sequence[LogGap] = (),
        letters: Sequence[Outgoing] = (),
    ) -> None:
        """Return when all of it is in Kafka; raise ServerUnavailable or Fenced when it is not.

        A record that is over its topic's limit becomes a dead letter: trying again cannot help.
        """
        records = [self._version(alert, cause) for alert, cause in versions]
        records += [self._item(key, value) for key, value in items.items()]
        records += [self._position(p, at) for p, at in read.items()]
        records += [gap_record(self._kafka.topic_prefix, gap, self._source) for gap in gaps]
        records += letters
        offsets = {p: OffsetAndMetadata(at.offset, "", -1) for p, at in read.items()}
        while True:
            try:
                self._sender.commit(records, offsets, self._group)
            except RecordTooLarge as error:
                log.error("%s; it is a dead letter", error)  # noqa: TRY400 the sentence says all
                kept = [r for r in records if (r.topic, r.key) != (error.topic, error.key)]
                lost = next(r for r in records if (r.topic, r.key) == (error.topic, error.key))
                records = [*kept, self._too_large(lost, error)]
            else:
                return

    def _version(self, alert: Alert, cause: str | None) -> Outgoing:
        headers = cloud_headers(
            "alert",
            # The task, not the process: whoever does it, the version is the same.
            source="alerts",
            event_id=f"{alert.id}/{alert.version}",
            time_ms=alert.updated_at,
            subject=alert.subject,
        )
        if cause is not None:
            headers.append((CAUSE, cause.encode()))
        return Outgoing(self._alerts, _encode(alert), alert.area.encode(), headers)

    def _item(self, key: str, value: bytes | None) -> Outgoing:
        return Outgoing(self._state, value, key.encode(), partition=0)

    def _position(self, partition: TopicPartition, at: Position) -> Outgoing:
        return self._item(f"{_INPUT}{partition.topic}/{partition.partition}", _encode(at))

    def letter(self, record: Received, why: str, reason: str = "undecodable") -> Outgoing:
        """Return the dead letter of an event that cannot be used."""
        place = Origin(record.partition.topic, record.partition.partition, record.offset)
        return self._letter(place, record.value, reason, why)

    def _too_large(self, record: Outgoing, error: RecordTooLarge) -> Outgoing:
        return self._letter(
            Origin(record.topic), record.value or b"", "record_too_large", f"{error}"
        )

    def _letter(self, place: Origin, payload: bytes, reason: str, why: str) -> Outgoing:
        letter = dead_letter(
            *("alerts", self._instance, place, payload, reason, why),
            at_ms=now_ms(),
            whole_up_to=_WHOLE_BYTES,
        )
        made = letter_record(letter, "alerts")
        return Outgoing(self._letters, made.value, made.key, made.headers)

    def report(self, report: LedgerReport) -> None:
        """Send a ledger report, if Kafka is there; the next one says more."""
        try:
            if self._reporter is None:
                self._producer = producer(
                    self._kafka,
                    max_block_ms=2_000,
                    delivery_timeout_ms=_COMMIT_S * 1000,
                    request_timeout_ms=_COMMIT_S * 1000 - 1000,
                    bootstrap_timeout_ms=3_000,
                    metrics_enabled=False,
                )
                self._reporter = LedgerReporter(self._kafka, self._producer)
        except (KafkaError, OSError) as error:
            log.debug("no ledger report: %r", error)
        else:
            self._reporter.send(report)

    def suspend(self) -> None:
        """Let go of the transactional id; nothing more is committed until ``open``."""
        self._sender.close()

    def close(self) -> None:
        self._sender.close()
        made, self._producer, self._reporter = self._producer, None, None
        if made is not None:
            with contextlib.suppress(KafkaError):
                made.close(timeout=5)
            made._sender.join(5)
