"""Where things are, as far as the city model knows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from civicstream.city import City, Point

__all__ = ["Box", "Places"]


class Box(NamedTuple):
    """What holds a thing [degrees, WGS 84]; of a point both corners are the same."""

    west: float
    south: float
    east: float
    north: float


class Places:
    """Places of segments, areas and sensors, looked up by their ids."""

    def __init__(self, city: City | None = None) -> None:
        city = city or City()
        self._city = city
        self._segments = {s.id: (_middle(s.line), box_of(s.line)) for s in city.segments if s.line}
        self._areas = {a.id: box_of(a.outline) for a in city.areas if a.outline}

    def segment(self, segment: str) -> Point | None:
        """Return a point halfway along the segment."""
        found = self._segments.get(segment)
        return found and found[0]

    def segment_box(self, segment: str) -> Box | None:
        found = self._segments.get(segment)
        return found and found[1]

    def area_box(self, area: str) -> Box | None:
        return self._areas.get(area)

    def route_box(self, route: Iterable[str]) -> Box | None:
        """Return what holds all the segments that are known, None without any."""
        boxes = [found[1] for segment in route if (found := self._segments.get(segment))]
        if not boxes:
            return None
        west, south, east, north = zip(*boxes, strict=True)
        return Box(min(west), min(south), max(east), max(north))

    def sensor(self, key: int) -> Point | None:
        index = int(self._city.find_sensors(np.array([key], np.int64))[0])
        if index < 0:
            return None
        sensors = self._city.sensors
        return float(sensors.lon[index]), float(sensors.lat[index])


def box_of(points: Sequence[Point]) -> Box:
    lons, lats = [p[0] for p in points], [p[1] for p in points]
    return Box(min(lons), min(lats), max(lons), max(lats))


def _middle(line: Sequence[Point]) -> Point:
    """Return the point halfway along; on a city's scale degrees will do as a plane."""
    points = np.asarray(line, np.float64)
    if len(points) == 1:
        return float(points[0, 0]), float(points[0, 1])
    lengths = np.hypot(*np.diff(points, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    half = along[-1] / 2
    return float(np.interp(half, along, points[:, 0])), float(np.interp(half, along, points[:, 1]))
