"""The web application: routes, and what every answer carries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from feeds.api import API_PATH
from feeds.open311.markup import MEDIA_TYPES, Format, render
from feeds.problems import problem_response

__all__ = ["OPEN311_PATH", "make_app"]

OPEN311_PATH = "/open311/v2"

# Unless an answer says otherwise of itself (the operations page does), it is no page: a browser
# that is led here runs, frames and guesses nothing.
_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


def make_app(
    open311: Sequence[BaseRoute],
    api: ASGIApp | None = None,
    routes: Sequence[BaseRoute] = (),
    guard: Callable[[ASGIApp], ASGIApp] | None = None,
) -> ASGIApp:
    """Return the application: Open311, the API, other ``routes``; ``guard`` wraps them all."""
    mounts: list[BaseRoute] = [Mount(OPEN311_PATH, routes=list(open311))]
    if api is not None:
        mounts.append(Mount(API_PATH, app=api))
    app = Starlette(
        routes=[*mounts, *routes],
        exception_handlers={HTTPException: _refused, Exception: _failed},
    )
    app.router.redirect_slashes = False
    answering = _HeadAsGet(app)
    return _SecurityHeaders(guard(answering) if guard else answering)


async def _refused(request: Request, error: Exception) -> Response:
    """Answer what the router refuses (404, 405)."""
    assert isinstance(error, HTTPException)  # noqa: S101 that is what it is registered for
    return _error(request, error.status_code, error.detail, error.headers)


async def _failed(request: Request, _: Exception) -> Response:
    """Answer a defect of ours without telling of its inside; the log has the traceback."""
    return _error(request, 500, "internal error", None)


def _error(
    request: Request, status: int, description: str, headers: Mapping[str, str] | None
) -> Response:
    """Return the error in the shape of the part it happened in."""
    if not request.url.path.startswith(OPEN311_PATH):
        return problem_response(status, description, headers)
    form: Format = "xml" if request.url.path.endswith(".xml") else "json"
    body = render([{"code": status, "description": description}], "errors", form)
    return Response(body, status, headers, media_type=MEDIA_TYPES[form])


class _HeadAsGet:
    """Answers HEAD on every route of GET: the same headers, and no body (RFC 9110, 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        begun = False

        async def only_the_head(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                await send(message)
            elif not begun:
                begun = True
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        # uvicorn reports the disconnection as soon as the answer is complete, so a live stream
        # ends here too.
        await self._app({**scope, "method": "GET"}, receive, only_the_head)


class _SecurityHeaders:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                sent = list(message.get("headers", []))
                named = {name.lower() for name, _ in sent}
                own = [(k.encode(), v.encode()) for k, v in _HEADERS.items()]
                message = {**message, "headers": sent + [h for h in own if h[0] not in named]}
            await send(message)

        await self._app(scope, receive, send_with_headers)
