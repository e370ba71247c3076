"""What the alert process writes: versions of alerts, its state and how far it has read, at once.

All of it is one Kafka transaction of one transactional id. Whoever begins to work opens it and so
fences the one before; what that one has not committed never was.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence

import msgspec
from kafka import KafkaProducer, OffsetAndMetadata, TopicPartition
from kafka.structs import ConsumerGroupMetadata

from alerts.alert_input import Received
from alerts.engine.alert_state import Items
from civicstream.clock import now_ms
from civicstream.cloudevents import cloud_headers
from civicstream.errors import RecordTooLarge, ServerUnavailable
from civicstream.events import Alert, LedgerReport
from civicstream.kafka.clients import close_producer, confirming_producer
from civicstream.kafka.dead_letter import Origin, dead_letter_record, make_dead_letter
from civicstream.kafka.ledger_report import LedgerReporter
from civicstream.kafka.log_gaps import LogGap, Position, gap_record
from civicstream.kafka.replay import read_to_end
from civicstream.kafka.sequences import ReadAccount, missing_record
from civicstream.kafka.transactional import Outgoing, TransactionalSender
from civicstream.settings import Settings
from civicstream.topics import topic_name

__all__ = ["CAUSE", "AlertOutput", "Version"]

log = logging.getLogger(__name__)

CAUSE = "cause"
"""Header with the id of the action that made a version."""

Version = tuple[Alert, str | None]
"""A version and the action that made it."""

_INPUT = "input/"
_READ = "read/"
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
        self._dead_letters = topic_name(prefix, "deadletter")
        # Only for those who look at the group's lag: where to go on is in the state.
        self._group = ConsumerGroupMetadata(settings.kafka.scoped(settings.alerts.group))
        self._sender = TransactionalSender(settings.kafka, "alerts", _COMMIT_S)
        self._producer: KafkaProducer | None = None
        self._reporter: LedgerReporter | None = None

    def open(
        self, stop: threading.Event
    ) -> tuple[dict[str, bytes], dict[TopicPartition, Position], dict[TopicPartition, ReadAccount]]:
        """Fence whoever worked before; return the state's items, how far it has read, and what.

        Raise ServerUnavailable, Fenced.
        """
        self._sender.open()
        items: dict[str, bytes] = {}
        for record in read_to_end(self._kafka, self._state, stop=stop):
            if record.value is None:
                items.pop(record.key.decode(), None)
            else:
                items[record.key.decode()] = record.value
        read = {
            place: msgspec.json.decode(value, type=Position)
            for place, value in _take_places(items, _INPUT).items()
        }
        accounts = {
            place: ReadAccount(value) for place, value in _take_places(items, _READ).items()
        }
        return items, read, accounts

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
        read: Mapping[TopicPartition, tuple[Position, ReadAccount]],
        gaps: Sequence[LogGap] = (),
        dead_letters: Sequence[Outgoing] = (),
    ) -> None:
        """Return when all of it is in Kafka; raise ServerUnavailable or Fenced when it is not.

        With a place in ``read`` goes what has come of its records' numbers, and new gaps in them.
        A record that is over its topic's limit becomes a dead letter: trying again cannot help.
        """
        records = [self._version(alert, cause) for alert, cause in versions]
        records += [self._item(key, value) for key, value in items.items()]
        for place, (at, account) in read.items():
            records += self._progress(place, at, account)
        records += [gap_record(self._kafka.topic_prefix, gap, self._source) for gap in gaps]
        records += dead_letters
        offsets = {p: OffsetAndMetadata(at.next_offset, "", -1) for p, (at, _) in read.items()}
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

    def _progress(
        self, place: TopicPartition, at: Position, account: ReadAccount
    ) -> list[Outgoing]:
        name = f"{place.topic}/{place.partition}"
        prefix = self._kafka.topic_prefix
        return [
            self._item(_INPUT + name, _encode(at)),
            self._item(_READ + name, account.dump()),
            *(missing_record(prefix, gap, "alerts") for gap in account.take_gaps()),
        ]

    def dead_letter(self, record: Received, why: str, reason: str = "undecodable") -> Outgoing:
        """Return the dead letter of an event that cannot be used."""
        place = Origin(record.partition.topic, record.partition.partition, record.offset)
        return self._dead_letter(place, record.value, reason, why)

    def _too_large(self, record: Outgoing, error: RecordTooLarge) -> Outgoing:
        return self._dead_letter(
            Origin(record.topic), record.value or b"", "record_too_large", f"{error}"
        )

    def _dead_letter(self, place: Origin, payload: bytes, reason: str, why: str) -> Outgoing:
        dead_letter = make_dead_letter(
            "alerts",
            self._instance,
            place,
            payload,
            reason,
            why,
            at_ms=now_ms(),
            whole_up_to=_WHOLE_BYTES,
        )
        made = dead_letter_record(dead_letter, "alerts")
        return Outgoing(self._dead_letters, made.value, made.key, made.headers)

    def report(self, report: LedgerReport) -> None:
        """Send a ledger report, if Kafka is there; the next one says more."""
        try:
            if self._reporter is None:
                self._producer = confirming_producer(self._kafka, _COMMIT_S)
                self._reporter = LedgerReporter(self._kafka, self._producer)
        except ServerUnavailable as error:
            log.debug("no ledger report: %s", error)
        else:
            self._reporter.send(report)

    def suspend(self) -> None:
        """Let go of the transactional id; nothing more is committed until ``open``."""
        self._sender.close()

    def close(self) -> None:
        self._sender.close()
        made, self._producer, self._reporter = self._producer, None, None
        if made is not None:
            close_producer(made, timeout_s=5)


def _take_places(items: dict[str, bytes], prefix: str) -> dict[TopicPartition, bytes]:
    """Take the items of the prefix out, which are by topic and partition."""
    found = {}
    for key in [key for key in items if key.startswith(prefix)]:
        _, topic, number = key.split("/")
        found[TopicPartition(topic, int(number))] = items.pop(key)
    return found
