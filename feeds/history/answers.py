"""Answers with a validator: ETag, 304, how long they may be kept, compression."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping

from starlette.responses import Response

from feeds.history.query import Span

__all__ = ["answer", "cache_control", "matches"]

_GZIP_FROM = 2048
_SETTLED_MS = 3_600_000
"""A span that ended longer ago gets nothing more, unless a sink was away for longer."""


def cache_control(span: Span | None, now: int, *, private: bool = True) -> str:
    """Return how long a client may keep the answer: an hour for what is settled."""
    settled = span is not None and span.end <= now - _SETTLED_MS
    return f"{'private' if private else 'public'}, max-age={3600 if settled else 5}"


def matches(if_none_match: str | None, etag: str) -> bool:
    """Return whether the client has this very answer (RFC 9110, 13.1.2)."""
    if if_none_match is None:
        return False
    given = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in given or etag in given


def answer(
    body: bytes,
    media_type: str,
    request_headers: Mapping[str, str],
    headers: Mapping[str, str],
    packed: bytes | None = None,
) -> Response:
    """Return 200, or 304 where the client has it; ``packed``: the body with gzip, if at hand."""
    etag = hashlib.blake2b(body, digest_size=16).hexdigest()
    sent = {"vary": "accept, accept-encoding", **headers}
    wants_gzip = "gzip" in request_headers.get("accept-encoding", "")
    if wants_gzip and len(body) >= _GZIP_FROM and media_type not in _PACKED:
        body = packed or gzip.compress(body, 1, mtime=0)
        etag += "-gzip"
        sent["content-encoding"] = "gzip"
    sent["etag"] = f'"{etag}"'
    if matches(request_headers.get("if-none-match"), sent["etag"]):
        sent.pop("content-encoding", None)
        return Response(status_code=304, headers=sent)
    return Response(body, headers=sent, media_type=media_type)


# Readers of Arrow that map a file into memory cannot do that with a compressed one.
_PACKED = ("application/vnd.apache.arrow.stream",)
