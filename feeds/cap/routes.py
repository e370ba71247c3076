"""CAP 1.2 over HTTP: an Atom feed of the alerts, and each message by its identifier."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from civicstream.city import City
from civicstream.events import Alert
from civicstream.settings import Settings
from feeds.api import with_slashes
from feeds.cap.feed import CAP_TYPE, atom_feed
from feeds.cap.message import CapMessage, CapWriter, cap_messages, read_identifier
from feeds.cap.places import CapPlaces
from feeds.history.answers import answer
from feeds.history.history_store import HistoryStore
from feeds.problems import Problem

__all__ = ["CAP_PATH", "Cap"]

CAP_PATH = "/cap"
_MESSAGE_PATH = CAP_PATH + "/alerts/{identifier}.xml"
_FIELDS = Alert.__struct_fields__
_MOST = 300
"""Alerts in the feed, the newest; a city that has more at once has grouped them."""
_SHOWN_H = 24
"""How long after its end an alert is in the feed, so that every reader learns of the end."""

_COLUMNS = ", ".join(f"a.{name}" for name in _FIELDS)
_NEWEST = f"""
SELECT {_COLUMNS} FROM alerts a JOIN (
    SELECT id FROM alerts_current
    WHERE state = 'active' OR updated_at > to_timestamp(%(since)s / 1000.0)
    ORDER BY updated_at DESC, id LIMIT {_MOST}
) shown ON shown.id = a.id
ORDER BY a.id, a.version"""  # noqa: S608 names from the struct
_ONE = f"""
SELECT {_COLUMNS} FROM alerts a WHERE a.id = %(id)s AND a.version <= %(version)s
ORDER BY a.version"""  # noqa: S608


class Cap:
    """The routes below ``CAP_PATH``; ``open`` and ``close`` are of its connections."""

    def __init__(self, settings: Settings, city: City | None, clock: Callable[[], int]) -> None:
        deliver = settings.deliver
        self._store = HistoryStore(settings.feeds.database_url or settings.database.url)
        self._writer = CapWriter(
            deliver.cap_sender, deliver.cap_status, CapPlaces(city), deliver.public_url
        )
        self._base_url = f"{deliver.public_url}{CAP_PATH}/alerts"
        self._clock, self._started_ms = clock, clock()

    async def open(self) -> None:
        await self._store.open()

    async def close(self) -> None:
        await self._store.close()

    def routes(self) -> list[BaseRoute]:
        return [
            Route(f"{CAP_PATH}/alerts.atom", self._feed, methods=["GET"]),
            Route(
                with_slashes(CAP_PATH + "/alerts/{identifier}.xml"), self._message, methods=["GET"]
            ),
        ]

    async def _feed(self, request: Request) -> Response:
        """Answer the newest message of every alert that is active or was within the last day."""
        try:
            rows = await self._store.fetch(_NEWEST, {"since": self._clock() - _SHOWN_H * 3_600_000})
        except Problem as problem:
            return problem.response()
        messages = [
            messages[-1]
            for _, versions in groupby(map(_alert, rows), lambda a: a.id)
            if (messages := cap_messages(versions))
        ]
        body = atom_feed(messages, self._base_url, self._writer.sender, self._started_ms)
        return answer(body, "application/atom+xml", request.headers, _KEPT)

    async def _message(self, request: Request) -> Response:
        identifier = request.path_params["identifier"]
        try:
            message = await self._find(identifier)
        except Problem as problem:
            return problem.response()
        if message is None:
            detail = f"there is no CAP message {identifier!r}; {CAP_PATH}/alerts.atom lists them"
            return Problem(404, detail).response()
        body = self._writer.write(message)
        return answer(body, CAP_TYPE, request.headers, _KEPT)

    async def _find(self, identifier: str) -> CapMessage | None:
        named = read_identifier(identifier)
        if named is None:
            return None
        alert_id, version = named
        if "\0" in alert_id:
            return None
        rows = await self._store.fetch(_ONE, {"id": alert_id, "version": version})
        messages = cap_messages(map(_alert, rows))
        return messages[-1] if messages and messages[-1].alert.version == version else None


_KEPT = {"cache-control": "private, no-cache"}


def _alert(row: Sequence[Any]) -> Alert:
    """Return a row of the table as the event it was."""
    values = {
        name: round(value.timestamp() * 1000) if isinstance(value, datetime) else value
        for name, value in zip(_FIELDS, row, strict=True)
    }
    return msgspec.convert(values, type=Alert)
