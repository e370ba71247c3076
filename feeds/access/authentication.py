"""From a request to its caller: bearer token, JWT, session cookie, or simply this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import cookie_parser

from civicstream.errors import ConfigurationError
from civicstream.rate_limit import RateLimit
from civicstream.settings import Settings
from feeds.access.callers import LOCAL, Caller
from feeds.access.origins import (
    address_key,
    forgery,
    is_loopback,
    is_loopback_host,
    is_proxied,
)
from feeds.access.token_store import TokenStore
from feeds.access.web_tokens import WebTokens, looks_like_jwt
from feeds.problems import Problem

__all__ = ["Admitted", "Asking", "Authentication", "cookie_name"]

_CHALLENGE = 'Bearer realm="civicstream"'


@dataclass(frozen=True)
class Asking:
    """What a request says of who sends it; header names are in lower case."""

    method: str
    headers: Mapping[str, str]
    address: str
    websocket: bool = False


@dataclass(frozen=True)
class Admitted:
    """A caller, and the secret it was known by; None for this machine's own."""

    caller: Caller
    credential: str | None = None


def cookie_name(host: str) -> str:
    """Return the session cookie's name: with the prefix that binds it to this host and to TLS."""
    return "civicstream" if is_loopback_host(host) else "__Host-civicstream"


class Authentication:
    """Knows callers by the settings' means; raises Problem for those it does not."""

    def __init__(
        self, settings: Settings, tokens: TokenStore, web_tokens: WebTokens | None
    ) -> None:
        access = settings.access
        self.required = access.required or access.oidc_issuer is not None
        host = settings.feeds.host
        if not self.required and not (is_loopback(host) or is_loopback_host(host)):
            raise ConfigurationError(
                f"CIVICSTREAM_FEEDS__HOST is {host!r}, so others than this machine "
                "reach the feeds, and no token is required of them; set "
                "CIVICSTREAM_ACCESS__REQUIRED=true and make tokens with `civicstream token create`"
            )
        self._tokens = tokens
        self._web_tokens = web_tokens
        per_min = access.failures_per_min
        self._failures = RateLimit(per_min / 60, max(1, round(per_min)))
        self._failed = 0

    async def admit(self, asking: Asking) -> Admitted:
        """Return the request's caller; raise Problem 401, 403 or 429, or ServerUnavailable."""
        if (given := asking.headers.get("authorization")) is not None:
            scheme, _, credential = given.partition(" ")
            if scheme.lower() != "bearer":
                raise _unknown(f"the scheme {scheme[:20]!r} is not known; send Bearer and a token")
            return await self.recognise(credential.strip(), asking.address)
        if (kept := _cookie(asking.headers)) is not None:
            _refuse_forged(asking)
            return await self.recognise(kept, asking.address)
        if not self.required:
            _refuse_strangers(asking)
            _refuse_forged(asking)
            return Admitted(LOCAL)
        raise _unknown(
            "a token is needed: send it as `Authorization: Bearer …`, or sign in with POST /login; "
            "`civicstream token create` makes one"
        )

    async def recognise(self, credential: str, address: str) -> Admitted:
        """Return whose token or JWT it is; failures of one address are counted and limited."""
        if (known := self._tokens.remembered(credential)) is not None:
            return Admitted(known, credential)
        place, now = address_key(address), time.monotonic()
        # Somebody else's wrong tokens must not shut out a good one behind the same address.
        if not self._tokens.knows(credential) and self._failures.left(place, now) < 1:
            wait_s = max(1, round(self._failures.wait_s(place)))
            raise Problem(
                429,
                f"too many wrong tokens from {address}; try again in {wait_s} s",
                {"retry-after": str(wait_s)},
            )
        found = await self._look_up(credential)
        if isinstance(found, Caller):
            return Admitted(found, credential)
        self._failed += 1
        self._failures.admit(place, str(self._failed), now)
        raise _unknown(found, given=True)

    async def still_good(self, credential: str) -> bool:
        """Return whether a credential is good at this moment; nothing is counted."""
        return isinstance(await self._look_up(credential), Caller)

    async def _look_up(self, credential: str) -> Caller | str:
        if self._web_tokens is not None and looks_like_jwt(credential):
            return await self._web_tokens.find(credential)
        caller = await self._tokens.find(credential)
        return caller or "the token is unknown, expired or revoked"


def _cookie(headers: Mapping[str, str]) -> str | None:
    # Lenient: on loopback other programs' cookies come along, whatever they hold.
    cookies = cookie_parser(headers.get("cookie", ""))
    return cookies.get(cookie_name(headers.get("host", ""))) or None


def _refuse_forged(asking: Asking) -> None:
    why = forgery(asking.headers, asking.method, websocket=asking.websocket)
    if why is not None:
        raise Problem(
            403,
            f"the request may be a foreign page's: {why}; send a token as `Authorization: Bearer`",
        )


def _refuse_strangers(asking: Asking) -> None:
    """Let only this machine in without a token, called by its own name and by nobody between."""
    if not is_loopback(asking.address) or is_proxied(asking.headers):
        raise _unknown(
            "without a token only callers on this machine are let in; set "
            "CIVICSTREAM_ACCESS__REQUIRED=true and make a token with `civicstream token create`"
        )
    host = asking.headers.get("host", "")
    if not is_loopback_host(host):
        raise Problem(
            403,
            f"Host is {host[:100]!r}, which is not this machine's own name: a foreign page may "
            "have made it point here; open the page as http://127.0.0.1",
        )


def _unknown(detail: str, *, given: bool = False) -> Problem:
    challenge = f'{_CHALLENGE}, error="invalid_token"' if given else _CHALLENGE
    return Problem(401, detail, {"www-authenticate": challenge})
