"""Kafka clients configured from the settings, and patience while Kafka is away."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError, UnknownTopicOrPartitionError
from kafka.net.compat import KafkaNetClient

from civicstream.clock import wall_ms
from civicstream.errors import ServerUnavailable
from civicstream.kafka.numbering import NumberedProducer, numbering_of_process
from civicstream.retry import wait_until_available
from civicstream.settings import KafkaSettings

__all__ = [
    "admin_client",
    "check_reachable",
    "client_config",
    "close_producer",
    "confirming_producer",
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
        # By default the pause between attempts doubles up to 30 s, and so would the time for which
        # a part stands still after a broker has come back.
        "reconnect_backoff_max_ms": 1_000,
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
    """Make a client that never creates topics; when that fails, end its I/O thread.

    kafka-python 3 leaves it running: every attempt on an absent Kafka would cost one for good.
    """
    begun: list[Any] = []

    def network(**config: Any) -> Any:
        client = KafkaNetClient(**config)
        # kafka-python 3.0 does not pass its option on: every request for metadata would have the
        # broker create the topics it lacks, with the broker's number of partitions.
        client.cluster.config["allow_auto_create_topics"] = False
        begun.append(client)
        return client

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
    }
    made: NumberedProducer = _make(NumberedProducer, client_config(kafka) | defaults | options)
    transactional = options.get("transactional_id")
    name = writer or transactional or _THIS_PROCESS
    made.number(kafka, numbering_of_process(kafka, name, wall_ms(), new_epoch=bool(transactional)))
    return made


def confirming_producer(
    kafka: KafkaSettings, confirm_s: float, *, writer: str | None = None
) -> NumberedProducer:
    """Return a producer for few records whose confirmation is waited for, ``confirm_s`` at most.

    It blocks shortly: while Kafka is away whoever sends has others to serve. Raise
    ServerUnavailable.
    """
    try:
        return producer(
            kafka,
            writer=writer,
            max_block_ms=2_000,
            bootstrap_timeout_ms=3_000,
            delivery_timeout_ms=round(confirm_s * 1000),
            request_timeout_ms=round(confirm_s * 1000) - 1000,
            metrics_enabled=False,
        )
    except (KafkaError, OSError) as error:
        raise ServerUnavailable(f"Kafka: {error!r}") from error


def close_producer(made: KafkaProducer, timeout_s: float) -> None:
    """Wait this long for confirmation of what it holds, and end its thread."""
    with contextlib.suppress(KafkaError):
        made.close(timeout=timeout_s)
    sender = getattr(made, "_sender", None)
    if isinstance(sender, threading.Thread):
        sender.join(timeout_s + 5)


def consumer(kafka: KafkaSettings, **options: Any) -> KafkaConsumer:
    """Return a consumer that never commits by itself and starts at the beginning.

    It reads committed records only; offsets have holes where transactions end.
    """
    defaults = {
        "isolation_level": "read_committed",
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "session_timeout_ms": kafka.session_timeout_ms,
        "heartbeat_interval_ms": max(300, kafka.session_timeout_ms // 3),
    }
    made: KafkaConsumer = _make(_Consumer, client_config(kafka) | defaults | options)
    _finish_what_is_joined(made)
    return made


class _Consumer(KafkaConsumer):  # type: ignore[misc]
    """Says by a KafkaError that Kafka does not know a partition; kafka-python 3.0.12 leaves it out
    of the answer that it then looks it up in (KeyError).
    """

    def beginning_offsets(
        self, partitions: Sequence[TopicPartition], timeout_ms: int | None = None
    ) -> dict[TopicPartition, int]:
        with _known_partitions():
            found: dict[TopicPartition, int] = super().beginning_offsets(partitions, timeout_ms)
            return found

    def end_offsets(
        self, partitions: Sequence[TopicPartition], timeout_ms: int | None = None
    ) -> dict[TopicPartition, int]:
        with _known_partitions():
            found: dict[TopicPartition, int] = super().end_offsets(partitions, timeout_ms)
            return found


@contextlib.contextmanager
def _known_partitions() -> Iterator[None]:
    try:
        yield
    except KeyError as error:
        raise UnknownTopicOrPartitionError(f"Kafka does not know {error}") from error


def _finish_what_is_joined(made: KafkaConsumer) -> None:
    """Let a poll take up the rejoining that the poll before it had no time to finish.

    kafka-python (3.0.12) asks ``need_rejoin`` alone. Where new partitions were the reason, that is
    no more once the assignment has been made: when the poll's time was over just then, nobody took
    the assignment, and the member stayed in the group without a partition, for ever.
    """
    coordinator = made._coordinator
    needs = coordinator.need_rejoin

    def need_rejoin() -> bool:
        unfinished = coordinator.rejoining and made._subscription.partitions_auto_assigned()
        return bool(unfinished or needs())

    coordinator.need_rejoin = need_rejoin


def check_reachable(bootstrap: str) -> None:
    """Raise OSError when nothing listens at any of the addresses.

    It takes no time where a client of Kafka tries for seconds, and logs every attempt.
    """
    refused: OSError | None = None
    for address in bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        place = (host.strip("[]"), int(port)) if port.isdecimal() else (address.strip(), 9092)
        try:
            socket.create_connection(place, timeout=1).close()
        except OSError as error:
            refused = error
        else:
            return
    if refused is not None:
        raise refused


def wait_for_kafka(
    kafka: KafkaSettings, timeout_s: float | None = None, stop: threading.Event | None = None
) -> None:
    """Return when Kafka answers or ``stop`` is set; raise ServerUnavailable after ``timeout_s``."""
    server = f"Kafka at {kafka.bootstrap}"

    def ask() -> None:
        try:
            check_reachable(kafka.bootstrap)
            admin_client(kafka, bootstrap_timeout_ms=3_000).close()
        except (KafkaError, OSError) as error:
            raise ServerUnavailable(
                f"{error}; start it or set CIVICSTREAM_KAFKA__BOOTSTRAP"
            ) from error

    wait_until_available(ask, server, log=log, stop=stop, timeout_s=timeout_s)
