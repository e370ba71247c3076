"""Which district a place is in."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from civicstream.city import Area, Point

__all__ = ["AreaFinder"]


class AreaFinder:
    """Finds the first area whose outline holds a point."""

    def __init__(self, areas: Iterable[Area]) -> None:
        self._areas = [(area.id, area.outline, _box(area.outline)) for area in areas]

    def find(self, place: Point) -> str | None:
        """Return the area's id, None for a place outside all of them."""
        lon, lat = place
        for name, outline, (west, south, east, north) in self._areas:
            if west <= lon <= east and south <= lat <= north and _inside(place, outline):
                return name
        return None


def _box(outline: tuple[Point, ...]) -> tuple[float, float, float, float]:
    lons, lats = [p[0] for p in outline], [p[1] for p in outline]
    return min(lons), min(lats), max(lons), max(lats)


def _inside(place: Point, outline: tuple[Point, ...]) -> bool:
    """Return whether a ray to the east crosses the closed ring an odd number of times."""
    lon, lat = place
    inside = False
    for (x1, y1), (x2, y2) in pairwise(outline):
        if (y1 > lat) != (y2 > lat) and lon < x1 + (lat - y1) / (y2 - y1) * (x2 - x1):
            inside = not inside
    return inside
