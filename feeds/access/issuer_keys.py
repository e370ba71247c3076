"""The public keys of an OpenID Connect issuer: found by discovery, kept, and looked for again.

OpenID Connect Discovery 1.0 and JWK Set (RFC 7517). What was fetched stays in use while the
issuer is away.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import jwt

from civicstream.errors import ServerUnavailable

__all__ = ["ALGORITHMS", "IssuerKeys"]

log = logging.getLogger(__name__)

ALGORITHMS = ("RS256", "ES256", "EdDSA")
"""Signatures with a private key only: a shared secret (HS256) could be our public key."""

_STALE_S = 600.0
# Somebody who sends made-up key ids must not make us ask the issuer for each of them.
_ASK_AGAIN_S = 30.0
_MAX_BYTES = 1_000_000
_TIMEOUT_S = 5.0


class IssuerKeys:
    """The keys of ``issuer``; ``clock`` is monotonic seconds."""

    def __init__(
        self,
        issuer: str,
        clock: Callable[[], float] = time.monotonic,
        ask_again_s: float = _ASK_AGAIN_S,
    ) -> None:
        self._issuer = issuer
        self._clock = clock
        self._ask_again_s = ask_again_s
        self._keys: list[jwt.PyJWK] = []
        self._fetched_at: float | None = None
        self._asked_at = -float("inf")
        self._asking = asyncio.Lock()

    async def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """Return the key of this id and algorithm, None when the issuer has no such key.

        Raise ServerUnavailable when no key was ever fetched and the issuer does not answer.
        """
        found = self._among(kid, algorithm)
        if found is not None and not self._stale():
            return found
        await self._refresh()
        return self._among(kid, algorithm)

    def _stale(self) -> bool:
        return self._fetched_at is None or self._clock() - self._fetched_at > _STALE_S

    def _among(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        fitting = [key for key in self._keys if key.algorithm_name == algorithm]
        if kid is not None:
            fitting = [key for key in fitting if key.key_id == kid]
        return fitting[0] if len(fitting) == 1 else None  # without an id only where it is clear

    async def _refresh(self) -> None:
        async with self._asking:
            if self._clock() - self._asked_at < self._ask_again_s:
                if self._fetched_at is None:
                    raise ServerUnavailable(f"the issuer {self._issuer} did not answer just now")
                return
            self._asked_at = self._clock()
            try:
                self._keys = await self._fetch()
            except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
                reason = f"{type(error).__name__}: {error}"
                if self._fetched_at is None:
                    raise ServerUnavailable(
                        f"the keys of {self._issuer} cannot be fetched ({reason})"
                    ) from error
                log.warning("the keys of %s stay as they are (%s)", self._issuer, reason)
            else:
                self._fetched_at = self._clock()

    async def _fetch(self) -> list[jwt.PyJWK]:
        async with httpx.AsyncClient(timeout=_TIMEOUT_S, follow_redirects=False) as client:
            place = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
            document = await _read(client, place)
            if document["issuer"] != self._issuer:
                raise ValueError(f"its discovery document is of issuer {document['issuer']!r}")
            jwks_uri = str(document["jwks_uri"])
            if urlsplit(jwks_uri).scheme != "https" and urlsplit(self._issuer).scheme == "https":
                raise ValueError(f"jwks_uri {jwks_uri!r} is not https")
            keys = (await _read(client, jwks_uri))["keys"]
        return [made for key in keys if (made := _usable(key)) is not None]


async def _read(client: httpx.AsyncClient, url: str) -> Any:
    """Return a JSON document; what is larger than any such document is not read to its end."""
    body = bytearray()
    async with client.stream("GET", url) as answer:
        answer.raise_for_status()
        async for part in answer.aiter_bytes():
            body += part
            if len(body) > _MAX_BYTES:
                raise ValueError(f"{url} is larger than {_MAX_BYTES} bytes")
    return json.loads(body)


def _usable(key: dict[str, Any]) -> jwt.PyJWK | None:
    """Return a key that signs with one of our algorithms; others in the set are not an error."""
    if key.get("kty") not in {"RSA", "EC", "OKP"} or key.get("use", "sig") != "sig":
        return None
    try:
        made = jwt.PyJWK(key)
    except jwt.PyJWTError:
        return None
    return made if made.algorithm_name in ALGORITHMS else None
