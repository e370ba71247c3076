"""JWTs of an OpenID Connect issuer as callers (RFC 7519, RFC 8725)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jwt

from civicstream.access_tokens import SCOPES
from civicstream.errors import ConfigurationError
from civicstream.settings import AccessSettings
from feeds.access.callers import Caller
from feeds.access.issuer_keys import ALGORITHMS, IssuerKeys

__all__ = ["WebTokens", "looks_like_jwt", "parse_scopes"]

_MAX_BYTES = 8_192
_MAX_NAME = 120


def looks_like_jwt(text: str) -> bool:
    """Return whether it has the three parts of a signed JWT."""
    return text.count(".") == 2 and len(text) <= _MAX_BYTES


def parse_scopes(text: str) -> dict[str, str]:
    """Return word of the claim -> scope; raise ConfigurationError for a bad entry.

    >>> parse_scopes("city-operator=operate, everyone=read")
    {'city-operator': 'operate', 'everyone': 'read'}
    """
    found: dict[str, str] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        word, _, scope = entry.rpartition("=")
        if not word or scope not in SCOPES:
            raise ConfigurationError(
                f"CIVICSTREAM_ACCESS__OIDC_SCOPES, entry {entry!r}: expected word=scope with one "
                f"of {', '.join(SCOPES)}"
            )
        found[word] = scope
    return found


class WebTokens:
    """Verifies JWTs against the settings' issuer."""

    def __init__(self, settings: AccessSettings, keys: IssuerKeys) -> None:
        self._settings = settings
        self._scopes = parse_scopes(settings.oidc_scopes)
        self._keys = keys
        if not settings.oidc_audience:
            raise ConfigurationError(
                "CIVICSTREAM_ACCESS__OIDC_ISSUER is set without __OIDC_AUDIENCE: a JWT that was "
                "made for another service would be taken too; name this one's audience"
            )

    async def find(self, text: str) -> Caller | str:
        """Return the JWT's caller, or the reason why it is refused.

        Raise ServerUnavailable while the issuer's keys were never fetched.
        """
        try:
            header = jwt.get_unverified_header(text)
        except jwt.PyJWTError as error:
            return f"not a JWT: {error}"
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in ALGORITHMS:
            return f"signed with {algorithm!r}; accepted are {', '.join(ALGORITHMS)}"
        key = await self._keys.find(kid, str(algorithm))
        if key is None:
            return f"the issuer has no key {kid!r} for {algorithm}"
        try:
            claims = jwt.decode(
                text,
                key,
                algorithms=[str(algorithm)],
                audience=self._settings.oidc_audience,
                issuer=self._settings.oidc_issuer,
                leeway=self._settings.oidc_leeway_s,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            return str(error)
        return self._caller(claims)

    def _caller(self, claims: Mapping[str, Any]) -> Caller | str:
        name = claims.get(self._settings.oidc_name_claim)
        if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= _MAX_NAME:
            return f"its claim {self._settings.oidc_name_claim!r} is no name"
        words = _words(claims, self._settings.oidc_scope_claim)
        scopes = frozenset(self._scopes[word] for word in words if word in self._scopes)
        expires_at = float(claims["exp"]) + self._settings.oidc_leeway_s
        # By the subject, which is the issuer's own and never another's; names may change.
        return Caller(f"oidc/{name}", scopes, f"oidc/{claims['sub']}", expires_at)


def _words(claims: Mapping[str, Any], path: str) -> list[str]:
    """Return the words of a claim that is a list or a text; nothing where there is none."""
    value: Any = claims.get(path)
    if value is None:
        value = claims
        for part in path.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
    if isinstance(value, str):
        return value.split()
    return [word for word in value if isinstance(word, str)] if isinstance(value, list) else []
