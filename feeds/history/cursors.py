"""Where the next page begins: the key of the last row, and what was asked for.

A cursor holds values only, and these are checked against the types of the key before they
become parameters of a statement; one of another query is refused. So it needs no signature.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from feeds.history.query import Span, refuse

__all__ = ["Cursor", "fingerprint", "read_cursor", "write_cursor"]

_NOT_PART = ("cursor", "limit", "format", "from", "to")
_REMEDY = "take it unchanged from `next` of the page before, or leave it out"


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """``key`` of the last row of a page; ``start`` and ``end`` [epoch ms] of the first page's span,
    so that a span which ends now does not move from page to page."""

    query: str
    start: int
    end: int
    key: list[str | int]

    @property
    def span(self) -> Span:
        return Span(self.start, self.end)


def fingerprint(path: str, query: Mapping[str, str]) -> str:
    """Return a short hash of what was asked for, apart from the page, its form and the span."""
    asked = sorted((name, value) for name, value in query.items() if name not in _NOT_PART)
    return hashlib.blake2b(msgspec.json.encode([path, asked]), digest_size=8).hexdigest()


def write_cursor(cursor: Cursor) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def read_cursor(query: Mapping[str, str], path: str, types: tuple[type[Any], ...]) -> Cursor | None:
    """Return the request's cursor; ``types`` are those of the key's columns."""
    text = query.get("cursor")
    if text is None:
        return None
    try:
        raw = base64.urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4))
        cursor = msgspec.json.decode(raw, type=Cursor)
    except (ValueError, binascii.Error, msgspec.DecodeError):
        refuse("cursor", text, _REMEDY)
    fits = len(cursor.key) == len(types) and all(
        isinstance(value, of) for value, of in zip(cursor.key, types, strict=True)
    )
    if not fits or any(isinstance(v, str) and "\0" in v for v in cursor.key):
        refuse("cursor", text, _REMEDY)
    if any(isinstance(v, int) and abs(v) >= 2**63 for v in [*cursor.key]):
        refuse("cursor", text, _REMEDY)
    if not 0 <= cursor.start <= cursor.end < 253_370_764_800_000:
        refuse("cursor", text, _REMEDY)
    if cursor.query != fingerprint(path, query):
        refuse("cursor", text, f"it belongs to another query; {_REMEDY}")
    return cursor
