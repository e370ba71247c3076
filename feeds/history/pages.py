"""Answers a request for a list: reads the query and cursor, fetches a page, puts it in its form."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from feeds.history.answers import MEDIA_TYPES, Format, answer, cache_control, choose_format
from feeds.history.columns import Column
from feeds.history.encodings import Row, to_arrow, to_csv, to_geojson, to_json
from feeds.history.history_store import HistoryStore
from feeds.history.listings import Listing
from feeds.history.openapi import listing_formats, listing_parameters
from feeds.history.query import (
    Limits,
    Span,
    read_bbox,
    read_filters,
    read_int,
    read_limit,
    read_span,
    refuse,
    refuse_unknown,
)
from feeds.history.statements import Page, moment, page_statement

__all__ = ["Asked", "Cursor", "Lists", "fingerprint", "read_cursor", "write_cursor"]

_FEW_ROWS = 500
"""So many are encoded at once; more of them in a thread, so that live clients do not wait."""


# A cursor holds values only, and these are checked against the types of the key before they become
# parameters of a statement; one of another query is refused. So it needs no signature.
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


@dataclass(frozen=True)
class Asked:
    """A list as one request wants it."""

    listing: Listing
    span: Span | None = None
    """Given by the route, where it is not the list's own."""
    values: dict[str, Any] = field(default_factory=dict)
    more_parameters: tuple[str, ...] = ()
    """Names that the route has read itself."""


class Lists:
    """All lists of one API; ``now`` is the clock [epoch ms]."""

    def __init__(
        self,
        store: HistoryStore,
        limits: Limits,
        max_csv_rows: int,
        now: Callable[[], int],
        headers: Mapping[str, str] | None = None,
        *,
        private: bool = True,
    ) -> None:
        self._store = store
        self._limits = limits
        self._max_csv_rows = max_csv_rows
        self._now = now
        self._headers = dict(headers or {})
        self._private = private

    async def page(self, request: Request, asked: Asked) -> Response:
        """Return the page that the request wants; raise Problem for what is wrong with it."""
        query, listing = request.query_params, asked.listing
        known = {p["name"] for p in listing_parameters(listing, self._limits)}
        refuse_unknown(query, known | set(asked.more_parameters))
        form = choose_format(query, request.headers.get("accept", ""), listing_formats(listing))
        path = request.url.path
        cursor = read_cursor(query, path, tuple(map(_type, map(listing.column, listing.key))))
        span = cursor.span if cursor else asked.span or self._span(query, listing)
        wanted = Page(
            self._limit(query, form),
            span,
            read_filters(query, listing.filters),
            cursor.key if cursor else None,
            read_bbox(query) if listing.place == "point" else None,
            asked.values,
        )
        if form == "csv" and wanted.limit > self._limits.max_rows:
            return self._streamed(listing, wanted)
        rows = await self._rows(listing, wanted)
        following = None
        if len(rows) > wanted.limit:
            rows.pop()
            key = _key(listing, rows[-1])
            made = span or Span(0, 0)
            following = write_cursor(Cursor(fingerprint(path, query), made.start, made.end, key))
        headers = {**self._headers, "cache-control": self._kept(span)}
        if following:
            again = [(k, v) for k, v in query.multi_items() if k not in ("cursor", "from", "to")]
            link = urlencode([*again, *_span_query(span), ("cursor", following)])
            headers["link"] = f'<?{link}>; rel="next"'
        return await _answered(request, listing, form, rows, _more(following, span), headers)

    def _span(self, query: Mapping[str, str], listing: Listing) -> Span | None:
        if listing.times is None:
            return None
        default_s = listing.times.default_span_s
        return read_span(query, self._now(), default_s, self._limits.max_span_days)

    def _limit(self, query: Mapping[str, str], form: Format) -> int:
        if form != "csv":
            return read_limit(query, self._limits)
        most = max(self._limits.max_rows, self._max_csv_rows)
        return read_int(query, "limit", self._limits.default_rows, 1, most)

    def _kept(self, span: Span | None) -> str:
        return cache_control(span, self._now(), private=self._private)

    async def _rows(self, listing: Listing, page: Page) -> list[Row]:
        if page.span is not None and listing.times is None:
            # A list whose relation is cut by time itself; what lies before the cursor is not read.
            start = page.span.start
            if page.after is not None and listing.column(listing.key[0]).type == "time":
                start = max(start, int(page.after[0]))
            bounds = {"from": moment(start), "to": moment(page.span.end)}
            page = replace(page, values={**page.values, **bounds})
        return await self._store.fetch(*page_statement(listing, page))

    def _streamed(self, listing: Listing, wanted: Page) -> Response:
        """Return a CSV that is fetched page by page; an error on the way breaks it off."""
        media_type = MEDIA_TYPES["csv"]
        return StreamingResponse(
            self._csv(listing, wanted), headers=self._headers, media_type=media_type
        )

    async def _csv(self, listing: Listing, wanted: Page) -> AsyncIterator[bytes]:
        left, after, first = wanted.limit, wanted.after, True
        while left > 0:
            size = min(left, self._limits.max_rows)
            rows = await self._rows(listing, replace(wanted, limit=size, after=after))
            more, rows = len(rows) > size, rows[:size]
            yield await asyncio.to_thread(to_csv, listing.columns, rows, header=first)
            if not more:
                return
            left, after, first = left - size, _key(listing, rows[-1]), False


def _type(column: Column) -> type[Any]:
    return str if column.type == "text" else int


def _key(listing: Listing, row: Row) -> list[str | int]:
    names = [column.name for column in listing.columns]
    return [row[names.index(name)] for name in listing.key]


def _span_query(span: Span | None) -> list[tuple[str, str]]:
    if span is None:
        return []
    return [("from", str(span.start)), ("to", str(span.end))]


def _more(following: str | None, span: Span | None) -> dict[str, Any]:
    bounds = {"from": span.start, "to": span.end} if span else {}
    return {"next": following, **bounds}


async def _answered(
    request: Request,
    listing: Listing,
    form: Format,
    rows: list[Row],
    more: dict[str, Any],
    headers: Mapping[str, str],
) -> Response:
    def make() -> Response:
        body = _encoded(listing, form, rows, more)
        return answer(body, MEDIA_TYPES[form], request.headers, headers)

    return make() if len(rows) <= _FEW_ROWS else await asyncio.to_thread(make)


def _encoded(listing: Listing, form: Format, rows: list[Row], more: dict[str, Any]) -> bytes:
    match form:
        case "json":
            return to_json(listing.columns, rows, more)
        case "csv":
            return to_csv(listing.columns, rows)
        case "arrow":
            return to_arrow(listing.columns, rows)
        case "geojson":
            assert listing.place is not None  # noqa: S101 only then it is offered
            return to_geojson(listing.columns, rows, listing.place, more)
