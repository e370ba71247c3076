"""The paths of what is one document each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
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
from feeds.history.documentation import (
    document_responses,
    parameter,
    path_parameter,
    row_schema,
    state_schema,
)
from feeds.history.documents import Documents, versions_of
from feeds.history.listings import Listing
from feeds.history.query import Span, read_int, read_time, refuse, refuse_unknown
from feeds.history.road_lists import INCIDENTS, SEGMENTS
from feeds.history.service_lists import ALERTS, CASES
from feeds.history.state import TOPICS
from feeds.history.usual import read_date
from feeds.history.windows import STEPS, segment_windows

__all__ = ["DocumentRoutes"]

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
