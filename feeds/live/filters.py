"""What of the state a client wants, from its query."""

from __future__ import annotations

import math
from dataclasses import dataclass

from feeds.live.item import LIVE_TOPICS, Item
from feeds.live.places import Box

__all__ = [
    "SEVERITIES",
    "BadFilter",
    "Filter",
    "parse_filter",
    "severity_of_priority",
    "severity_of_share",
]

SEVERITIES = ("minor", "moderate", "severe", "extreme")
"""In rising order, as in ``events.AlertSeverity``."""

_MAX_AREAS = 200


class BadFilter(ValueError):
    """A query that is no filter; ``parameter`` is which part of it."""

    def __init__(self, parameter: str, detail: str) -> None:
        super().__init__(f"{parameter}: {detail}")
        self.parameter = parameter


@dataclass(frozen=True)
class Filter:
    """All conditions hold together; what an item does not have, no condition asks for."""

    topics: frozenset[str] = frozenset(LIVE_TOPICS)
    areas: frozenset[str] | None = None
    box: Box | None = None
    """With west > east it crosses the antimeridian (RFC 7946, section 5.2)."""
    min_severity: int = 0

    def passes(self, item: Item) -> bool:
        """Return whether the client is to have the item; of ``gone`` ones it is not asked."""
        if item.topic not in self.topics:
            return False
        if self.areas is not None and item.area is not None and item.area not in self.areas:
            return False
        if item.severity is not None and item.severity < self.min_severity:
            return False
        return self.box is None or item.box is None or _meet(self.box, item.box)

    def wants_area(self, area: str | None) -> bool:
        return self.areas is None or area is None or area in self.areas


def _meet(wanted: Box, found: Box) -> bool:
    if found.south > wanted.north or found.north < wanted.south:
        return False
    if wanted.west <= wanted.east:
        return found.west <= wanted.east and found.east >= wanted.west
    return found.east >= wanted.west or found.west <= wanted.east


def parse_filter(
    topics: str | None, area: str | None, bbox: str | None, min_severity: str | None
) -> Filter:
    """Return the filter of a query, None where a parameter is not given; raise BadFilter."""
    return Filter(
        topics=_topics(topics),
        areas=_areas(area),
        box=_box(bbox) if bbox else None,
        min_severity=_severity(min_severity) if min_severity else 0,
    )


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _topics(text: str | None) -> frozenset[str]:
    if text is None:
        return frozenset(LIVE_TOPICS)
    named = _listed(text)
    unknown = [name for name in named if name not in LIVE_TOPICS]
    if unknown or not named:
        raise BadFilter(
            "topics",
            f"{unknown[0] if unknown else text!r} is no live topic; give some of "
            f"{', '.join(LIVE_TOPICS)}, or leave it out for all",
        )
    return frozenset(named)


def _areas(text: str | None) -> frozenset[str] | None:
    if text is None:
        return None
    named = _listed(text)
    if not 0 < len(named) <= _MAX_AREAS:
        raise BadFilter(
            "area", f"{len(named)} areas; give 1 to {_MAX_AREAS}, or leave it out for all"
        )
    return frozenset(named)


def _box(text: str) -> Box:
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError:
        raise BadFilter(
            "bbox", f"{text!r} is not four numbers; give west,south,east,north in degrees"
        ) from None
    if not (_within(180, west, east) and _within(90, south, north) and south <= north):
        raise BadFilter(
            "bbox",
            f"{text!r} is not west,south,east,north in degrees with south <= north; "
            "longitudes come first",
        )
    return Box(west, south, east, north)


def _within(limit: float, *values: float) -> bool:
    return all(math.isfinite(value) and abs(value) <= limit for value in values)


def _severity(text: str) -> int:
    if text not in SEVERITIES:
        raise BadFilter("min_severity", f"{text!r} is none of {', '.join(SEVERITIES)}")
    return SEVERITIES.index(text)


def severity_of_share(share: float) -> int:
    """Return the severity of an incident that takes ``share`` (0..1) of the capacity."""
    return min(max(int(share * len(SEVERITIES)), 0), len(SEVERITIES) - 1)


def severity_of_priority(priority: int) -> int:
    """Return the severity of a case or allocation: priority 1 (urgent) is extreme, 4 is minor."""
    return min(max(len(SEVERITIES) - priority, 0), len(SEVERITIES) - 1)
