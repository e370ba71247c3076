"""The road graph joins what a city model holds, and travel times follow the speeds on it."""

from __future__ import annotations

import heapq
import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from civicstream.city import Area, City, Segment
from civicstream.errors import ConfigurationError
from civicstream.geo import METRES_PER_DEGREE
from civicstream.roads import Places, RoadGraph, RoadSpeeds, Trips
from civicstream.roads.backward import BackwardTrips
from civicstream.roads.forward import ForwardTrips
from sensors_sim.city_plan import plan_city

AREA = Area("a", "A", ((0, 0), (1, 0), (1, 1), (0, 0)))
KM = 1_000 / METRES_PER_DEGREE
"""A kilometre in degrees at the equator."""


def road(name: str, points: list[tuple[float, float]], *, freeway: bool = False) -> list[Segment]:
    """A corridor through points in km, a segment between each two."""
    pairs = list(itertools.pairwise(points))
    ids = [f"{name}-{i}" for i in range(len(pairs))]
    return [
        Segment(
            id=ids[i],
            area="a",
            corridor=name,
            position=i,
            road_class="freeway" if freeway else "street",
            lanes=2,
            length_m=1000 * float(np.hypot(b[0] - a[0], b[1] - a[1])),
            free_flow_kmh=100.0 if freeway else 50.0,
            line=((a[0] * KM, a[1] * KM), (b[0] * KM, b[1] * KM)),
            upstream=(ids[i - 1],) if i else (),
            downstream=(ids[i + 1],) if i + 1 < len(pairs) else (),
        )
        for i, (a, b) in enumerate(pairs)
    ]


def graph_of(*roads: list[Segment]) -> RoadGraph:
    return RoadGraph(City((AREA,), tuple(s for r in roads for s in r)))


def at(graph: RoadGraph, *points: tuple[float, float]) -> Places:
    return graph.snap(np.array(points) * KM)


def all_ways(speeds: RoadSpeeds, a: Places, b: Places) -> list[Trips]:
    return [ForwardTrips(speeds, a, b), BackwardTrips(speeds, a, b)]


def test_a_street_without_an_opposite_carriageway_is_driven_both_ways() -> None:
    graph = graph_of(road("st", [(0, 0), (1, 0), (2, 0)]))
    a, b = at(graph, (0.2, 0)), at(graph, (1.7, 0))
    for there in all_ways(RoadSpeeds.free_flow(graph), a, b):
        assert there.seconds[0, 0] == pytest.approx(1500 / (50 / 3.6), rel=1e-3)
    for back in all_ways(RoadSpeeds.free_flow(graph), b, a):
        assert back.seconds[0, 0] == pytest.approx(1500 / (50 / 3.6), rel=1e-3)
        route = back.route(0, 0)
        assert route is not None
        assert route.segments(graph) == ["st-1", "st-0"]
        assert route.length_m == pytest.approx(1500, rel=1e-3)


def test_nobody_drives_against_the_traffic_of_a_freeway() -> None:
    east = road("fwe", [(0, 0), (5, 0), (10, 0)], freeway=True)
    west = road("fww", [(10, 0.02), (5, 0.02), (0, 0.02)], freeway=True)
    graph = graph_of(east, west)
    against = {
        (int(t), int(h))
        for t, h, s in zip(graph.tail, graph.head, graph.segment, strict=True)
        if s >= 0 and graph.node_place[h][0] < graph.node_place[t][0]
    }
    assert against
    assert all(abs(graph.node_place[t][1] - graph.node_place[h][1]) < 1 for t, h in against)
    assert (graph.reverse[graph.segment >= 0] < 0).all()
    behind = (
        graph.on_segment(np.array([0]), np.array([0.9])),
        graph.on_segment(np.array([0]), np.array([0.1])),
    )
    for trips in all_ways(RoadSpeeds.free_flow(graph), *behind):
        assert trips.seconds[0, 0] > 10_000 / (100 / 3.6)


def test_corridors_that_cross_are_joined_at_the_crossing() -> None:
    graph = graph_of(road("ew", [(0, 1), (2, 1)]), road("ns", [(1, 0), (1, 2)]))
    for trips in all_ways(RoadSpeeds.free_flow(graph), at(graph, (0, 1)), at(graph, (1, 2))):
        assert trips.seconds[0, 0] == pytest.approx(2000 / (50 / 3.6), rel=1e-3)
        route = trips.route(0, 0)
        assert route is not None
        assert route.segments(graph) == ["ew-0", "ns-0"]


@pytest.mark.parametrize("sensors", [20, 40, 300, 1000])
def test_every_place_of_a_simulated_city_can_be_reached_from_every_other(sensors: int) -> None:
    graph = RoadGraph(plan_city(sensors, 3))
    every = np.arange(len(graph.city.segments))
    places = graph.on_segment(every, np.full(len(every), 0.5))
    trips = ForwardTrips(RoadSpeeds.free_flow(graph), places, places)
    assert np.isfinite(trips.seconds).all()
    assert (np.diag(trips.seconds) == 0).all()


def test_a_city_without_roads_is_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigurationError, match=r"no road segments.*add segments"):
        RoadGraph(City((AREA,)))


def random_speeds(graph: RoadGraph, seed: int, change: float = 0.5) -> RoadSpeeds:
    """Speeds of 20 to 100 % of free flow, which change by up to a share in each quarter."""
    rng = np.random.default_rng(seed)
    now = np.array([s.free_flow_kmh for s in graph.city.segments]) * rng.uniform(
        0.2, 1, len(graph.city.segments)
    )
    steps = rng.uniform(1 - change, 1 + change, (4, len(now))).cumprod(axis=0)
    return RoadSpeeds.of(graph, now, dict(zip((15, 30, 45, 60), now * steps, strict=True)))


def some_places(graph: RoadGraph, count: int, seed: int) -> Places:
    rng = np.random.default_rng(seed)
    n = len(graph.city.segments)
    return graph.on_segment(rng.integers(0, n, count), rng.uniform(0, 1, count))


def plain_dijkstra(speeds: RoadSpeeds, start: int) -> NDArray[np.float64]:
    """Earliest arrival at every node, an edge at the speed of the quarter it is entered in."""
    graph = speeds.graph
    best = np.full(len(graph), np.inf)
    heap = [(0.0, start)]
    best[start] = 0.0
    while heap:
        now, node = heapq.heappop(heap)
        if now > best[node]:
            continue
        number = min(int(now // 900), 4)
        for edge in range(graph.indptr[node], graph.indptr[node + 1]):
            then = now + speeds.seconds[number, edge]
            if then < best[graph.head[edge]]:
                best[graph.head[edge]] = then
                heapq.heappush(heap, (then, int(graph.head[edge])))
    return best


@pytest.mark.parametrize("seed", range(4))
def test_times_are_those_of_an_edge_by_edge_search_with_the_speeds_of_each_quarter(
    seed: int,
) -> None:
    graph = RoadGraph(plan_city(1000, seed))
    speeds = random_speeds(graph, seed, change=0.1)
    # A place at the very start of an edge that is driven both ways is the node there.
    edges = np.flatnonzero(graph.reverse >= 0)[:: 90 + seed]
    nodes = Places(edges, np.zeros(len(edges)), np.zeros(len(edges)))
    trips = ForwardTrips(speeds, nodes, nodes)
    for row, edge in enumerate(edges.tolist()):
        exact = plain_dijkstra(speeds, int(graph.tail[edge]))[graph.tail[edges]]
        # Who enters an edge just before its quarter ends may be overtaken by who enters it just
        # after: two searches that are both right may differ by that.
        assert trips.seconds[row] == pytest.approx(exact, rel=0.01, abs=1e-4)
        assert np.median(np.abs(trips.seconds[row] - exact)) < 1e-4


@pytest.mark.parametrize("seed", range(3))
def test_the_search_from_the_destinations_finds_nearly_the_same_times(seed: int) -> None:
    graph = RoadGraph(plan_city(1000, seed))
    speeds = random_speeds(graph, seed)
    a, b = some_places(graph, 30, seed), some_places(graph, 30, seed + 1)
    forward, backward = ForwardTrips(speeds, a, b), BackwardTrips(speeds, a, b)
    assert (backward.seconds >= forward.seconds * 0.95).all()
    assert (backward.seconds / np.maximum(forward.seconds, 1)).mean() < 1.08


def test_the_way_takes_the_time_that_was_promised() -> None:
    graph = RoadGraph(plan_city(1000, 2))
    speeds = random_speeds(graph, 5)
    a, b = some_places(graph, 12, 1), some_places(graph, 12, 2)
    for trips in all_ways(speeds, a, b):
        for i, j in np.ndindex(12, 12):
            route = trips.route(i, j)
            assert route is not None
            clock = 0.0
            for number, edge in enumerate(route.edges):
                since = route.start_share if number == 0 else 0.0
                until = route.end_share if number == len(route.edges) - 1 else 1.0
                # The first and the last edge are driven in part, at present speeds.
                end = number in {0, len(route.edges) - 1}
                slice_ = 0 if end else min(int(clock // 900), 4)
                clock += (until - since) * float(speeds.seconds[slice_, edge])
                if number:
                    assert graph.tail[edge] == graph.head[route.edges[number - 1]]
            assert clock == pytest.approx(trips.seconds[i, j], rel=1e-6, abs=1e-3)


def test_a_forecast_jam_on_the_way_is_driven_round_only_when_it_will_be_met() -> None:
    short = road("short", [(0, 0), (10, 0), (20, 0), (30, 0)])
    long_ = road("long", [(0, 0), (10, 6), (20, 6), (30, 0)])
    graph = graph_of(short, long_)
    jam = np.array([50.0, 50.0, 6.0, 50.0, 50.0, 50.0])
    free = np.full(6, 50.0)
    start, goal = at(graph, (0, 0)), at(graph, (30, 0))

    def way(now: NDArray[np.float64], later: NDArray[np.float64]) -> list[str]:
        speeds = RoadSpeeds.of(graph, now, dict.fromkeys((15, 30, 45, 60), later))
        route = ForwardTrips(speeds, start, goal).route(0, 0)
        assert route is not None
        return route.segments(graph)

    assert "short-2" in way(free, free)
    assert "short-2" not in way(free, jam)
    # Its third segment is reached after 24 minutes: a jam that has gone by then is no reason.
    assert "short-2" in way(jam, free)


def test_a_place_beside_the_road_costs_the_way_to_it() -> None:
    graph = graph_of(road("st", [(0, 0), (4, 0)]))
    place = at(graph, (2, 0.5))
    assert place.access_s[0] == pytest.approx(500 * 1.3 / (25 / 3.6), rel=1e-3)
    lon, lat = graph.lonlat(int(place.edge[0]), float(place.share[0]))
    assert (lon / KM, lat / KM) == pytest.approx((2, 0), abs=1e-3)


def test_without_places_there_are_no_trips() -> None:
    graph = graph_of(road("st", [(0, 0), (4, 0)]))
    none, one = Places.joined([]), at(graph, (1, 0))
    speeds = RoadSpeeds.free_flow(graph)
    assert ForwardTrips(speeds, none, one).seconds.shape == (0, 1)
    assert BackwardTrips(speeds, one, none).seconds.shape == (1, 0)
