"""Clients share channels; there are limits to both, and a place to come back to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from feeds.live.filters import Filter
from feeds.live.hub import Client, Hub, Limits, Overfull
from feeds.live.item import Item
from feeds.live.state import LiveState

UNITS = Filter(topics=frozenset({"units"}))
CASES = Filter(topics=frozenset({"cases"}))


class Clock:
    def __init__(self) -> None:
        self.now = 1_000

    def __call__(self) -> int:
        return self.now


def unit(order: int, size: int = 10) -> Item:
    data = json.dumps({"id": "u", "order": order, "text": "x" * size}).encode()
    return Item("units", "u", data, (order,), "north")


def hub(clock: Clock, **limits: int) -> Hub:
    return Hub(LiveState(), Limits(**limits), clock)


def tell(of: Hub, order: int, size: int = 10) -> None:
    of.state.apply([unit(order, size)], of.clock())
    of.flush()


async def taken(client: Client) -> list[str]:
    """Return the names of what is there for the client now."""
    names: list[str] = []

    async def take() -> None:
        async for message in client.messages():
            told = f"{message.name} {message.seq}"
            names.append(told)  # one by one: the task is cancelled while it waits

    task = asyncio.create_task(take())
    for _ in range(20):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return names


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type]


def test_clients_with_the_same_filter_get_the_same_message_object() -> None:
    async def scenario() -> None:
        of = hub(Clock())
        first, second = of.join(UNITS, None), of.join(UNITS, None)
        assert first.follower.channel is second.follower.channel
        assert of.channel_count == 1
        assert await taken(first) == ["snapshot 0"]
        tell(of, 1)
        assert await taken(first) == ["delta 1"]
        assert await taken(second) == ["snapshot 0", "delta 1"]

    run(scenario)


def test_a_waiting_client_is_woken_by_what_concerns_it_and_by_the_end() -> None:
    async def scenario() -> None:
        of = hub(Clock())
        client = of.join(UNITS, None)
        messages = client.messages()
        assert (await anext(messages)).name == "snapshot"
        waiting = asyncio.ensure_future(anext(messages))
        await asyncio.sleep(0)
        assert not waiting.done()
        tell(of, 1)
        assert (await waiting).name == "delta"
        ending = asyncio.ensure_future(anext(messages, None))
        await asyncio.sleep(0)
        of.end()
        assert await ending is None
        assert await taken(of.join(UNITS, None)) == []

    run(scenario)


def test_one_client_too_many_and_one_filter_too_many_are_refused_with_the_limit() -> None:
    async def scenario() -> None:
        of = hub(Clock(), clients=2, channels=1)
        first = of.join(UNITS, None)
        with pytest.raises(Overfull, match=r"1 different filters .*LIVE_MAX_CHANNELS"):
            of.join(CASES, None)
        of.join(UNITS, None)
        with pytest.raises(Overfull, match=r"2 clients .*LIVE_MAX_CLIENTS"):
            of.join(UNITS, None)
        of.leave(first)
        of.join(UNITS, None)

    run(scenario)


def test_a_filter_that_nobody_reads_makes_room_for_another() -> None:
    async def scenario() -> None:
        of = hub(Clock(), channels=1)
        of.leave(of.join(UNITS, None))
        of.join(CASES, None)
        assert of.channel_count == 1

    run(scenario)


def test_who_was_cut_off_goes_on_where_it_was_while_the_channel_lives() -> None:
    async def scenario() -> None:
        clock = Clock()
        of = hub(clock, resume_ms=60_000)
        client = of.join(UNITS, None)
        (message, _), stream = client.follower.channel.snapshot(0), client.follower.channel.stream
        assert message.id == f"{stream}-0"
        of.leave(client)
        tell(of, 1)
        tell(of, 2)
        clock.now += 50_000
        of.flush()
        again = of.join(UNITS, f"{stream}-0")
        assert await taken(again) == ["delta 1", "delta 2", "heartbeat 2"]
        other = of.join(CASES, f"{stream}-0")
        assert await taken(other) == ["snapshot 0"]
        of.leave(again)
        clock.now += 60_001
        of.flush()
        assert (await taken(of.join(UNITS, f"{stream}-2")))[0].startswith("snapshot")

    run(scenario)


@pytest.mark.parametrize("sent", ["", "x", "-", "9-9", "1.1-", "1.1-x", "1.1--1", "²-²", "-" * 50])
def test_an_id_that_is_none_of_ours_starts_anew(sent: str) -> None:
    async def scenario() -> None:
        assert await taken(hub(Clock()).join(UNITS, sent)) == ["snapshot 0"]

    run(scenario)


def test_what_is_kept_for_those_who_resume_is_bounded_over_all_channels() -> None:
    async def scenario() -> None:
        of = hub(Clock(), ring_bytes=40_000)
        one, two = of.join(UNITS, None), of.join(Filter(), None)
        for order in range(1, 200):
            tell(of, order, size=1_000)
        rings = [c.follower.channel.ring for c in (one, two)]
        assert 30_000 < sum(ring.size for ring in rings) <= 40_000
        assert all(ring.end - ring.start > 1 for ring in rings)

    run(scenario)


def test_slow_clients_together_hold_no_more_than_their_budget() -> None:
    async def scenario() -> None:
        clock = Clock()
        of = hub(clock, unshared_bytes=5_000)
        slow = [of.join(UNITS, None) for _ in range(4)]
        for client in slow:
            assert await taken(client) == ["snapshot 0"]
        tell(of, 1, size=900)
        clock.now += 10_000
        held = [anext(client.messages(), None) for client in slow]
        got = [await one for one in held]
        assert [m.name if m else "ended" for m in got] == ["conflated"] * 2 + ["ended"] * 2
        assert of.unshared_bytes <= 5_000
        for client in slow:
            of.leave(client)
        assert of.unshared_bytes == 0
        assert of.conflated == 2

    run(scenario)
