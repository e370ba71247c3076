"""The lists of open data: no text that people wrote, nobody's name, rounded places of reports."""

from __future__ import annotations

from dataclasses import replace

from feeds.history.columns import Column, column, columns
from feeds.history.listings import Listing
from feeds.history.road_lists import INCIDENTS, SEGMENTS
from feeds.history.service_lists import CASES

__all__ = ["OPEN_INCIDENTS", "OPEN_SEGMENTS", "open_cases"]

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
