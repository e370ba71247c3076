"""Tokens for the feeds: ``cst_<id>_<secret>``. Made by the command line, checked by the feeds.

Only SHA-256 of the whole token is stored. A slow hash, as passwords need, would gain nothing: the
secret is 256 random bits, which nobody finds by trying, however fast a trial is; and each request
would have to pay for it.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Literal

import msgspec

__all__ = ["SCOPES", "NewToken", "Scope", "looks_like_token", "make_token", "token_digest"]

Scope = Literal["read", "operate", "admin"]
"""What a caller may do: look; decide; forget people and read the audit."""

SCOPES: tuple[Scope, ...] = ("read", "operate", "admin")

_TOKEN = re.compile(r"cst_[0-9a-f]{12}_[A-Za-z0-9_-]{43}")


class NewToken(msgspec.Struct, frozen=True):
    """A token that was just made; ``secret`` is shown once and kept nowhere."""

    id: str
    secret: str
    digest: bytes

    def __repr__(self) -> str:
        return f"NewToken(id={self.id!r}, secret='**********')"


def make_token() -> NewToken:
    """Return a new random token."""
    id_ = secrets.token_hex(6)
    secret = f"cst_{id_}_{secrets.token_urlsafe(32)}"
    return NewToken(id_, secret, token_digest(secret))


def token_digest(token: str) -> bytes:
    """Return what is stored of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def looks_like_token(text: str) -> bool:
    """Return whether it has the shape of a token: what has not is not worth a question."""
    return _TOKEN.fullmatch(text) is not None
