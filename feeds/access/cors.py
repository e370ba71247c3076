"""Which foreign pages may read with a token (CORS), off unless origins are named; pure."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from civicstream.errors import ConfigurationError

__all__ = ["allow_headers", "parse_origins", "preflight_headers"]


def parse_origins(text: str) -> frozenset[str]:
    """Return the origins of the setting; raise ConfigurationError for what is none.

    >>> sorted(parse_origins("https://a.example, https://b.example:8443"))
    ['https://a.example', 'https://b.example:8443']
    """
    found = frozenset(filter(None, (part.strip() for part in text.split(","))))
    for origin in found:
        parts = urlsplit(origin)
        if f"{parts.scheme}://{parts.netloc}" != origin or parts.scheme not in {"http", "https"}:
            raise ConfigurationError(
                f"CIVICSTREAM_ACCESS__CORS_ORIGINS: {origin!r} is no origin; write scheme, host "
                "and port without a path, e.g. https://maps.example.org ('*' is not possible)"
            )
    return found


def allow_headers(headers: Mapping[str, str], allowed: frozenset[str]) -> dict[str, str]:
    """Return the headers for the browser; cookies are never sent along by foreign pages."""
    if not allowed:
        return {}
    origin = headers.get("origin")
    if origin not in allowed:
        return {"vary": "Origin"}
    exposed = "ETag, Link, RateLimit, RateLimit-Policy, Retry-After"
    return {
        "vary": "Origin",
        "access-control-allow-origin": origin,
        "access-control-expose-headers": exposed,
    }


def preflight_headers(
    headers: Mapping[str, str], method: str, allowed: frozenset[str]
) -> dict[str, str] | None:
    """Return the answer to a browser's question of an allowed origin, None for other requests."""
    asks = method == "OPTIONS" and "access-control-request-method" in headers
    if not asks or headers.get("origin") not in allowed:
        return None
    return {
        **allow_headers(headers, allowed),
        "access-control-allow-methods": "GET, HEAD, POST, PUT, DELETE",
        "access-control-allow-headers": "Authorization, Content-Type, If-None-Match, "
        "Idempotency-Key, Last-Event-ID",
        "access-control-max-age": "600",
    }
