"""A vehicle on the simulated roads: it sets off, moves on with the traffic, and arrives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from civicstream.roads import Places, RoadGraph, RoadSpeeds, Route, find_trips

__all__ = ["Driver"]

Floats = NDArray[np.float64]
Point = tuple[float, float]


@dataclass
class _Drive:
    """Where it is on its route."""

    route: Route
    index: int
    share: float
    access_left_s: float
    goal: Places
    at_goal: Point


class Driver:
    """Where a vehicle is, and how far it has driven."""

    def __init__(self, graph: RoadGraph, lonlat: Point) -> None:
        self.km = 0.0
        self._graph = graph
        self._lonlat = lonlat
        self._place = graph.snap(np.array([lonlat]))
        self._drive: _Drive | None = None

    @property
    def under_way(self) -> bool:
        return self._drive is not None

    @property
    def lonlat(self) -> Point:
        """Where it is [degrees]."""
        if self._drive is None:
            return self._lonlat
        edge = self._drive.route.edges[self._drive.index]
        return self._graph.lonlat(edge, min(self._drive.share, 1.0))

    def set_off(self, goal: Places, lonlat: Point, speeds: RoadSpeeds) -> bool:
        """Begin the way to a place (one), as ``lonlat`` on the map; False where no road leads."""
        self.stop()
        route = find_trips(speeds, self._place, goal).route(0, 0)
        if route is None:
            return False
        self._drive = _Drive(route, 0, route.start_share, route.access_s, goal, lonlat)
        return True

    def stop(self) -> None:
        """Stay where it is."""
        drive = self._drive
        if drive is not None:
            edge = drive.route.edges[drive.index]
            self._place = Places(np.array([edge]), np.array([drive.share]), np.zeros(1))
            self._lonlat = self._graph.lonlat(edge, drive.share)
        self._drive = None

    def move(self, left_s: float, seconds: Floats) -> float | None:
        """Drive for that time; ``seconds`` [e] is what each edge takes now.

        Returns what is left of the time when it arrives, None while it is under way.
        """
        drive = self._drive
        if drive is None:
            return None
        route, last = drive.route, len(drive.route.edges) - 1
        while left_s > 0:
            edge = route.edges[drive.index]
            until = route.end_share if drive.index == last else 1.0
            takes = float(seconds[edge])
            moved = min(left_s / takes, max(until - drive.share, 0.0))
            drive.share += moved
            self.km += moved * float(self._graph.length_m[edge]) / 1000
            left_s -= moved * takes
            if drive.share < until - 1e-9:
                return None
            if drive.index == last:
                walked = min(left_s, drive.access_left_s)
                drive.access_left_s -= walked
                left_s -= walked
                return self._arrive(drive, left_s) if drive.access_left_s <= 1e-6 else None
            drive.index, drive.share = drive.index + 1, 0.0
        return None

    def _arrive(self, drive: _Drive, left_s: float) -> float:
        self._drive, self._place, self._lonlat = None, drive.goal, drive.at_goal
        return left_s
