"""Signing in with a token, for browsers: EventSource and WebSocket cannot send headers."""

from __future__ import annotations

import time
from http.cookies import SimpleCookie

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from civicstream.errors import ServerUnavailable
from civicstream.settings import AccessSettings
from feeds.access.authentication import Authentication, cookie_name
from feeds.access.origins import forgery, is_loopback_host
from feeds.problems import Problem, problem_response

__all__ = ["Sessions"]

_MAX_BYTES = 16_384


class _SignIn(msgspec.Struct):
    token: str


class Sessions:
    """The routes ``/login`` and ``/logout``.

    The cookie is the token itself, kept from scripts (HttpOnly) and from foreign pages
    (SameSite=Strict): so a session needs no store, is good in every feeds process, and ends with
    its token.
    """

    def __init__(self, settings: AccessSettings, authentication: Authentication) -> None:
        self._settings = settings
        self._authentication = authentication

    def routes(self) -> list[Route]:
        return [
            Route("/login", self._sign_in, methods=["POST"]),
            Route("/logout", self._sign_out, methods=["POST"]),
        ]

    async def _sign_in(self, request: Request) -> Response:
        try:
            self._check(request)
            token = await _token(request)
            address = request.client.host if request.client else ""
            admitted = await self._authentication.recognise(token, address)
        except Problem as error:
            return error.response()
        except ServerUnavailable as error:
            return problem_response(503, str(error), {"retry-after": "5"})
        caller = admitted.caller
        age_s = self._settings.session_h * 3600
        if caller.expires_at is not None:
            age_s = min(age_s, caller.expires_at - time.time())
        body = msgspec.json.encode({"name": caller.name, "scopes": sorted(caller.scopes)})
        headers = {"set-cookie": _cookie(request, token, max(1, int(age_s)))}
        return Response(body, 200, headers, media_type="application/json")

    async def _sign_out(self, request: Request) -> Response:
        why = forgery(request.headers, "GET")  # it has no body whose kind could matter
        if why is not None:
            return problem_response(403, f"the request may be a foreign page's: {why}")
        return Response(None, 204, {"set-cookie": _cookie(request, "", 0)})

    def _check(self, request: Request) -> None:
        """Raise Problem for a foreign page's request, and where the cookie would be refused."""
        if (why := forgery(request.headers, request.method)) is not None:
            raise Problem(403, f"the request may be a foreign page's: {why}")
        host = request.headers.get("host", "")
        secure = self._settings.tls or request.url.scheme == "https"
        if not secure and not is_loopback_host(host):
            raise Problem(
                400,
                f"a browser keeps no session of {host[:100]!r} without TLS; put a proxy with TLS "
                "in front and set CIVICSTREAM_ACCESS__TLS=true",
            )


async def _token(request: Request) -> str:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > _MAX_BYTES:
            raise Problem(413, f"the body has more than {_MAX_BYTES} bytes")
    try:
        return msgspec.json.decode(bytes(body), type=_SignIn).token.strip()
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem(400, f'the body must be like {{"token": "cst_…"}}: {error}') from None


def _cookie(request: Request, value: str, age_s: int) -> str:
    host = request.headers.get("host", "")
    cookie: SimpleCookie = SimpleCookie()
    name = cookie_name(host)
    cookie[name] = value
    cookie[name]["path"] = "/"
    cookie[name]["max-age"] = str(age_s)
    cookie[name]["httponly"] = True
    cookie[name]["samesite"] = "Strict"
    cookie[name]["secure"] = not is_loopback_host(host)
    return cookie[name].OutputString()
