"""Signatures of webhooks: HMAC-SHA256 (RFC 2104) over a timestamp and the body."""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import quote

from civicstream.errors import ConfigurationError

__all__ = ["SHORTEST_SECRET", "delivery_id", "signed_headers", "signing_key"]

SHORTEST_SECRET = 16
"""Bytes; a shorter one could be found by trying."""


def signing_key(secret: str) -> bytes:
    """Return the key; raise ConfigurationError for one that could be guessed."""
    key = secret.encode()
    if len(key) < SHORTEST_SECRET:
        raise ConfigurationError(
            f"the secret has {len(key)} bytes, at least {SHORTEST_SECRET} are needed; make one "
            "with `python3 -c 'import secrets; print(secrets.token_urlsafe(32))'`"
        )
    return key


def delivery_id(item: str, version: int) -> str:
    """Return the id of a delivery, the same whenever it is sent again; fit for a header."""
    return quote(f"{item}/{version}", safe="/:")


def signed_headers(body: bytes, secret: bytes, now_ms: int, delivery: str) -> dict[str, str]:
    """Return the headers of a webhook; ``v1`` signs ``<timestamp>.<body>``, timestamp in s."""
    timestamp = str(now_ms // 1000)
    digest = hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/json",
        "User-Agent": "CivicStream",
        "X-Civicstream-Timestamp": timestamp,
        "X-Civicstream-Signature": f"v1={digest}",
        "X-Civicstream-Delivery": delivery,
    }
