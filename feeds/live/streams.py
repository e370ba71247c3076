"""A client's stream over server-sent events, or over a WebSocket: the same messages."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from feeds.live.hub import Client
from feeds.live.message import GZIP_HEADER, deflated

__all__ = ["EventStream", "accepts_gzip", "send_messages"]

# A larger message goes out in pieces: the server waits before each until the one before has
# nearly left, so of a client that does not read there is hardly more than one piece in memory.
_PIECE = 64 * 1024

_RETRY = b"retry: 2000\n\n"
"""How long a browser waits before it connects again [ms]."""


class EventStream(Response):
    """Server-sent events (HTML standard, section 9.2) until the client leaves or is ended."""

    media_type = "text/event-stream"

    def __init__(self, client: Client, *, gzip: bool, leave: Callable[[], None]) -> None:
        headers = {
            "cache-control": "no-store",
            "x-accel-buffering": "no",  # or nginx keeps events back
            "vary": "accept-encoding",
        }
        if gzip:
            headers["content-encoding"] = "gzip"
        super().__init__(None, 200, headers)
        del self.headers["content-length"]
        self._client = client
        self._gzip = gzip
        self._leave = leave

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        watch = asyncio.create_task(_end_with_connection(self._client, receive))
        try:
            start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(start)
            async for chunk in self._chunks():
                for piece in _pieces(chunk):
                    if self._client.ended:
                        break
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
            self._leave()

    async def _chunks(self) -> AsyncIterator[bytes]:
        yield GZIP_HEADER + deflated(_RETRY) if self._gzip else _RETRY
        async for message in self._client.messages():
            yield message.deflated if self._gzip else message.sse


def _pieces(data: bytes) -> Iterator[bytes | memoryview]:
    if len(data) <= _PIECE:
        yield data
        return
    view = memoryview(data)
    for start in range(0, len(data), _PIECE):
        yield view[start : start + _PIECE]


async def _end_with_connection(client: Client, receive: Receive) -> None:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            client.end()
            return


def accepts_gzip(accept_encoding: str) -> bool:
    """Return whether a request's Accept-Encoding allows gzip (RFC 9110, section 12.5.3)."""
    for part in accept_encoding.lower().split(","):
        coding, _, weight = part.partition(";")
        if coding.strip() in {"gzip", "*"}:
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


async def send_messages(client: Client, socket: WebSocket) -> None:
    """Send until the client closes the socket or is ended; what it sends is not looked at."""
    watch = asyncio.create_task(_end_with_socket(client, socket))
    try:
        async for message in client.messages():
            await socket.send({"type": "websocket.send", "text": message.text})
    finally:
        watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch


async def _end_with_socket(client: Client, socket: WebSocket) -> None:
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            client.end()
            return
