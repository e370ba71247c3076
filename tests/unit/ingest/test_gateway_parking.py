"""The way past a partition that cannot be written, against a Kafka whose partitions come and go."""

from __future__ import annotations

import random
from collections import defaultdict, deque
from collections.abc import Mapping

import pytest

from civicstream.frames import FrameHeaders
from ingest.delivery import Attempt, Delivered, Delivery, Done, Through
from ingest.parking import (
    PARKED,
    Parked,
    ParkedNumber,
    PassEnd,
    Record,
    TopicPartition,
    parked_copy,
    read_parked,
)

GATEWAY = "g1"
PARK_AFTER_S = 10.0
COPIES = 3
PLACES = [
    TopicPartition("frames.noise", 0),
    TopicPartition("frames.noise", 1),
    TopicPartition("reports", 0),
]
Item = tuple[TopicPartition, int]


class Log:
    """Kafka: what each partition has, and which ones take nothing now."""

    def __init__(self) -> None:
        self.records: dict[TopicPartition, list[Record]] = defaultdict(list)
        self.blocked: set[TopicPartition] = set()
        self.committed: dict[int, int] = {}
        self.failing = 0
        """So many passes over the parked topic fail half way."""
        self.at_once: int | None = None
        """So many parked records are read between two confirmations."""

    def numbers(self, place: TopicPartition) -> list[int]:
        return [int(record.value) for record in self.records[place]]


class Reading:
    """Reads the parked topic of a ``Log`` as ``ParkedReader`` does."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._read: deque[Parked | PassEnd] = deque()
        self._given = 0

    def start(self, begin: Mapping[int, int]) -> None:
        starts = self._log.committed | dict(begin)
        ends = {}
        for n in range(COPIES):
            records = self._log.records[TopicPartition(PARKED, n)]
            ends[n] = len(records)
            for offset in range(starts.get(n, 0), len(records)):
                copy = records[offset]
                found = read_parked(copy.value, copy.key, copy.headers, (n, offset))
                assert found is not None
                self._read.append(found)
        if self._log.failing:
            self._log.failing -= 1
            self._read = deque(list(self._read)[: len(self._read) // 2])
            self._read.append(PassEnd(complete=False))
        else:
            self._read.append(PassEnd(ends))

    def next(self) -> Parked | PassEnd | None:
        self._given += 1
        if not self._read or self._given == self._log.at_once:
            self._given = 0
            return None
        return self._read.popleft()

    def commit(self, offsets: Mapping[int, int]) -> None:
        self._log.committed |= offsets


class Gateway:
    """A start of the gateway: sends numbers, and Kafka confirms what it can, in order."""

    def __init__(self, log: Log, epoch: int, chance: random.Random | None = None) -> None:
        """``chance``: confirmations come some time after Kafka has the records."""
        self.log = log
        self._chance = chance
        self._appended: deque[Attempt[Item]] = deque()
        """What Kafka has; the confirmations are on their way."""
        self.epoch = epoch
        self.now = 1_000.0 * epoch
        self.acknowledged: list[Item] = []
        self.parked: list[Item] = []
        self.delivered: list[Record] = []
        self.through: list[TopicPartition] = []
        self._pending: deque[Attempt[Item]] = deque()
        self.delivery: Delivery[Item] = Delivery(
            self._pending.append,
            Reading(log),
            gateway=GATEWAY,
            epoch=epoch,
            park_after_s=PARK_AFTER_S,
            parked_partitions=COPIES,
        )
        while not self.delivery.ready:
            self.turn()

    def send(self, place: TopicPartition, number: int) -> None:
        headers: list[tuple[str, bytes]] = []
        if place.topic.startswith("frames."):
            headers = FrameHeaders(GATEWAY, self.epoch, number, 1, 0).to_kafka()
        self.delivery.send(Record(place, b"%d" % number, headers), (place, number), self.now)

    def turn(self, seconds: float = 0.5) -> None:
        """Let time pass: Kafka confirms, parked records are looked after."""
        self.now += seconds
        self.delivery.note_progress(self.now)  # the ledger's reports
        for _ in range(len(self._pending)):
            attempt = self._pending.popleft()
            place = attempt.record.place
            if place in self.log.blocked:
                self._pending.append(attempt)
            else:
                self.log.records[place].append(attempt.record)
                self._appended.append(attempt)
        if self._chance is None or self._chance.random() < 0.4:
            while self._appended:
                self.delivery.confirmed(self._appended.popleft(), self.now)
        self.delivery.watch(self.now, pressed=False)
        self.delivery.tend(self.now)
        for event in self.delivery.take_events():
            if isinstance(event, Done):
                self.acknowledged.append(event.item)
                if event.parked:
                    self.parked.append(event.item)
            elif isinstance(event, Delivered):
                self.delivered.append(event.record)
            elif isinstance(event, Through):
                self.through.append(event.place)

    def turns(self, count: int) -> None:
        for _ in range(count):
            self.turn()

    def held(self) -> bool:
        return any(p.held is not None for p in self.delivery._partitions.values())

    def settle(self) -> None:
        for _ in range(2_000):
            self.turn()
            on_their_way = self._pending or self._appended
            if not on_their_way and self.delivery.parked()[0] == 0 and not self.held():
                return
        raise AssertionError(f"{len(self._pending)} wait, {self.delivery.parked()} parked")


def test_a_copy_is_read_back_as_the_record_that_it_is_of() -> None:
    headers = FrameHeaders("g/1", 5, 7, 12, 99).to_kafka()
    record = Record(TopicPartition("frames.noise", 3), b"value", headers, b"key", 12)
    copy = parked_copy(record, ParkedNumber("g/1", 5, 4), 2)
    assert copy.place == TopicPartition(PARKED, 2)
    found = read_parked(copy.value, copy.key, copy.headers, (2, 81))
    assert found is not None
    back = found.record
    assert (back.place, back.value, back.key) == (record.place, record.value, record.key)
    assert (back.headers, back.count) == (headers, 12)
    assert found[1:] == (ParkedNumber("g/1", 5, 4), 2, 81)


@pytest.mark.parametrize("spoilt", ["parked_by", "parked_topic", "parked_partition", "count"])
def test_what_no_gateway_has_written_is_no_copy(spoilt: str) -> None:
    record = Record(
        TopicPartition("frames.noise", 3), b"", FrameHeaders("g1", 5, 7, 12, 99).to_kafka()
    )
    copy = parked_copy(record, ParkedNumber("g1", 5, 4), 2)
    headers = [(n, b"\xff" if n == spoilt else held) for n, held in copy.headers]
    left_out = [(n, held) for n, held in copy.headers if n != spoilt]
    if spoilt != "parked_topic":  # any text is a topic's name
        assert read_parked(b"", None, headers, (0, 0)) is None
    assert read_parked(b"", None, left_out, (0, 0)) is None


def test_a_stuck_partition_holds_up_its_own_records_only_and_gets_them_all_in_order() -> None:
    log = Log()
    gateway = Gateway(log, 1)
    stuck, other = PLACES[0], PLACES[1]
    log.blocked = {stuck}
    for number in range(60):
        gateway.send(stuck, number)
        gateway.send(other, number)
        gateway.turn()
    assert log.numbers(other) == list(range(60))
    assert log.numbers(stuck) == []
    assert len(gateway.acknowledged) >= 118
    assert gateway.delivery.parked()[1]["frames.noise"] == gateway.delivery.parked()[0] >= 58
    log.blocked.clear()
    gateway.settle()
    gateway.send(stuck, 60)
    gateway.settle()
    assert log.numbers(stuck) == list(range(61))
    assert sorted(gateway.acknowledged) == sorted(
        {(stuck, n) for n in range(61)} | {(other, n) for n in range(60)}
    )
    assert [int(r.value) for r in gateway.delivered] == list(range(60))
    assert gateway.through == [stuck]
    assert log.committed == {n: len(log.records[TopicPartition(PARKED, n)]) for n in range(COPIES)}


def test_nothing_is_parked_before_its_time_or_while_kafka_is_away() -> None:
    log = Log()
    gateway = Gateway(log, 1)
    log.blocked = {PLACES[0]}
    gateway.send(PLACES[0], 0)
    gateway.turns(19)
    assert not any(log.records[TopicPartition(PARKED, n)] for n in range(COPIES))
    # Kafka as a whole: nothing is confirmed at all.
    gateway.now += 100
    gateway.delivery.watch(gateway.now, pressed=True)
    assert len(gateway._pending) == 1
    # It is back: each partition has as long as ever to confirm something.
    gateway.turns(19)
    assert not any(log.records[TopicPartition(PARKED, n)] for n in range(COPIES))
    gateway.turns(3)
    assert log.numbers(TopicPartition(PARKED, 0)) == [0]


def test_a_parked_topic_with_a_stuck_partition_of_its_own_is_written_on_another() -> None:
    log = Log()
    gateway = Gateway(log, 1)
    log.blocked = {PLACES[0], TopicPartition(PARKED, 0), TopicPartition(PARKED, 1)}
    gateway.send(PLACES[0], 0)
    gateway.turns(40)
    assert gateway.acknowledged == [(PLACES[0], 0)]
    gateway.send(PLACES[0], 1)
    gateway.turn()
    gateway.turn()
    assert log.numbers(TopicPartition(PARKED, 2)) == [0, 1]
    log.blocked.clear()
    gateway.settle()
    assert log.numbers(PLACES[0]) == [0, 1]


def test_personal_data_is_not_parked() -> None:
    log = Log()
    gateway = Gateway(log, 1)
    private = TopicPartition("private", 0)
    log.blocked = {private}
    gateway.send(private, 0)
    gateway.turns(60)
    assert (gateway.acknowledged, log.numbers(TopicPartition(PARKED, 0))) == ([], [])
    log.blocked.clear()
    gateway.settle()
    assert log.numbers(private) == [0]


def test_the_next_start_sends_on_what_a_killed_one_had_parked() -> None:
    log = Log()
    first = Gateway(log, 1)
    stuck, other = PLACES[0], PLACES[1]
    log.blocked = {stuck}
    for number in range(50):
        first.send(stuck, number)
        first.turn()
    parked = [number for _, number in first.acknowledged]
    assert parked == list(range(50))
    second = Gateway(log, 2)  # the first is gone, with its attempts
    second.send(stuck, 50)
    second.send(other, 0)
    second.turns(2)
    assert log.numbers(other) == [0]
    # It is not tried again for as long as it takes to find out that it is stuck.
    assert sorted(second.acknowledged) == [(stuck, 50), (other, 0)]
    second.turns(30)
    assert second.delivery.parked()[0] == 51
    log.blocked.clear()
    second.settle()
    assert log.numbers(stuck) == list(range(51))
    frames = [r.frame_headers() for r in log.records[stuck]]
    assert [f.epoch for f in frames if f] == [1] * 50 + [2]


@pytest.mark.parametrize("failing", [1, 3, 12])
def test_a_start_that_cannot_read_what_is_parked_goes_on_in_time_and_looks_again(
    failing: int,
) -> None:
    log = Log()
    first = Gateway(log, 1)
    log.blocked = {PLACES[0]}
    for number in range(50):
        first.send(PLACES[0], number)
        first.turn()
    log.blocked.clear()
    log.failing = failing
    second = Gateway(log, 2)
    assert second.now - 2_000 < 20
    second.settle()
    log.failing = 2
    second.turns(100)
    second.settle()
    assert log.numbers(PLACES[0]) == list(range(50))


def test_a_partition_comes_to_rest_under_load_that_does_not_pause() -> None:
    log = Log()
    gateway = Gateway(log, 1)
    log.blocked = {PLACES[0]}
    for number in range(200):
        gateway.send(PLACES[0], number)
        gateway.turn(0.3)
        if number == 100:
            log.blocked.clear()
    parked = len(log.records[TopicPartition(PARKED, 0)])
    assert gateway.through == [PLACES[0]]
    assert parked < 120
    assert log.numbers(PLACES[0]) == list(range(200))


def test_a_partition_that_is_stuck_again_does_not_hold_up_the_parked_records_of_others() -> None:
    log = Log()
    gateway = Gateway(log, 1)
    again, other = PLACES[0], PLACES[1]
    log.blocked = {again, other}
    for number in range(60):
        gateway.send(again, number)
        gateway.send(other, number)
        gateway.turn()
    log.blocked.clear()
    while not log.numbers(again):
        gateway.turn()
    log.blocked = {again}
    gateway.turns(60)
    assert log.numbers(other) == list(range(60))
    assert gateway.through == [other]
    log.blocked.clear()
    gateway.settle()
    assert log.numbers(again) == list(range(60))


@pytest.mark.parametrize("at_once", [2, 3, 7])
def test_what_an_earlier_start_has_parked_arrives_in_order_however_long_it_is_read(
    at_once: int,
) -> None:
    log = Log()
    log.blocked = {PLACES[0]}
    earlier = Gateway(log, 1)
    for number in range(30):
        earlier.send(PLACES[0], number)
        earlier.turn(1.0)
    earlier.turns(10)
    assert len(earlier.parked) == 30
    log.blocked.clear()
    log.at_once = at_once
    later = Gateway(log, 2)
    later.settle()
    assert log.numbers(PLACES[0]) == list(range(30))
    assert later.delivery.parked()[0] == 0


@pytest.mark.parametrize("seed", range(40))
def test_whatever_gets_stuck_and_whenever_the_gateway_dies_what_was_acknowledged_arrives(
    seed: int,
) -> None:
    chance = random.Random(seed)
    crashes = seed % 2 == 1
    log = Log()
    log.at_once = (None, 2, 5)[seed % 3]
    slow = chance if seed % 4 < 2 else None
    gateway = Gateway(log, 1, slow)
    places = [*PLACES, *(TopicPartition(PARKED, n) for n in range(COPIES))]
    acknowledged: list[Item] = []
    following = dict.fromkeys(PLACES, 0)
    for _ in range(300):
        place = chance.choice(PLACES)
        gateway.send(place, following[place])
        following[place] += 1
        if chance.random() < 0.05:
            log.blocked ^= {chance.choice(places)}
        gateway.turn(chance.choice([0.2, 2.0, 6.0]) if chance.random() < 0.3 else 0.1)
        if crashes and chance.random() < 0.02:
            acknowledged += gateway.acknowledged
            gateway = Gateway(log, gateway.epoch + 1, slow)
    log.blocked.clear()
    gateway.settle()
    acknowledged += gateway.acknowledged
    for place in PLACES:
        arrived = log.numbers(place)
        assert {number for at, number in acknowledged if at == place} <= set(arrived)
        if not crashes:
            assert sorted(set(arrived)) == list(range(following[place]))
    if not crashes:
        assert len(acknowledged) == len(set(acknowledged)) == sum(following.values())


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("few", [2_000, 2])
@pytest.mark.parametrize("seed", range(10))
def test_while_copies_can_be_written_each_record_arrives_once_and_in_order(
    seed: int, few: int, slow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.delivery._FEW", few)
    chance = random.Random(seed)
    log = Log()
    gateway = Gateway(log, 1, chance if slow else None)
    following = dict.fromkeys(PLACES, 0)
    for _ in range(400):
        place = chance.choice(PLACES)
        gateway.send(place, following[place])
        following[place] += 1
        if chance.random() < 0.04:
            log.blocked ^= {chance.choice(PLACES)}
        gateway.turn(chance.choice([0.1, 0.3] if slow else [0.1, 0.5, 3.0]))
    log.blocked.clear()
    gateway.settle()
    assert gateway.parked, "something was parked"
    for place in PLACES:
        arrived = log.numbers(place)
        # A copy that is confirmed late is written once more, and sent on once more.
        once = list(dict.fromkeys(arrived)) if slow else arrived
        assert once == list(range(following[place])), place
    assert len(gateway.acknowledged) == sum(following.values())
