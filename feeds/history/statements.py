"""The SQL of a page of a list. Names come from declarations, values are always parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from feeds.history.columns import Column
from feeds.history.listings import Listing
from feeds.history.query import Span

__all__ = ["Page", "moment", "page_statement", "selected"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(ms: int) -> datetime:
    """Return epoch milliseconds as what the database compares with, without rounding."""
    return _EPOCH + timedelta(milliseconds=ms)


@dataclass(frozen=True)
class Page:
    """What a request wants of a list."""

    limit: int
    span: Span | None = None
    filters: dict[str, Any] = field(default_factory=dict)
    after: Sequence[str | int] | None = None
    """Key of the last row of the page before."""
    bbox: tuple[float, float, float, float] | None = None
    values: dict[str, Any] = field(default_factory=dict)
    """For the places in the listing's relation."""


def selected(columns: Sequence[Column]) -> str:
    return ", ".join(column.selected for column in columns)


def page_statement(listing: Listing, page: Page) -> tuple[str, dict[str, Any]]:
    """Return the SELECT and its parameters; it asks for one row more than the page has."""
    values: dict[str, Any] = dict(page.values)
    conditions = [
        *_in_span(listing, page.span, values),
        *_filtered(listing, page.filters, values),
        *_in_box(listing, page.bbox, values),
        *_after(listing, page.after, values),
    ]
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    direction = " DESC" if listing.newest_first else ""
    order = ", ".join(listing.column(name).source + direction for name in listing.key)
    values["limit"] = page.limit + 1
    statement = (
        f"SELECT {selected(listing.columns)} FROM {listing.relation}{where} "  # noqa: S608 names from declarations
        f"ORDER BY {order} LIMIT %(limit)s"
    )
    return statement, values


def _in_span(listing: Listing, span: Span | None, values: dict[str, Any]) -> list[str]:
    times = listing.times
    if times is None or span is None:
        return []
    values |= {"from": moment(span.start), "to": moment(span.end)}
    if times.closed:
        return [
            f"{times.start} < %(to)s",
            f"(NOT ({times.closed}) OR {times.end} >= %(from)s)",
        ]
    return [f"{times.start} >= %(from)s", f"{times.start} < %(to)s"]


def _filtered(listing: Listing, wanted: dict[str, Any], values: dict[str, Any]) -> list[str]:
    conditions = []
    for one in listing.filters:
        if one.name not in wanted:
            continue
        name = f"filter_{one.name}"
        values[name] = wanted[one.name]
        listed = isinstance(wanted[one.name], list)
        conditions.append(f"{one.source} {f'= ANY(%({name})s)' if listed else f'>= %({name})s'}")
    return conditions


def _in_box(
    listing: Listing, bbox: tuple[float, float, float, float] | None, values: dict[str, Any]
) -> list[str]:
    if bbox is None:
        return []
    values |= dict(zip(("west", "south", "east", "north"), bbox, strict=True))
    lon, lat = listing.column("lon").source, listing.column("lat").source
    return [f"{lon} BETWEEN %(west)s AND %(east)s", f"{lat} BETWEEN %(south)s AND %(north)s"]


def _after(
    listing: Listing, after: Sequence[str | int] | None, values: dict[str, Any]
) -> list[str]:
    """Return the keyset condition: whole rows are compared, so that no row is met twice."""
    if after is None:
        return []
    columns = [listing.column(name) for name in listing.key]
    for number, (column, value) in enumerate(zip(columns, after, strict=True)):
        values[f"after_{number}"] = moment(int(value)) if column.type == "time" else value
    left = ", ".join(column.source for column in columns)
    right = ", ".join(f"%(after_{number})s" for number in range(len(columns)))
    return [f"({left}) {'<' if listing.newest_first else '>'} ({right})"]
