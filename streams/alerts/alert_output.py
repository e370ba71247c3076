"""What the alert process publishes: versions of alerts, confirmed; ledger reports, when it can."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from typing import Any

import msgspec
from kafka import KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from civicstream.cloudevents import cloud_headers
from civicstream.errors import ServerUnavailable
from civicstream.events import Alert, LedgerReport
from civicstream.kafka.clients import consumer, producer
from civicstream.kafka.ledger_report import ReportPace, report_record
from civicstream.settings import KafkaSettings, Settings
from civicstream.topics import topic_name

__all__ = ["CAUSE", "AlertOutput", "Version", "read_versions"]

CAUSE = "cause"
"""Header with the id of the action that made a version."""

Version = tuple[Alert, str | None]
"""A version and the action that made it."""

_CONFIRM_S = 10
_WAIT_MS = 500
_READ_BACK_BYTES = 8 * 1024 * 1024

_encode = msgspec.json.Encoder().encode


class AlertOutput:
    """A producer, made when it is needed and anew after a failure."""

    def __init__(self, settings: Settings) -> None:
        self._kafka = settings.kafka
        self._source = f"alerts/{settings.alerts.id}"
        self._alerts = topic_name(settings.kafka.topic_prefix, "alerts")
        self._ledger = topic_name(settings.kafka.topic_prefix, "ledger")
        self._pace = ReportPace()
        self._producer: KafkaProducer | None = None

    def publish(self, versions: Sequence[Version]) -> None:
        """Return when Kafka has all of them; raise ServerUnavailable when not.

        What was not confirmed may have arrived: sent again, it is the same id and version.
        """
        try:
            made = self._connected()
            sent = [self._send(made, alert, cause) for alert, cause in versions]
            for future in sent:
                future.get(_CONFIRM_S)
        except (KafkaError, OSError) as error:
            self._drop()
            raise ServerUnavailable(f"Kafka takes no alerts: {error!r}") from error

    def _send(self, made: KafkaProducer, alert: Alert, cause: str | None) -> Any:
        headers = cloud_headers(
            "alert",
            source=self._source,
            event_id=f"{alert.id}/{alert.version}",
            time_ms=alert.updated_at,
            subject=alert.subject,
        )
        if cause is not None:
            headers.append((CAUSE, cause.encode()))
        return made.send(self._alerts, _encode(alert), key=alert.area.encode(), headers=headers)

    def _connected(self) -> KafkaProducer:
        if self._producer is None:
            self._producer = producer(
                self._kafka,
                writer=self._source,
                max_block_ms=2_000,
                delivery_timeout_ms=_CONFIRM_S * 1000,
                request_timeout_ms=_CONFIRM_S * 1000 - 1000,
                bootstrap_timeout_ms=2_000,
                metrics_enabled=False,
            )
        return self._producer

    def report(self, report: LedgerReport) -> None:
        """Send a ledger report, if Kafka is there; the next one says more."""
        if not self._pace.due(report):
            return
        record = report_record(self._kafka, report)
        with contextlib.suppress(KafkaError, OSError):
            self._connected().send(
                self._ledger, record.value, key=record.key, headers=record.headers
            )

    def _drop(self) -> None:
        made, self._producer = self._producer, None
        if made is not None:
            _close(made, 1)

    def close(self) -> None:
        made, self._producer = self._producer, None
        if made is not None:
            _close(made, 5)


def _close(made: KafkaProducer, timeout_s: float) -> None:
    with contextlib.suppress(KafkaError):
        made.close(timeout=timeout_s)
    sender = getattr(made, "_sender", None)
    if isinstance(sender, threading.Thread):
        sender.join(timeout_s + 5)


def read_versions(kafka: KafkaSettings, stop: threading.Event) -> list[Version]:
    """Return every version on the topic, oldest first; raise ServerUnavailable.

    Up to the high watermark of a fetch: the embedded broker's end offsets fall short.
    """
    partition = TopicPartition(topic_name(kafka.topic_prefix, "alerts"), 0)
    found: list[Version] = []
    try:
        reader = consumer(
            kafka, group_id=None, max_partition_fetch_bytes=_READ_BACK_BYTES, metrics_enabled=False
        )
    except KafkaError as error:
        raise ServerUnavailable(f"Kafka: {error!r}") from error
    try:
        reader.assign([partition])
        reader.seek_to_beginning(partition)
        while not stop.is_set():
            for record in reader.poll(_WAIT_MS).get(partition, ()):
                cause = dict(record.headers).get(CAUSE)
                alert = msgspec.json.decode(record.value, type=Alert)
                found.append((alert, None if cause is None else cause.decode()))
            end = reader.highwater(partition)
            if end is not None and reader.position(partition) >= end:
                break
    except KafkaError as error:
        raise ServerUnavailable(f"Kafka tells no alerts: {error!r}") from error
    finally:
        reader.close()
    return found
