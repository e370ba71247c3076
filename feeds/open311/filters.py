"""Which service requests are asked for (GeoReport v2, GET service requests)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from feeds.open311.errors import Open311Error

__all__ = ["LONGEST_SPAN", "MAX_REQUESTS", "RequestFilter", "read_filter"]

LONGEST_SPAN = timedelta(days=90)
MAX_REQUESTS = 1000
Status = Literal["open", "closed"]

_MAX_TERMS = 1000
_STAMP = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d(:\d\d(\.\d{1,6})?)?([Zz]|[+-]\d\d:\d\d)")
_LOST_PLUS = re.compile(r" (\d\d:\d\d)$")


@dataclass(frozen=True)
class RequestFilter:
    """None: does not matter. ``ids`` alone counts where it is given."""

    ids: tuple[str, ...] | None = None
    services: tuple[str, ...] | None = None
    statuses: frozenset[Status] | None = None
    start: datetime | None = None
    end: datetime | None = None


def read_filter(query: Mapping[str, str], now: datetime) -> RequestFilter:
    """Return the filter; raise Open311Error (400) that names parameter and remedy."""
    if query.get("service_request_id", "").strip():
        return RequestFilter(ids=_terms(query["service_request_id"], "service_request_id"))
    start, end = _span(query, now)
    codes = query.get("service_code", "").strip()
    return RequestFilter(
        services=_terms(codes, "service_code") if codes else None,
        statuses=_statuses(query.get("status", "")),
        start=start,
        end=end,
    )


def _terms(text: str, name: str) -> tuple[str, ...]:
    terms = tuple(term for term in (part.strip() for part in text.split(",")) if term)
    if not 1 <= len(terms) <= _MAX_TERMS:
        raise Open311Error(400, f"{name}: give 1 to {_MAX_TERMS} values, separated by commas")
    return terms


def _statuses(text: str) -> frozenset[Status] | None:
    found: set[Status] = set()
    for term in filter(None, (part.strip().lower() for part in text.split(","))):
        match term:
            case "open" | "closed":
                found.add(term)
            case _:
                raise Open311Error(400, "status: expected open, closed or both with a comma")
    return frozenset(found) or None


def _span(query: Mapping[str, str], now: datetime) -> tuple[datetime, datetime | None]:
    start, end = _stamp(query, "start_date"), _stamp(query, "end_date")
    if start is None and end is None:
        return now - LONGEST_SPAN, None
    if start is None:
        assert end is not None  # noqa: S101 one of the two is given
        return _earlier(end), end
    if end is None:
        return start, _later(start)
    if start > end:
        raise Open311Error(400, "start_date is after end_date")
    if end - start > LONGEST_SPAN:
        raise Open311Error(
            400,
            f"start_date and end_date are {(end - start).days} days apart, at most "
            f"{LONGEST_SPAN.days} are allowed; ask for one span after the other",
        )
    return start, end


def _earlier(end: datetime) -> datetime:
    try:
        return end - LONGEST_SPAN
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def _later(start: datetime) -> datetime:
    try:
        return start + LONGEST_SPAN
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def _stamp(query: Mapping[str, str], name: str) -> datetime | None:
    # an unescaped + in an address arrives as a blank
    text = _LOST_PLUS.sub(r"+\1", query.get(name, "").strip())
    if not text:
        return None
    try:
        if _STAMP.fullmatch(text):
            return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise Open311Error(
        400, f"{name}: expected a W3C date with time and offset, e.g. 2010-05-24T18:13:00Z"
    )
