"""The road graph: nodes where roads meet, directed edges between them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from civicstream.city import City
from civicstream.errors import ConfigurationError
from civicstream.roads.joining import Ends, join_ends, local_links, open_nodes, two_way
from civicstream.roads.plane import Crossings, NearestPiece, Pieces, Plane, find_crossings

__all__ = ["Places", "RoadGraph"]

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

LOCAL_KMH = 25.0
"""Speed on roads outside the model: residential streets with priority to the right."""

DETOUR = 1.3
"""Road length over straight line in a grid of streets (Newell 1980: 4 / pi = 1.27 on average)."""

_SHORTEST_M = 1.0


@dataclass(frozen=True)
class Places:
    """Columns of places on the graph: an edge, a share 0..1 of it, and the way to the road."""

    edge: Indices
    share: Floats
    access_s: Floats
    """Seconds from the place to the road or back."""

    def __len__(self) -> int:
        return len(self.edge)

    def take(self, which: list[int]) -> Places:
        """Return the places at these positions."""
        return Places(self.edge[which], self.share[which], self.access_s[which])

    @classmethod
    def joined(cls, parts: list[Places]) -> Places:
        if not parts:
            return cls(np.zeros(0, np.intp), np.zeros(0), np.zeros(0))
        return cls(
            np.concatenate([p.edge for p in parts]),
            np.concatenate([p.share for p in parts]),
            np.concatenate([p.access_s for p in parts]),
        )


class RoadGraph:
    """Columns over e edges, sorted by tail; ``segment`` -1 is a local link outside the model."""

    def __init__(self, city: City) -> None:
        """Build the graph; raise ConfigurationError for a city without segments."""
        if not city.segments:
            raise ConfigurationError(
                "the city model has no road segments, so no travel times can be computed; "
                "add segments or plan without roads"
            )
        self.city = city
        lines = [np.array(s.line, np.float64).reshape(-1, 2) for s in city.segments]
        self.plane = Plane.around(np.concatenate(lines))
        self._lines = [self.plane.to_metres(line) for line in lines]
        first = np.array([line[0] for line in self._lines])
        last = np.array([line[-1] for line in self._lines])
        freeway = np.array([s.road_class == "freeway" for s in city.segments], np.bool_)
        corridor = np.unique([s.corridor for s in city.segments], return_inverse=True)[1]
        pieces = Pieces.of(city.segments, self.plane)
        crossings = find_crossings(pieces, corridor.astype(np.intp))
        ends = join_ends(city, first, last, freeway)
        self.node_place = np.concatenate([ends.place, crossings.point])
        links = local_links(self.node_place, open_nodes(city, ends, crossings, freeway))
        self._lay(city, ends, crossings, two_way(first, last, freeway), links)
        self._nearest = NearestPiece(pieces)

    def _lay(
        self,
        city: City,
        ends: Ends,
        crossings: Crossings,
        both_ways: NDArray[np.bool_],
        links: Indices,
    ) -> None:
        """Set the columns of the edges: along the segments, back on two-way ones, then links."""
        segment, share, node = _stops(ends, crossings)
        along = np.flatnonzero(segment[:-1] == segment[1:])
        length = np.array([s.length_m for s in city.segments], np.float64)
        of, since, until = segment[along], share[along], share[along + 1]
        tail, head = node[along], node[along + 1]
        metres = np.maximum(length[of] * (until - since), _SHORTEST_M)
        back = both_ways[of]
        road = set(zip(tail.tolist(), head.tolist(), strict=True))
        road |= {(h, t) for t, h in zip(tail[back].tolist(), head[back].tolist(), strict=True)}
        new = np.array(
            [p for a, b in links.tolist() for p in ((a, b), (b, a)) if p not in road], np.intp
        ).reshape(-1, 2)
        apart = np.hypot(*(self.node_place[new[:, 0]] - self.node_place[new[:, 1]]).T)
        none = np.zeros(len(new))
        tails = np.concatenate([tail, head[back], new[:, 0]])
        order = np.argsort(tails, kind="stable")
        self.tail = tails[order]
        self.head = np.concatenate([head, tail[back], new[:, 1]])[order]
        self.segment = np.concatenate([of, of[back], np.full(len(new), -1, np.intp)])[order]
        self.length_m = np.concatenate(
            [metres, metres[back], np.maximum(apart * DETOUR, _SHORTEST_M)]
        )[order]
        self.from_share = np.concatenate([since, until[back], none])[order]
        self.to_share = np.concatenate([until, since[back], none])[order]
        self.indptr = np.searchsorted(self.tail, np.arange(len(self.node_place) + 1))
        self._index_edges(order, len(tail), np.flatnonzero(back))

    def _index_edges(self, order: Indices, along: int, back: Indices) -> None:
        place = np.empty(len(order), np.intp)
        place[order] = np.arange(len(order))
        self.reverse = np.full(len(order), -1, np.intp)
        """The edge back, -1 where there is none."""
        forward, backward = place[back], place[along : along + len(back)]
        self.reverse[forward], self.reverse[backward] = backward, forward
        link = np.flatnonzero(self.segment < 0)
        if len(link):
            key = self.tail[link] * len(self) + self.head[link]
            back_key = self.head[link] * len(self) + self.tail[link]
            by_key = np.argsort(key)
            at = np.searchsorted(key[by_key], back_key).clip(max=len(link) - 1)
            found = key[by_key][at] == back_key
            self.reverse[link[found]] = link[by_key][at][found]
        self._pair_order = np.lexsort((self.length_m, self.tail * len(self) + self.head))
        self._pair_key = (self.tail * len(self) + self.head)[self._pair_order]
        self.turned = np.argsort(self.head, kind="stable")
        """The edges sorted by head: the graph turned round."""
        self.turned_indptr = np.searchsorted(
            self.head[self.turned], np.arange(len(self) + 1)
        ).astype(np.intp)
        self._forward = place[:along]
        self._forward_key = self.segment[self._forward] + self.from_share[self._forward]

    def __len__(self) -> int:
        """Return the number of nodes."""
        return len(self.node_place)

    def edges_between(self, tail: Indices, head: Indices) -> Indices:
        """Return the (shortest) edge from each tail to each head, which must be neighbours."""
        at = np.searchsorted(self._pair_key, tail * len(self) + head)
        edges: Indices = self._pair_order[at]
        return edges

    def on_segment(self, segment: Indices, share: Floats) -> Places:
        """Return the places at ``share`` 0..1 of each segment (index)."""
        inside = np.clip(share, 0.0, 1 - 1e-6)
        at = np.searchsorted(self._forward_key, segment + inside, side="right") - 1
        edge = self._forward[at]
        since, until = self.from_share[edge], self.to_share[edge]
        of_edge = np.clip((share - since) / np.maximum(until - since, 1e-9), 0.0, 1.0)
        return Places(edge, of_edge, np.zeros(len(edge)))

    def snap(self, lonlat: Floats) -> Places:
        """Return the nearest place on a segment for points lon, lat [n, 2] [degrees]."""
        if not len(lonlat):
            return Places.joined([])
        segment, share, apart_m = self._nearest.find(self.plane.to_metres(lonlat))
        places = self.on_segment(segment, share)
        return Places(places.edge, places.share, apart_m * DETOUR / (LOCAL_KMH / 3.6))

    def lonlat(self, edge: int, share: float) -> tuple[float, float]:
        """Return lon, lat of the place at ``share`` of ``edge``."""
        segment = int(self.segment[edge])
        if segment < 0:
            a, b = self.node_place[self.tail[edge]], self.node_place[self.head[edge]]
            point = a + share * (b - a)
        else:
            line = self._lines[segment]
            along = np.append(0.0, np.cumsum(np.hypot(*np.diff(line, axis=0).T)))
            since, until = self.from_share[edge], self.to_share[edge]
            at = (since + share * (until - since)) * along[-1]
            point = np.array([np.interp(at, along, line[:, i]) for i in (0, 1)])
        lon, lat = self.plane.to_degrees(point).tolist()
        return lon, lat


def _stops(ends: Ends, crossings: Crossings) -> tuple[Indices, Floats, Indices]:
    """Return (segment, share, node) of every node on every segment, in order of travel."""
    n, c = len(ends.start), len(crossings.first)
    every = np.arange(n)
    crossing = len(ends.place) + np.arange(c)
    segment = np.concatenate([every, every, crossings.first, crossings.second])
    share = np.concatenate([np.zeros(n), np.ones(n), crossings.first_share, crossings.second_share])
    node = np.concatenate([ends.start, ends.end, crossing, crossing])
    # The end comes last even where a crossing lies on it.
    rank = np.concatenate([np.zeros(n), np.full(n, 2.0), np.ones(2 * c)])
    order = np.lexsort((rank, share, segment))
    return segment[order], share[order], node[order]
