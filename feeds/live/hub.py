"""All channels and clients of the process, on its event loop."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

from feeds.live.channel import Channel
from feeds.live.filters import Filter
from feeds.live.follower import Follower
from feeds.live.item import Item
from feeds.live.message import Message
from feeds.live.state import LiveState

__all__ = ["Client", "Hub", "Limits", "Overfull"]


@dataclass(frozen=True)
class Limits:
    """What the process holds at most; times in ms."""

    clients: int = 2_000
    channels: int = 200
    ring_bytes: int = 128 * 1024 * 1024
    """Of the messages kept by all channels together."""
    unshared_bytes: int = 64 * 1024 * 1024
    """Of what is made for single slow clients and not sent yet."""
    resume_ms: int = 300_000
    """How long messages are kept, and channels that nobody reads."""
    heartbeat_ms: int = 15_000


class Overfull(Exception):
    """There is no room for another client; ``setting`` names the limit."""

    def __init__(self, what: str, limit: int, setting: str) -> None:
        super().__init__(f"{limit} {what} are the most this process serves ({setting})")


class Client:
    """One connection: what it is to send next."""

    def __init__(self, hub: Hub, channel: Channel, since: int | None) -> None:
        self.follower = Follower(channel, since)
        self._hub = hub
        self._wake = asyncio.Event()
        self._held = 0
        self.ended = False

    def wake(self) -> None:
        self._wake.set()

    def end(self) -> None:
        """Let ``messages`` come to its end."""
        self.ended = True
        self._wake.set()

    async def messages(self) -> AsyncIterator[Message]:
        """Yield what to send, as soon as it is there, until ``end``.

        What is not taken in time is left out, and the client notified; nothing queues up here.
        """
        while not self.ended:
            message = self._next()
            if message is not None:
                yield message
            elif not self.ended:
                self._wake.clear()
                await self._wake.wait()

    def _next(self) -> Message | None:
        self._hub.unshared_bytes -= self._held
        self._held = 0
        message = self.follower.next(self._hub.clock(), complete=self._hub.complete)
        if message is None or message.name != "conflated":
            return message
        if self._hub.unshared_bytes + message.size > self._hub.limits.unshared_bytes:
            self.end()  # it connects again and takes the snapshot that all share
            return None
        self._held = message.size
        self._hub.unshared_bytes += message.size
        self._hub.conflated += 1
        return message

    def release(self) -> None:
        self._hub.unshared_bytes -= self._held
        self._held = 0


class Hub:
    """One for the process; ``clock`` returns epoch ms."""

    def __init__(self, state: LiveState, limits: Limits, clock: Callable[[], int]) -> None:
        self.state = state
        self.limits = limits
        self.clock = clock
        self.complete = False
        """Whether what the database knows is in the state."""
        self.silent_ms = 0
        """How long nothing has come from Kafka; 0 while that is usual."""
        self.unshared_bytes = 0
        self.conflated = 0
        self._process = secrets.token_hex(6)
        self._numbers = itertools.count(1)
        self._channels: dict[Filter, Channel] = {}
        self._clients: dict[Channel, set[Client]] = {}
        self._left_at: dict[Channel, int] = {}
        self._ended = False

    @property
    def client_count(self) -> int:
        return sum(map(len, self._clients.values()))

    @property
    def channel_count(self) -> int:
        return len(self._channels)

    def join(self, wanted: Filter, last_event_id: str | None) -> Client:
        """Return a new client of the filter's channel; raise Overfull.

        It goes on after ``last_event_id`` where that is of this channel, else from the start.
        """
        if self.client_count >= self.limits.clients:
            raise Overfull("clients", self.limits.clients, "CIVICSTREAM_FEEDS__LIVE_MAX_CLIENTS")
        channel = self._channels.get(wanted) or self._open(wanted)
        client = Client(self, channel, _known_seq(channel, last_event_id))
        self._clients[channel].add(client)
        self._left_at.pop(channel, None)
        if self._ended:
            client.end()
        return client

    def leave(self, client: Client) -> None:
        client.release()
        channel = client.follower.channel
        self._clients[channel].discard(client)
        if not self._clients[channel]:
            self._left_at[channel] = self.clock()

    def _open(self, wanted: Filter) -> Channel:
        if len(self._channels) >= self.limits.channels:
            if not self._left_at:
                raise Overfull(
                    "different filters",
                    self.limits.channels,
                    "CIVICSTREAM_FEEDS__LIVE_MAX_CHANNELS",
                )
            self._close(next(iter(self._left_at)))
        stream = f"{self._process}.{next(self._numbers)}"
        channel = Channel(stream, wanted, self.state.items(), self.clock())
        self._channels[wanted] = channel
        self._clients[channel] = set()
        return channel

    def _close(self, channel: Channel) -> None:
        del self._channels[channel.filter], self._clients[channel]
        self._left_at.pop(channel, None)

    def flush(self) -> None:
        """Give every channel what has changed since the last call, and wake its clients."""
        now = self.clock()
        for channel, left_at in list(self._left_at.items()):
            if now - left_at > self.limits.resume_ms:
                self._close(channel)
        changes = _grouped(self.state.take_changes(now))
        for channel in self._channels.values():
            published = bool(changes) and channel.publish(changes, now)
            beaten = channel.beat(now, self.limits.heartbeat_ms, self.silent_ms)
            channel.ring.drop_before(now - self.limits.resume_ms)
            if published or beaten:
                for client in self._clients[channel]:
                    client.wake()
        self._keep_to_budget()

    def _keep_to_budget(self) -> None:
        rings = [channel.ring for channel in self._channels.values()]
        excess = sum(ring.size for ring in rings) - self.limits.ring_bytes
        while excess > 0:
            largest = max(rings, key=lambda ring: ring.size)
            before = largest.size
            largest.drop_oldest()
            excess -= before - largest.size

    def end(self) -> None:
        """End all streams, and those that still come."""
        self._ended = True
        for clients in self._clients.values():
            for client in clients:
                client.end()


def _known_seq(channel: Channel, last_event_id: str | None) -> int | None:
    stream, _, seq = (last_event_id or "").rpartition("-")
    if stream != channel.stream or not (seq.isascii() and seq.isdigit() and len(seq) < 19):
        return None
    return int(seq)


def _grouped(items: Iterable[Item]) -> dict[str, dict[str | None, list[Item]]]:
    grouped: dict[str, dict[str | None, list[Item]]] = defaultdict(lambda: defaultdict(list))
    for item in items:
        grouped[item.topic][item.area].append(item)
    return grouped
