"""``GET /api/v1/live`` (server-sent events) and ``/api/v1/live/ws`` (WebSocket)."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Header, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from feeds.live.data_status import FlowState
from feeds.live.feed import LiveFeed
from feeds.live.filters import SEVERITIES, BadFilter, parse_filter
from feeds.live.hub import Client, Overfull
from feeds.live.item import LIVE_TOPICS
from feeds.live.streams import EventStream, accepts_gzip, send_messages
from feeds.problems import PROBLEM_TYPE, Problem

__all__ = ["live_router"]

# At the start, rather than half a snapshot.
_TIMEOUT_S = 5.0
_TRY_AGAIN = {"retry-after": "10"}

_GOING_AWAY = 1001  # RFC 6455, section 7.4.1

_Topics = Annotated[
    str | None, Query(description=f"Some of {', '.join(LIVE_TOPICS)}, by commas; all if left out.")
]
_Area = Annotated[str | None, Query(description="Ids of areas, by commas.")]
_Box = Annotated[
    str | None, Query(description="west,south,east,north [degrees, WGS 84].", max_length=200)
]
_Severity = Annotated[
    str | None,
    Query(description=f"Of alerts, incidents, cases and allocations: {', '.join(SEVERITIES)}."),
]
_After = Annotated[
    str | None,
    Query(
        description="The id of the last event that was received; the header Last-Event-ID wins.",
        max_length=200,
    ),
]

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`snapshot`, then `delta` events with consecutive `seq`; `conflated` "
        "where the client was slow; `heartbeat` when it is time.",
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": 'id: 9f2c4e.1-8\nevent: delta\ndata: {"seq":8,"at":1790000000000,'
                '"changes":{"units":[{"id":"crew-3","gone":true}]}}\n\n',
            }
        },
    },
    400: {"description": "A filter that is none.", "content": {PROBLEM_TYPE: {}}},
    503: {"description": "No room for another client.", "content": {PROBLEM_TYPE: {}}},
}


class Status(BaseModel):
    """The state of the way that the data takes, as the live topic ``status`` has it."""

    state: FlowState
    since: int = Field(description="When this state began [epoch ms].")
    detail: str = Field(description="All that is wrong, in sentences.")
    figures: dict[str, float] = Field(
        description="`unstored_records`: older than 30 s and not in the database; of gateway, "
        "worker and sink `*_silent_s` since the last ledger report and `*_lag_records` not read "
        "yet; `last_result_s` since a window was published, `last_stored_s` since the sink wrote."
    )


def live_router(feed: LiveFeed) -> APIRouter:
    """Return the routes of the live feed, to be mounted at ``/api/v1``."""
    router = APIRouter(tags=["live"])

    @router.get("/live", response_class=Response, response_model=None, responses=_ANSWERS)
    async def live(
        request: Request,
        topics: _Topics = None,
        area: _Area = None,
        bbox: _Box = None,
        min_severity: _Severity = None,
        last_event_id: _After = None,
        last_event_id_header: Annotated[str | None, Header(alias="last-event-id")] = None,
    ) -> Response:
        """The present state, then its changes as server-sent events."""
        after = last_event_id_header or last_event_id
        client = await _join(feed, topics, area, bbox, min_severity, after)
        return EventStream(
            client,
            gzip=accepts_gzip(request.headers.get("accept-encoding", "")),
            leave=lambda: feed.hub.leave(client),
        )

    @router.get("/status", responses={200: {"description": "Worst first; all is in `detail`."}})
    async def status() -> Status:
        """Whether what is shown is of now, and if not, which stage has stopped since when."""
        return Status(**msgspec.structs.asdict(feed.status()))

    async def live_socket(socket: WebSocket) -> None:
        await _serve_socket(feed, socket)

    router.add_websocket_route("/live/ws", live_socket)
    return router


async def _join(
    feed: LiveFeed,
    topics: str | None,
    area: str | None,
    bbox: str | None,
    min_severity: str | None,
    after: str | None,
) -> Client:
    """Return a new client; raise Problem for a filter that is none, or where there is no room."""
    try:
        wanted = parse_filter(topics, area, bbox, min_severity)
    except BadFilter as error:
        raise Problem(400, str(error), parameter=error.parameter) from None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_TIMEOUT_S):
            await feed.tried.wait()
    try:
        return feed.hub.join(wanted, after)
    except Overfull as error:
        detail = f"{error}; try again in ten seconds, or ask another feeds process"
        raise Problem(503, detail, _TRY_AGAIN) from None


async def _serve_socket(feed: LiveFeed, socket: WebSocket) -> None:
    query = socket.query_params
    try:
        client = await _join(
            feed,
            query.get("topics"),
            query.get("area"),
            query.get("bbox"),
            query.get("min_severity"),
            socket.headers.get("last-event-id") or query.get("last_event_id"),
        )
    except Problem as problem:
        await socket.send_denial_response(problem.response())
        return
    try:
        await socket.accept()
        await send_messages(client, socket)
        await socket.close(_GOING_AWAY)
    except (WebSocketDisconnect, RuntimeError):
        pass  # it has left; RuntimeError is Starlette's for a socket that is closed already
    finally:
        feed.hub.leave(client)
