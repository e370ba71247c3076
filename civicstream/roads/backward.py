"""Travel times searched from the destinations, then added up at the speeds met on the way."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from civicstream.roads.graph import Places
from civicstream.roads.routes import Route, one_edge_route, whole_route
from civicstream.roads.speeds import SLICE_S, SLICES, RoadSpeeds
from civicstream.roads.terminals import arriving, departing, direct

__all__ = ["BackwardTrips"]

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

_NEXT_TO_NOTHING_S = 1e-6


class BackwardTrips:
    """See ``routes.Trips``."""

    def __init__(self, speeds: RoadSpeeds, origins: Places, destinations: Places) -> None:
        self._speeds, self._graph = speeds, speeds.graph
        self._origins, self._destinations = origins, destinations
        self._start = departing(self._graph, speeds.seconds[0], origins)
        self._goal = arriving(self._graph, speeds.seconds[0], destinations)
        self.seconds: Floats = np.zeros((len(origins), len(destinations)))
        if self.seconds.size:
            left = self._search()
            through = self._drive(left)
            along = direct(self._graph, speeds.seconds[0], origins, destinations)
            self._direct = along <= through
            access = origins.access_s[:, None] + destinations.access_s[None]
            self.seconds = np.minimum(along, through) + access

    def _search(self) -> Floats:
        """Return [n, nodes] seconds to each destination at present speeds."""
        graph, nodes, n = self._graph, len(self._graph), len(self._destinations)
        goal, which = np.nonzero(np.isfinite(self._goal.seconds))
        last = np.maximum(self._goal.seconds[goal, which], _NEXT_TO_NOTHING_S)
        rows = np.searchsorted(goal, np.arange(n + 1)) + len(graph.turned)
        matrix = csr_matrix(
            (
                np.append(self._speeds.seconds[0][graph.turned], last),
                np.append(graph.tail[graph.turned], self._goal.node[goal, which]),
                np.append(graph.turned_indptr[:-1], rows),
            ),
            shape=(nodes + n, nodes + n),
        )
        left, after = dijkstra(matrix, indices=nodes + np.arange(n), return_predecessors=True)
        self._after = after[:, :nodes].astype(np.intp)
        """[n, nodes]: the next node towards each destination; ``nodes`` and above: it is next."""
        found: Floats = left[:, :nodes]
        return found

    def _drive(self, left: Floats) -> Floats:
        """Return [m, n] seconds of the ways found, edge by edge, all pairs in step."""
        graph, nodes = self._graph, len(self._graph)
        m, n = self.seconds.shape
        by_exit = self._start.seconds[:, :, None] + left[:, self._start.node].transpose(1, 2, 0)
        self._exit = by_exit.argmin(axis=1)
        clock = np.full((m, n), np.inf)
        row, column = np.nonzero(np.isfinite(by_exit.min(axis=1)))
        chosen = self._exit[row, column]
        node, now = self._start.node[row, chosen], self._start.seconds[row, chosen]
        while len(row):
            after = self._after[column, node]
            there = after >= nodes
            end = np.where(
                self._goal.node[column[there]] == node[there, None],
                self._goal.seconds[column[there]],
                np.inf,
            )
            clock[row[there], column[there]] = now[there] + end.min(axis=1)
            row, column, node = row[~there], column[~there], node[~there]
            now, after = now[~there], after[~there]
            number = np.minimum(now // SLICE_S, SLICES - 1).astype(np.intp)
            now = now + self._speeds.seconds[number, graph.edges_between(node, after)]
            node = after
        return clock

    def route(self, origin: int, destination: int) -> Route | None:
        """Return the way, None where there is none."""
        if not np.isfinite(self.seconds[origin, destination]):
            return None
        graph = self._graph
        if self._direct[origin, destination]:
            return one_edge_route(graph, self._origins, self._destinations, origin, destination)
        which = int(self._exit[origin, destination])
        nodes = [int(self._start.node[origin, which])]
        while (node := int(self._after[destination, nodes[-1]])) < len(graph):
            nodes.append(node)
        ends = np.where(
            self._goal.node[destination] == nodes[-1], self._goal.seconds[destination], np.inf
        )
        first = int(self._start.edge[origin, which])
        last = int(self._goal.edge[destination, ends.argmin()])
        between = graph.edges_between(np.array(nodes[:-1], np.intp), np.array(nodes[1:], np.intp))
        edges = [first, *between.tolist(), last]
        return whole_route(graph, edges, self._origins, self._destinations, origin, destination)
