"""Whatever a client misses and whenever it reads, it ends up with what the filter lets through."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from feeds.live.channel import Changes, Channel
from feeds.live.filters import Filter
from feeds.live.follower import SLOW_MS, Follower
from feeds.live.item import Item
from feeds.live.message import Message
from feeds.live.places import Box
from feeds.live.state import LiveState, Retention
from tests.kit.live_mirror import Mirror

NORTH = Filter(
    topics=frozenset({"units", "alerts"}),
    areas=frozenset({"north"}),
    box=Box(0, 0, 10, 10),
    min_severity=1,
)


def item(
    number: int,
    order: int,
    *,
    topic: str = "units",
    area: str = "north",
    lon: float = 5,
    severity: int | None = None,
    closed: bool = False,
) -> Item:
    data = {"id": str(number), "order": order, "area": area}
    box = Box(lon, 5, lon, 5)
    raw = json.dumps(data).encode()
    return Item(
        topic=topic,
        id=str(number),
        data=raw,
        order=(order,),
        area=area,
        box=box,
        severity=severity,
        closed=closed,
    )


def changes(items: Iterable[Item]) -> Changes:
    grouped: dict[str, dict[str | None, list[Item]]] = defaultdict(lambda: defaultdict(list))
    for one in items:
        grouped[one.topic][one.area].append(one)
    return grouped


def apply(mirror: Mirror, message: Message) -> None:
    mirror.apply(message.name, json.loads(message.data))


def read(follower: Follower, mirror: Mirror, at: int, most: int | None = None) -> None:
    count = 0
    while most is None or count < most:
        message = follower.next(at)
        if message is None:
            return
        apply(mirror, message)
        count += 1


items_strategy = st.builds(
    item,
    st.integers(0, 5),
    st.integers(0, 40),
    topic=st.sampled_from(["units", "alerts", "cases"]),
    area=st.sampled_from(["north", "south"]),
    lon=st.sampled_from([5.0, 20.0]),
    severity=st.sampled_from([None, 0, 2]),
    closed=st.booleans(),
)

# What happens: items come; time goes on; changes go out; a client reads some or all; one is cut
# off and connects again with the last id it has; the ring loses its oldest.
steps_strategy = st.lists(
    st.one_of(
        st.tuples(st.just("items"), st.lists(items_strategy, min_size=1, max_size=4)),
        st.tuples(st.just("wait"), st.sampled_from([50, 700, SLOW_MS + 1])),
        st.tuples(st.just("flush"), st.none()),
        st.tuples(st.just("read"), st.tuples(st.integers(0, 2), st.sampled_from([1, 2, None]))),
        st.tuples(st.just("resume"), st.integers(0, 2)),
        st.tuples(st.just("drop"), st.integers(1, 3)),
    ),
    max_size=60,
)


def visible(state: LiveState, wanted: Filter) -> dict[tuple[str, str], object]:
    return {i.key: json.loads(i.data) for i in state.items() if wanted.passes(i)}


@settings(max_examples=250)
@given(steps_strategy, st.sampled_from([NORTH, Filter()]))
def test_any_schedule_of_reading_ends_with_the_filtered_state(
    steps: list[tuple[str, object]], wanted: Filter
) -> None:
    state = LiveState(Retention(closed_ms=1_000))
    channel = Channel("s", wanted, [], 0)
    clients = [(Follower(channel), Mirror()) for _ in range(3)]
    at = 0

    def flush() -> None:
        channel.publish(changes(state.take_changes(at)), at)
        channel.beat(at, 1_500)

    for action, value in steps:
        if action == "items":
            state.apply(value, at)  # type: ignore[arg-type]
        elif action == "wait":
            at += value  # type: ignore[operator]
        elif action == "flush":
            flush()
        elif action == "read":
            who, most = value  # type: ignore[misc]
            read(*clients[who], at, most)
        elif action == "resume":
            _, mirror = clients[value]  # type: ignore[index]
            clients[value] = Follower(channel, mirror.seq), mirror  # type: ignore[index]
        else:
            for _ in range(min(value, channel.ring.end - channel.ring.start)):  # type: ignore[type-var, call-overload]
                channel.ring.drop_oldest()
    flush()
    for follower, mirror in clients:
        read(follower, mirror, at)
        assert mirror.items == visible(state, wanted)
        assert mirror.seq == channel.seq


def test_numbers_are_consecutive_and_nothing_is_sent_for_what_the_filter_holds_back() -> None:
    channel = Channel("s", NORTH, [], 0)
    assert channel.publish(changes([item(1, 1)]), 100)
    assert not channel.publish(changes([item(2, 1, area="south")]), 200)
    assert not channel.publish(changes([item(3, 1, topic="cases")]), 300)
    assert channel.publish(changes([item(1, 2)]), 400)
    assert [channel.ring[p].seq for p in range(2)] == [1, 2]
    assert channel.ring.end == 2


def test_what_leaves_the_filter_is_told_to_be_gone() -> None:
    channel = Channel("s", NORTH, [], 0)
    follower, mirror = Follower(channel), Mirror()
    read(follower, mirror, 0)
    for order, change in enumerate(({"area": "south"}, {"lon": 20.0}, {"severity": 0}), 2):
        channel.publish(changes([item(1, 10 * order)]), 100)
        read(follower, mirror, 100)
        assert ("units", "1") in mirror.items
        channel.publish(changes([item(1, 10 * order + 1, **change)]), 200)  # type: ignore[arg-type]
        read(follower, mirror, 200)
        assert mirror.items == {}


def test_a_slow_client_is_told_once_what_is_newest_and_since_when() -> None:
    channel = Channel("s", Filter(), [], 0)
    follower, mirror = Follower(channel), Mirror()
    read(follower, mirror, 0)
    for order in range(1, 51):
        channel.publish(changes([item(1, order), item(2 + order % 2, order)]), order * 100)
    message = follower.next(5_100)
    assert message is not None
    assert message.name == "conflated"
    told = json.loads(message.data)
    assert (told["from"], told["seq"]) == (0, 50)
    assert sorted(i["order"] for i in told["changes"]["units"]) == [49, 50, 50]
    assert follower.next(5_100) is None
    assert follower.conflations == 1


def test_a_client_that_keeps_up_is_never_conflated_however_long_it_stays() -> None:
    channel = Channel("s", Filter(), [], 0)
    follower, mirror = Follower(channel), Mirror()
    read(follower, mirror, 0)
    for order in range(1, 200):
        channel.publish(changes([item(1, order)]), order * 100)
        channel.ring.drop_before(order * 100 - 1_000)
        read(follower, mirror, order * 100 + SLOW_MS)
    assert mirror.seen == ["snapshot"] + ["delta"] * 199


def test_who_resumes_gets_exactly_what_was_missed_however_old() -> None:
    channel = Channel("s", Filter(), [], 0)
    for order in range(1, 11):
        channel.publish(changes([item(1, order)]), order * 100)
    mirror = Mirror()
    mirror.seq = 4
    read(Follower(channel, since=4), mirror, 60_000)
    assert mirror.seen == ["delta"] * 6
    assert mirror.seq == 10


def test_who_comes_back_too_late_or_from_the_future_starts_anew() -> None:
    channel = Channel("s", Filter(), [], 0)
    for order in range(1, 11):
        channel.publish(changes([item(1, order)]), order * 100)
    for _ in range(5):
        channel.ring.drop_oldest()
    for since, first in ((3, "snapshot"), (4, "snapshot"), (5, "delta"), (11, "snapshot")):
        message = Follower(channel, since=since).next(1_000)
        assert message is not None
        assert message.name == first, since


def test_many_that_connect_at_once_share_one_snapshot_and_miss_nothing_after_it() -> None:
    channel = Channel("s", Filter(), [item(1, 1)], 0)
    first, _ = channel.snapshot(0)
    channel.publish(changes([item(1, 2)]), 100)
    late, mirror = Follower(channel), Mirror()
    read(late, mirror, 200)
    assert channel.snapshot(200)[0] is first
    assert mirror.seen == ["snapshot", "delta"]
    assert mirror.state["units"]["1"]["order"] == 2


def test_heartbeats_have_no_number_of_their_own_and_say_when_kafka_is_silent() -> None:
    channel = Channel("s", Filter(), [], 0)
    follower, mirror = Follower(channel), Mirror()
    read(follower, mirror, 0)
    channel.publish(changes([item(1, 1)]), 100)
    assert not channel.beat(14_999, 15_000)
    assert channel.beat(15_000, 15_000, silent_ms=12_000)
    channel.publish(changes([item(1, 2)]), 15_100)
    read(follower, mirror, 15_200)
    assert mirror.seq == 2
    assert json.loads(channel.ring[1].data) == {"seq": 1, "at": 15_000, "silent_ms": 12_000}
