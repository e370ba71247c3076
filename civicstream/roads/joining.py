"""Where the roads of a city model meet: junctions, and links for the roads it leaves out.

A city model holds the roads that are measured, often only main ones in one direction, and not
how they meet. Corridors that cross are joined at the crossing. A street without a carriageway
of the opposite direction beside it is taken to be driven both ways. All other streets of the
city are stood in for by links between neighbouring junctions (Gabriel graph, Gabriel and Sokal
1969: planar and connected by construction), slow and longer than the straight line.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import Delaunay, cKDTree

from civicstream.city import City
from civicstream.roads.plane import Crossings

__all__ = ["Ends", "join_ends", "local_links", "open_nodes", "two_way"]

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

_SAME_PLACE_M = 15.0
"""Ends of streets so close are one junction."""

_OPPOSITE_M = 40.0
"""The middles of two carriageways of one road are at most so far apart."""


@dataclass(frozen=True)
class Ends:
    """The node at which each of n segments begins and ends, and the place of every node."""

    start: Indices
    end: Indices
    place: Floats
    """[nodes, 2] metres."""


def join_ends(city: City, first: Floats, last: Floats, freeway: NDArray[np.bool_]) -> Ends:
    """Return the nodes at the segments' ends; ``first``, ``last`` [n, 2] metres.

    Ends are one node where the model says that the segments follow each other, and where ends
    of streets lie within 15 m.
    """
    n = len(first)
    index = city.segment_index
    pairs = [(index[s.id] + n, index[other]) for s in city.segments for other in s.downstream] + [
        (index[other] + n, index[s.id]) for s in city.segments for other in s.upstream
    ]
    places = np.concatenate([first, last])
    streets = np.flatnonzero(~np.concatenate([freeway, freeway]))
    joined = np.array(pairs, np.intp).reshape(-1, 2)
    if len(streets):
        near = cKDTree(places[streets]).query_pairs(_SAME_PLACE_M, output_type="ndarray")
        joined = np.concatenate([joined, streets[near].reshape(-1, 2)])
    graph = coo_matrix((np.ones(len(joined)), joined.T), shape=(2 * n, 2 * n))
    count, node = connected_components(graph, directed=False)
    members = np.bincount(node, minlength=count)[:, None]
    place = np.stack([np.bincount(node, places[:, i], minlength=count) for i in (0, 1)], axis=1)
    node = node.astype(np.intp)
    return Ends(node[:n], node[n:], place / np.maximum(members, 1))


def two_way(first: Floats, last: Floats, freeway: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which of n segments are driven in both directions."""
    streets = np.flatnonzero(~freeway)
    alone = ~freeway
    if len(streets) > 1:
        middle = (first[streets] + last[streets]) / 2
        near = cKDTree(middle).query_pairs(_OPPOSITE_M, output_type="ndarray")
        a, b = streets[near[:, 0]], streets[near[:, 1]]
        opposite = ((last[a] - first[a]) * (last[b] - first[b])).sum(axis=1) < 0
        alone[a[opposite]] = False
        alone[b[opposite]] = False
    return alone


def open_nodes(
    city: City, ends: Ends, crossings: Crossings, freeway: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return which end nodes can be left for other roads: all of streets, the last of freeways.

    Nodes of crossings come after those of the ends and are open all.
    """
    able = np.zeros(len(ends.place), np.bool_)
    able[ends.start[~freeway]] = True
    able[ends.end[~freeway]] = True
    without_upstream = np.array([not s.upstream for s in city.segments], np.bool_)
    without_downstream = np.array([not s.downstream for s in city.segments], np.bool_)
    able[ends.start[without_upstream]] = True
    able[ends.end[without_downstream]] = True
    return np.append(able, np.ones(len(crossings.first), np.bool_))


def local_links(place: Floats, able: NDArray[np.bool_]) -> Indices:
    """Return int[l, 2]: pairs of nodes that roads outside the model join; ``place`` in metres.

    The links join all ``able`` nodes into one network.
    """
    chosen = np.flatnonzero(able)
    count = len(chosen)
    if count < 4:
        rows, columns = np.triu_indices(count, 1)
        return np.stack([chosen[rows], chosen[columns]], axis=1)
    # "QJ" moves the points by a hair, so that a single straight road can be triangulated too.
    found = Delaunay(place[chosen], qhull_options="QJ Pp").simplices
    pairs = np.concatenate([found[:, [0, 1]], found[:, [1, 2]], found[:, [2, 0]]])
    opposite = np.concatenate([found[:, 2], found[:, 0], found[:, 1]])
    # Gabriel's condition: no third node within the circle over the link. What it removes has a
    # way round by that node that is hardly longer, and the network stays connected.
    points = place[chosen]
    to_both = points[pairs] - points[opposite][:, None]
    blunt = (to_both[:, 0] * to_both[:, 1]).sum(axis=1) < 0
    pairs, which = np.unique(np.sort(pairs, axis=1), axis=0, return_inverse=True)
    kept = np.bincount(which.ravel(), blunt, minlength=len(pairs)) == 0
    links: Indices = chosen[pairs[kept]]
    return links
