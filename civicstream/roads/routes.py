"""What a search for ways yields: travel times between many places, and the way of each pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from civicstream.roads.graph import Places, RoadGraph

__all__ = ["Route", "Trips", "one_edge_route", "whole_route"]

Floats = NDArray[np.float64]

_NOTHING = 1e-5
"""A smaller share of an edge is a place at its very end, not a drive."""


@dataclass(frozen=True)
class Route:
    """Edges in order of travel; the first from ``start_share``, the last to ``end_share``."""

    edges: list[int]
    start_share: float
    end_share: float
    access_s: float
    """From the origin to the road and from the road to the destination, together."""
    length_m: float

    def segments(self, graph: RoadGraph) -> list[str]:
        """Return the ids of the segments driven, in order, without roads outside the model."""
        edges = list(self.edges)
        if len(edges) > 1 and self.end_share < _NOTHING:
            edges.pop()
        if len(edges) > 1 and self.start_share > 1 - _NOTHING:
            edges.pop(0)
        ids = [graph.city.segments[s].id for s in graph.segment[edges].tolist() if s >= 0]
        return [s for i, s in enumerate(ids) if i == 0 or s != ids[i - 1]]


class Trips(Protocol):
    """All ways from each of m origins to each of n destinations."""

    seconds: Floats
    """[m, n], infinite where there is no way."""

    def route(self, origin: int, destination: int) -> Route | None:
        """Return the way, None where there is none."""
        ...


def whole_route(
    graph: RoadGraph, edges: list[int], origins: Places, goals: Places, origin: int, goal: int
) -> Route:
    """Return the route over ``edges``, of which the first and the last are driven in part."""
    start = _share_on(edges[0], origins, origin)
    end = _share_on(edges[-1], goals, goal)
    length = graph.length_m[edges]
    driven = length.sum() - start * length[0] - (1 - end) * length[-1]
    access = float(origins.access_s[origin] + goals.access_s[goal])
    return Route(edges, start, end, access, float(driven))


def one_edge_route(
    graph: RoadGraph, origins: Places, goals: Places, origin: int, goal: int
) -> Route:
    """Return the route along the one edge, or the edge back, on which both places lie."""
    edge = int(origins.edge[origin])
    for candidate in (edge, int(graph.reverse[edge])):
        if candidate >= 0:
            start = _share_on(candidate, origins, origin)
            end = _share_on(candidate, goals, goal)
            if start <= end:
                break
    access = float(origins.access_s[origin] + goals.access_s[goal])
    length = max(end - start, 0.0) * float(graph.length_m[candidate])
    return Route([candidate], start, end, access, length)


def _share_on(edge: int, places: Places, index: int) -> float:
    share = float(places.share[index])
    return share if int(places.edge[index]) == edge else 1 - share
