"""The web application: routes, and what every answer carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from feeds.open311.markup import MEDIA_TYPES, Format, render

__all__ = ["OPEN311_PATH", "make_app"]

OPEN311_PATH = "/open311/v2"

# Nothing here is a page: a browser that is led here runs, frames and guesses nothing.
_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


def make_app(open311: Sequence[BaseRoute]) -> ASGIApp:
    """Return the application with Open311 below ``OPEN311_PATH``."""
    app = Starlette(
        routes=[Mount(OPEN311_PATH, routes=list(open311))],
        exception_handlers={HTTPException: _refused, Exception: _failed},
    )
    app.router.redirect_slashes = False
    return _SecurityHeaders(app)


def _format(request: Request) -> Format:
    return "xml" if request.url.path.endswith(".xml") else "json"


async def _refused(request: Request, error: Exception) -> Response:
    """Answer what the router refuses (404, 405) in Open311's shape of errors."""
    assert isinstance(error, HTTPException)  # noqa: S101 that is what it is registered for
    return _errors(request, error.status_code, error.detail, error.headers)


async def _failed(request: Request, _error: Exception) -> Response:
    """Answer a defect of ours without telling of its inside; the log has the traceback."""
    return _errors(request, 500, "internal error", None)


def _errors(
    request: Request, status: int, description: str, headers: Mapping[str, str] | None
) -> Response:
    form = _format(request)
    body = render([{"code": status, "description": description}], "errors", form)
    return Response(body, status, headers, media_type=MEDIA_TYPES[form])


class _SecurityHeaders:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(k.encode(), v.encode()) for k, v in _HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", []), *own]}
            await send(message)

        await self._app(scope, receive, send_with_headers)
