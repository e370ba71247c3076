"""Every record says who wrote it and under which number, so that a reader can prove a loss.

A writer numbers its records from 0 per topic and partition. The number travels in the header
``sequence`` (``writer/epoch/number``); frames carry the same in headers of their own
(``civicstream.frames``), because a gateway sends a frame again under its first number. Why
numbers and not offsets: docs/decisions/0003-ledger-sequence.md.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from kafka import KafkaProducer
from kafka.errors import KafkaTimeoutError

from civicstream.events import WrittenSequence
from civicstream.partitioning import partition_of_key
from civicstream.settings import KafkaSettings
from civicstream.topics import TOPICS

__all__ = [
    "HEADER",
    "Number",
    "NumberedProducer",
    "Numbering",
    "is_numbered",
    "number_of",
    "numbered_transaction",
    "numbering_of_process",
    "stamp",
    "written_by_this_process",
]

HEADER = "sequence"

_END_S = 5.0
"""How long an I/O thread that is to drop its records may take to end [s]."""

_MOST_VOID = 1_000
"""Ranges of numbers given up that a report names; each is an outage, so this is years."""


class Number(NamedTuple):
    """Where one record stands among those of its writer on its partition."""

    writer: str
    epoch: int
    seq: int


def number_of(headers: Sequence[tuple[str, bytes]]) -> Number | None:
    """Return the record's number; None when it has none that can be read."""
    for name, value in headers:
        if name == HEADER:
            try:
                writer, epoch, seq = value.decode().rsplit("/", 2)
                found = Number(writer, int(epoch), int(seq))
            except ValueError:
                return None
            return found if 0 <= found.epoch < 2**63 and 0 <= found.seq < 2**63 - 1 else None
    return None


def is_numbered(topic: str) -> bool:
    """Whether records of a topic (without prefix) carry the header.

    Frames have numbers of their own; of a compacted topic the newest of a key says everything; what
    a gateway parks is numbered when it comes to where it belongs.
    """
    declared = TOPICS.get(topic)
    own = topic.startswith("frames.") or topic == "parked"
    return declared is not None and not declared.compacted and not own


def stamp(number: Number) -> tuple[str, bytes]:
    """Return the header that says a record's number."""
    return HEADER, f"{number.writer}/{number.epoch}/{number.seq}".encode()


Place = tuple[str, int]
"""Topic (with prefix) and partition."""


class _Lane:
    """The numbers given out on one partition."""

    def __init__(self) -> None:
        self.next = 0
        self.open: set[int] = set()
        self.void: list[tuple[int, int]] = []
        """Ranges (first, last) that Kafka has not confirmed and that were given up."""

    def give_up(self, number: int) -> None:
        self.open.discard(number)
        if self.void and self.void[-1][1] == number - 1:
            self.void[-1] = (self.void[-1][0], number)
        else:
            self.void = [*self.void, (number, number)][-_MOST_VOID:]

    @property
    def confirmed(self) -> int:
        """All numbers below it are confirmed or void."""
        return min(self.open, default=self.next)


class Numbering:
    """The numbers of one writer since ``epoch`` [ms]; safe to use from several threads."""

    def __init__(self, writer: str, epoch: int) -> None:
        self.writer = writer
        self.epoch = epoch
        self._lanes: dict[Place, _Lane] = {}
        self._lock = threading.Lock()
        self._committed: dict[Place, int] | None = None
        """While a transaction is open: the next number per partition as it was before."""
        self._generation = 0

    def take(self, place: Place) -> tuple[Number, Callable[[bool], None]]:
        """Return the next number, and what to call once: True when Kafka has the record."""
        with self._lock:
            lane = self._lanes.setdefault(place, _Lane())
            seq, generation = lane.next, self._generation
            lane.next += 1
            lane.open.add(seq)

        def settle(confirmed: bool) -> None:
            with self._lock:
                if generation != self._generation or seq not in lane.open:
                    return  # its transaction was aborted: the number is given again
                if confirmed:
                    lane.open.discard(seq)
                else:
                    lane.give_up(seq)

        return Number(self.writer, self.epoch, seq), settle

    def begin(self) -> None:
        """Note that what follows counts only once it is committed."""
        with self._lock:
            self._committed = {place: lane.next for place, lane in self._lanes.items()}

    def commit(self) -> None:
        with self._lock:
            self._committed = None

    def abort(self) -> None:
        """Give the numbers since ``begin`` again: readers of committed records saw none."""
        with self._lock:
            if self._committed is None:
                return
            for place, lane in self._lanes.items():
                lane.next = self._committed.get(place, 0)
                lane.open = {n for n in lane.open if n < lane.next}
                lane.void = [r for r in lane.void if r[1] < lane.next]
            self._committed = None
            self._generation += 1

    def abandon(self) -> None:
        """Give up what has no outcome: its producer is gone."""
        with self._lock:
            for lane in self._lanes.values():
                for number in sorted(lane.open):
                    lane.give_up(number)

    def written(self) -> list[WrittenSequence]:
        """Return per partition what Kafka has confirmed (and committed)."""
        with self._lock:
            found = []
            for (topic, partition), lane in sorted(self._lanes.items()):
                end = lane.confirmed
                if self._committed is not None:
                    end = min(end, self._committed.get((topic, partition), 0))
                void = [r for r in lane.void if r[0] < end]
                found.append(WrittenSequence(self.writer, self.epoch, topic, partition, end, void))
            return found


@contextmanager
def numbered_transaction(numbering: Numbering) -> Iterator[Callable[[Place], tuple[str, bytes]]]:
    """Give a function that returns the header with the next number of a place.

    The numbers count when the block ends; they are given up when it raises.
    """
    settles: list[Callable[[bool], None]] = []

    def next_header(place: Place) -> tuple[str, bytes]:
        number, settle = numbering.take(place)
        settles.append(settle)
        return stamp(number)

    numbering.begin()
    try:
        yield next_header
        for settle in settles:
            settle(True)
    except BaseException:
        numbering.abandon()
        raise
    finally:
        numbering.commit()


class NumberedProducer(KafkaProducer):  # type: ignore[misc]
    """A producer that numbers what it sends; made by ``civicstream.kafka.clients.producer``."""

    numbering: Numbering | None = None
    _kafka: KafkaSettings
    _order: threading.Lock

    def number(self, kafka: KafkaSettings, numbering: Numbering) -> None:
        """Number from now on."""
        self._kafka = kafka
        self._order = threading.Lock()
        self.numbering = numbering

    def _place(self, topic: str, key: bytes | None, partition: int | None) -> Place | None:
        name = topic.removeprefix(f"{self._kafka.topic_prefix}.")
        if name == topic or not is_numbered(name):
            return None
        if partition is None:
            count = TOPICS[name].partitions or self._kafka.partitions
            partition = partition_of_key(key, count) if key else 0
        return topic, partition

    def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        headers: list[tuple[str, bytes]] | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
    ) -> Any:
        """As the client's; the record goes to the partition of its key."""
        place = self.numbering and self._place(topic, key, partition)
        if not self.numbering or not place:
            return super().send(topic, value, key, headers, partition, timestamp_ms)
        # The order of the numbers is the order on the partition.
        with self._order:
            number, settle = self.numbering.take(place)
            stamped = [*(headers or []), stamp(number)]
            try:
                future = super().send(topic, value, key, stamped, place[1], timestamp_ms)
            except BaseException:
                settle(False)
                raise
        future.add_callback(lambda _: settle(True))
        future.add_errback(lambda _: settle(False))
        return future

    def close(self, timeout: float | None = None, null_logger: bool = False) -> None:
        """End the I/O thread, also when Kafka is away; raise KafkaTimeoutError for lost records.

        ``timeout`` [s] is for records on their way; without it, that of their delivery.
        """
        try:
            super().close(timeout, null_logger)
        except KafkaTimeoutError:
            # kafka-python 3.0 raises before it ends its thread, which would try for minutes.
            self._sender.force_close()
            self._sender.join(_END_S)
            super().close(_END_S, null_logger)
            raise
        finally:
            if self.numbering:
                self.numbering.abandon()


_of_process: dict[tuple[str, str, str], list[Numbering]] = {}
"""What this process has written: (bootstrap, topic prefix, writer) -> its numbers, newest last."""
_KEPT = 2
"""Epochs of a writer that are reported: the one before may still have records on their way."""
_lock = threading.Lock()


def numbering_of_process(
    kafka: KafkaSettings, writer: str, epoch: int, *, new_epoch: bool = False
) -> Numbering:
    """Return the writer's numbering in this process, the same for one producer after another.

    ``new_epoch`` begins another epoch: after a transaction whose end is not known.
    """
    key = (kafka.bootstrap, kafka.topic_prefix, writer)
    with _lock:
        found = _of_process.setdefault(key, [])
        if not found or new_epoch:
            if found:
                epoch = max(epoch, found[-1].epoch + 1)
            found[:] = [*found, Numbering(writer, epoch)][-_KEPT:]
        return found[-1]


def written_by_this_process(kafka: KafkaSettings) -> list[WrittenSequence]:
    """Return what this process has put on this Kafka, for its ledger report."""
    with _lock:
        mine = [
            numbering
            for (bootstrap, prefix, _), numberings in sorted(_of_process.items())
            if (bootstrap, prefix) == (kafka.bootstrap, kafka.topic_prefix)
            for numbering in numberings
        ]
    return [sequence for numbering in mine for sequence in numbering.written()]
