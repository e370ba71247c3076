"""The worker's own Kafka clients (aiokafka), configured from the settings."""

from __future__ import annotations

import ssl
from typing import Any

import aiokafka.client
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.protocol.metadata import MetadataRequest

from civicstream.settings import KafkaSettings
from civicstream.topics import TOPICS

__all__ = [
    "plain_producer",
    "record_limit",
    "state_reader",
    "tls_context",
    "transactional_producer",
]

_DEFAULT_LIMIT = 1_048_588
"""Kafka's own ``max.message.bytes``."""

_BATCH_BYTES = 512 * 1024

# A transaction takes tens of milliseconds. One that its producer left open holds up everybody who
# reads what is committed, until a successor comes or this time has passed.
_TRANSACTION_TIMEOUT_MS = 30_000


class _NoCreation(MetadataRequest):  # type: ignore[misc]
    """Asking for a topic's metadata must not create it: it would have the broker's partitions."""

    def __init__(
        self, topics: list[str] | None = None, allow_auto_topic_creation: bool | None = False
    ) -> None:
        super().__init__(topics, allow_auto_topic_creation)


# aiokafka has no setting for it; every client of this process sends what stands under this name.
aiokafka.client.MetadataRequest = _NoCreation


def record_limit(topic: str) -> int:
    """Return how many bytes a record of a declared topic may have."""
    return int(TOPICS[topic].config.get("max.message.bytes", _DEFAULT_LIMIT))


def tls_context(kafka: KafkaSettings) -> ssl.SSLContext | None:
    if not kafka.security_protocol.endswith("SSL"):
        return None
    return ssl.create_default_context(cafile=kafka.ca_file and str(kafka.ca_file))


def _options(kafka: KafkaSettings) -> dict[str, Any]:
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap.split(","),
        "security_protocol": kafka.security_protocol,
        "ssl_context": tls_context(kafka),
    }
    if kafka.sasl_mechanism:
        options |= {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_plain_username": kafka.username,
            "sasl_plain_password": kafka.password and kafka.password.get_secret_value(),
        }
    return options


def plain_producer(kafka: KafkaSettings) -> AIOKafkaProducer:
    """Return a producer for what may come twice, but must not wait for ever; to be started."""
    return AIOKafkaProducer(**_options(kafka), acks="all", request_timeout_ms=10_000)


def transactional_producer(kafka: KafkaSettings, transactional_id: str) -> AIOKafkaProducer:
    """Return the producer of ``transactional_id``; its start fences those that had it before."""
    return AIOKafkaProducer(
        **_options(kafka),
        transactional_id=transactional_id,
        transaction_timeout_ms=_TRANSACTION_TIMEOUT_MS,
        max_batch_size=_BATCH_BYTES,
        # Sizes are judged record by record before anything is sent.
        max_request_size=max(record_limit(name) for name in TOPICS) + _BATCH_BYTES,
    )


def state_reader(kafka: KafkaSettings) -> AIOKafkaConsumer:
    """Return a consumer without a group that reads what is committed; to be started."""
    return AIOKafkaConsumer(
        **_options(kafka),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_partition_fetch_bytes=4 * 1024 * 1024,
        max_poll_records=None,
    )
