"""Where an alert holds, as CAP says it: circles and polygons from the city model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from civicstream.city import Area, City, Point, Segment
from civicstream.events import Alert

__all__ = ["CapPlace", "CapPlaces"]

_EARTH_KM = 6_371.0088
_AROUND_KM = 0.1
"""Added to a circle around a road: its width, and what is beside it."""
_POINT_KM = 0.25
"""Radius around a place of which nothing but the position is known."""


@dataclass(frozen=True)
class CapPlace:
    """One ``area`` of CAP 1.2 (section 3.2.4); coordinates are written "latitude,longitude"."""

    description: str
    circle: str | None = None
    polygon: str | None = None
    codes: tuple[tuple[str, str], ...] = field(default=())
    """Names of value and value, as ``geocode``."""


class CapPlaces:
    """Finds the place of an alert; without a city model only its own position is known."""

    def __init__(self, city: City | None = None) -> None:
        self._areas: Mapping[str, Area] = {a.id: a for a in city.areas} if city else {}
        self._segments: Mapping[str, Segment] = {s.id: s for s in city.segments} if city else {}

    def of(self, alert: Alert) -> CapPlace:
        """Return a circle around its segment or position, else the outline of its area."""
        area = self._areas.get(alert.area)
        name = area.name if area else alert.area
        kind, _, subject = alert.subject.partition("/")
        codes = [("civicstream:area", alert.area)]
        if kind == "segment" and (segment := self._segments.get(subject)):
            codes.append(("civicstream:segment", segment.id))
            around = _circle(segment.line)
            return CapPlace(f"{segment.corridor}, {name}", circle=around, codes=tuple(codes))
        if alert.lon is not None and alert.lat is not None:
            around = f"{alert.lat:.6f},{alert.lon:.6f} {_POINT_KM:.3f}"
            return CapPlace(name, circle=around, codes=tuple(codes))
        return CapPlace(name, polygon=_polygon(area), codes=tuple(codes))


def _circle(line: Sequence[Point]) -> str:
    """Return the centre of the box around the line and the distance to its farthest point."""
    lons, lats = zip(*line, strict=True)
    centre = ((min(lons) + max(lons)) / 2, (min(lats) + max(lats)) / 2)
    radius = max(_distance_km(centre, point) for point in line) + _AROUND_KM
    return f"{centre[1]:.6f},{centre[0]:.6f} {radius:.3f}"


def _distance_km(a: Point, b: Point) -> float:
    """Great-circle distance by the haversine formula (Sinnott, Sky and Telescope, 1984)."""
    (lon1, lat1), (lon2, lat2) = ((math.radians(p[0]), math.radians(p[1])) for p in (a, b))
    h = (
        math.sin((lat2 - lat1) / 2) ** 2
        + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    )
    return 2 * _EARTH_KM * math.asin(math.sqrt(min(1.0, h)))


def _polygon(area: Area | None) -> str | None:
    """Return the ring, closed: CAP wants four points or more, the last one like the first."""
    if area is None or len(area.outline) < 3:
        return None
    ring = list(area.outline)
    if ring[0] != ring[-1]:
        ring.append(ring[0])
    return " ".join(f"{lat:.6f},{lon:.6f}" for lon, lat in ring)
