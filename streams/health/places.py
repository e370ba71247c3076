"""What the city model says of the sensors of one kind, and who their neighbours are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from civicstream.city import City, Sensors
from civicstream.kinds import Kind

__all__ = ["NEIGHBOURS", "SensorPlaces"]

Indices = NDArray[np.intp]

NEIGHBOURS = 6
"""Enough for a median that one broken neighbour does not move, few enough to stay near."""

_CHUNK = 2**22
"""Distances calculated at a time: 32 MB, also where an area has tens of thousands of sensors."""


class SensorPlaces:
    """Made once per kind and shared by its partitions; sensors are indices into City.sensors."""

    def __init__(self, city: City, kind: Kind) -> None:
        self.city = city
        self.kind = kind
        sensors = city.sensors
        self._of_kind = sensors.kind == Sensors.kind_names.index(kind.name)
        self._lanes = np.array([s.lanes for s in city.segments] or [1], np.float64)
        self._on_roads = kind.name == "traffic" and len(city.segments) > 0
        if self._on_roads:
            self._road = _RoadNeighbours(city, np.flatnonzero(self._of_kind))
        else:
            members = np.flatnonzero(self._of_kind)
            order = members[np.argsort(sensors.area[members], kind="stable")]
            areas, starts = np.unique(sensors.area[order], return_index=True)
            ends = np.append(starts[1:], len(order))[: len(starts)]
            spans = zip(areas.tolist(), starts, ends, strict=True)
            self._by_area = {area: order[start:end] for area, start, end in spans}

    def find(self, keys: NDArray[np.int64]) -> Indices:
        """Return each key's index among the city's sensors, -1 where the model has none."""
        return self.city.find_sensors(keys)

    def interval_s(self, sensor: Indices) -> NDArray[np.float64]:
        """Return the declared reporting interval, the kind's where the model has no sensor."""
        declared = np.append(self.city.sensors.interval_s, float(self.kind.default_interval_s))
        return declared[sensor]

    def lanes(self, sensor: Indices) -> NDArray[np.float64]:
        """Return how many lanes a traffic detector covers, NaN where nobody knows."""
        sensors = self.city.sensors
        segment = np.append(sensors.segment, -1)[sensor]
        whole = np.append(sensors.lane, 0)[sensor] == 0
        lanes = np.where(whole, self._lanes[np.maximum(segment, 0)], 1.0)
        return np.where(segment >= 0, lanes, np.nan)

    def area(self, sensor: int) -> str:
        return self.city.areas[int(self.city.sensors.area[sensor])].id

    def name(self, sensor: int) -> str | None:
        return self.city.sensors.ids[sensor] if sensor >= 0 else None

    def neighbours(self, sensor: Indices) -> Indices:
        """Return int[n, NEIGHBOURS]: the nearest sensors of the kind, -1 where there are fewer.

        A detector's are those on its own segment, then those up and down the road, the same
        lane first; any other sensor's are the nearest ones of its area.
        """
        found = np.full((len(sensor), NEIGHBOURS), -1, np.intp)
        known = np.flatnonzero(sensor >= 0)
        if self._on_roads:
            found[known] = self._road.nearest(sensor[known])
            return found
        area = self.city.sensors.area[sensor[known]]
        for a in np.unique(area).tolist():
            here = known[area == a]
            found[here] = self._nearest(sensor[here], self._by_area.get(a, sensor[:0]))
        return found

    def _nearest(self, sensor: Indices, others: Indices) -> Indices:
        lon, lat = self.city.sensors.lon, self.city.sensors.lat
        shrink = np.cos(np.radians(lat[sensor[0]]))  # a degree of longitude against one of latitude
        found = np.full((len(sensor), NEIGHBOURS), -1, np.intp)
        step = max(1, _CHUNK // max(len(others), 1))
        for first in range(0, len(sensor), step):
            some = sensor[first : first + step]
            away = np.hypot((lon[some, None] - lon[others]) * shrink, lat[some, None] - lat[others])
            away[some[:, None] == others] = np.inf
            found[first : first + step] = _closest(away, np.broadcast_to(others, away.shape))
        return found


class _RoadNeighbours:
    """Detectors along the road: up to two segments up and down."""

    def __init__(self, city: City, detectors: Indices) -> None:
        sensors, index = city.sensors, city.segment_index
        placed = detectors[sensors.segment[detectors] >= 0]
        order = placed[np.lexsort((sensors.lane[placed], sensors.segment[placed]))]
        segment = sensors.segment[order]
        at = np.arange(len(order)) - np.searchsorted(segment, segment)
        width = int(at.max(initial=0)) + 1
        self._lane, self._segment = sensors.lane, sensors.segment
        self._on = np.full((len(city.segments) + 1, width), -1, np.intp)
        self._on[segment, at] = order
        self._down = np.array(
            [index[s.downstream[0]] if s.downstream else -1 for s in city.segments]
        )
        self._up = np.array([index[s.upstream[0]] if s.upstream else -1 for s in city.segments])
        self._down, self._up = np.append(self._down, -1), np.append(self._up, -1)

    def nearest(self, sensor: Indices) -> Indices:
        here = self._segment[sensor].astype(np.intp)
        down, up = self._down[here], self._up[here]
        roads = (here, down, up, self._down[down], self._up[up])
        hops = (0, 1, 1, 2, 2)
        candidates = np.concatenate([self._on[road] for road in roads], axis=1)
        away = np.repeat(np.array(hops, np.float64) * 100, self._on.shape[1])
        lane = np.append(self._lane, 0)
        apart = away + np.abs(lane[candidates] - lane[sensor][:, None].astype(np.float64))
        apart[(candidates < 0) | (candidates == sensor[:, None])] = np.inf
        return _closest(apart, candidates)


def _closest(away: NDArray[np.float64], candidates: Indices) -> Indices:
    """Return int[n, NEIGHBOURS]: the candidates by distance, -1 for those infinitely far."""
    order = np.argsort(away, axis=1, kind="stable")[:, :NEIGHBOURS]
    rows = np.arange(len(away))[:, None]
    found = np.full((len(away), NEIGHBOURS), -1, np.intp)
    found[:, : order.shape[1]] = np.where(
        np.isfinite(away[rows, order]), candidates[rows, order], -1
    )
    return found
