"""The guard before all routes: who is calling, may they, and not too often (ASGI middleware)."""

from __future__ import annotations

import time
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from civicstream.errors import ServerUnavailable
from civicstream.rate_limit import RateLimit
from civicstream.settings import AccessSettings
from feeds.access.authentication import Admitted, Asking, Authentication
from feeds.access.callers import Caller, is_open, needed_scope
from feeds.access.cors import allow_headers, parse_origins, preflight_headers
from feeds.access.open_streams import OpenStreams
from feeds.problems import Problem, problem_response

__all__ = ["Guard"]

_STREAMS = "/api/v1/live"
_HSTS = "max-age=31536000"


class Guard:
    """Decides by path and method alone, so that no route can be forgotten; routes check nothing."""

    def __init__(
        self,
        app: ASGIApp,
        settings: AccessSettings,
        authentication: Authentication,
        streams: OpenStreams,
    ) -> None:
        self._app = app
        self._authentication = authentication
        self._streams = streams
        self._tls = settings.tls
        self._cors = parse_origins(settings.cors_origins)
        self._limit = RateLimit(settings.requests_per_min / 60, settings.burst)
        self._burst, self._per_s = settings.burst, settings.requests_per_min / 60
        self._served = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        asking = _asking(scope)
        extra = allow_headers(asking.headers, self._cors)
        if self._tls or scope.get("scheme") in {"https", "wss"}:
            extra["strict-transport-security"] = _HSTS
        preflight = preflight_headers(asking.headers, asking.method, self._cors)
        if preflight is not None:
            sending = _adding(send, {**extra, **preflight})
            await sending({"type": "http.response.start", "status": 204, "headers": []})
            await sending({"type": "http.response.body", "body": b""})
            return
        if is_open(asking.method, scope["path"]):
            await self._app(scope, receive, _adding(send, extra))
            return
        try:
            admitted = await self._authentication.admit(asking)
            _check_scope(admitted.caller, asking.method, scope["path"])
            extra |= self._count(admitted.caller)
        except (Problem, ServerUnavailable) as error:
            await _refuse(error, scope, receive, _adding(send, extra))
            return
        scope["caller"] = admitted.caller
        await self._serve(admitted, scope, receive, _adding(send, extra))

    async def _serve(self, admitted: Admitted, scope: Scope, receive: Receive, send: Send) -> None:
        streams = scope["type"] == "websocket" or scope["path"].startswith(_STREAMS)
        if streams and admitted.credential is not None:
            await self._streams.serve(self._app, admitted, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _count(self, caller: Caller) -> dict[str, str]:
        """Return headers with what is left; raise Problem 429 when nothing is.

        Names and form as in draft-ietf-httpapi-ratelimit-headers.
        """
        if not caller.key:
            return {}
        now = time.monotonic()
        self._served += 1
        admitted = self._limit.admit(caller.key, str(self._served), now)
        left = self._limit.left(caller.key, now)
        full_s = round((self._burst - left) / self._per_s)
        headers = {
            "ratelimit-policy": f'"caller";q={self._burst};w={round(self._burst / self._per_s)}',
            "ratelimit": f'"caller";r={int(left)};t={full_s}',
        }
        if admitted:
            return headers
        wait_s = max(1, round(self._limit.wait_s(caller.key)))
        raise Problem(
            429,
            f"{caller.name} sends more than {self._per_s * 60:g} requests a minute; try again in "
            f"{wait_s} s",
            {**headers, "retry-after": str(wait_s)},
        )


def _asking(scope: Scope) -> Asking:
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        # Of a header that is sent twice both count: neither may hide the other.
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    websocket = scope["type"] == "websocket"
    client = scope.get("client")
    return Asking(
        "GET" if websocket else scope["method"], headers, client[0] if client else "", websocket
    )


def _check_scope(caller: Caller, method: str, path: str) -> None:
    needed = needed_scope(method, path)
    if needed not in caller.scopes:
        raise Problem(
            403,
            f"{method} {path[:200]} needs the scope {needed!r}; {caller.name} has "
            f"{', '.join(sorted(caller.scopes)) or 'none'}",
            {
                "www-authenticate": 'Bearer realm="civicstream", error="insufficient_scope", '
                f'scope="{needed}"'
            },
        )


def _adding(send: Send, extra: Mapping[str, str]) -> Send:
    """Return ``send`` that puts further headers on the answer."""
    if not extra:
        return send
    added = [(name.encode(), value.encode()) for name, value in extra.items()]

    async def send_with_headers(message: Message) -> None:
        if message["type"] in {"http.response.start", "websocket.http.response.start"}:
            message = {**message, "headers": [*message.get("headers", []), *added]}
        await send(message)

    return send_with_headers


async def _refuse(
    error: Problem | ServerUnavailable, scope: Scope, receive: Receive, send: Send
) -> None:
    if isinstance(error, Problem):
        answer = error.response()
    else:
        answer = problem_response(503, str(error), {"retry-after": "5"})
    if scope["type"] == "websocket" and "websocket.http.response" not in scope.get(
        "extensions", {}
    ):
        await send({"type": "websocket.close", "code": 1008, "reason": str(error)[:100]})
        return
    await answer(scope, receive, send)
