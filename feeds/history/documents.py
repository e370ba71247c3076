"""Answers that are one document: a segment, a thing's versions, the state, the ledger, the city."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from civicstream.clock import REAL, city_clock, wall_ms
from feeds.api import with_slashes
from feeds.history.answers import answer, cache_control
from feeds.history.city_document import CityDocument
from feeds.history.encodings import Row, items
from feeds.history.history_store import HistoryStore
from feeds.history.listings import Listing
from feeds.history.openapi import (
    document_responses,
    parameter,
    path_parameter,
    row_schema,
    state_schema,
)
from feeds.history.query import Span, read_int, read_time, refuse, refuse_unknown
from feeds.history.road_lists import INCIDENTS, SEGMENTS
from feeds.history.service_lists import ALERTS, CASES
from feeds.history.state import TOPICS, state_items, state_statements
from feeds.history.statements import Page, moment, page_statement
from feeds.history.usual import USUAL, Usual, comparable_days, read_date, usual_values
from feeds.history.windows import ROLLUPS_UNFIT, STEPS, segment_windows
from feeds.problems import Problem

__all__ = ["DocumentRoutes", "Documents"]

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
        return ledger_of(*await self._store.fetch_all(_LEDGER))


Reader = Callable[[Request], Awaitable[Response]]

_JSON, _GEOJSON = "application/json", "application/geo+json"
_SHORT = "private, max-age=5"
_MAX_DAYS = 60


@dataclass(frozen=True)
class DocumentRoutes:
    """Puts documents on a router; ``now`` is the clock [epoch ms]."""

    router: APIRouter
    documents: Documents
    city: CityDocument
    zone: ZoneInfo
    now: Callable[[], int]

    def add_all(self) -> None:
        self._add_city()
        self._add_clock()
        self._add_state()
        self._add_usual()
        self._add_segment()  # after all that is below it: its id takes what follows
        self._add_ledger()
        for listing, what in ((INCIDENTS, "incident"), (CASES, "case"), (ALERTS, "alert")):
            self._add_versions(listing, what)

    def _add_city(self) -> None:
        async def read(request: Request) -> Response:
            refuse_unknown(request.query_params, ())
            found = await self.city.get()
            headers = {"cache-control": "private, max-age=60"}
            return answer(found.plain, _GEOJSON, request.headers, headers, found.packed)

        schema = {"type": "object", "description": "FeatureCollection; docs/city.md."}
        self._add("city", "The city model as GeoJSON.", read, schema, "city", media=_GEOJSON)

    def _add_clock(self) -> None:
        async def read(request: Request) -> Response:
            refuse_unknown(request.query_params, ())
            clock, server = city_clock(), wall_ms()
            found = {
                "city_now_ms": clock.at(server),
                "declared": clock != REAL,
                "wall_ms": clock.wall_ms,
                "city_ms": clock.city_ms,
                "speed": clock.speed,
                "server_ms": server,
            }
            return _answered(request, found, {"cache-control": "no-store"})

        number = {"type": "number"}
        properties = {
            "city_now_ms": number | {"description": "The city's time now [epoch ms]."},
            "declared": {"type": "boolean", "description": "Whether it is not the server's time."},
            "wall_ms": number | {"description": "Until the server's clock said this ..."},
            "city_ms": number | {"description": "... the city's said this,"},
            "speed": number | {"description": "and goes so many times as fast until both agree."},
            "server_ms": number | {"description": "The server's time now [epoch ms]."},
        }
        schema = {"type": "object", "required": list(properties), "properties": properties}
        self._add("clock", "The city's clock, which may be that of a replay.", read, schema, "city")

    def _add_state(self) -> None:
        async def read(request: Request) -> Response:
            query, now = request.query_params, self.now()
            refuse_unknown(query, ("at", "topics"))
            at = read_time(query, "at", now)
            if at > now:
                refuse("at", query["at"], "the future is not known; give a time until now")
            topics = _topics(query.get("topics"))
            found = {"at": at, "state": await self.documents.state(topics, at)}
            headers = {"cache-control": cache_control(Span(at, at), now)}
            return await asyncio.to_thread(_answered, request, found, headers)

        parameters = [
            parameter(
                "at",
                "The moment [RFC 3339 with offset, or epoch milliseconds]. Default: now.",
                {"type": "string"},
                "2026-05-04T07:30:00Z",
            ),
            parameter(
                "topics",
                f"Which topics, separated by commas. Choices: {', '.join(TOPICS)}.",
                {"type": "string"},
                "segments,incidents",
            ),
        ]
        summary = "The city's state at a moment, in the shape of a live snapshot's state."
        self._add("state", summary, read, state_schema(), "history", parameters)

    def _add_segment(self) -> None:
        async def read(request: Request) -> Response:
            refuse_unknown(request.query_params, ())
            found = await self.documents.segment(request.path_params["id"], self.now())
            return _answered(request, found, {"cache-control": _SHORT})

        schema = row_schema(SEGMENTS.columns)
        latest = row_schema(segment_windows(STEPS["1m"]).columns)
        schema["properties"]["latest"] = {"oneOf": [latest, {"type": "null"}]}
        summary = "One segment with its newest window."
        self._add("segments/{id}", summary, read, schema, "city", [_segment()])

    def _add_usual(self) -> None:
        async def read(request: Request) -> Response:
            query = request.query_params
            refuse_unknown(query, ("date", "days"))
            day = read_date(query, self.now(), self.zone)
            count = read_int(query, "days", 15, 1, _MAX_DAYS)
            found = await self.documents.usual(request.path_params["id"], day, self.zone, count)
            return _answered(request, found, {"cache-control": "private, max-age=300"})

        parameters = [
            _segment(),
            parameter(
                "date",
                "The day it is for: earlier days of its sort (weekday, Saturday, Sunday) are "
                f"compared. Default: today in {self.zone.key}.",
                {"type": "string", "format": "date"},
                "2026-05-04",
            ),
            parameter(
                "days",
                "How many earlier days.",
                {"type": "integer", "minimum": 1, "maximum": _MAX_DAYS, "default": 15},
                15,
            ),
        ]
        summary = "Usual speed and flow by time of day: median, and what one in ten is beyond."
        schema = usual_schema()
        self._add("segments/{id}/usual", summary, read, schema, "history", parameters)

    def _add_ledger(self) -> None:
        async def read(request: Request) -> Response:
            refuse_unknown(request.query_params, ())
            found = await self.documents.ledger()
            return _answered(request, found, {"cache-control": _SHORT})

        schema = {
            "type": "object",
            "properties": {
                "kinds": {"type": "array", "items": {"type": "object"}},
                "offsets": {"type": "array", "items": {"type": "object"}},
                "problems": {"type": "array", "items": {"type": "string"}},
            },
        }
        self._add("ledger", "The ledger as the database has it.", read, schema, "accounts")

    def _add_versions(self, listing: Listing, what: str) -> None:
        of_one = versions_of(listing, f"{listing.path}_current", listing.path)

        async def read(request: Request) -> Response:
            refuse_unknown(request.query_params, ())
            found = await self.documents.versions(of_one, what, request.path_params["id"])
            return _answered(request, found, {"cache-control": _SHORT})

        item = row_schema(listing.columns)
        schema = {
            "type": "object",
            "properties": {
                "id": {"type": "string"},
                "current": item,
                "versions": {"type": "array", "items": item},
            },
            "required": ["id", "current", "versions"],
        }
        identity = path_parameter("id", f"The {what}.", "i-17")
        summary = f"One {what} in all its versions, the oldest first."
        self._add(f"{listing.path}/{{id}}", summary, read, schema, "history", [identity])

    def _add(
        self,
        path: str,
        summary: str,
        read: Reader,
        schema: dict[str, Any],
        tag: str,
        parameters: Sequence[dict[str, Any]] = (),
        media: str = _JSON,
    ) -> None:
        self.router.add_api_route(
            with_slashes(f"/{path}"),
            read,
            methods=["GET"],
            operation_id=f"read_{path.replace('/{id}', '_one').replace('/', '_')}",
            summary=summary,
            tags=[tag],
            response_class=Response,
            responses=document_responses(summary, media, schema),
            openapi_extra={"parameters": list(parameters)},
        )


def usual_schema() -> dict[str, Any]:
    """Return the JSON schema of a usual day."""
    numbers = {
        name: {"type": ["number", "null"], "description": text}
        for name, text in (
            ("speed_kmh", "Median of the windows' space-mean speeds [km/h]."),
            ("speed_low_kmh", "One window in ten was slower [km/h]."),
            ("speed_high_kmh", "One window in ten was faster [km/h]."),
            ("flow_veh_h", "Median flow [veh/h]."),
            ("flow_low_veh_h", "One window in ten had less [veh/h]."),
            ("flow_high_veh_h", "One window in ten had more [veh/h]."),
        )
    }
    minute = {"type": "integer", "description": "Start, minutes after local midnight."}
    days = {"type": "integer", "description": "How many days it is known from."}
    slot = {"type": "object", "properties": {"minute": minute, "days": days, **numbers}}
    text = {"type": "string"}
    return {
        "type": "object",
        "properties": {
            "segment": text,
            "date": text,
            "time_zone": text,
            "day_type": {"type": "string", "enum": ["weekday", "saturday", "sunday"]},
            "compared_days": {"type": "array", "items": text},
            "slots": {"type": "array", "items": slot},
        },
    }


def _segment() -> dict[str, Any]:
    return path_parameter("id", "The road segment.", "f1-e-003")


def _topics(text: str | None) -> list[str]:
    if text is None:
        return list(TOPICS)
    wanted = list(dict.fromkeys(part for part in text.split(",") if part))
    for topic in wanted:
        if topic not in TOPICS:
            refuse("topics", topic, f"choose from {', '.join(TOPICS)}")
    if not wanted:
        refuse("topics", text, f"choose from {', '.join(TOPICS)}")
    return wanted


def _answered(request: Request, found: Any, headers: dict[str, str]) -> Response:
    return answer(msgspec.json.encode(found), _JSON, request.headers, headers)


_LEDGER: list[tuple[str, dict[str, Any]]] = [
    (
        (
            "SELECT kind, sum(received)::bigint, sum(accepted)::bigint, sum(rejected)::bigint, "
            "sum(duplicate)::bigint, sum(corrected)::bigint FROM sink_counts "
            "GROUP BY kind ORDER BY kind"
        ),
        {},
    ),
    (
        (
            "SELECT regexp_replace(topic, '^.*frames[.]', ''), sum(records)::bigint, "
            "sum(events)::bigint, sum(never_came)::bigint, sum(repeated)::bigint "
            "FROM records_seen, LATERAL (SELECT coalesce(sum(missing[i + 1] - missing[i] + 1), 0) "
            "AS never_came FROM generate_series(1, cardinality(missing), 2) i) AS gaps "
            "WHERE topic LIKE '%%.frames.%%' GROUP BY 1"
        ),
        {},
    ),
    (
        (
            "SELECT topic, partition, next_offset, updated_at "
            "FROM sink_offsets ORDER BY topic, partition"
        ),
        {},
    ),
]
"""The statements whose rows ``ledger_of`` takes."""


def ledger_of(
    counts: Sequence[Row], frames: Sequence[Row], offsets: Sequence[Row]
) -> dict[str, Any]:
    """Return what reached the database of each kind, and what is wrong with it as sentences.

    received = accepted + rejected + duplicate + corrected; a gap is a frame that never came. The
    other stages' counts are on the live feed's topic ``ledger``.
    """
    named = ("received", "accepted", "rejected", "duplicate", "corrected")
    framed = ("frames", "readings", "gaps", "repeats")
    of_frames = {row[0]: dict(zip(framed, row[1:], strict=True)) for row in frames}
    nothing = dict.fromkeys(framed, 0)
    kinds = [
        {"kind": row[0], **dict(zip(named, row[1:], strict=True)), **of_frames.get(row[0], nothing)}
        for row in counts
    ]
    problems = []
    for k in kinds:
        left = k["received"] - k["accepted"] - k["rejected"] - k["duplicate"]
        left -= k["corrected"]
        if left:
            problems.append(f"{k['kind']}: {left:+} readings unaccounted for in the sink")
        if k["gaps"]:
            problems.append(f"{k['kind']}: {k['gaps']} frames never came to the sink")
    places = ("topic", "partition", "next_offset", "updated_at")
    return {
        "kinds": kinds,
        "offsets": [dict(zip(places, row, strict=True)) for row in offsets],
        "problems": problems,
    }
