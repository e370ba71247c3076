"""One partition of a task: its state store, and the one producer that may write it.

What follows from input, the change of state and how far the input was read are one Kafka
transaction. Opening the partition takes its ``transactional.id``: Kafka ends what the predecessor
left open and refuses whatever else it sends, then the state is read to its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    KafkaError,
    MessageSizeTooLargeError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from civicstream.clock import now_ms, wall_ms
from civicstream.errors import ConfigurationError, OwnershipLost
from civicstream.kafka.dead_letter import Origin, make_dead_letter
from civicstream.kafka.log_gaps import LogGap, Position
from civicstream.kafka.numbering import is_numbered, numbered_transaction, numbering_of_process
from civicstream.kafka.sequences import ReadAccount, Received, missing_record
from civicstream.partitioning import partition_of
from civicstream.settings import KafkaSettings
from civicstream.topics import TOPICS, topic_name
from streams.runtime.kafka_connection import record_limit, state_reader, transactional_producer
from streams.runtime.offset_gate import OffsetGate
from streams.runtime.records import Record, make_record

__all__ = ["PIECE_BYTES", "Input", "TaskState", "join_pieces", "pieces_of"]

log = logging.getLogger(__name__)

PIECE_BYTES = 256 * 1024
"""An item of state is written in records of at most so much, whatever its size."""

# Key, headers and the batch around a record.
_OVERHEAD = 512

_CLOSE_S = 3.0

_INPUT = "input/"
_READ = "read/"


class Input(msgspec.Struct, frozen=True):
    """How far a partition of an input topic was read."""

    resume_at: int = 0
    """Offset of the first record that is still needed."""
    next_offset: int = 0
    """Offset of the first record that was never read."""
    topic_id: str = ""
    """Kafka's own id of the topic: another one is another log."""
    newest_ms: int = 0
    """When Kafka appended the newest record that was read [epoch ms]; 0: not known."""

    @property
    def position(self) -> Position:
        return Position(self.next_offset, self.topic_id, self.newest_ms)


class _Outgoing(NamedTuple):
    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    numbered: bool = False


def pieces_of(item: bytes) -> list[bytes]:
    """Return an item in pieces of at most ``PIECE_BYTES``, at least one."""
    return [item[i : i + PIECE_BYTES] for i in range(0, len(item), PIECE_BYTES)] or [b""]


def join_pieces(records: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the items of the records of a state store; keys are ``item#number``."""
    found: dict[str, dict[int, bytes]] = defaultdict(dict)
    for key, piece in records.items():
        name, _, number = key.rpartition("#")
        found[name][int(number)] = piece
    return {name: b"".join(p for _, p in sorted(pieces.items())) for name, pieces in found.items()}


class TaskState:
    """Opened once; after an error it is done with: its successor begins from what is on Kafka."""

    def __init__(self, kafka: KafkaSettings, task: str, partition: int) -> None:
        self.task = task
        self.partition = partition
        self.inputs: dict[str, Input] = {}
        """By topic, as last committed."""
        self.assigned = True
        """False once revoked: nothing that followed from it may be published any more."""
        self.gates: dict[str, OffsetGate] = {}
        """By topic: which record must come next."""
        self.accounts: dict[str, ReadAccount] = {}
        """By topic: which of the writers' numbers have come."""
        self._kafka = kafka
        self._topic = f"state.{task}"
        self._written: dict[str, tuple[int, bytes]] = {}
        """Number of pieces and digest of every item."""
        self._producer: AIOKafkaProducer | None = None
        self._failed = False
        """A transaction did not end well: whatever became of it, this producer is done with."""
        self._lock = asyncio.Lock()
        # Whoever opens the partition next begins another epoch: numbers show what was lost.
        self._numbering = numbering_of_process(
            kafka, kafka.scoped(f"{task}-{partition}"), wall_ms(), new_epoch=True
        )

    async def open(self) -> dict[str, bytes]:
        """Take the partition over and return its items; raise KafkaError."""
        transactional_id = self._kafka.scoped(f"{self.task}-{self.partition}")
        self._producer = transactional_producer(self._kafka, transactional_id)
        await self._producer.start()
        items = join_pieces(await self._read())
        self._written = {key: (len(pieces_of(item)), _digest(item)) for key, item in items.items()}
        for key in [key for key in items if key.startswith(_INPUT)]:
            stored = msgspec.msgpack.decode(items.pop(key), type=Input)
            self.inputs[key.removeprefix(_INPUT)] = stored
        for key in [key for key in items if key.startswith(_READ)]:
            self.accounts[key.removeprefix(_READ)] = ReadAccount(items.pop(key))
        return items

    def count(self, topic: str, offset: int, record: Received | None) -> None:
        """Note a record's number for the ledger; kept with the next commit that names the topic."""
        self._account(topic, self.inputs.get(topic, Input())).take(offset, record)

    def _account(self, topic: str, read: Input) -> ReadAccount:
        if topic not in self.accounts:
            self.accounts[topic] = ReadAccount(begin=read.resume_at)
        return self.accounts[topic]

    def begin_inputs(self, inputs: Mapping[str, Input], gaps: Iterable[LogGap]) -> None:
        """Go on from ``inputs``, which hold against the logs as they are now, but for ``gaps``."""
        for topic, read in inputs.items():
            self.gates[topic] = OffsetGate(read.resume_at, read.newest_ms)
            self._account(topic, read)
        for gap in gaps:
            if gap.reason != "deleted":  # offsets that come again, with other records
                self.accounts[gap.topic].cut(gap.read_from)
        self.inputs |= inputs

    def read_to(self, topic: str, resume_at: int, next_offset: int) -> dict[str, Input]:
        """Return the ``inputs`` of a commit for which a topic was read up to ``next_offset``."""
        newest_ms = self.gates[topic].newest_ms
        return {topic: Input(resume_at, next_offset, self.inputs[topic].topic_id, newest_ms)}

    async def _read(self) -> dict[str, bytes]:
        tp = TopicPartition(topic_name(self._kafka.topic_prefix, self._topic), self.partition)
        reader = state_reader(self._kafka)
        records: dict[str, bytes] = {}
        await reader.start()
        try:
            reader.assign([tp])
            end = (await reader.end_offsets([tp]))[tp]
            await reader.seek_to_beginning(tp)
            # The position, not the last record: a transaction ends with a marker that nobody sees.
            while await reader.position(tp) < end:
                for record in (await reader.getmany(tp, timeout_ms=500)).get(tp, ()):
                    if record.value is None:
                        records.pop(record.key.decode(), None)
                    else:
                        records[record.key.decode()] = record.value
        finally:
            await reader.stop()
        return records

    async def commit(
        self,
        records: Sequence[Record],
        items: Mapping[str, bytes | None] | None = None,
        inputs: Mapping[str, Input] | None = None,
    ) -> None:
        """Publish, change the state and go on in the input, all or nothing.

        With the topics in ``inputs`` goes what has come of their records' numbers.

        Raises OwnershipLost when that did not happen, or perhaps did: the partition has to be
        opened again. Raises ConfigurationError for what only a person can change.
        """
        read, missing = self._progress(inputs or {})
        changed = {
            key: item
            for key, item in {**(items or {}), **read}.items()
            if self._written.get(key, (0, b""))[1] != _digest(item)
        }
        async with self._lock:
            outgoing = [self._outgoing(record) for record in [*records, *missing]]
            for key, item in changed.items():
                outgoing += self._pieces(key, item)
            if outgoing:
                await self._send(outgoing)
            for key, item in changed.items():
                if item is None:
                    self._written.pop(key, None)
                else:
                    self._written[key] = (len(pieces_of(item)), _digest(item))
            self.inputs |= inputs or {}

    def _progress(self, inputs: Mapping[str, Input]) -> tuple[dict[str, bytes], list[Record]]:
        """Return the items that say how far the input was read, and the gaps found in it."""
        items: dict[str, bytes] = {}
        missing = []
        for topic, read in inputs.items():
            account = self._account(topic, read)
            items[_INPUT + topic] = msgspec.msgpack.encode(read)
            items[_READ + topic] = account.dump()
            for gap in account.take_gaps():
                made = missing_record(self._kafka.topic_prefix, gap, "worker")
                missing.append(Record("gaps", gap.stream.writer, made.value or b"", made.headers))
        return items, missing

    def _outgoing(self, record: Record) -> _Outgoing:
        size = len(record.value) + len(record.area.encode()) + _OVERHEAD
        size += sum(len(name) + len(value) + 8 for name, value in record.headers)
        if size > record_limit(record.topic):
            record = _too_large(record, size)
        partitions = TOPICS[record.topic].partitions or self._kafka.partitions
        partition = record.partition
        if partition is None:
            partition = partition_of(record.area, partitions)
        name = topic_name(self._kafka.topic_prefix, record.topic)
        key = record.area.encode() or None
        numbered = is_numbered(record.topic)
        return _Outgoing(name, partition, key, record.value, record.headers, numbered)

    def _pieces(self, key: str, item: bytes | None) -> list[_Outgoing]:
        """Return the records that put an item in the place of what was there."""
        pieces: list[bytes | None] = [] if item is None else [*pieces_of(item)]
        before = self._written.get(key, (0, b""))[0]
        pieces += [None] * (before - len(pieces))
        name = topic_name(self._kafka.topic_prefix, self._topic)
        return [
            _Outgoing(name, self.partition, f"{key}#{number}".encode(), piece, [])
            for number, piece in enumerate(pieces)
        ]

    async def _send(self, outgoing: list[_Outgoing]) -> None:
        producer = self._producer
        if producer is None or self._failed:
            raise OwnershipLost(f"{self._name} was given up")
        self._failed = True
        try:
            with numbered_transaction(self._numbering) as next_header:
                await _transact(producer, [_numbered(o, next_header) for o in outgoing])
            self._failed = False
        except (
            MessageSizeTooLargeError,
            TopicAuthorizationFailedError,
            TransactionalIdAuthorizationFailed,
            ClusterAuthorizationFailedError,
        ) as error:
            raise ConfigurationError(
                f"{self._name}: Kafka refuses its records ({error!r}); run `civicstream init` "
                "for the topics' limits and the rights of this process"
            ) from error
        except KafkaError as error:
            raise OwnershipLost(f"{self._name}: {error!r}") from error
        except AssertionError as error:
            # aiokafka asserts the order of its calls; closing aborts what is under way.
            if self._producer is producer:
                raise
            raise OwnershipLost(f"{self._name} was given up") from error

    @property
    def _name(self) -> str:
        return f"task {self.task} partition {self.partition}"

    async def close(self) -> None:
        """Give the connections back; what was not committed never happened."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        with contextlib.suppress(TimeoutError, KafkaError):
            await asyncio.wait_for(_end(producer), _CLOSE_S)
        with contextlib.suppress(KafkaError):
            await producer.client.close()
        ended = producer._txn_manager.wait_for_transaction_end()
        if ended is not None and ended.done() and not ended.cancelled():
            ended.exception()  # known by now; asyncio would log it as never looked at


def _numbered(
    o: _Outgoing, next_header: Callable[[tuple[str, int]], tuple[str, bytes]]
) -> _Outgoing:
    if not o.numbered:
        return o
    return o._replace(headers=[*o.headers, next_header((o.topic, o.partition))])


async def _transact(producer: AIOKafkaProducer, outgoing: Sequence[_Outgoing]) -> None:
    await producer.begin_transaction()
    sent = [
        await producer.send(o.topic, o.value, o.key, o.partition, headers=o.headers)
        for o in outgoing
    ]
    for outcome in await asyncio.gather(*sent, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
    await producer.commit_transaction()


async def _end(producer: AIOKafkaProducer) -> None:
    # Left open, the transaction would hold up the readers until a successor comes.
    with contextlib.suppress(AssertionError, AttributeError, KafkaError):
        await producer.abort_transaction()
    await producer.stop()


def _digest(item: bytes | None) -> bytes:
    return b"" if item is None else hashlib.blake2b(item, digest_size=16).digest()


def _too_large(record: Record, size: int) -> Record:
    """Return the dead letter in place of a record that its topic would refuse."""
    detail = (
        f"a record of {size} bytes for topic {record.topic}, key {record.area!r}, is over the "
        f"topic's limit of {record_limit(record.topic)}"
    )
    log.error("%s; it is kept as a dead letter", detail)
    origin = Origin(record.topic)
    dead_letter = make_dead_letter(
        "worker", None, origin, record.value, "record_too_large", detail, at_ms=now_ms()
    )
    event_id = f"record_too_large/{_digest(record.value).hex()}"
    return make_record("deadletter", record.topic, dead_letter, event_id, dead_letter.received_at)
