"""Kafka clients configured from the settings, and patience while Kafka is away."""

from __future__ import annotations

import logging
import time
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError
from kafka.net.compat import KafkaNetClient

from civicstream.errors import ServerUnavailable
from civicstream.settings import KafkaSettings

__all__ = [
    "admin_client",
    "client_config",
    "consumer",
    "producer",
    "wait_for_kafka",
]

log = logging.getLogger(__name__)


def client_config(kafka: KafkaSettings) -> dict[str, Any]:
    """Return the connection options that every kafka-python client takes."""
    config: dict[str, Any] = {
        "bootstrap_servers": kafka.addresses,
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
    """Return a consumer that never commits by itself and starts at the beginning."""
    defaults = {
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "allow_auto_create_topics": False,
        "session_timeout_ms": kafka.session_timeout_ms,
        "heartbeat_interval_ms": max(300, kafka.session_timeout_ms // 3),
    }
    return _make(KafkaConsumer, client_config(kafka) | defaults | options)


def wait_for_kafka(kafka: KafkaSettings, timeout_s: float | None = None) -> None:
    """Return when Kafka answers; log what is waited for; raise ServerUnavailable after timeout."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    pause_s = 0.25
    while True:
        try:
            admin_client(kafka, bootstrap_timeout_ms=3_000).close()
        except (KafkaError, OSError) as error:
            if deadline is not None and time.monotonic() > deadline:
                raise ServerUnavailable(
                    f"Kafka at {kafka.bootstrap} did not answer in {timeout_s:g} s: {error}"
                ) from error
            log.warning(
                "waiting for Kafka at %s (%s); start it or set CIVICSTREAM_KAFKA__BOOTSTRAP",
                kafka.bootstrap,
                error,
            )
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, 5.0)
        else:
            return
