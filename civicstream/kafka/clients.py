"""Kafka clients configured from the settings, and patience while Kafka is away."""

from __future__ import annotations

import logging
import os
import socket
import threading
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer
from kafka.errors import KafkaError
from kafka.net.compat import KafkaNetClient

from civicstream.clock import wall_ms
from civicstream.errors import ServerUnavailable
from civicstream.kafka.numbering import NumberedProducer, numbering_of_process
from civicstream.retry import wait_until_available
from civicstream.settings import KafkaSettings

__all__ = [
    "admin_client",
    "client_config",
    "consumer",
    "producer",
    "wait_for_kafka",
]

log = logging.getLogger(__name__)


_THIS_PROCESS = f"{socket.gethostname()}/{os.getpid()}"


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

    Without this every attempt on an absent Kafka costs a thread for good. Nor does kafka-python
    (3.0.12) hand ``allow_auto_create_topics`` on to what asks for metadata: it is set here.
    """
    begun: list[Any] = []

    def network(**config: Any) -> Any:
        made = KafkaNetClient(**config)
        begun.append(made)
        creates = options.get("allow_auto_create_topics", False)
        made.cluster.config["allow_auto_create_topics"] = creates
        return made

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


def producer(
    kafka: KafkaSettings, *, writer: str | None = None, **options: Any
) -> NumberedProducer:
    """Return an idempotent producer that confirms when all replicas have the record.

    It numbers its records as those of ``writer`` (``numbering``), by default of the transactional
    id or of this process.
    """
    defaults = {
        "acks": "all",
        "enable_idempotence": True,
        "linger_ms": 0,
        # A topic that comes into being by itself has the broker's partitions, not ours.
        "allow_auto_create_topics": False,
    }
    made: NumberedProducer = _make(NumberedProducer, client_config(kafka) | defaults | options)
    transactional = options.get("transactional_id")
    name = writer or transactional or _THIS_PROCESS
    made.number(kafka, numbering_of_process(kafka, name, wall_ms(), anew=bool(transactional)))
    return made


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
