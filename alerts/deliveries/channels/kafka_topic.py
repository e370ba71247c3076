"""Alerts to another topic, or to another cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from kafka.errors import KafkaError, MessageSizeTooLargeError
from msgspec import Meta
from pydantic import SecretStr

from alerts.deliveries.outcomes import Refused, TryAgain
from alerts.deliveries.receivers import (
    Context,
    Receiver,
    SecretText,
    Sender,
    Text,
)
from alerts.deliveries.signatures import delivery_id
from civicstream.cloudevents import cloud_headers
from civicstream.events import Alert
from civicstream.kafka.clients import producer
from civicstream.kafka.transactional import Outgoing
from civicstream.settings import KafkaSettings

__all__ = ["KafkaReceiver", "KafkaTopic", "cluster_of"]


class KafkaReceiver(Receiver, frozen=True, kw_only=True, tag="kafka"):
    """A topic, of this cluster or of another one."""

    topic: Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,249}$")]
    bootstrap: Text | None = None
    """None: this cluster, as the kafka section says; the fields below are for another one."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    username: Text | None = None
    password: SecretText | None = None
    ca_file: Text | None = None

    def open(self, context: Context) -> Sender:
        settings = context.settings
        return KafkaTopic(self, settings.kafka, f"deliver/{settings.deliver.id}")


def cluster_of(receiver: KafkaReceiver, ours: KafkaSettings) -> KafkaSettings:
    """Return how to reach the receiver's cluster."""
    if receiver.bootstrap is None:
        return ours
    return KafkaSettings(
        bootstrap=receiver.bootstrap,
        security_protocol=receiver.security_protocol,
        sasl_mechanism=receiver.sasl_mechanism,
        username=receiver.username,
        password=SecretStr(receiver.password.read()) if receiver.password else None,
        ca_file=Path(receiver.ca_file) if receiver.ca_file else None,
    )


class KafkaTopic:
    """Publishes with CloudEvents headers, key: area; the event id is that of the delivery."""

    def __init__(self, receiver: KafkaReceiver, ours: KafkaSettings, source: str) -> None:
        self._topic, self._timeout_s, self._source = receiver.topic, receiver.timeout_s, source
        self._cluster = cluster_of(receiver, ours)
        self.with_offset = receiver.bootstrap is None
        """Whether record and offset can be one transaction: they are of one cluster."""
        self._producer: Any = None

    def outgoing(self, alert: Alert) -> Outgoing:
        """Return the record of an alert."""
        headers = cloud_headers(
            "alert",
            source=self._source,
            event_id=delivery_id(alert.id, alert.version),
            time_ms=alert.updated_at,
            subject=alert.subject,
        )
        return Outgoing(self._topic, msgspec.json.encode(alert), alert.area.encode(), headers)

    def send(self, alert: Alert) -> None:
        """Return when Kafka has confirmed; raise Refused or TryAgain."""
        made = self.outgoing(alert)
        try:
            self._sender().send(
                made.topic, key=made.key, value=made.value, headers=made.headers
            ).get(timeout=self._timeout_s)
        except MessageSizeTooLargeError as error:
            raise Refused(f"{error!r}") from error
        except (KafkaError, OSError) as error:
            # A producer that gave a record up may still hold it: a new one holds nothing.
            self.close()
            raise TryAgain(f"{error!r}") from error

    def _sender(self) -> Any:
        if self._producer is None:
            limit_ms = round(1000 * self._timeout_s)
            self._producer = producer(
                self._cluster,
                max_block_ms=limit_ms,
                delivery_timeout_ms=limit_ms,
                request_timeout_ms=max(1, limit_ms - 1),
                bootstrap_timeout_ms=limit_ms,
            )
        return self._producer

    def close(self) -> None:
        if self._producer is not None:
            self._producer.close(timeout=1)
            self._producer = None
