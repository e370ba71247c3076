"""Many live clients in one process: each on a socket of its own, all checked to the last update.

``python -m benchmarks.live_audience PORT PATH CLIENTS KEYS UPDATES RATE PATIENCE RESULT`` connects
CLIENTS, writes ``ready`` when each has its first event, and waits until each has the last version
of every key, at most PATIENCE s after the last update can have come. RESULT is then a JSON file.

Update n (0, 1, ...) is version n // KEYS of key n % KEYS: a unit, ``load`` its version, ``at``
when it was published. A client has an update when it has that version or a newer one
of the key; of versions that it was spared it knows by the newer one, and their times follow
from the rate.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast

import msgspec
import uvloop

__all__ = ["Expected", "Listener", "Tally", "parse_event"]

_LATEST_MS = 60_000
"""Delays above count as this."""


class _Unit(msgspec.Struct):
    id: str
    load: float
    at: int


class _Changes(msgspec.Struct):
    units: list[_Unit] = []


class _Message(msgspec.Struct, rename={"since": "from"}):
    """Data of an event of the live feed; a naive event is a unit alone."""

    seq: int
    since: int | None = None
    state: _Changes | None = None
    changes: _Changes | None = None


@dataclass(frozen=True)
class Expected:
    keys: int
    updates: int
    rate: float

    def last_version(self, key: int) -> int:
        return (self.updates - 1 - key) // self.keys

    @property
    def version_ms(self) -> float:
        """Time between two versions of a key."""
        return 1000 * self.keys / self.rate


@dataclass(frozen=True)
class Event:
    """One event, decoded once for all clients that get the same bytes."""

    name: Literal["snapshot", "delta", "conflated", "heartbeat", "update"]
    seq: int
    since: int | None
    versions: list[tuple[int, int, int]]
    """Key, version, when it was published [ms]."""


@lru_cache(maxsize=20_000)
def parse_event(event: bytes) -> Event | None:
    """Return what an event says, None for what is no event (a comment, a retry)."""
    fields = dict(line.split(b": ", 1) for line in event.split(b"\n") if b": " in line)
    if b"data" not in fields:
        return None
    if b"event" not in fields:
        unit = msgspec.json.decode(fields[b"data"], type=_Unit)
        return Event("update", 0, None, _versions([unit]))
    message = msgspec.json.decode(fields[b"data"], type=_Message)
    units = (message.state or message.changes or _Changes()).units
    name = fields[b"event"].decode()
    return Event(name, message.seq, message.since, _versions(units))  # type: ignore[arg-type]


def _versions(units: list[_Unit]) -> list[tuple[int, int, int]]:
    return [(int(unit.id), int(unit.load), unit.at) for unit in units]


@dataclass
class Tally:
    """What all clients together received; ``delays`` counts by ms."""

    expected: Expected
    delays: list[int] = field(default_factory=lambda: [0] * (_LATEST_MS + 1))
    conflated: int = 0
    began: float = float("inf")
    """When update 0 was published, by the times of those received [epoch ms]."""

    def published(self, key: int, version: int) -> float:
        """Return when a version was published, as the rate has it [epoch ms]."""
        return self.began + 1000 * (version * self.expected.keys + key) / self.expected.rate

    def add(self, delay_ms: float) -> None:
        self.delays[min(max(int(delay_ms), 0), _LATEST_MS)] += 1


class Listener(asyncio.Protocol):
    """One client: reads chunked server-sent events as they come."""

    def __init__(self, tally: Tally, request: bytes) -> None:
        self._tally = tally
        self._request = request
        self._buffer = b""
        self._in_body = False
        self._events = b""
        self._known = [-1] * tally.expected.keys
        self._seq: int | None = None
        self.begun = asyncio.Event()
        self.missing = tally.expected.keys
        """Keys whose last version it has not got."""
        self.holes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(self._request)

    def connection_lost(self, _exc: Exception | None) -> None:
        self.holes += self.missing > 0

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._in_body:
            head, found, rest = self._buffer.partition(b"\r\n\r\n")
            if not found:
                return
            if b" 200 " not in head[:20]:
                raise ConnectionError(head.decode("latin-1"))
            self._in_body, self._buffer = True, rest
        self._take_chunks()

    def _take_chunks(self) -> None:
        buffer, at = self._buffer, 0
        while (line := buffer.find(b"\r\n", at)) >= 0:
            end = line + 2 + int(buffer[at:line], 16)
            if len(buffer) < end + 2:
                break
            self._take_text(buffer[line + 2 : end])
            at = end + 2
        self._buffer = buffer[at:]

    def _take_text(self, text: bytes) -> None:
        *events, self._events = (self._events + text).split(b"\n\n")
        now = time.time_ns() / 1e6
        for raw in events:
            event = parse_event(raw)
            if event is not None:
                self.take(event, now)

    def take(self, event: Event, now: float) -> None:
        """Take an event in at ``now`` [epoch ms]."""
        if event.name in {"delta", "conflated"}:
            before = event.seq - 1 if event.name == "delta" else event.since
            self.holes += before != self._seq
            self._tally.conflated += event.name == "conflated"
        if event.name != "update":
            self._seq = event.seq
        expected, known = self._tally.expected, self._known
        for key, version, at in event.versions:
            if version >= 0:
                number = version * expected.keys + key
                self._tally.began = min(self._tally.began, at - 1000 * number / expected.rate)
            for number in range(known[key] + 1, version + 1):
                self._tally.add(now - at + (version - number) * expected.version_ms)
            if version > known[key]:
                known[key] = version
                self.missing -= version == expected.last_version(key)
        self.begun.set()

    def unsent(self) -> list[tuple[int, int]]:
        """Return key and version of the updates that it never received."""
        return [
            (key, version)
            for key, known in enumerate(self._known)
            for version in range(known + 1, self._tally.expected.last_version(key) + 1)
        ]


async def listen(
    port: int, path: str, clients: int, expected: Expected, patience_s: float
) -> dict[str, object]:
    """Return what the clients saw, for the result file."""
    tally = Tally(expected)
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: text/event-stream\r\n\r\n"
    loop = asyncio.get_running_loop()
    failed: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: failed.append(context))
    listeners: list[Listener] = []
    links = []
    for _ in range(clients):
        link, listener = await loop.create_connection(
            lambda: Listener(tally, request.encode()), "127.0.0.1", port
        )
        links.append(link)
        listeners.append(listener)
    await asyncio.wait_for(asyncio.gather(*(one.begun.wait() for one in listeners)), 120)
    print("ready", flush=True)
    deadline = time.monotonic() + expected.updates / expected.rate + patience_s
    while any(one.missing for one in listeners) and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
        if failed:
            raise ConnectionError(str(failed[0]))
    ended = time.time_ns() / 1e6
    complete = sum(not one.missing and not one.holes for one in listeners)
    for listener in listeners:
        for key, version in listener.unsent():  # it takes longer than this: a lower bound
            tally.add(ended - tally.published(key, version))
    for link in links:
        link.abort()
    return {
        "clients": clients,
        "complete": complete,
        "holes": sum(one.holes for one in listeners),
        "conflated": tally.conflated,
        "delays": {str(ms): count for ms, count in enumerate(tally.delays) if count},
    }


def main() -> None:
    port, path, clients, keys, updates, rate, patience_s, result = sys.argv[1:]
    needed = int(clients) + 100
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(needed, hard), hard))
    expected = Expected(int(keys), int(updates), float(rate))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        seen = runner.run(listen(int(port), path, int(clients), expected, float(patience_s)))
    Path(result).write_bytes(msgspec.json.encode(seen))


if __name__ == "__main__":
    main()
