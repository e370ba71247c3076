"""Records, state and input offsets in one Kafka transaction; who was cut off is fenced.

::

    open()    from now on Kafka refuses every earlier sender of this transactional id, and what
              it left unfinished is undone; only then is it time to read state and offsets
    commit()  all of it, or nothing of it, is visible to readers of committed records

After Fenced and ServerUnavailable the sender is closed: what became of the transaction is known
when it was opened again and state and offsets were read again.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kafka import OffsetAndMetadata, TopicPartition
from kafka.errors import (
    CommitFailedError,
    FencedInstanceIdError,
    InvalidProducerEpochError,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFencedError,
    RecordListTooLargeError,
)
from kafka.structs import ConsumerGroupMetadata

from civicstream.errors import Fenced, OwnershipLost, RecordTooLarge, ServerUnavailable
from civicstream.kafka.clients import producer
from civicstream.kafka.numbering import NumberedProducer
from civicstream.settings import KafkaSettings
from civicstream.topics import TOPICS

__all__ = ["Outgoing", "TransactionalSender"]

log = logging.getLogger(__name__)

# Kafka undoes by itself what a sender that nobody follows has left open: until then readers of
# committed records wait. Longer than a commit may take.
_OPEN_FOR_MS = 30_000
_CLOSE_S = 2.0
# The topic's own limit decides, not the client's.
_CLIENT_LIMIT = 64 * 1024 * 1024
_KAFKA_DEFAULT_LIMIT = 1_048_588

_FENCING = (ProducerFencedError, InvalidProducerEpochError)
_STALE_MEMBER = (CommitFailedError, FencedInstanceIdError)


@dataclass(frozen=True)
class Outgoing:
    """A record to be sent; ``value`` None takes the key off a compacted topic."""

    topic: str
    """With the prefix."""
    value: bytes | None
    key: bytes | None = None
    headers: list[tuple[str, bytes]] = field(default_factory=list)
    partition: int | None = None


class TransactionalSender:
    """One transactional id, below the topic prefix; used by one thread."""

    def __init__(self, kafka: KafkaSettings, name: str, timeout_s: float = 10) -> None:
        self._kafka = kafka
        self._timeout_s = timeout_s
        self.transactional_id = kafka.scoped(name)
        self._producer: NumberedProducer | None = None

    def open(self) -> None:
        """Fence whoever had the transactional id, and undo what was left open.

        Raise ServerUnavailable. An open sender is closed first.
        """
        self.close()
        try:
            self._producer = self._connected()
            self._producer.init_transactions()
        except (KafkaError, OSError) as error:
            raise self._failed(error, "begins no transactions") from error

    def _connected(self) -> NumberedProducer:
        limit_ms = round(self._timeout_s * 1000)
        made = producer(
            self._kafka,
            transactional_id=self.transactional_id,
            transaction_timeout_ms=_OPEN_FOR_MS,
            max_block_ms=limit_ms,
            bootstrap_timeout_ms=min(limit_ms, 3_000),
            request_timeout_ms=limit_ms,
            # Longer than we wait: what the client gives up by itself would be missing from a
            # transaction that it then commits all the same.
            delivery_timeout_ms=3 * limit_ms,
            max_request_size=_CLIENT_LIMIT,
            metrics_enabled=False,
        )
        # Without a bump of the epoch (KIP-360) a record refused for it ends this producer, as
        # fencing must. kafka-python would go on, and where a broker answers that with
        # INVALID_PRODUCER_EPOCH take any epoch: that would fence its successor.
        made._transaction_manager._supports_epoch_bump = lambda: False
        return made

    @property
    def is_open(self) -> bool:
        return self._producer is not None

    def commit(
        self,
        records: Sequence[Outgoing],
        offsets: Mapping[TopicPartition, OffsetAndMetadata] | None = None,
        group: ConsumerGroupMetadata | None = None,
    ) -> None:
        """Return when records and offsets are in Kafka, in one transaction.

        ``group`` is the consumer's ``group_metadata()``: a member that the group has given up
        commits nothing. Raise Fenced; OwnershipLost for such a member and RecordTooLarge, after
        which nothing was sent and the sender is still open; ServerUnavailable when it is not
        known what became of it.
        """
        if not records and not offsets:
            return
        if self._producer is None:
            raise ServerUnavailable(f"transactional id {self.transactional_id} is not open")
        made, deadline = self._producer, time.monotonic() + self._timeout_s
        try:
            self._commit(made, records, offsets, group, deadline)
        except (MessageSizeTooLargeError, RecordListTooLargeError) as error:
            self._abort(made)
            raise _too_large(records) from error
        except (KafkaError, OSError, AssertionError) as error:
            cause = made._transaction_manager.last_error or error
            if isinstance(cause, _STALE_MEMBER):
                self._abort(made)
                raise OwnershipLost(f"{self.transactional_id}: {cause}") from error
            raise self._failed(error, "takes nothing") from error

    def _commit(
        self,
        made: NumberedProducer,
        records: Sequence[Outgoing],
        offsets: Mapping[TopicPartition, OffsetAndMetadata] | None,
        group: ConsumerGroupMetadata | None,
        deadline: float,
    ) -> None:
        """kafka-python's own methods wait without end, so the requests are waited for here."""
        manager = made._transaction_manager
        manager.begin_transaction()
        numbering = made.numbering
        assert numbering is not None  # noqa: S101 - clients.producer numbers all it makes
        numbering.begin()
        sent = [
            made.send(r.topic, r.value, key=r.key, headers=r.headers, partition=r.partition)
            for r in records
        ]
        if offsets:
            result = manager.send_offsets_to_transaction(dict(offsets), group)
            made._sender.wakeup()
            _wait(result, deadline)
        for future in sent:
            future.get(max(0.001, deadline - time.monotonic()))
        result = manager.begin_commit()
        made._sender.wakeup()
        _wait(result, deadline)
        numbering.commit()

    def _abort(self, made: NumberedProducer) -> None:
        try:
            result = made._transaction_manager.begin_abort()
            made._sender.wakeup()
            _wait(result, time.monotonic() + self._timeout_s)
            if made.numbering is not None:
                made.numbering.abort()
        except KafkaError as error:
            raise self._failed(error, "undoes nothing") from error

    def _failed(self, error: Exception, what: str) -> Exception:
        """Close the producer; return the error that says what to do."""
        manager = self._producer and self._producer._transaction_manager
        cause = (manager and manager.last_error) or error
        self.close(0)
        if isinstance(cause, _FENCING):
            return Fenced(
                f"transactional id {self.transactional_id}: another process has begun with it"
            )
        return ServerUnavailable(f"Kafka {what} ({self.transactional_id}): {cause!r}")

    def close(self, timeout_s: float = _CLOSE_S) -> None:
        made, self._producer = self._producer, None
        if made is None:
            return
        with contextlib.suppress(KafkaError, AssertionError):
            made.close(timeout=timeout_s)
        sender = getattr(made, "_sender", None)
        if isinstance(sender, threading.Thread):
            sender.join(_CLOSE_S)


def _wait(result: Any, deadline: float) -> None:
    left_ms = max(1.0, (deadline - time.monotonic()) * 1000)
    if not result.wait(timeout_ms=left_ms):
        raise KafkaError("no answer in time")


def _too_large(records: Sequence[Outgoing]) -> RecordTooLarge:
    """Name the largest record: of several in a refused transaction that is the one."""
    worst = max(records, key=_size)
    return RecordTooLarge(worst.topic, worst.key, _size(worst), _limit_of(worst.topic))


def _size(record: Outgoing) -> int:
    headers = sum(len(name.encode()) + len(value) for name, value in record.headers)
    return len(record.value or b"") + len(record.key or b"") + headers


def _limit_of(topic: str) -> int:
    """Return the declared limit of a topic [bytes]; Kafka's own where there is none."""
    for name, declared in TOPICS.items():
        if topic.endswith(f".{name}"):
            return int(declared.config.get("max.message.bytes", _KAFKA_DEFAULT_LIMIT))
    return _KAFKA_DEFAULT_LIMIT
