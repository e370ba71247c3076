"""The road network as arrays, and its traffic in one window: what incidents and forecasts read.

Arrays over segments are in the order of ``City.segments``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from civicstream.city import City

__all__ = ["MEASURES", "NetworkWindow", "RoadNetwork"]

Floats = NDArray[np.float64]

MEASURES = ("flow_veh_h", "speed_kmh", "occupancy", "density_veh_km_lane", "coverage")


@dataclass(frozen=True)
class NetworkWindow:
    """One final window of the whole city; arrays [n] over its segments, NaN where unknown.

    A segment without a healthy reporting detector is NaN in every measure but ``coverage``,
    which is 0 there.
    """

    start: int
    """[ms]"""
    end: int
    flow_veh_h: Floats
    """All lanes."""
    speed_kmh: Floats
    """Space-mean."""
    occupancy: Floats
    density_veh_km_lane: Floats
    coverage: Floats


class RoadNetwork:
    """What the city model says of its n segments."""

    def __init__(self, city: City) -> None:
        segments = city.segments
        self.city = city
        self.ids = [s.id for s in segments]
        self.areas = [s.area for s in segments]
        self.lanes = np.array([s.lanes for s in segments], np.float64)
        self.length_m = np.array([s.length_m for s in segments], np.float64)
        self.free_flow_kmh = np.array([s.free_flow_kmh for s in segments], np.float64)
        self.is_freeway = np.array([s.road_class == "freeway" for s in segments], np.bool_)
        self.pairs = _pairs(city)
        """int[p, 2]: (upstream, downstream) indices of segments that follow each other."""

    def __len__(self) -> int:
        return len(self.ids)


def _pairs(city: City) -> NDArray[np.intp]:
    index = city.segment_index
    found = {
        (index[segment.id], index[other])
        for segment in city.segments
        for other in segment.downstream
    }
    found |= {
        (index[other], index[segment.id]) for segment in city.segments for other in segment.upstream
    }
    return np.array(sorted(found), np.intp).reshape(-1, 2)
