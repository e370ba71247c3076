"""Where subjects are, from the city model: for an alert's position on the map."""

from __future__ import annotations

from dataclasses import dataclass, field

from civicstream.city import City, Point

__all__ = ["Places"]


@dataclass(frozen=True)
class Places:
    """Longitude and latitude by subject, and the areas there are."""

    areas: dict[str, Point] = field(default_factory=dict)
    segments: dict[str, Point] = field(default_factory=dict)
    sensors: dict[str, Point] = field(default_factory=dict)
    """By sensor key."""

    @classmethod
    def of_city(cls, city: City) -> Places:
        sensors = city.sensors
        points = zip(sensors.lon.tolist(), sensors.lat.tolist(), strict=True)
        keys = map(str, city.sensor_keys.tolist())
        return cls(
            {area.id: _middle(area.outline[:-1] or area.outline) for area in city.areas},
            {s.id: s.line[len(s.line) // 2] for s in city.segments},
            dict(zip(keys, points, strict=True)),
        )

    def find(self, kind: str, name: str, segment: str | None, area: str) -> Point | None:
        """Return the place of a subject: its own, its segment's, or its area's middle."""
        if kind == "sensor" and name in self.sensors:
            return self.sensors[name]
        if segment in self.segments:
            return self.segments[segment]
        return self.areas.get(area)


def _middle(points: tuple[Point, ...]) -> Point:
    count = len(points)
    return sum(p[0] for p in points) / count, sum(p[1] for p in points) / count
