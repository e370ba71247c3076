"""Bin collection: per truck and shift, an ordered tour over the bins that will be full.

Taken are the bins predicted to be full before the next visit could come. Tours are built by
savings (Clarke and Wright 1964) and by nearest neighbour, both improved by 2-opt (Croes 1958),
and the shorter set is taken, so that the result is never longer than the simple one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Bins",
    "Collection",
    "Tour",
    "Truck",
    "drive",
    "length",
    "overflow_h",
    "plan_collection",
    "two_opt",
]

Floats = NDArray[np.float64]

HOUR_S = 3600.0


@dataclass(frozen=True)
class Bins:
    """Columns of n bins; row and column 0 of the matrices are the depot, i + 1 is bin i."""

    ids: list[str]
    full_in_s: Floats
    """Until predicted full, below 0 when it overflows already."""
    load: Floats
    """What a visit takes, in the unit of the trucks' capacity."""
    seconds: Floats
    """[n + 1, n + 1] driving."""
    km: Floats
    """[n + 1, n + 1]"""


@dataclass(frozen=True)
class Truck:
    """``shift_s`` is what is left of the shift; it may unload at the depot and go again."""

    id: str
    capacity: float
    shift_s: float


@dataclass(frozen=True)
class Tour:
    """One way round from and to the depot; ``stops`` are indices of bins in order."""

    truck: str
    stops: list[int]
    arrival_s: list[float]
    """From the start of the shift."""
    end_s: float
    km: float
    load: float


@dataclass(frozen=True)
class Collection:
    """All tours of a shift and what they leave."""

    tours: list[Tour]
    left_out: list[int]
    """Bins that were to be visited and found no room in any shift."""
    overflow_h: float
    """Hours that full bins wait, until their visit or to the end of the horizon."""

    @property
    def km(self) -> float:
        return sum(t.km for t in self.tours)


def plan_collection(
    bins: Bins, trucks: list[Truck], horizon_s: float, stop_s: float = 120.0
) -> Collection:
    """Return tours over the bins that are full within ``horizon_s``, the time to the next visit.

    ``stop_s`` is what emptying a bin takes. A bin heavier than every truck is left out.
    """
    wanted = np.flatnonzero(bins.full_in_s <= horizon_s)
    capacity = min((t.capacity for t in trucks), default=0.0)
    fits = bins.load[wanted] <= capacity
    routes = _routes(bins, wanted[fits].tolist(), capacity) if len(trucks) else []
    clock = {t.id: 0.0 for t in trucks}
    tours: list[Tour] = []
    left = wanted.tolist() if not trucks else wanted[~fits].tolist()
    # What overflows first goes first, by the mean: a tour goes as a whole.
    for route in sorted(routes, key=lambda r: float(bins.full_in_s[r].mean())):
        truck = min(trucks, key=lambda t: (clock[t.id] - t.shift_s, t.id))
        stops = list(route)
        while stops and clock[truck.id] + _lasts(bins, stops, stop_s) > truck.shift_s:
            # The bin with the most time left waits for the next shift.
            stops.remove(max(stops, key=lambda b: float(bins.full_in_s[b])))
        left += [b for b in route if b not in stops]
        if stops:
            tour = drive(bins, truck.id, two_opt(bins.km, stops), clock[truck.id], stop_s)
            tours.append(tour)
            clock[truck.id] = tour.end_s
    return Collection(tours, sorted(left), overflow_h(bins, tours, horizon_s))


def length(costs: Floats, stops: list[int]) -> float:
    """Return the cost of the tour depot, ``stops``, depot; matrix as in ``Bins``."""
    way = np.concatenate([[0], np.array(stops, np.intp) + 1, [0]])
    return float(costs[way[:-1], way[1:]].sum())


def two_opt(costs: Floats, stops: list[int]) -> list[int]:
    """Return the stops with parts reversed as long as that shortens the tour.

    Both directions of a way may differ: a reversed part is counted in its new direction.
    """
    way = np.concatenate([[0], np.array(stops, np.intp) + 1, [0]])
    improved = len(stops) > 1
    while improved:
        improved = False
        for i in range(1, len(way) - 2):
            gain = _gains(costs, way, i)
            best = int(gain.argmax())
            if gain[best] > 1e-9:
                j = i + 1 + best
                way[i : j + 1] = way[i : j + 1][::-1]
                improved = True
    return [int(stop) - 1 for stop in way[1:-1]]


def _gains(costs: Floats, way: NDArray[np.intp], i: int) -> Floats:
    """Return what reversing ``way[i..j]`` saves, for each j from i + 1 to the last stop."""
    j = np.arange(i + 1, len(way) - 1)
    there = np.cumsum(costs[way[i : len(way) - 2], way[i + 1 : len(way) - 1]])
    back = np.cumsum(costs[way[i + 1 : len(way) - 1], way[i : len(way) - 2]])
    before = costs[way[i - 1], way[i]] + there + costs[way[j], way[j + 1]]
    after = costs[way[i - 1], way[j]] + back + costs[way[i], way[j + 1]]
    gain: Floats = before - after
    return gain


def _routes(bins: Bins, wanted: list[int], capacity: float) -> list[list[int]]:
    candidates = [
        [two_opt(bins.km, r) for r in build(bins, wanted, capacity)] for build in (_savings, _near)
    ]
    return min(candidates, key=lambda routes: sum(length(bins.km, r) for r in routes))


def _savings(bins: Bins, wanted: list[int], capacity: float) -> list[list[int]]:
    """Return routes joined end to start where that saves most (Clarke and Wright)."""
    index = np.array(wanted, np.intp) + 1
    saved = bins.km[index, 0][:, None] + bins.km[0, index][None] - bins.km[np.ix_(index, index)]
    np.fill_diagonal(saved, -np.inf)
    route_of = {b: [b] for b in wanted}
    for flat in np.argsort(-saved, axis=None, kind="stable").tolist():
        row, column = divmod(flat, len(wanted))
        if saved[row, column] <= 0:
            break
        first, second = route_of[wanted[row]], route_of[wanted[column]]
        apart = first is not second and first[-1] == wanted[row] and second[0] == wanted[column]
        if apart and float(bins.load[first + second].sum()) <= capacity:
            first += second
            for stop in second:
                route_of[stop] = first
    return [r for b, r in route_of.items() if r[0] == b]


def _near(bins: Bins, wanted: list[int], capacity: float) -> list[list[int]]:
    """Return routes that go on to the nearest bin for which there is room."""
    left, routes = list(wanted), []
    while left:
        route: list[int] = []
        here, room = 0, capacity
        while able := [b for b in left if bins.load[b] <= room]:
            nearest = min(able, key=lambda b: float(bins.km[here, b + 1]))
            route.append(nearest)
            left.remove(nearest)
            here, room = nearest + 1, room - float(bins.load[nearest])
        routes.append(route)
    return routes


def _lasts(bins: Bins, stops: list[int], stop_s: float) -> float:
    return length(bins.seconds, two_opt(bins.km, stops)) + stop_s * len(stops)


def drive(bins: Bins, truck: str, stops: list[int], start_s: float, stop_s: float) -> Tour:
    """Return the tour over the stops in this order, begun at ``start_s`` of the shift."""
    way = np.array([0, *(s + 1 for s in stops)], np.intp)
    legs = bins.seconds[way[:-1], way[1:]]
    arrival = start_s + np.cumsum(legs) + stop_s * np.arange(len(stops))
    end = float(arrival[-1]) + stop_s + float(bins.seconds[way[-1], 0])
    load = float(bins.load[stops].sum())
    return Tour(truck, stops, arrival.tolist(), end, length(bins.km, stops), load)


def overflow_h(bins: Bins, tours: list[Tour], horizon_s: float) -> float:
    """Return the hours that full bins wait, until their visit or to the end of the horizon."""
    emptied = np.full(len(bins.ids), horizon_s)
    for tour in tours:
        emptied[tour.stops] = tour.arrival_s
    return float(np.maximum(emptied - np.maximum(bins.full_in_s, 0.0), 0.0).sum() / HOUR_S)
