"""Kafka clients configured from the settings, and patience while Kafka is away."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.admin import NewTopic
from kafka.errors import KafkaError, TopicAlreadyExistsError
from kafka.net.compat import KafkaNetClient

from civicstream.errors import ConfigurationError, ServerUnavailable
from civicstream.retry import wait_until_available
from civicstream.settings import KafkaSettings
from civicstream.topics import TOPICS, topic_name

__all__ = [
    "admin_client",
    "client_config",
    "consumer",
    "create_topics",
    "producer",
    "wait_for_kafka",
]

log = logging.getLogger(__name__)

_DESCRIBED_WITHIN_S = 30


def client_config(kafka: KafkaSettings) -> dict[str, Any]:
    """Return the connection options that every kafka-python client takes."""
    config: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap.split(","),
        "security_protocol": kafka.security_protocol,
    }
    if kafka.ca_file:
        config["ssl_cafile"] = str(kafka.ca_file)
    if kafka.sasl_mechanism:
        config |= {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_plain_username": kafka.username,
            "sasl_plain_password": kafka.password and kafka.password.get_secret_value(),
        }
    return config


def _make(factory: Any, options: dict[str, Any]) -> Any:
    """Make a client; when that fails, end the I/O thread that kafka-python 3 leaves running.

    Without this every attempt on an absent Kafka costs a thread for good.
    """
    begun: list[Any] = []

    def network(**config: Any) -> Any:
        begun.append(KafkaNetClient(**config))
        return begun[-1]

    try:
        return factory(kafka_client=network, **options)
    except BaseException:
        for client in begun:
            client.close()
            client._net.stop(timeout_ms=1_000)
        raise


def admin_client(kafka: KafkaSettings, **options: Any) -> KafkaAdminClient:
    """Return an admin client; raise KafkaError when Kafka does not answer."""
    return _make(KafkaAdminClient, client_config(kafka) | options)


def producer(kafka: KafkaSettings, **options: Any) -> KafkaProducer:
    """Return an idempotent producer that confirms when all replicas have the record."""
    defaults = {
        "acks": "all",
        "enable_idempotence": True,
        "linger_ms": 0,
        # A topic that comes into being by itself has the broker's partitions, not ours.
        "allow_auto_create_topics": False,
    }
    return _make(KafkaProducer, client_config(kafka) | defaults | options)


def consumer(kafka: KafkaSettings, **options: Any) -> KafkaConsumer:
    """Return a consumer that never commits by itself and starts at the beginning.

    It reads committed records only; offsets have holes where transactions end.
    """
    defaults = {
        "isolation_level": "read_committed",
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "allow_auto_create_topics": False,
        "session_timeout_ms": kafka.session_timeout_ms,
        "heartbeat_interval_ms": max(300, kafka.session_timeout_ms // 3),
    }
    return _make(KafkaConsumer, client_config(kafka) | defaults | options)


def wait_for_kafka(
    kafka: KafkaSettings, timeout_s: float | None = None, stop: threading.Event | None = None
) -> None:
    """Return when Kafka answers or ``stop`` is set; raise ServerUnavailable after ``timeout_s``."""
    server = f"Kafka at {kafka.bootstrap}"

    def ask() -> None:
        try:
            admin_client(kafka, bootstrap_timeout_ms=3_000).close()
        except (KafkaError, OSError) as error:
            raise ServerUnavailable(
                f"{error}; start it or set CIVICSTREAM_KAFKA__BOOTSTRAP"
            ) from error

    wait_until_available(ask, server, log=log, stop=stop, timeout_s=timeout_s)


def create_topics(kafka: KafkaSettings) -> list[str]:
    """Create the declared topics that are missing and return their names.

    Raise ConfigurationError when one exists with another number of partitions: areas would
    be split over two orders. Safe to run twice and from two processes at once.
    """
    admin = admin_client(kafka)
    try:
        wanted = {topic_name(kafka.topic_prefix, topic.name): topic for topic in TOPICS.values()}
        existing = set(admin.list_topics())
        created = []
        for name, topic in wanted.items():
            if name in existing:
                continue
            count = topic.partitions or kafka.partitions
            new = NewTopic(name, count, kafka.replication, topic_configs=topic.config)
            try:
                admin.create_topics([new])
                created.append(name)
            except TopicAlreadyExistsError:
                log.info("topic %s was created by another process", name)
        for description in _described(admin, list(wanted)):
            _check_partitions(description, wanted[description["name"]].partitions, kafka)
        return created
    finally:
        admin.close()


def _described(admin: KafkaAdminClient, names: list[str]) -> list[dict[str, Any]]:
    """Return the topics' descriptions once they are complete: those of new topics are not yet."""
    deadline = time.monotonic() + _DESCRIBED_WITHIN_S
    while True:
        found: list[dict[str, Any]] = admin.describe_topics(names)
        missing = [topic["name"] for topic in found if not topic["partitions"]]
        if not missing:
            return found
        if time.monotonic() > deadline:
            raise ServerUnavailable(
                f"Kafka does not say how many partitions topic {missing[0]} has, "
                f"{_DESCRIBED_WITHIN_S:g} s after it was asked; look at the broker's log"
            )
        time.sleep(0.1)


def _check_partitions(
    description: dict[str, Any], declared: int | None, kafka: KafkaSettings
) -> None:
    found, expected = len(description["partitions"]), declared or kafka.partitions
    if found != expected:
        raise ConfigurationError(
            f"topic {description['name']} has {found} partitions, the settings say {expected}; "
            "set CIVICSTREAM_KAFKA__PARTITIONS to what exists, or use another topic prefix"
        )
