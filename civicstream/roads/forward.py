"""Travel times searched from the origins, exact for speeds by quarter of an hour."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from civicstream.roads.graph import Places
from civicstream.roads.routes import Route, one_edge_route, whole_route
from civicstream.roads.speeds import SLICE_S, SLICES, RoadSpeeds
from civicstream.roads.terminals import arriving, departing, direct

__all__ = ["ForwardTrips"]

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

_NEXT_TO_NOTHING_S = 1e-6
"""scipy takes an edge of weight 0 for no edge in some releases."""


class ForwardTrips:
    """See ``routes.Trips``."""

    def __init__(self, speeds: RoadSpeeds, origins: Places, destinations: Places) -> None:
        self._speeds, self._graph = speeds, speeds.graph
        self._origins, self._destinations = origins, destinations
        m, nodes = len(origins), len(self._graph)
        self._start = departing(self._graph, speeds.seconds[0], origins)
        self._goal = arriving(self._graph, speeds.seconds[0], destinations)
        self._at = np.full((m, nodes), np.inf)
        self._before = np.full((m, nodes), -1, np.intp)
        """The node before each on the way from each origin; -1 for its first."""
        if m and len(destinations):
            self._search()
        self._finish()

    def _search(self) -> None:
        """Settle the nodes, quarter by quarter."""
        source, which = np.nonzero(np.isfinite(self._start.seconds))
        labels = (
            source,
            self._start.node[source, which],
            self._start.seconds[source, which],
            np.full(len(source), -1, np.intp),
        )
        for number in range(SLICES):
            self._settle(number, *labels)
            if number == SLICES - 1 or np.isfinite(self._at[:, self._goal.node]).all():
                return
            labels = self._frontier()

    def _settle(
        self, number: int, source: Indices, node: Indices, label: Floats, before: Indices
    ) -> None:
        """Search one slice on from nodes with a label [s]; keep what is reached within it."""
        graph, m, nodes = self._graph, len(self._at), len(self._graph)
        order = np.lexsort((label, source))
        source, node, label, before = source[order], node[order], label[order], before[order]
        rows = np.searchsorted(source, np.arange(m + 1)) + len(graph.head)
        matrix = csr_matrix(
            (
                np.append(self._speeds.seconds[number], np.maximum(label, _NEXT_TO_NOTHING_S)),
                np.append(graph.head, node),
                np.append(graph.indptr[:-1], rows),
            ),
            shape=(nodes + m, nodes + m),
        )
        until = np.inf if number == SLICES - 1 else (number + 1) * SLICE_S
        reached, previous = dijkstra(
            matrix, indices=nodes + np.arange(m), limit=until, return_predecessors=True
        )
        new = np.isfinite(reached[:, :nodes]) & np.isinf(self._at)
        self._at[new] = reached[:, :nodes][new]
        self._before[new] = previous[:, :nodes][new]
        # The first nodes of this slice come from where the slice before ended.
        first = new & (previous[:, :nodes] >= nodes)
        key = source * nodes + node
        by_key = np.argsort(key, kind="stable")
        row, column = np.nonzero(first)
        found = by_key[np.searchsorted(key[by_key], row * nodes + column)]
        self._before[row, column] = before[found]

    def _frontier(self) -> tuple[Indices, Indices, Floats, Indices]:
        """Return (origin, node, label, node before) of every edge out of the settled nodes."""
        graph = self._graph
        known = np.isfinite(self._at)
        # Only nodes with a neighbour that some origin has not reached can be at the edge.
        edges = np.flatnonzero(known[:, graph.tail].any(axis=0) & ~known[:, graph.head].all(axis=0))
        out = known[:, graph.tail[edges]] & ~known[:, graph.head[edges]]
        source, which = np.nonzero(out)
        edge = edges[which]
        entered = self._at[source, graph.tail[edge]]
        number = np.minimum(entered // SLICE_S, SLICES - 1).astype(np.intp)
        label = entered + self._speeds.seconds[number, edge]
        return source, graph.head[edge], label, graph.tail[edge]

    def _finish(self) -> None:
        access = self._origins.access_s[:, None] + self._destinations.access_s[None]
        by_entry = self._at[:, self._goal.node] + self._goal.seconds[None]
        self._entry = by_entry.argmin(axis=2) if by_entry.size else np.zeros((0, 0), np.intp)
        through = by_entry.min(axis=2) if by_entry.size else np.zeros(by_entry.shape[:2])
        along = direct(self._graph, self._speeds.seconds[0], self._origins, self._destinations)
        self._direct = along <= through
        self.seconds: Floats = np.minimum(along, through) + access

    def route(self, origin: int, destination: int) -> Route | None:
        """Return the way, None where there is none."""
        if not np.isfinite(self.seconds[origin, destination]):
            return None
        graph = self._graph
        if self._direct[origin, destination]:
            return one_edge_route(graph, self._origins, self._destinations, origin, destination)
        entry = int(self._entry[origin, destination])
        node = int(self._goal.node[destination, entry])
        nodes = [node]
        while (node := int(self._before[origin, node])) >= 0:
            nodes.append(node)
        nodes.reverse()
        exits = np.where(self._start.node[origin] == nodes[0], self._start.seconds[origin], np.inf)
        first = int(self._start.edge[origin, exits.argmin()])
        last = int(self._goal.edge[destination, entry])
        between = graph.edges_between(
            np.array(nodes[:-1], np.intp), np.array(nodes[1:], np.intp)
        ).tolist()
        return whole_route(
            graph, [first, *between, last], self._origins, self._destinations, origin, destination
        )
