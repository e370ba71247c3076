"""Answers that are one document, not a list: a segment, an incident's versions, the state, ..."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

from feeds.history.accounts import LEDGER, ledger
from feeds.history.encodings import items
from feeds.history.history_store import HistoryStore
from feeds.history.listings import Listing
from feeds.history.road_lists import SEGMENTS
from feeds.history.state import state_items, state_statements
from feeds.history.statements import Page, moment, page_statement
from feeds.history.usual import USUAL, Usual, comparable_days, usual_values
from feeds.history.windows import ROLLUPS_UNFIT, STEPS, segment_windows
from feeds.problems import Problem

__all__ = ["Documents", "versions_of"]

_DAY_MS = 86_400_000
_MOST_VERSIONS = 10_000


def versions_of(listing: Listing, view: str, table: str) -> Listing:
    """Return the list of all versions of one thing; who asks fills ``id``."""
    of_one = f"(SELECT * FROM {table} WHERE id = %(id)s)"  # noqa: S608 names from declarations
    relation = listing.relation.replace(view, of_one, 1)
    return replace(listing, relation=relation, key=("version",), newest_first=False, times=None)


_ONE_SEGMENT = replace(SEGMENTS, relation="(SELECT * FROM segments WHERE id = %(segment)s) h")
_NEWEST_WINDOWS = replace(segment_windows(STEPS["1m"]), newest_first=True)


class Documents:
    """Reads what they are made of; what is not there is a Problem 404."""

    def __init__(self, store: HistoryStore, linger_s: float) -> None:
        self._store = store
        self._linger_s = linger_s
        self._keeps_rollups: bool | None = None

    async def keeps_rollups(self) -> bool:
        """Return whether the roll-ups are continuous aggregates that have every statistic."""
        if self._keeps_rollups is None:
            self._keeps_rollups = not await self._store.fetch(ROLLUPS_UNFIT, {})
        return self._keeps_rollups

    async def _items(self, listing: Listing, page: Page) -> list[dict[str, Any]]:
        rows = await self._store.fetch(*page_statement(listing, page))
        return items(listing.columns, rows)

    async def versions(self, listing: Listing, what: str, identity: str) -> dict[str, Any]:
        """Return the newest version of a thing and all of them, in order."""
        found = await self._items(listing, Page(_MOST_VERSIONS, values={"id": identity}))
        if not found:
            raise Problem(404, f"there is no {what} {identity!r}", parameter="id", value=identity)
        return {"id": identity, "current": found[-1], "versions": found}

    async def segment(self, identity: str, now: int) -> dict[str, Any]:
        """Return a segment with its newest window of the last day, null without one."""
        found = await self.known_segment(identity)
        values = {"segment": identity, "from": moment(now - _DAY_MS), "to": moment(now)}
        latest = await self._items(_NEWEST_WINDOWS, Page(1, values=values))
        return {**found, "latest": latest[0] if latest else None}

    async def known_segment(self, identity: str) -> dict[str, Any]:
        """Return the segment of the city model."""
        found = await self._items(_ONE_SEGMENT, Page(1, values={"segment": identity}))
        if not found:
            raise Problem(
                404,
                f"there is no segment {identity!r}; /api/v1/segments lists them",
                parameter="id",
                value=identity,
            )
        return found[0]

    async def require_area(self, identity: str) -> None:
        """Raise where the city model has no such area."""
        found = await self._store.fetch("SELECT 1 FROM areas WHERE id = %(id)s", {"id": identity})
        if not found:
            raise Problem(
                404,
                f"there is no area {identity!r}; /api/v1/areas lists them",
                parameter="area",
                value=identity,
            )

    async def usual(self, segment: str, day: date, zone: ZoneInfo, count: int) -> Usual:
        """Return the segment's usual day as of ``day``, out of ``count`` comparable days."""
        await self.known_segment(segment)
        days = comparable_days(day, count)
        rows = await self._store.fetch(USUAL, usual_values(segment, days, zone))
        return Usual.of(segment, day, zone, days, rows)

    async def state(self, topics: Sequence[str], at: int) -> dict[str, Any]:
        """Return topic -> items at ``at`` [epoch ms]."""
        statements = state_statements(topics, at, self._linger_s)
        found = await self._store.fetch_all(statements)
        return await asyncio.to_thread(state_items, topics, found)

    async def ledger(self) -> dict[str, Any]:
        """Return the ledger as the database has it."""
        return ledger(*await self._store.fetch_all(LEDGER))
