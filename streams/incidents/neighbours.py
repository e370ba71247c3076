"""Which detectors are neighbours: the next segments up- and downstream that report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.windows.network import RoadNetwork

__all__ = ["DetectorPairs", "neighbouring_detectors"]

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Mask = NDArray[np.bool_]

_LONGEST_GAP = 4
"""Silent segments in a row that a pair may reach over; beyond, too much may happen unseen."""


@dataclass(frozen=True)
class DetectorPairs:
    """Columns of p pairs of neighbouring detectors, in order of ``key``."""

    upstream: Indices
    downstream: Indices
    distance_m: Floats
    """From the middle of the one segment to the middle of the other."""
    key: NDArray[np.int64]
    """upstream index * number of segments + downstream index."""
    next_pair: Indices
    """A pair that starts where this one ends, -1 without one."""

    previous_pair: Indices
    """A pair that ends where this one starts, -1 without one."""
    by_downstream: Indices
    """The pairs in order of their downstream ends."""

    def __len__(self) -> int:
        return len(self.key)

    def below(self, segment: int) -> Indices:
        """Return the next reporting segments downstream of one."""
        first, last = np.searchsorted(self.upstream, [segment, segment + 1])
        return self.downstream[first:last]

    def above(self, segment: int) -> Indices:
        """Return the next reporting segments upstream of one."""
        ends = self.downstream[self.by_downstream]
        first, last = np.searchsorted(ends, [segment, segment + 1])
        return self.upstream[self.by_downstream[first:last]]

    def reach(
        self,
        start: list[int],
        *,
        upstream: bool,
        limit: int,
        through: Mask | None = None,
    ) -> list[int]:
        """Return what is reached from ``start`` up- or downstream, ``start`` first.

        Only over segments where ``through`` [n] holds, ``limit`` further ones at most.
        """
        found, seen, at = list(start), set(start), 0
        while at < len(found) and len(found) < len(start) + limit:
            following = self.above(found[at]) if upstream else self.below(found[at])
            for other in following.tolist():
                if other not in seen and (through is None or through[other]):
                    seen.add(other)
                    found.append(other)
            at += 1
        return found


def neighbouring_detectors(network: RoadNetwork, reporting: Mask) -> DetectorPairs:
    """Return the pairs among the ``reporting`` [n] segments, over silent ones in between."""
    n = len(network)
    first, order = _by_upstream(network)
    successors = network.pairs[order, 1] if len(order) else np.zeros(0, np.intp)
    half = network.length_m / 2
    start = network.pairs[reporting[network.pairs[:, 0]]]
    u, d = start[:, 0], start[:, 1]
    distance = half[u] + half[d]
    found = []
    for _ in range(_LONGEST_GAP + 1):
        there = reporting[d]
        found.append((u[there], d[there], distance[there]))
        u, d, distance = u[~there], d[~there], distance[~there]
        if not len(d):
            break
        count = first[d + 1] - first[d]
        take = np.repeat(first[d] - np.cumsum(count) + count, count) + np.arange(count.sum())
        u, distance = np.repeat(u, count), np.repeat(distance + half[d], count)
        d = successors[take]
        distance = distance + half[d]
    u, d, distance = (np.concatenate(column) for column in zip(*found, strict=True))
    distinct = u != d
    u, d, distance = u[distinct], d[distinct], distance[distinct]
    key, at = np.unique(u.astype(np.int64) * n + d, return_index=True)
    u, d = u[at], d[at]
    by_downstream = np.argsort(d, kind="stable")
    return DetectorPairs(
        upstream=u,
        downstream=d,
        distance_m=distance[at],
        key=key,
        next_pair=_first_at(d, u, np.arange(len(u))),
        previous_pair=_first_at(u, d[by_downstream], by_downstream),
        by_downstream=by_downstream,
    )


def _first_at(wanted: Indices, ordered: Indices, pair: Indices) -> Indices:
    """Return the ``pair`` of the first in ``ordered`` that equals each wanted, -1 for none."""
    if not len(ordered):
        return np.full(len(wanted), -1, np.intp)
    at = np.searchsorted(ordered, wanted).clip(max=len(ordered) - 1)
    return np.where(ordered[at] == wanted, pair[at], -1)


def _by_upstream(network: RoadNetwork) -> tuple[Indices, Indices]:
    """Return where each segment's successors begin in the order [n + 1], and the order [pairs]."""
    order = np.argsort(network.pairs[:, 0], kind="stable")
    counts = np.bincount(network.pairs[:, 0], minlength=len(network))
    return np.concatenate(([0], np.cumsum(counts))).astype(np.intp), order
