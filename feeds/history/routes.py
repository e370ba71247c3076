"""The history API put together: its connections, its router, its open-data router."""

from __future__ import annotations

from collections.abc import Callable
from zoneinfo import ZoneInfo

from fastapi import APIRouter
from starlette.routing import BaseRoute, Mount

from civicstream.city import City
from civicstream.clock import now_ms
from civicstream.settings import Settings
from feeds.api import make_api
from feeds.history.city_document import CityDocument
from feeds.history.documents import DocumentRoutes, Documents
from feeds.history.history_store import HistoryStore
from feeds.history.list_routes import ListRoutes
from feeds.history.open_data import (
    OPEN_DATA_PATH,
    OPEN_INCIDENTS,
    OPEN_SEGMENTS,
    OpenDataTerms,
    open_cases,
)
from feeds.history.pages import Lists
from feeds.history.query import Limits
from feeds.history.road_lists import (
    ANOMALIES,
    AREAS,
    FORECASTS,
    INCIDENTS,
    SEGMENTS,
    SENSOR_HEALTH,
    SENSORS,
)
from feeds.history.service_lists import (
    ACTIONS,
    ALERTS,
    ALLOCATIONS,
    AUDIT,
    CASES,
    DEAD_LETTERS,
    DEMAND,
    UNITS,
)

__all__ = ["History"]

_LISTS = (
    AREAS,
    SEGMENTS,
    SENSORS,
    SENSOR_HEALTH,
    INCIDENTS,
    ANOMALIES,
    FORECASTS,
    ALERTS,
    CASES,
    UNITS,
    ALLOCATIONS,
    DEMAND,
    ACTIONS,
    DEAD_LETTERS,
    AUDIT,
)


class History:
    """The history of one feeds process; ``open`` and ``close`` are of its connections."""

    def __init__(
        self, settings: Settings, city: City | None, now: Callable[[], int] = now_ms
    ) -> None:
        self._now = now
        feeds = settings.feeds
        self._settings = settings
        self._store = HistoryStore(feeds.database_url or settings.database.url)
        self._limits = Limits(max_rows=feeds.max_rows, max_span_days=feeds.max_span_days)
        self._documents = Documents(self._store, feeds.live_linger_s)
        self._city = CityDocument(city, self._store)

    async def open(self) -> None:
        await self._store.open()

    async def close(self) -> None:
        await self._store.close()

    def router(self) -> APIRouter:
        """Return the paths below /api/v1."""
        router = APIRouter()
        limits, documents = self._limits, self._documents
        lists = Lists(self._store, limits, self._settings.feeds.max_csv_rows, self._now)
        routes = ListRoutes(router, lists, limits, documents, self._now)
        routes.accuracy()
        for listing in _LISTS:
            routes.plain(listing)
        routes.environment()
        routes.segment_windows()
        routes.segment_forecast()
        routes.area_windows()
        zone = ZoneInfo(self._settings.city.timezone)
        DocumentRoutes(router, documents, self._city, zone, self._now).add_all()
        return router

    def open_data(self) -> list[BaseRoute]:
        """Return the mount of open data, nothing while it is off."""
        feeds = self._settings.feeds
        if not feeds.open_data:
            return []
        router = APIRouter()
        lists = Lists(self._store, self._limits, feeds.max_csv_rows, self._now, private=False)
        routes = ListRoutes(router, lists, self._limits, self._documents, self._now)
        for listing in (OPEN_SEGMENTS, OPEN_INCIDENTS, open_cases(feeds.position_decimals)):
            routes.plain(listing)
        routes.environment()
        routes.segment_windows()
        api = make_api([router])
        api.title, api.summary = "CivicStream open data", f"Licence: {feeds.open_data_licence}"
        return [Mount(OPEN_DATA_PATH, app=OpenDataTerms(api, feeds))]
