"""Every record to its partition, also past a partition that cannot be written.

MQTT acknowledgements go in the order of receipt, so a record that its partition does not take would
hold up all that came after it. When a partition has confirmed nothing for some seconds while Kafka
confirms others, it is *stuck*: what waits for it, and what follows, is written to the topic
``parked`` instead, on any partition that can be written, and acknowledged when Kafka has it there.
The first attempts stay with the producer, which goes on trying: when all of them have arrived, the
partition can be written again, and the parked records are read back and sent on, in order. Until
they are through, what follows is parked behind them, and at the very end held back.

A start reads what earlier starts have left parked, and takes their partitions for stuck until the
first such record has arrived. No I/O here but through what ``Delivery`` is given.
"""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from ingest.parking import (
    PARKED,
    Parked,
    ParkedNumber,
    PassEnd,
    Record,
    TopicPartition,
    parked_copy,
)

__all__ = ["Attempt", "Delivered", "Delivery", "Done", "Reader", "Through"]

log = logging.getLogger(__name__)

Item = TypeVar("Item")

_QUIET_S = 5.0
"""When nothing at all was confirmed for this long, Kafka is away, and no single partition stuck."""
_COPY_PATIENCE_S = 2.0
"""A copy that is not confirmed by then is written to another partition of the parked topic too."""
_BACK_IN_FLIGHT = 200
"""Records read back that may be on their way at once."""
_FEW = 2_000
"""So few parked records are sent on while what follows waits: a moment."""
_LOOK_EVERY_S = 0.1
_PASS_AGAIN_S = 2.0
_FIRST_PASS_S = 15.0
"""Nothing is sent for longer because it is not known what earlier starts have left."""

_NEVER_PARKED = frozenset(("private",))
"""Personal data is erased by a null record that comes after it on its partition; a record that was
parked and is sent on later would come after the null record and be kept."""


class Reader(Protocol):
    """Reads this gateway's parked records back; ``parked_reader.ParkedReader``."""

    def start(self, begin: Mapping[int, int]) -> None: ...
    def next(self) -> Parked | PassEnd | None: ...
    def commit(self, offsets: Mapping[int, int]) -> None: ...


@dataclass(slots=True, eq=False)
class _Sending(Generic[Item]):
    """A record and what has become of it."""

    record: Record
    item: Item | None
    """None: it was read back, so it was acknowledged long ago."""
    origin: tuple[int, int] | None = None
    """Partition and offset that it was read back from."""
    number: ParkedNumber | None = None
    """Of its copy, once it has one."""
    acknowledged: bool = False
    arrived: bool = False
    """On its own partition."""


@dataclass(frozen=True, slots=True, eq=False)
class Attempt(Generic[Item]):
    """One record handed to Kafka: the record itself or a copy."""

    record: Record
    sending: _Sending[Item]


@dataclass(frozen=True, slots=True)
class Done(Generic[Item]):
    """Kafka has the item's record: on its own partition or, ``parked``, as a copy."""

    item: Item
    parked: bool


@dataclass(frozen=True, slots=True)
class Delivered:
    """A record that was ``Done`` as a copy is now on its own partition."""

    record: Record


@dataclass(frozen=True, slots=True)
class Through:
    """The partition has all its parked records."""

    place: TopicPartition


Event = Done[Item] | Delivered | Through


@dataclass(slots=True, eq=False)
class _Partition(Generic[Item]):
    """A partition and what is on its way to it."""

    place: TopicPartition
    out: dict[Attempt[Item], float] = field(default_factory=dict)
    """Not confirmed: when it was handed over [s]; the oldest first."""
    stuck: bool = False
    parked: bool = False
    """Whether records were parked since it last had all of them."""
    copies: int = 0
    """Its records of which nothing is confirmed but a copy is on its way."""
    flying: int = 0
    """All copies of its records that are on their way."""
    backlog: int = 0
    """Parked records that have not arrived here."""
    readings: int = 0
    """In these."""
    back: int = 0
    """Of ``out``, those that were read back."""
    held: deque[_Sending[Item]] | None = None
    """What follows, while the last parked records are sent on."""
    direct: set[ParkedNumber] = field(default_factory=set)
    """Records whose first attempt has arrived although a copy is parked."""
    done: dict[int, int] = field(default_factory=dict)
    """Partition of the parked topic -> offset up to which its records were sent on."""

    @property
    def parking(self) -> bool:
        """Whether what follows is parked."""
        return self.stuck or self.copies > 0 or self.backlog > 0


class _Pass(Generic[Item]):
    """One reading of the parked topic."""

    def __init__(self, serves: Iterable[_Partition[Item]]) -> None:
        self.due = {partition: partition.backlog for partition in serves}
        """Partitions whose records are sent on -> how many must still be found."""
        self.met: set[_Partition[Item]] = set()
        """Partitions of which a record was found."""
        self.skipped: dict[int, int] = {}
        """Partition of the parked topic -> its first record that stays there."""
        self.end: PassEnd | None = None


class Delivery(Generic[Item]):
    """All records of a gateway on their way to Kafka. Times are of a monotonic clock [s]."""

    def __init__(
        self,
        send: Callable[[Attempt[Item]], None],
        reader: Reader,
        *,
        gateway: str,
        epoch: int,
        park_after_s: float,
        parked_partitions: int,
    ) -> None:
        """``send`` hands an attempt to Kafka; ``confirmed`` is called with it when Kafka has it."""
        self._send, self._reader = send, reader
        self._gateway, self._epoch = gateway, epoch
        self._park_after_s = park_after_s
        self._partitions: dict[TopicPartition, _Partition[Item]] = {}
        self._copies = [self._at(TopicPartition(PARKED, n)) for n in range(parked_partitions)]
        self._target = 0
        self._number = 0
        self._confirmed_at = self._flowing_since = 0.0
        self._pass: _Pass[Item] | None = None
        self._positions: dict[int, int] = {}
        """Partition of the parked topic -> where the next pass begins."""
        self._counted: dict[int, int] = {}
        """The same -> up to where records of earlier starts are in ``backlog``."""
        self._look_at = 0.0
        self._first_pass_at: float | None = None
        self._looked = False
        self._known = False
        """Whether a pass has read all that earlier starts have left."""
        self._events: list[Event[Item]] = []

    # --- what the gateway asks

    @property
    def ready(self) -> bool:
        """Whether it is known what earlier starts have left: before that nothing may overtake."""
        return self._looked

    def waiting(self, now: float, longer_than_s: float) -> list[TopicPartition]:
        """Return the partitions, except parked ones, that have confirmed nothing for longer."""
        return [
            p.place
            for p in self._partitions.values()
            if p.out and p.place.topic != PARKED and now - _oldest(p) >= longer_than_s
        ]

    def parked(self) -> tuple[int, Counter[str]]:
        """Return how many parked records wait, and the readings in them by topic."""
        readings: Counter[str] = Counter()
        for p in self._partitions.values():
            readings[p.place.topic] += p.readings
        return sum(p.backlog for p in self._partitions.values()), readings

    # --- the way there

    def send(self, record: Record, item: Item, now: float) -> None:
        """Send the record on its way; ``take_events`` gives its outcome."""
        sending = _Sending(record, item)
        partition = self._at(record.place)
        if partition.held is not None:
            partition.held.append(sending)
        elif partition.parking and record.place.topic not in _NEVER_PARKED:
            self._park(sending, now)
        else:
            self._attempt(partition, Attempt(record, sending), now)

    def send_again(self) -> None:
        """Hand over again what has no outcome: its producer is gone."""
        for partition in self._partitions.values():
            for attempt in list(partition.out):
                self._send(attempt)

    def confirmed(self, attempt: Attempt[Item], now: float) -> None:
        """Note that Kafka has the record of the attempt."""
        partition = self._at(attempt.record.place)
        del partition.out[attempt]
        if attempt.record.place.topic == PARKED:
            self._copy_confirmed(attempt.sending)
        else:
            self._arrived(partition, attempt.sending)
        partition.stuck = partition.stuck and bool(partition.out)
        self.note_progress(now)

    def note_progress(self, now: float) -> None:
        """Note that Kafka has confirmed something, whatever it was."""
        if now - self._confirmed_at >= _QUIET_S:
            self._flowing_since = now
        self._confirmed_at = now

    def take_events(self) -> list[Event[Item]]:
        """Return what has happened since the last call."""
        found, self._events = self._events, []
        return found

    def _at(self, place: TopicPartition) -> _Partition[Item]:
        found = self._partitions.get(place)
        if found is None:
            found = self._partitions[place] = _Partition(place)
        return found

    def _attempt(self, partition: _Partition[Item], attempt: Attempt[Item], now: float) -> None:
        partition.out[attempt] = now
        self._send(attempt)

    def _park(self, sending: _Sending[Item], now: float) -> None:
        if sending.number is None:
            sending.number = ParkedNumber(self._gateway, self._epoch, self._number)
            self._number += 1
            self._at(sending.record.place).copies += 1
        self._at(sending.record.place).flying += 1
        copy = parked_copy(sending.record, sending.number, self._target)
        self._attempt(self._copies[self._target], Attempt(copy, sending), now)

    def _copy_confirmed(self, sending: _Sending[Item]) -> None:
        own = self._at(sending.record.place)
        own.parked = True
        own.flying -= 1
        own.backlog += 1
        own.readings += sending.record.count
        if sending.arrived and sending.number is not None:
            own.direct.add(sending.number)
        self._acknowledge(sending, parked=True)

    def _arrived(self, own: _Partition[Item], sending: _Sending[Item]) -> None:
        sending.arrived = True
        if sending.item is None:
            own.back -= 1
            self._count_off(own, sending.record)
            self._events.append(Delivered(sending.record))
            return
        if sending.number is not None:
            own.direct.add(sending.number)
        if sending.acknowledged:
            self._events.append(Delivered(sending.record))
        self._acknowledge(sending, parked=False)

    def _acknowledge(self, sending: _Sending[Item], *, parked: bool) -> None:
        if not sending.acknowledged and sending.item is not None:
            sending.acknowledged = True
            self._at(sending.record.place).copies -= sending.number is not None
            self._events.append(Done(sending.item, parked))

    def _count_off(self, own: _Partition[Item], record: Record) -> None:
        own.backlog -= 1
        own.readings -= record.count

    # --- past a partition that is stuck

    def watch(self, now: float, *, pressed: bool) -> None:
        """Park what waits for partitions that are stuck; ``pressed``: be less patient."""
        if now - self._confirmed_at >= _QUIET_S:
            return  # Kafka is away
        patience_s = self._park_after_s / 2 if pressed else self._park_after_s
        for p in [p for p in self._partitions.values() if p.out and not p.stuck]:
            waited_s = now - max(_oldest(p), self._flowing_since)
            if p.place.topic == PARKED:
                if waited_s >= _COPY_PATIENCE_S:
                    self._copy_elsewhere(p, now)
            elif waited_s >= patience_s and p.place.topic not in _NEVER_PARKED:
                self._get_stuck(p, now)

    def _get_stuck(self, partition: _Partition[Item], now: float) -> None:
        partition.stuck = True
        if self._pass is not None:
            self._pass.due.pop(partition, None)
        log.warning(
            "partition %d of %s has confirmed nothing for %.0f s while others do: its records are "
            "parked until it does",
            *reversed(partition.place),
            now - _oldest(partition),
        )
        for attempt in partition.out:
            if attempt.sending.item is not None:
                self._park(attempt.sending, now)
        self._let_go(partition, now)

    def _copy_elsewhere(self, parked: _Partition[Item], now: float) -> None:
        others = [n for n, p in enumerate(self._copies) if not p.stuck and p is not parked]
        if not others:
            return
        parked.stuck = True
        # The one after it: not always the same takes what all the others had.
        self._target = min(others, key=lambda n: (n - parked.place.partition) % len(self._copies))
        for attempt in list(parked.out):
            if not attempt.sending.acknowledged:
                self._park(attempt.sending, now)

    def _let_go(self, partition: _Partition[Item], now: float) -> None:
        """Send what was held back on its way."""
        held, partition.held = partition.held, None
        for sending in held or ():
            if partition.parking:
                self._park(sending, now)
            else:
                self._attempt(partition, Attempt(sending.record, sending), now)

    # --- back from the parked topic

    def tend(self, now: float) -> None:
        """Send parked records on, as far as their partitions take them."""
        current = self._pass
        if not self._looked and now - (self._first_pass_at or now) > _FIRST_PASS_S:
            log.warning("what earlier starts have left parked is still unknown; going on")
            self._looked = True
        if current is None:
            if now >= self._look_at:
                self._look_at = now + _LOOK_EVERY_S
                self._begin_pass(now)
            return
        while current.end is None and self._room(current):
            found = self._reader.next()
            if found is None:
                break
            if isinstance(found, PassEnd):
                current.end = found
            else:
                self._take_back(current, found, now)
        if current.end is not None and not any(p.back for p in current.due):
            self._end_pass(current, current.end, now)

    def _room(self, current: _Pass[Item]) -> bool:
        return sum(p.back for p in current.due) < _BACK_IN_FLIGHT

    def _begin_pass(self, now: float) -> None:
        self._rest(now)
        serves = [p for p in self._partitions.values() if p.backlog and not p.stuck]
        if self._known and not serves:
            return
        for partition in serves:
            if partition.held is None and partition.backlog + partition.copies <= _FEW:
                partition.held = deque()
        if self._first_pass_at is None:
            self._first_pass_at = now
        self._pass = _Pass(serves)
        self._reader.start(self._positions)

    def _take_back(self, current: _Pass[Item], found: Parked, now: float) -> None:
        own, origin = self._at(found.record.place), (found.read_from, found.offset)
        if found.offset < own.done.get(found.read_from, 0):
            return
        first = own not in current.met
        current.met.add(own)
        self._count_earlier(current, own, found, first=first)
        # A partition that is only thought to be stuck gets one record, to find out. The first of
        # the pass: another would overtake those that were skipped meanwhile.
        probe = first and own.stuck and not own.out
        if own not in current.due and not probe:
            current.skipped.setdefault(*origin)
            return
        own.done[found.read_from] = found.offset + 1
        if own in current.due:
            current.due[own] -= 1
        if found.number in own.direct:
            self._count_off(own, found.record)
            return
        own.back += 1
        sending: _Sending[Item] = _Sending(found.record, None, origin)
        self._attempt(own, Attempt(found.record, sending), now)

    def _count_earlier(
        self, current: _Pass[Item], own: _Partition[Item], found: Parked, *, first: bool
    ) -> None:
        """Count a record that an earlier start has left, the first time that it is read."""
        if found.number.epoch == self._epoch:
            return
        if found.offset < self._counted.get(found.read_from, 0):
            return
        self._counted[found.read_from] = found.offset + 1
        own.parked = True
        own.backlog += 1
        own.readings += found.record.count
        if own in current.due:
            current.due[own] += 1
        elif first:
            own.stuck = True  # for all that is known

    def _end_pass(self, current: _Pass[Item], end: PassEnd, now: float) -> None:
        self._pass = None
        self._known = self._known or end.complete
        self._looked = self._looked or self._known
        if not end.complete:
            self._look_at = now + _PASS_AGAIN_S
            for partition in current.due:
                self._let_go(partition, now)
            return
        for partition, missing in current.due.items():
            if missing > 0:
                self._lose(partition, missing)
        self._positions = end.ends | current.skipped
        for partition in self._partitions.values():
            for attempt in partition.out if partition.back else ():
                if attempt.sending.origin is not None:
                    number, offset = attempt.sending.origin
                    self._positions[number] = min(offset, self._positions[number])
        self._reader.commit(self._positions)
        self._rest(now)

    def _rest(self, now: float) -> None:
        """Let partitions that have all their parked records go on as before."""
        for partition in self._partitions.values():
            if partition.parked and not partition.parking:
                partition.parked = False
                if not partition.flying:  # else they may be read back at any time
                    partition.direct.clear()
                self._let_go(partition, now)
                self._events.append(Through(partition.place))
                log.info(
                    "partition %d of %s has all its parked records", *reversed(partition.place)
                )

    def _lose(self, partition: _Partition[Item], missing: int) -> None:
        partition.backlog -= missing
        if not partition.backlog:
            partition.readings = 0
        log.error(
            "%d parked records of partition %d of %s are not on Kafka any more",
            missing,
            *reversed(partition.place),
        )


def _oldest(partition: _Partition[Item]) -> float:
    return next(iter(partition.out.values()))
