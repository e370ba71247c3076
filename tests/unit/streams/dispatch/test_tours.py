"""Bin tours are short, within capacity and shift, and over the bins that will be full."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.dispatch.allocation.tours import Bins, Truck, length, plan_collection, two_opt

HOUR = 3600.0


def some_bins(count: int, seed: int, full_in_h: float | None = None, one_way: float = 0.0) -> Bins:
    """Bins at random places of a square of 10 km; ``one_way`` makes the way back longer."""
    rng = np.random.default_rng(seed)
    place = rng.uniform(0, 10, (count + 1, 2))
    km = np.hypot(*(place[:, None] - place[None]).transpose(2, 0, 1)) * 1.3
    km = km * (1 + one_way * rng.random(km.shape))
    full = rng.uniform(-5, 40, count) if full_in_h is None else np.full(count, full_in_h)
    return Bins(
        [f"bin-{i}" for i in range(count)], full * HOUR, rng.uniform(0.5, 1.5, count), km * 120, km
    )


@settings(max_examples=25)
@given(st.integers(1, 25), st.integers(0, 10_000), st.floats(1.5, 20))
def test_no_truck_carries_more_than_it_can_and_no_bin_is_visited_twice(
    count: int, seed: int, capacity: float
) -> None:
    bins = some_bins(count, seed, full_in_h=1)
    done = plan_collection(bins, [Truck("a", capacity, 500 * HOUR)], 24 * HOUR)
    visited = [stop for tour in done.tours for stop in tour.stops]
    assert sorted(visited + done.left_out) == list(range(count))
    assert done.left_out == []
    assert all(tour.load <= capacity + 1e-9 for tour in done.tours)


@settings(max_examples=25)
@given(st.integers(2, 20), st.integers(0, 10_000), st.floats(0, 1))
def test_two_opt_never_makes_a_tour_longer_and_keeps_its_stops(
    count: int, seed: int, one_way: float
) -> None:
    bins = some_bins(count, seed, one_way=one_way)
    stops = list(range(count))
    better = two_opt(bins.km, stops)
    assert sorted(better) == stops
    assert length(bins.km, better) <= length(bins.km, stops) + 1e-9


@settings(max_examples=25)
@given(st.integers(1, 25), st.integers(0, 10_000), st.floats(0, 1))
def test_tours_are_never_longer_than_going_to_the_nearest_next(
    count: int, seed: int, one_way: float
) -> None:
    bins = some_bins(count, seed, full_in_h=1, one_way=one_way)
    naive, here, room, left = 0.0, 0, 6.0, set(range(count))
    while left:
        able = [b for b in left if bins.load[b] <= room]
        if not able:
            naive, here, room = naive + bins.km[here, 0], 0, 6.0
            continue
        nearest = min(able, key=lambda b: bins.km[here, b + 1])
        naive += bins.km[here, nearest + 1]
        left.remove(nearest)
        here, room = nearest + 1, room - bins.load[nearest]
    naive += bins.km[here, 0]
    done = plan_collection(bins, [Truck("a", 6.0, 500 * HOUR)], 24 * HOUR)
    assert done.km <= naive + 1e-6


@pytest.mark.parametrize("seed", range(5))
def test_a_small_tour_is_within_a_tenth_of_the_shortest_there_is(seed: int) -> None:
    bins = some_bins(7, seed, full_in_h=1)
    shortest = min(length(bins.km, list(p)) for p in itertools.permutations(range(7)))
    done = plan_collection(bins, [Truck("a", 100.0, 500 * HOUR)], 24 * HOUR)
    assert done.km <= 1.1 * shortest


def test_only_bins_that_are_full_before_the_next_visit_are_visited() -> None:
    bins = some_bins(30, 3)
    done = plan_collection(bins, [Truck("a", 50.0, 500 * HOUR)], 12 * HOUR)
    visited = {stop for tour in done.tours for stop in tour.stops}
    assert visited == set(np.flatnonzero(bins.full_in_s <= 12 * HOUR).tolist())


def test_a_shift_that_is_too_short_leaves_out_the_bins_with_most_time_and_says_so() -> None:
    bins = some_bins(30, 4)
    done = plan_collection(bins, [Truck("a", 100.0, 2 * HOUR)], 40 * HOUR)
    assert done.left_out
    assert max(tour.end_s for tour in done.tours) <= 2 * HOUR
    visited = [s for tour in done.tours for s in tour.stops]
    assert bins.full_in_s[visited].max() <= bins.full_in_s[done.left_out].min()


def test_overflow_counts_the_hours_from_full_to_the_visit() -> None:
    km = np.array([[0.0, 10.0], [10.0, 0.0]])
    bins = Bins(["one"], np.array([-HOUR]), np.ones(1), km * 360, km)
    done = plan_collection(bins, [Truck("a", 5.0, 8 * HOUR)], 24 * HOUR)
    # 10 km at 10 km an hour; it was full before the shift began, which counts from its start.
    assert done.overflow_h == pytest.approx(1.0)
    assert plan_collection(bins, [], 24 * HOUR).overflow_h == pytest.approx(24.0)


def test_two_trucks_share_the_bins() -> None:
    bins = some_bins(40, 5, full_in_h=2)
    done = plan_collection(
        bins, [Truck("a", 10.0, 8 * HOUR), Truck("b", 10.0, 8 * HOUR)], 24 * HOUR
    )
    assert {tour.truck for tour in done.tours} == {"a", "b"}
