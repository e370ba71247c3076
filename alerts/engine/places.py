"""Where subjects are, from the city model: for an alert's position on the map."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from alerts.rules.rule import Condition
from civicstream.city import City, Point, Sensors

__all__ = ["Places"]


@dataclass(frozen=True)
class Places:
    """Longitude and latitude by subject, and the areas there are."""

    areas: dict[str, Point] = field(default_factory=dict)
    segments: dict[str, Point] = field(default_factory=dict)
    sensors: dict[str, Point] = field(default_factory=dict)
    """By sensor key."""
    kinds: dict[str, frozenset[str]] = field(default_factory=dict)
    """By area, what its sensors are of; traffic only where they stand on a segment."""

    @classmethod
    def of_city(cls, city: City) -> Places:
        sensors = city.sensors
        points = zip(sensors.lon.tolist(), sensors.lat.tolist(), strict=True)
        keys = map(str, city.sensor_keys.tolist())
        return cls(
            {area.id: _middle(area.outline[:-1] or area.outline) for area in city.areas},
            {s.id: s.line[len(s.line) // 2] for s in city.segments},
            dict(zip(keys, points, strict=True)),
            _kinds(city),
        )

    def expected(self, condition: Condition) -> list[str]:
        """Return the areas whose silence means something to an area's ``condition``."""
        if condition.source == "results.traffic":
            wanted = {"traffic"}
        elif condition.source == "results.environment":
            wanted = {str(kind) for kind in dict(condition.where).get("kind", ())}
            wanted = wanted or set(Sensors.kind_names) - {"traffic"}
        else:
            return list(self.areas)
        return [area for area in self.areas if self.kinds.get(area, frozenset()) & wanted]

    def find(self, kind: str, name: str, segment: str | None, area: str) -> Point | None:
        """Return the place of a subject: its own, its segment's, or its area's middle."""
        if kind == "sensor" and name in self.sensors:
            return self.sensors[name]
        if segment in self.segments:
            return self.segments[segment]
        return self.areas.get(area)


def _kinds(city: City) -> dict[str, frozenset[str]]:
    sensors = city.sensors
    traffic = Sensors.kind_names.index("traffic")
    reporting = (sensors.kind != traffic) | (sensors.segment >= 0)
    found: dict[str, set[str]] = {}
    for area, kind in np.unique(np.stack([sensors.area, sensors.kind])[:, reporting], axis=1).T:
        found.setdefault(city.areas[area].id, set()).add(Sensors.kind_names[kind])
    return {area: frozenset(kinds) for area, kinds in found.items()}


def _middle(points: tuple[Point, ...]) -> Point:
    count = len(points)
    return sum(p[0] for p in points) / count, sum(p[1] for p in points) / count
