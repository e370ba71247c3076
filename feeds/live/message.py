"""One message of a channel, encoded once for all its clients."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Literal

import msgspec

from feeds.live.item import LIVE_TOPICS, Item

__all__ = ["GZIP_HEADER", "Message", "MessageName", "changes_json", "deflated", "message_id"]

MessageName = Literal["snapshot", "delta", "conflated", "heartbeat"]

GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""RFC 1952, section 2.3: deflate, no name, no time, unknown system."""

# A message of some kilobytes loses little by the fastest levels, and is compressed ten times a
# second for each channel.
_LEVEL = 3


def message_id(stream: str, seq: int) -> str:
    return f"{stream}-{seq}"


class Message:
    """``data`` is the JSON object of the event; ``seq`` the state that it leads to."""

    __slots__ = ("_deflated", "_sse", "_text", "at", "data", "id", "name", "seq", "size")

    def __init__(self, name: MessageName, stream: str, seq: int, at: int, data: bytes) -> None:
        self.name = name
        self.id = message_id(stream, seq)
        self.seq = seq
        self.at = at
        self.data = data
        self.size = 2 * len(data)
        """About what it takes in memory, with its encodings [bytes]."""
        self._sse: bytes | None = None
        self._deflated: bytes | None = None
        self._text: str | None = None

    @property
    def sse(self) -> bytes:
        """As a server-sent event; JSON has no line breaks of its own."""
        if self._sse is None:
            head = f"id: {self.id}\nevent: {self.name}\ndata: ".encode()
            self._sse = b"".join((head, self.data, b"\n\n"))
        return self._sse

    @property
    def deflated(self) -> bytes:
        """The event as a piece of a gzip stream, see ``deflated``."""
        if self._deflated is None:
            self._deflated = deflated(self.sse)
        return self._deflated

    @property
    def text(self) -> str:
        """As a WebSocket message: the same object with the members ``event`` and ``id``."""
        if self._text is None:
            head = msgspec.json.encode({"event": self.name, "id": self.id})
            self._text = b"".join((head[:-1], b",", self.data[1:])).decode()
        return self._text


def deflated(data: bytes) -> bytes:
    """Return ``data`` as a piece of a deflate stream that others may come before and after.

    A full flush ends on a byte and refers to nothing before (RFC 1951, section 3.2.4), so after
    ``GZIP_HEADER`` each client's stream is put together of pieces that are made once.
    """
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH)


def changes_json(items: Iterable[Item]) -> bytes:
    """Return ``{topic: [item, ...]}`` of items, in the order of the topics."""
    by_topic: dict[str, list[bytes]] = {}
    for item in items:
        by_topic.setdefault(item.topic, []).append(item.data)
    parts = (
        b'"%s":[%s]' % (topic.encode(), b",".join(by_topic[topic]))
        for topic in LIVE_TOPICS
        if topic in by_topic
    )
    return b"{%s}" % b",".join(parts)
