"""The paths of the lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from feeds.api import with_slashes
from feeds.history.documents import Documents
from feeds.history.listings import Listing
from feeds.history.openapi import (
    listing_parameters,
    listing_responses,
    parameter,
    path_parameter,
    span_parameters,
    step_parameter,
)
from feeds.history.pages import Asked, Lists
from feeds.history.query import Limits, Span, read_span, refuse
from feeds.history.road_lists import ACCURACY, FORECASTS
from feeds.history.windows import (
    STEPS,
    Step,
    area_windows,
    environment,
    segment_windows,
    whole_steps,
)
from feeds.problems import Problem

__all__ = ["ListRoutes"]

_BY = parameter(
    "by",
    "What a row is of, besides a day: a horizon, or a segment and a horizon.",
    {"type": "string", "enum": list(ACCURACY), "default": "horizon"},
    "segment",
)
_SPAN = span_parameters("every step that begins in the span", "12 steps, at least 1 h")
# max() of a day, not of all: so that only the newest chunks are looked into.
_NEWEST_FORECAST = Listing(
    "segments/{id}/forecast",
    "The newest forecast of one segment, a row per horizon.",
    "(SELECT * FROM forecasts f WHERE f.segment = %(segment)s AND f.made_at = (SELECT "
    "max(made_at) FROM forecasts WHERE segment = %(segment)s "
    "AND made_at > (SELECT city_now()) - INTERVAL '1 day')) h",
    FORECASTS.columns,
    ("horizon_min",),
    arrow=True,
)


@dataclass(frozen=True)
class ListRoutes:
    """Puts lists on a router; ``now`` is the clock [epoch ms]."""

    router: APIRouter
    lists: Lists
    limits: Limits
    documents: Documents
    now: Callable[[], int]

    def plain(self, listing: Listing) -> None:
        """Add a list that needs nothing but its declaration."""

        async def read(request: Request) -> Response:
            return await self.lists.page(request, Asked(listing))

        self._add(listing, read)

    def accuracy(self) -> None:
        """Add the accuracy of the forecasts, by horizon or by segment."""

        async def read(request: Request) -> Response:
            by = request.query_params.get("by", "horizon")
            if by not in ACCURACY:
                refuse("by", by, f"choose from {', '.join(ACCURACY)}")
            return await self.lists.page(request, Asked(ACCURACY[by], more_parameters=("by",)))

        self._add(ACCURACY["segment"], read, [_BY])

    def environment(self) -> None:
        """Add the environment's results over time."""

        async def read(request: Request) -> Response:
            step = _step(request)
            span = self._span(request, step)
            return await self.lists.page(
                request, _stepped(environment(step, rolled=await self._rolled(step)), span, {})
            )

        self._add(environment(STEPS["1m"]), read, [*_SPAN, step_parameter()])

    def segment_windows(self) -> None:
        """Add one segment's results over time."""

        async def read(request: Request) -> Response:
            step, segment = _step(request), request.path_params["id"]
            span = self._span(request, step)
            await self.documents.known_segment(segment)
            listing = segment_windows(step, rolled=await self._rolled(step))
            return await self.lists.page(request, _stepped(listing, span, {"segment": segment}))

        self._add(segment_windows(STEPS["1m"]), read, [_SEGMENT, *_SPAN, step_parameter()])

    def segment_forecast(self) -> None:
        """Add the newest forecast of one segment."""

        async def read(request: Request) -> Response:
            segment = request.path_params["id"]
            await self.documents.known_segment(segment)
            asked = Asked(_NEWEST_FORECAST, values={"segment": segment})
            return await self.lists.page(request, asked)

        self._add(_NEWEST_FORECAST, read, [_SEGMENT])

    def area_windows(self) -> None:
        """Add one area's traffic over time."""

        async def read(request: Request) -> Response:
            step, area = _step(request), request.path_params["area"]
            span = self._span(request, step, of_area=True)
            await self.documents.require_area(area)
            listing = area_windows(step, rolled=await self._rolled(step))
            return await self.lists.page(request, _stepped(listing, span, {"area": area}))

        of_area = path_parameter("area", "The district.", "north")
        self._add(area_windows(STEPS["1m"]), read, [of_area, *_SPAN, step_parameter()])

    async def _rolled(self, step: Step) -> bool:
        return step.rollup is not None and await self.documents.keeps_rollups()

    def _span(self, request: Request, step: Step, *, of_area: bool = False) -> Span:
        def days(step: Step) -> float:
            return step.max_days_of_area if of_area else step.max_days

        max_days = days(step)
        longer = next((s.name for s in STEPS.values() if days(s) > max_days), None)
        remedy = f", or with step={longer}" if longer else ""
        default_s = max(3600, step.width_ms // 1000 * 12)
        span = read_span(request.query_params, self.now(), default_s, max_days, remedy)
        return whole_steps(span, step)

    def _add(self, listing: Listing, read: Any, more: Sequence[dict[str, Any]] = ()) -> None:
        self.router.add_api_route(
            with_slashes(f"/{listing.path}"),
            read,
            methods=["GET"],
            operation_id=f"list_{_identifier(listing.path)}",
            summary=listing.summary,
            tags=[listing.tag],
            response_class=Response,
            responses=listing_responses(listing, missing="{" in listing.path),
            openapi_extra={"parameters": listing_parameters(listing, self.limits, more)},
        )


_SEGMENT = path_parameter("id", "The road segment.", "f1-e-003")


def _identifier(path: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in path).strip("_").replace("__", "_")


def _step(request: Request) -> Step:
    name = request.query_params.get("step", "1m")
    if name not in STEPS:
        refuse("step", name, f"choose from {', '.join(STEPS)}")
    return STEPS[name]


def _stepped(listing: Listing, span: Span, values: dict[str, Any]) -> Asked:
    if span.start >= span.end:
        raise Problem(
            400,
            "no step begins between from and to; give a longer span, or a shorter step",
            parameter="step",
        )
    return Asked(listing, span, values, ("from", "to", "step"))
