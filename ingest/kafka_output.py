"""The way out to Kafka: an idempotent producer and what became of each record."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from kafka import KafkaProducer
from kafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError

from civicstream.errors import ConfigurationError, ServerUnavailable
from civicstream.kafka.clients import check_reachable, close_producer, producer
from civicstream.kafka.topic_admin import wait_for_topics
from civicstream.kinds import KINDS
from civicstream.settings import KafkaSettings
from civicstream.topics import frames_topic, topic_name

__all__ = ["KafkaOutput"]

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Headers = list[tuple[str, bytes]]

_OPTIONS = {
    # The producer itself tries for ever, in order and without repeats; giving a record up and
    # sending it again is what could repeat it. What waits is bounded by the messages in flight.
    "delivery_timeout_ms": 2**31 - 1,
    "request_timeout_ms": 15_000,
    # A Kafka that comes back is noticed within seconds.
    "reconnect_backoff_max_ms": 1_000,
    # Calls that wait for metadata hold up the MQTT connection meanwhile.
    "max_block_ms": 3_000,
    "bootstrap_timeout_ms": 2_000,
    # A topic made by accident would have the wrong number of partitions.
    "allow_auto_create_topics": False,
    "max_request_size": 8 * 1024 * 1024,
    "metrics_enabled": False,
}

_CONFIRM_MS = 3_000
"""A broker answers a request when all partitions in it are confirmed, or after this long: one whose
copies lag holds up those beside it no longer. What was not confirmed is sent again."""


class KafkaOutput(Generic[Item]):
    """Sends records; what became of them comes back in ``outcomes``, with the item given."""

    def __init__(
        self, kafka: KafkaSettings, wake: Callable[[], None], writer: str = "gateway"
    ) -> None:
        self._kafka = kafka
        self._writer = writer
        self._wake = wake
        self._producer: KafkaProducer | None = None
        self._generation = 0
        self._outcomes: deque[tuple[int, Item, BaseException | None]] = deque()

    @property
    def connected(self) -> bool:
        return self._producer is not None

    def connect(self) -> None:
        """Start a producer and check the topics.

        Raise ServerUnavailable when Kafka does not answer or has not all topics yet, and
        ConfigurationError when a topic is not as the settings say.
        """
        try:
            check_reachable(self._kafka.bootstrap)
            topics = _topics_written()
            # Without a leader for some partition, the others take their records all the same.
            wait_for_topics(self._kafka, topics, timeout_s=0, led=False)
            made = producer(self._kafka, writer=self._writer, **_OPTIONS)
            # The option is the client's own patience as well, which is longer.
            made._sender.config["request_timeout_ms"] = _CONFIRM_MS
            try:
                # Asked for by the first record of a topic, while Kafka hangs, it would hold up
                # the MQTT connection.
                for topic in topics:
                    made.partitions_for(topic_name(self._kafka.topic_prefix, topic))
            except BaseException:
                close_producer(made, timeout_s=1)
                raise
            self._producer = made
            self._generation += 1
        except (KafkaError, OSError, ValueError) as error:
            raise ServerUnavailable(
                f"Kafka at {self._kafka.bootstrap} does not answer ({error}); start it or set "
                "CIVICSTREAM_KAFKA__BOOTSTRAP"
            ) from error

    def send(
        self,
        topic: str,
        value: bytes,
        item: Item,
        *,
        headers: Headers,
        key: bytes | None = None,
        partition: int | None = None,
    ) -> None:
        """Hand a record over; its outcome follows, also when it cannot even be handed over."""
        generation = self._generation
        if self._producer is None:
            raise ServerUnavailable("no producer; connect first")
        try:
            future = self._producer.send(
                topic_name(self._kafka.topic_prefix, topic),
                value,
                key=key,
                headers=headers,
                partition=partition,
            )
        except (KafkaError, ValueError) as error:
            self._outcomes.append((generation, item, error))
            return
        future.add_callback(self._note, generation, item)
        future.add_errback(self._note, generation, item)

    def _note(self, generation: int, item: Item, result: object) -> None:
        """Runs on the producer's thread."""
        error = result if isinstance(result, BaseException) else None
        self._outcomes.append((generation, item, error))
        self._wake()

    def outcomes(self) -> Iterator[tuple[Item, BaseException | None]]:
        """Yield each item that Kafka has confirmed (None) or that failed, and forget it.

        Raise ConfigurationError for a record that this Kafka will never take.
        """
        while self._outcomes:
            generation, item, error = self._outcomes.popleft()
            if generation != self._generation:
                continue  # sent again since
            if isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError):
                raise ConfigurationError(
                    f"Kafka at {self._kafka.bootstrap} refuses a record as too large ({error}); "
                    "raise its message.max.bytes to 1 MB or more, or lower "
                    "CIVICSTREAM_GATEWAY__MAX_FRAME_READINGS and __MAX_PAYLOAD_BYTES"
                )
            yield item, error

    def drop_producer(self) -> None:
        """Give the producer up: what has no outcome by now must be sent again after ``connect``."""
        dropped, self._producer = self._producer, None
        if dropped is not None:
            close_producer(dropped, timeout_s=1)

    def close(self, timeout_s: float) -> None:
        """End the producer, giving what it holds this long to be confirmed."""
        if self._producer is not None:
            close_producer(self._producer, timeout_s)
            self._producer = None


def _topics_written() -> list[str]:
    others = ("reports", "private", "units", "crew_actions", "parked", "deadletter", "ledger")
    return [*map(frames_topic, KINDS), *others]
