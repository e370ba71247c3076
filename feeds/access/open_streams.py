"""Streams that stay open: ended within seconds of their caller's token being revoked."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from civicstream.errors import ServerUnavailable
from feeds.access.authentication import Admitted

__all__ = ["OpenStreams"]

log = logging.getLogger(__name__)

_EVERY_S = 2.0
_POLICY_VIOLATION = 1008
"""WebSocket's code for "you may not" (RFC 6455, 7.4.1)."""


class OpenStreams:
    """The streams now open; ``still_good`` says of a credential whether it may go on."""

    def __init__(
        self, still_good: Callable[[str], Awaitable[bool]], every_s: float = _EVERY_S
    ) -> None:
        self._still_good = still_good
        self._every_s = every_s
        self._open: dict[asyncio.Event, Admitted] = {}
        self._watching: asyncio.Task[None] | None = None

    async def open(self) -> None:
        self._watching = asyncio.create_task(self._watch())

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)

    async def serve(
        self, app: ASGIApp, admitted: Admitted, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Run the request until it ends, or its caller may not go on."""
        begun = False

        async def send_noting(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] in {"http.response.start", "websocket.accept"}
            await send(message)

        with self._held(admitted) as ended:
            running = asyncio.ensure_future(app(scope, receive, send_noting))
            waiting = asyncio.ensure_future(ended.wait())
            try:
                await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                waiting.cancel()
                cut = not running.done()
                if cut:
                    running.cancel()
                    await asyncio.gather(running, return_exceptions=True)
        if not cut:
            running.result()  # raises what the application raised
        elif begun:
            await _end(scope, send)

    @contextlib.contextmanager
    def _held(self, admitted: Admitted) -> Iterator[asyncio.Event]:
        ended = asyncio.Event()
        self._open[ended] = admitted
        try:
            yield ended
        finally:
            del self._open[ended]

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self._end_those_that_may_not()
            except ServerUnavailable as error:
                log.warning("cannot see which tokens were revoked: %s", error)

    async def _end_those_that_may_not(self) -> None:
        streams = defaultdict(list)
        for ended, admitted in self._open.items():
            if admitted.credential is not None:
                streams[admitted.credential].append((ended, admitted.caller))
        for credential, found in streams.items():
            expires_at = found[0][1].expires_at
            good = expires_at is None or time.time() < expires_at
            if good and await self._still_good(credential):
                continue
            log.info("token of %s ended: %d streams closed", found[0][1].name, len(found))
            for ended, _ in found:
                ended.set()


async def _end(scope: Scope, send: Send) -> None:
    """End the answer in an orderly way; the client may have gone meanwhile."""
    with contextlib.suppress(OSError, RuntimeError):
        if scope["type"] == "websocket":
            reason = "the token has ended"
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": reason})
        else:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
