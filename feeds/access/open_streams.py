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
from feeds.access.callers import Caller
from feeds.problems import problem_response

__all__ = ["OpenStreams"]

log = logging.getLogger(__name__)

_EVERY_S = 2.0
_WHY = "the token has ended"
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
        else:
            await _end(scope, receive, send, begun=begun)

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
            await self._end_those_that_may_not()

    async def _end_those_that_may_not(self) -> None:
        streams = defaultdict(list)
        for ended, admitted in self._open.items():
            if admitted.credential is not None:
                streams[admitted.credential].append((ended, admitted.caller))
        for credential, found in streams.items():
            caller = found[0][1]
            if await self._may_go_on(credential, caller):
                continue
            log.info("token of %s ended: %d streams closed", caller.name, len(found))
            for ended, _ in found:
                ended.set()

    async def _may_go_on(self, credential: str, caller: Caller) -> bool:
        if caller.expires_at is not None and time.time() >= caller.expires_at:
            return False
        try:
            return await self._still_good(credential)
        except ServerUnavailable as error:
            log.warning("cannot see whether the token of %s was revoked: %s", caller.name, error)
            return True


async def _end(scope: Scope, receive: Receive, send: Send, *, begun: bool) -> None:
    """End the answer in an orderly way; the client may have gone meanwhile."""
    with contextlib.suppress(OSError, RuntimeError):
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": _WHY})
        elif not begun:
            await problem_response(401, _WHY)(scope, receive, send)
        else:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
