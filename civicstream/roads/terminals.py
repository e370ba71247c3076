"""From a place to the first nodes of a way, and from its last nodes to a place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from civicstream.roads.graph import Places, RoadGraph

__all__ = ["Terminals", "arriving", "departing", "direct"]

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Terminals:
    """Two columns [m, 2]: along the place's edge, and along the edge back where there is one."""

    node: Indices
    seconds: Floats
    """Infinite where there is no edge back; without the way between place and road."""
    edge: Indices


def departing(graph: RoadGraph, seconds: Floats, places: Places) -> Terminals:
    """Return the nodes that are reached first; ``seconds`` [e] by edge."""
    back = graph.reverse[places.edge]
    rest = np.stack(
        [(1 - places.share) * seconds[places.edge], _back(places.share, seconds, back)], axis=1
    )
    edge = np.stack([places.edge, np.where(back < 0, places.edge, back)], axis=1)
    return Terminals(graph.head[edge], rest, edge)


def arriving(graph: RoadGraph, seconds: Floats, places: Places) -> Terminals:
    """Return the nodes from which the place is reached last."""
    back = graph.reverse[places.edge]
    rest = np.stack(
        [places.share * seconds[places.edge], _back(1 - places.share, seconds, back)], axis=1
    )
    edge = np.stack([places.edge, np.where(back < 0, places.edge, back)], axis=1)
    return Terminals(graph.tail[edge], rest, edge)


def direct(graph: RoadGraph, seconds: Floats, origins: Places, destinations: Places) -> Floats:
    """Return [m, n] seconds along one edge where both places lie on it, else infinite."""
    a, b = origins.edge[:, None], destinations.edge[None]
    back_b = graph.reverse[destinations.edge]
    ahead = _ahead(origins, destinations.share[None], seconds)
    ahead = np.where(a == b, ahead, np.inf)
    turned = _ahead(origins, 1 - destinations.share[None], seconds)
    turned = np.where((a == back_b[None]) & (back_b >= 0)[None], turned, np.inf)
    back_a = graph.reverse[origins.edge]
    driven_back = np.where(
        (a == b) & (back_a >= 0)[:, None],
        (origins.share[:, None] - destinations.share[None]) * seconds[back_a][:, None],
        np.inf,
    )
    driven_back = np.where(driven_back >= 0, driven_back, np.inf)
    found: Floats = np.minimum(np.minimum(ahead, turned), driven_back)
    return found


def _back(share: Floats, seconds: Floats, back: Indices) -> Floats:
    rest: Floats = np.where(back >= 0, share * seconds[back], np.inf)
    return rest


def _ahead(origins: Places, to_share: Floats, seconds: Floats) -> Floats:
    rest = (to_share - origins.share[:, None]) * seconds[origins.edge][:, None]
    found: Floats = np.where(rest >= 0, rest, np.inf)
    return found
