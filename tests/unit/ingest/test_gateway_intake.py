"""From messages to frames, dead letters and counts, without servers."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from civicstream.city import Area, City, Sensors
from civicstream.events import LedgerReport
from civicstream.frames import FrameHeaders, decode
from civicstream.kinds import sensor_key
from civicstream.partitioning import partition_of
from civicstream.settings import GatewaySettings, KafkaSettings, Settings
from ingest.intake import Intake, PendingDeadLetter
from ingest.lanes import SealedFrame
from ingest.parking import TopicPartition

NOW = 1_795_282_800_000
GOOD = {"ts": NOW, "intensity": 12, "period": 20}
BAD = {"ts": NOW, "intensity": -12, "period": 20}


RING = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 0.0))
CITY = City(
    (Area("north", "North", RING),),
    (),
    Sensors.from_rows([("A7", 0, 0, -1, 0, 20.0, 0.5, 0.5)]),
)
"""One sensor: A7 of kind traffic in area north."""


class Bench:
    """An intake and a Kafka that confirms what it is told to."""

    def __init__(self, city: City | None = None, **gateway: Any) -> None:
        chosen = GatewaySettings(
            **({"id": "g1", "max_frame_age_ms": 50, "max_frame_idle_ms": 10_000} | gateway)
        )
        self.intake = Intake(Settings(gateway=chosen, kafka=KafkaSettings(partitions=4)), 99, city)
        self.now = 10.0
        self.packet_id = 0
        self.acked: list[int] = []
        self.frames: list[SealedFrame] = []
        self.dead_letters: list[PendingDeadLetter] = []

    def receive(self, payload: Any, topic: str = "city/v1/traffic/north/A7") -> int:
        raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        self.packet_id += 1
        self.intake.receive(topic, raw, self.packet_id, now_ms=NOW, now=self.now)
        return self.packet_id

    def after(self, seconds: float) -> None:
        self.now += seconds
        self.intake.lanes.seal_due(self.now, NOW)

    def confirm_all(self) -> None:
        """Confirm what is on its way, and what follows it, until nothing does."""
        while self.intake.lanes.ready or self.intake.dead_letters:
            while self.intake.dead_letters:
                self.dead_letters.append(self.intake.dead_letters.popleft())
                self.acked += self.intake.dead_letter_confirmed(self.dead_letters[-1])
            while self.intake.lanes.ready:
                self.frames.append(self.intake.lanes.ready.popleft())
                self.acked += self.intake.frame_confirmed(self.frames[-1])
            self.intake.lanes.seal_due(self.now, NOW)

    def report(self) -> LedgerReport:
        return self.intake.ledger.report(NOW)


def test_a_frame_holds_what_its_messages_said() -> None:
    bench = Bench()
    bench.receive(GOOD | {"occupancy": 0.25})
    bench.receive([GOOD | {"ts": NOW + 1}, GOOD | {"ts": NOW + 2}], "city/v1/traffic/north/B1")
    bench.after(0.05)
    bench.confirm_all()
    (sealed,) = bench.frames
    frame = decode(sealed.value, "traffic")
    keys = [sensor_key("traffic", "north", sensor) for sensor in ("A7", "B1", "B1")]
    assert frame.sensor_key.tolist() == keys
    assert [frame.sensor.values[c] for c in frame.sensor.codes] == ["A7", "B1", "B1"]
    assert [frame.area.values[c] for c in frame.area.codes] == ["north"] * 3
    assert frame.ts.tolist() == [NOW, NOW + 1, NOW + 2]
    np.testing.assert_array_equal(frame.measures["occupancy"], [0.25, np.nan, np.nan])
    assert (sealed.headers.gateway, sealed.headers.epoch, sealed.headers.seq) == ("g1", 99, 0)
    assert (sealed.headers.count, sealed.headers.ingested_at) == (3, NOW)
    assert sealed.lane.partition == partition_of("north", 4)
    assert bench.acked == [1, 2]


def test_a_frame_leaves_when_it_is_full_or_old_enough() -> None:
    bench = Bench(max_frame_readings=3)
    for _ in range(4):
        bench.receive(GOOD)
    assert [frame.headers.count for frame in bench.intake.lanes.ready] == [3]
    bench.confirm_all()
    bench.after(0.049)
    assert not bench.intake.lanes.ready
    bench.after(0.002)
    assert [frame.headers.count for frame in bench.intake.lanes.ready] == [1]


def test_frames_grow_while_the_one_before_waits_for_kafka() -> None:
    bench = Bench(max_frame_readings=100)
    bench.receive(GOOD)
    bench.after(0.1)
    waiting = bench.intake.lanes.ready.popleft()
    for _ in range(150):
        bench.receive(GOOD)
        bench.after(0.1)
    assert not bench.intake.lanes.ready
    bench.intake.frame_confirmed(waiting)
    bench.confirm_all()
    assert [frame.headers.count for frame in bench.frames] == [100, 50]
    assert [frame.headers.seq for frame in bench.frames] == [1, 2]


def test_a_parked_frame_is_acknowledged_and_written_only_when_it_is_where_it_belongs() -> None:
    bench = Bench()

    def written() -> dict[int, int]:
        return {w.epoch: w.next for w in bench.intake.lanes.written("city")}

    sealed = []
    for parked in (False, True, True):
        bench.receive(GOOD)
        bench.after(0.1)
        sealed.append(bench.intake.lanes.ready.popleft())
        assert len(bench.intake.frame_confirmed(sealed[-1], parked=parked)) == 1
    place = TopicPartition("frames.traffic", sealed[0].lane.partition)
    epoch = sealed[0].headers.epoch
    assert bench.intake.ledger.accepted["traffic"] == 3
    assert written() == {epoch: 1}
    bench.intake.lanes.delivered(place, sealed[1].headers)
    assert written() == {epoch: 2}
    bench.intake.lanes.none_parked(place)
    assert written() == {epoch: 3}
    earlier = FrameHeaders("g1", epoch - 9, 41, 1, NOW)
    bench.intake.lanes.delivered(place, earlier)
    assert written() == {epoch: 3, epoch - 9: 42}


def test_frames_of_half_the_age_go_along_with_one_that_is_due() -> None:
    bench = Bench(max_frame_age_ms=50)
    for area in ("north", "south", "west"):  # of three partitions
        bench.now += 0.02
        bench.receive(GOOD, f"city/v1/traffic/{area}/A7")
    bench.after(0.009)
    assert not bench.intake.lanes.ready
    bench.after(0.002)  # the oldest is 51 ms old, the others 31 and 11
    sent = {frame.lane.partition for frame in bench.intake.lanes.ready}
    assert sent == {partition_of(area, 4) for area in ("north", "south")}


def test_when_nothing_comes_any_more_no_reading_waits_for_others() -> None:
    bench = Bench(max_frame_age_ms=400, max_frame_idle_ms=30)
    for area in ("north", "south", "west"):  # of three partitions
        bench.now += 0.02
        bench.receive(GOOD, f"city/v1/traffic/{area}/A7")
    assert bench.intake.lanes.next_due(bench.now) == pytest.approx(bench.now + 0.03)
    bench.after(0.029)
    assert not bench.intake.lanes.ready
    bench.after(0.002)
    assert len(bench.intake.lanes.ready) == 3


@pytest.mark.parametrize("every_ms", [40, 50, 100, 200])
def test_bursts_that_no_acknowledgement_brings_share_frames_in_the_end(every_ms: int) -> None:
    bench = Bench(max_frame_age_ms=400, max_frame_idle_ms=30)
    bursts = 200
    for burst in range(bursts):
        bench.receive(GOOD | {"ts": NOW + burst})
        for _ in range(every_ms // 10):
            bench.after(0.01)
            bench.confirm_all()
    seconds = bursts * every_ms / 1000
    assert len(bench.frames) < 1.3 * seconds / 0.4 + 20


def test_a_broker_that_waits_for_acknowledgements_does_not_wait_for_long() -> None:
    bench = Bench(max_frame_age_ms=400, max_frame_idle_ms=30)
    sent, at = 0, bench.now
    while sent < 200:
        if not bench.intake.acks:
            bench.now += 0.002
            for _ in range(20):  # so many may be unacknowledged
                bench.receive(GOOD | {"ts": NOW + sent})
                sent += 1
        bench.after(0.01)
        bench.confirm_all()
        bench.after(0)
    assert bench.now - at < 10 * 0.05


def test_while_readings_come_a_frame_is_as_old_as_it_may() -> None:
    bench = Bench(max_frame_age_ms=400, max_frame_idle_ms=30)
    for n in range(19):
        bench.receive(GOOD | {"ts": NOW + n})
        bench.after(0.02)
    assert not bench.intake.lanes.ready
    bench.receive(GOOD | {"ts": NOW + 19})
    bench.after(0.021)
    assert [frame.headers.count for frame in bench.intake.lanes.ready] == [20]


def test_nothing_is_due_while_every_open_frame_waits_for_kafka() -> None:
    bench = Bench()
    bench.receive(GOOD)
    assert bench.intake.lanes.next_due(bench.now) == pytest.approx(bench.now + 0.05)
    bench.after(0.1)
    bench.receive(GOOD)
    assert bench.intake.lanes.next_due(bench.now) > bench.now + 60  # or the loop would spin


def test_a_long_array_fills_several_frames_and_is_acknowledged_after_the_last() -> None:
    bench = Bench(max_frame_readings=10)
    bench.receive([GOOD | {"ts": NOW + i} for i in range(25)])
    bench.receive(GOOD)
    bench.after(0.1)
    sent = bench.intake.lanes.ready
    acked = []
    while sent:
        acked.append(bench.intake.frame_confirmed(sent.popleft()))
        bench.after(0.1)
    assert acked == [[], [], [1, 2]]
    assert bench.intake.in_flight_bytes == 0


def test_one_bad_member_is_a_dead_letter_and_the_others_a_frame() -> None:
    bench = Bench()
    bench.receive([GOOD, BAD, GOOD | {"ts": NOW + 1}])
    assert bench.intake.dead_letter_confirmed(bench.intake.dead_letters.popleft()) == []
    bench.after(0.1)
    bench.confirm_all()
    assert bench.acked == [1]
    counts = bench.report().kinds["traffic"]
    assert (counts.received, counts.accepted, counts.rejected) == (3, 2, 1)


def test_a_dead_letter_keeps_the_bytes_and_names_the_bad_members() -> None:
    bench = Bench()
    payload = json.dumps([GOOD, BAD, BAD | {"intensity": "x"}]).encode()
    bench.receive(payload)
    letter = bench.intake.dead_letters[0].dead_letter
    assert letter.payload == payload
    assert (letter.count, letter.reason, letter.kind) == (2, "out_of_range", "traffic")
    assert letter.detail.startswith("2 of 3 readings rejected; [1] sensor 'A7': intensity -12")
    assert [index for index, _ in letter.members] == [1, 2]
    assert letter.topic == "city/v1/traffic/north/A7"


def test_an_oversized_payload_is_a_dead_letter_with_its_first_4_kib() -> None:
    bench = Bench(max_payload_bytes=10_000)
    bench.receive(b"x" * 10_001)
    letter = bench.intake.dead_letters[0].dead_letter
    assert (letter.reason, letter.payload, letter.payload_bytes) == (
        "payload_too_large",
        b"x" * 4096,
        10_001,
    )


@pytest.mark.parametrize(
    ("topic", "reason", "kind"),
    [
        ("city/v1/weight/north/A7", "unknown_kind", "unknown"),
        ("city/v1/reports/north/phone", "unknown_kind", "unknown"),
        ("city/v1/traffic/north", "unknown_topic", "unknown"),
        ("city/v1/traffic/north/A7/extra", "unknown_topic", "unknown"),
        ("city/v1/traffic//A7", "unknown_topic", "unknown"),
        ("city/v1/traffic/north/" + "A" * 201, "name_too_long", "traffic"),
    ],
)
def test_a_topic_that_cannot_be_served_is_a_dead_letter(topic: str, reason: str, kind: str) -> None:
    bench = Bench()
    bench.receive(GOOD, topic)
    bench.confirm_all()
    assert bench.dead_letters[0].dead_letter.reason == reason
    assert bench.report().kinds[kind].rejected == 1
    assert bench.acked == [1]


def test_strict_mode_rejects_sensors_that_the_city_model_does_not_know() -> None:
    bench = Bench(CITY, strict_sensors=True)
    bench.receive(GOOD)
    bench.receive(GOOD, "city/v1/traffic/south/A7")
    (pending,) = bench.intake.dead_letters
    assert pending.dead_letter.reason == "unknown_sensor"
    assert "sensor 'A7' of kind traffic in area 'south'" in pending.dead_letter.detail


events = st.lists(
    st.one_of(
        st.tuples(
            st.just("receive"),
            st.sampled_from(["traffic/north", "traffic/south", "noise/north", "weight/north"]),
            st.lists(st.booleans(), max_size=12),
        ),
        st.tuples(st.just("wait"), st.floats(0, 0.1), st.none()),
        st.tuples(st.just("confirm"), st.integers(0, 5), st.none()),
        st.tuples(st.just("lose connection"), st.none(), st.none()),
    ),
    max_size=60,
)


@given(events)
@settings(max_examples=200)
def test_every_reading_is_accounted_for_at_any_moment(history: list[Any]) -> None:
    bench = Bench(max_frame_readings=5)
    intake = bench.intake
    on_kafka: deque[Any] = deque()
    good = bad = 0
    for event, argument, members in history:
        if event == "receive":
            known = not argument.startswith("weight")
            value = {"LAeq": 50} if argument.startswith("noise") else GOOD
            readings = [value | {"ts": NOW if ok else 1} for ok in members]
            bench.receive(readings, f"city/v1/{argument}/A7")
            good += sum(members) if known else 0
            bad += members.count(False) if known and members else 1
        elif event == "wait":
            bench.after(argument)
        elif event == "lose connection":
            intake.acks.forget_packet_ids()
        else:
            for _ in range(min(argument, len(on_kafka))):
                item = on_kafka.popleft()
                if isinstance(item, SealedFrame):
                    intake.frame_confirmed(item)
                else:
                    intake.dead_letter_confirmed(item)
        on_kafka += intake.lanes.ready
        on_kafka += intake.dead_letters
        intake.lanes.ready.clear()
        intake.dead_letters.clear()
        counts = bench.report().kinds.values()
        assert sum(c.received for c in counts) == good + bad
        assert all(c.imbalance == 0 and c.in_flight >= 0 for c in counts)
    intake.lanes.seal_due(bench.now, NOW, everything=True)
    on_kafka += intake.lanes.ready
    intake.lanes.ready.clear()
    while on_kafka:
        item = on_kafka.popleft()
        if isinstance(item, SealedFrame):
            intake.frame_confirmed(item)
        else:
            intake.dead_letter_confirmed(item)
        on_kafka += intake.lanes.ready
        intake.lanes.ready.clear()
    counts = bench.report().kinds.values()
    assert sum(c.accepted for c in counts) == good
    assert sum(c.rejected for c in counts) == bad
    assert (len(intake.acks), intake.in_flight_bytes) == (0, 0)


def test_our_own_alerts_on_the_same_broker_are_acknowledged_and_nothing_else() -> None:
    bench = Bench()
    first = bench.receive(GOOD)
    own = [bench.receive(b"{}", "city/v1/alert/north/l1"), bench.receive(b"", "city/v1/alert/n/l2")]
    assert bench.intake.due == []  # acknowledgements keep the order of receipt
    bench.after(1)
    bench.confirm_all()
    assert bench.acked == [first, *own]
    assert bench.dead_letters == []
    assert bench.receive(b"{}", "city/v1/alert/north/l1") == bench.intake.due[0]
    assert bench.intake.ledger.gauges["own_alerts"] == 3
