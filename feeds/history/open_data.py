"""Open data at /open/v1, an application of its own: no token, a limit for each address.

Its lists have no text that people wrote, nobody's name, and rounded places of reports.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from dataclasses import replace

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from civicstream.rate_limit import RateLimit
from civicstream.settings import FeedsSettings
from feeds.history.columns import Column, column, columns
from feeds.history.listings import Listing
from feeds.history.road_lists import INCIDENTS, SEGMENTS
from feeds.history.service_lists import CASES
from feeds.problems import problem_response

__all__ = ["OPEN_DATA_PATH", "OPEN_INCIDENTS", "OPEN_SEGMENTS", "OpenDataTerms", "open_cases"]

_TRAFFIC = (
    "window_start",
    "window_end",
    "flow_veh_h",
    "space_mean_speed_kmh",
    "occupancy",
    "density_veh_km_lane",
    "level_of_service",
    "travel_time_index",
    "coverage",
)
_NEWEST = ", ".join(f"r.{name}" for name in _TRAFFIC)

OPEN_SEGMENTS = replace(
    SEGMENTS,
    summary="Road segments with their traffic in the newest window of the last quarter of an hour.",
    relation=(
        f"(SELECT s.*, {_NEWEST} FROM segments s LEFT JOIN LATERAL ("  # noqa: S608 names from above
        "SELECT * FROM results_traffic t WHERE t.segment = s.id "
        "AND t.window_start > (SELECT city_now()) - INTERVAL '15 minutes' "
        "ORDER BY t.window_start DESC LIMIT 1) r ON true) h"
    ),
    columns=(
        *(c for c in SEGMENTS.columns if c.name not in ("upstream", "downstream")),
        *(replace(c, nullable=True) for c in columns(*_TRAFFIC)),
    ),
    tag="open data",
)

OPEN_INCIDENTS = replace(
    INCIDENTS,
    columns=tuple(
        c
        for c in INCIDENTS.columns
        if c.name not in ("algorithm", "upstream_segment", "downstream_segment", "position")
    ),
    tag="open data",
)

_SHOWN_OF_CASES = (
    "id",
    "state",
    "area",
    "service",
    "agency",
    "priority",
    "reports",
    "opened_at",
    "updated_at",
    "due_at",
    "breach",
    "duplicate_of",
)


def open_cases(decimals: int) -> Listing:
    """Return the cases with places rounded to ``decimals`` of a degree.

    The bounding box compares the rounded places too, or a small one would find the exact place.
    """
    places: tuple[Column, ...] = tuple(
        column(axis, f"round(h.{axis}::numeric, {int(decimals)})::double precision")
        for axis in ("lon", "lat")
    )
    shown = tuple(c for c in CASES.columns if c.name in _SHOWN_OF_CASES)
    return replace(CASES, columns=(*shown, *places), tag="open data")


OPEN_DATA_PATH = "/open/v1"
_MINUTE_S = 60


class OpenDataTerms:
    """Sends the licence with every answer, lets pages of any site read it, counts by address."""

    def __init__(
        self, app: ASGIApp, settings: FeedsSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        per_min = settings.open_data_per_min
        self._app = app
        self._clock = clock
        self._per_min = per_min
        self._limit = RateLimit(per_min / _MINUTE_S, max(1, round(per_min)))
        self._served = 0
        self._headers = {"access-control-allow-origin": "*"}
        if settings.open_data_attribution:
            self._headers["x-attribution"] = settings.open_data_attribution
        self._licence = f'<{settings.open_data_licence}>; rel="license"'

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_terms(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.append("link", self._licence)
                headers.update(self._headers)
            await send(message)

        client = address_block(scope["client"][0] if scope.get("client") else "")
        self._served += 1
        if self._limit.admit(client, str(self._served), self._clock()):
            await self._app(scope, receive, send_with_terms)
            return
        wait_s = max(1, round(self._limit.wait_s(client)))
        refusal = problem_response(
            429,
            f"more than {self._per_min:g} requests a minute from one address; try again in "
            f"{wait_s} s, or ask for more rows at once",
            {"retry-after": str(wait_s)},
        )
        await refusal(scope, receive, send_with_terms)


def address_block(address: str) -> str:
    """Return what is counted as one address: of IPv6 the /64 that one connection is given."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 4:
        return str(found)
    return str(ipaddress.ip_network((found, 64), strict=False))
