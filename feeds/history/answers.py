"""Answers: the form that a client accepts, ETag and 304, how long they may be kept, compression."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal

from starlette.responses import Response

from feeds.history.query import Span, refuse
from feeds.problems import Problem

__all__ = ["MEDIA_TYPES", "Format", "answer", "cache_control", "choose_format", "matches"]

Format = Literal["json", "csv", "geojson", "arrow"]

MEDIA_TYPES: dict[Format, str] = {
    "json": "application/json",
    "csv": "text/csv",
    "geojson": "application/geo+json",
    "arrow": "application/vnd.apache.arrow.stream",
}


def choose_format(query: Mapping[str, str], accept: str, offered: Sequence[Format]) -> Format:
    """Return the form of the answer; ``format`` outweighs the Accept header.

    Raise Problem 400 for an unknown ``format``, 406 where nothing that is offered is accepted.
    """
    wanted = query.get("format")
    if wanted is not None:
        for known in offered:
            if wanted == known:
                return known
        status = 406 if wanted in MEDIA_TYPES else 400
        refuse("format", wanted, f"choose from {', '.join(offered)}", status)
    if not accept.strip():
        return offered[0]
    weights = [(_weight(MEDIA_TYPES[form], accept), -order) for order, form in enumerate(offered)]
    best, order = max(weights)
    if best > 0:
        return offered[-order]
    choices = ", ".join(MEDIA_TYPES[form] for form in offered)
    raise Problem(
        406,
        f"Accept is {accept[:100]!r}; this path gives {choices}",
        parameter="Accept",
        choices=[MEDIA_TYPES[form] for form in offered],
    )


def _weight(media_type: str, accept: str) -> float:
    """Return the quality that an Accept header gives a media type (RFC 9110, 12.5.1)."""
    kind = media_type.split("/", 1)[0]
    found: dict[int, float] = {}
    for part in accept.split(","):
        name, *parameters = (piece.strip().lower() for piece in part.split(";"))
        precision = {media_type: 3, f"{kind}/*": 2, "*/*": 1}.get(name)
        if precision is not None:
            found[precision] = _quality(parameters)
    return found[max(found)] if found else 0.0


def _quality(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0


_GZIP_FROM = 2048
_SETTLED_MS = 3_600_000
"""A span that ended this long ago gets nothing more, unless a sink was away for longer."""


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
