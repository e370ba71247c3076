"""Traffic on a planned city: peaks, incidents with their truth, order of the model's segments."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from civicstream.city import City
from civicstream.local_time import DAY_MS, local_offset
from sensors_sim.city_plan import plan_city
from sensors_sim.demand import travel_demand
from sensors_sim.incidents import HOUR_MS, IncidentPlan
from sensors_sim.road_traffic import RoadTraffic, build_cells

FRIDAY = 1_795_132_800_000  # 2026-11-20T00:00:00Z


@pytest.fixture(scope="module")
def city() -> City:
    return plan_city(2_000, 1)


def speeds(city: City, hour: float) -> np.ndarray:
    roads = RoadTraffic(city, 1, FRIDAY + int(hour * HOUR_MS), 0.0)
    free = np.array([s.free_flow_kmh for s in city.segments])
    return roads.state().speed_kmh / free


def test_the_evening_peak_slows_some_roads_and_the_night_none(city: City) -> None:
    assert speeds(city, 3.0).min() > 0.9  # a free road, with the unrest of single drivers
    assert speeds(city, 17.5).min() < 0.6
    assert np.median(speeds(city, 17.5)) > 0.9


def test_a_city_far_east_drives_home_by_its_own_clock(city: City) -> None:
    tokyo = local_offset("Asia/Tokyo")
    at = FRIDAY + round(17.5 * HOUR_MS)
    here = RoadTraffic(city, 1, at, 0.0)
    there = RoadTraffic(city, 1, at - 9 * HOUR_MS, 0.0, local=tokyo)
    slow = [r.state().speed_kmh.min() for r in (here, there)]
    assert slow[1] == pytest.approx(slow[0], rel=0.2)
    assert slow[1] < 30


def test_demand_has_two_peaks_on_weekdays_and_one_at_weekends() -> None:
    def peaks(day: int) -> int:
        demand = travel_demand(np.arange(day, day + DAY_MS, 900_000, dtype=np.int64))
        assert 0 <= demand.min() <= demand.max() <= 1
        inner = demand[1:-1]
        high = (inner > demand[:-2]) & (inner > demand[2:]) & (inner > 0.4)
        return int(np.count_nonzero(high))

    assert [peaks(FRIDAY + i * DAY_MS) for i in range(-1, 3)] == [2, 2, 1, 1]


def test_an_incident_slows_its_segment_while_it_lasts_and_is_in_the_truth(city: City) -> None:
    noon = FRIDAY + 12 * HOUR_MS
    roads = RoadTraffic(city, 1, noon, incidents_per_hour=60.0)
    quiet = RoadTraffic(city, 1, noon, incidents_per_hour=0.0)
    for model in (roads, quiet):
        model.advance_to(noon + HOUR_MS // 2)
    assert quiet.incidents == []
    now = noon + HOUR_MS // 2
    severe = [
        i
        for i in roads.incidents
        if i.severity > 0.85 and i.start_ms < now - 300_000 and i.end_ms > now
    ]
    assert severe
    for incident in severe:
        assert noon <= incident.start_ms < incident.end_ms
        at = incident.segment
        assert roads.state().flow_veh_h[at] < 0.8 * quiet.state().flow_veh_h[at]


def test_incidents_do_not_depend_on_when_a_run_starts() -> None:
    plan = IncidentPlan(3, 20.0, np.arange(1.0, 50.0))
    whole = plan.starting_between(FRIDAY, FRIDAY + 6 * HOUR_MS)
    later = IncidentPlan(3, 20.0, np.arange(1.0, 50.0)).starting_between(
        FRIDAY + 90 * 60_000, FRIDAY + 6 * HOUR_MS
    )
    assert later == [i for i in whole if i.start_ms >= FRIDAY + 90 * 60_000]
    assert len(whole) == pytest.approx(120, abs=40)
    assert [i.start_ms for i in whole] == sorted(i.start_ms for i in whole)
    assert all(0 <= i.segment < 49 and 0 < i.severity < 1 for i in whole)


def test_the_order_in_which_the_city_lists_its_segments_does_not_matter(city: City) -> None:
    order = np.random.default_rng(1).permutation(len(city.segments))
    shuffled = replace(
        city,
        segments=tuple(city.segments[i] for i in order),
        sensors=replace(city.sensors, segment=np.full(len(city.sensors), -1, np.int32)),
    )
    segment, cells = build_cells(city)
    other_segment, other = build_cells(shuffled)
    assert np.array_equal(order[other_segment], segment)
    assert np.array_equal(other.last, cells.last)
    assert np.array_equal(other.capacity_veh_h, cells.capacity_veh_h)


def test_cells_make_up_their_segments(city: City) -> None:
    segment, cells = build_cells(city)
    length = np.bincount(segment, cells.length_km)
    assert length == pytest.approx(np.array([s.length_m / 1000 for s in city.segments]))
    assert np.count_nonzero(cells.last) == len({s.corridor for s in city.segments})
