"""What becomes an incident and what does not, on a road whose traffic is made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from civicstream.errors import ConfigurationError
from streams.incidents import INCIDENT_ALGORITHMS, IncidentDetector
from tests.kit.incident_road import FREE_KMH, LENGTH_M, MINUTE, NOON, Road, told


def started(road: Road) -> IncidentDetector:
    detector = IncidentDetector(road.network)
    told(detector, road.windows(20))
    assert [i for i in detector.tracker.open if i.state != "suspected"] == []
    return detector


@pytest.mark.parametrize("seed", range(5))
def test_a_blockage_is_confirmed_within_three_windows_with_one_id(seed: int) -> None:
    road = Road(seed=seed)
    detector = started(road)
    versions = told(detector, road.block(6, 0.6, 20))
    assert len({v.id for v in versions}) == 1
    confirmed = next(v for v in versions if v.state == "confirmed")
    assert confirmed.window_end <= NOON + 23 * MINUTE
    assert (confirmed.upstream_segment, confirmed.downstream_segment) == ("r0-06", "r0-07")
    assert abs(confirmed.estimated_start - (NOON + 20 * MINUTE)) <= MINUTE


def test_versions_count_from_one_and_are_told_only_when_something_changed() -> None:
    road = Road()
    detector = started(road)
    versions = told(detector, road.block(6, 0.6, 60))
    assert [v.version for v in versions] == list(range(1, len(versions) + 1))
    assert len(versions) < 30
    ends = [v.window_end for v in versions if v.state == "confirmed"]
    assert min(np.diff(ends)) >= 2 * MINUTE


def test_severity_queue_and_delay_are_those_of_the_blockage() -> None:
    road = Road()
    detector = started(road)
    windows = road.block(8, 0.6, 15)
    last = told(detector, windows)[-1]
    assert last.severity == pytest.approx(0.6, abs=0.06)
    at = (last.window_end - NOON) // MINUTE - 20
    queued = (at - 1) // 2 + 1
    assert last.queue_m == pytest.approx(queued * LENGTH_M, abs=LENGTH_M)
    lost = 0.0
    for minute, window in enumerate(windows[:at]):
        slow = range(8 - minute // 2, 10)
        flow, speed = window.flow_veh_h, window.speed_kmh
        lost += sum(
            flow[s] / 60 * LENGTH_M / 1000 * max(1 / speed[s] - 1 / FREE_KMH, 0) for s in slow
        )
    assert last.delay_veh_h == pytest.approx(lost, rel=0.25)


def test_an_incident_goes_through_its_states_and_is_over_after_traffic_recovers() -> None:
    road = Road()
    detector = started(road)
    versions = told(detector, road.block(6, 0.6, 15))
    road.recover()
    versions += told(detector, road.windows(25))
    states = [v.state for v in versions]
    assert [s for i, s in enumerate(states) if i == 0 or s != states[i - 1]] in (
        ["suspected", "confirmed", "clearing", "cleared"],
        ["confirmed", "clearing", "cleared"],
    )
    assert len({v.id for v in versions}) == 1
    assert detector.tracker.open == []


@pytest.mark.parametrize("seed", range(5))
def test_a_queue_that_discharges_as_much_as_came_before_is_no_incident(seed: int) -> None:
    road = Road(seed=seed, flow=6_000)
    detector = started(road)
    versions = []
    for minute in range(40):
        road.speed[max(0, 6 - minute // 3) : 7] = 25.0
        versions += told(detector, [road.window()])
    assert [v for v in versions if v.state == "confirmed"] == []


@pytest.mark.parametrize("seed", range(5))
def test_a_fall_of_demand_everywhere_is_no_incident(seed: int) -> None:
    road = Road(seed=seed)
    detector = started(road)
    versions = []
    for _ in range(30):
        road.flow *= 0.95
        versions += told(detector, [road.window()])
    assert [v for v in versions if v.state == "confirmed"] == []


@pytest.mark.parametrize("seed", range(5))
def test_a_wave_that_runs_upstream_is_not_confirmed(seed: int) -> None:
    road = Road(seed=seed)
    detector = started(road)
    versions = []
    for at in range(10, 1, -1):
        road.recover()
        road.speed[at], road.flow[at] = 30.0, 3_500.0
        versions += told(detector, [road.window()])
    road.recover()
    versions += told(detector, road.windows(10))
    assert [v for v in versions if v.state == "confirmed"] == []


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", ["slow", "undercounting", "flapping", "silent", "stuck"])
def test_one_broken_detector_alone_confirms_nothing(kind: str, seed: int) -> None:
    road = Road(seed=seed)
    detector = started(road)
    versions = []
    held = road.window()
    for minute in range(60):
        window = road.window()
        if kind in {"slow", "flapping"} and (kind == "slow" or minute // 4 % 2):
            window.speed_kmh[6] = 12.0
        if kind in {"undercounting", "flapping"} and (kind != "flapping" or minute // 4 % 2):
            window.flow_veh_h[6] /= 2
        for values in (window.flow_veh_h, window.speed_kmh, window.occupancy):
            if kind == "silent":
                values[6] = np.nan
        if kind == "stuck":
            window.flow_veh_h[6], window.speed_kmh[6] = held.flow_veh_h[6], held.speed_kmh[6]
        versions += told(detector, [window])
    assert [v for v in versions if v.state == "confirmed"] == []


def test_a_detector_that_falls_silent_leaves_the_pair_to_its_neighbours() -> None:
    road = Road()
    detector = started(road)
    windows = road.windows(8) + road.block(6, 0.6, 20)
    for window in windows:
        for values in (window.flow_veh_h, window.speed_kmh, window.occupancy):
            values[7] = np.nan
    versions = told(detector, windows)
    confirmed = next(v for v in versions if v.state == "confirmed")
    assert (confirmed.upstream_segment, confirmed.downstream_segment) == ("r0-06", "r0-08")


def test_two_blockages_far_apart_are_two_incidents() -> None:
    road = Road(segments=30)
    detector = started(road)
    first = road.block(24, 0.5, 6)
    versions = told(detector, first)
    versions += told(detector, road.block(6, 0.8, 12))
    confirmed = {v.id: v.upstream_segment for v in versions if v.state == "confirmed"}
    assert sorted(confirmed.values()) == ["r0-06", "r0-24"]


@pytest.mark.parametrize("algorithm", sorted(INCIDENT_ALGORITHMS))
def test_every_algorithm_finds_a_plain_blockage(algorithm: str) -> None:
    road = Road()
    detector = IncidentDetector(road.network, algorithm)
    told(detector, road.windows(20))
    versions = told(detector, road.block(6, 0.7, 20))
    assert any(v.state == "confirmed" for v in versions)
    assert {v.algorithm for v in versions} == {algorithm}


def test_an_unknown_algorithm_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"'magic'.*queue_discharge, california8, snd"):
        IncidentDetector(Road().network, "magic")


def test_a_detector_that_leaps_to_and_fro_is_left_out_and_comes_back() -> None:
    road = Road()
    detector = started(road)
    for minute in range(16):
        window = road.window()
        window.speed_kmh[6] = 12.0 if minute // 3 % 2 else 95.0
        detector.step(window, window.end)
    pairs = set(
        zip(detector.pairs.upstream.tolist(), detector.pairs.downstream.tolist(), strict=True)
    )
    assert {(5, 6), (6, 7)}.isdisjoint(pairs)
    assert (5, 7) in pairs
    told(detector, road.windows(60))
    pairs = set(
        zip(detector.pairs.upstream.tolist(), detector.pairs.downstream.tolist(), strict=True)
    )
    assert {(5, 6), (6, 7)} <= pairs


def test_evidence_stays_while_a_small_road_stands_still_and_no_speed_comes() -> None:
    road = Road(flow=4_500)
    detector = started(road)
    windows = road.block(6, 0.9, 12)
    for window in windows[2:]:
        window.speed_kmh[5:7] = np.nan
    versions = told(detector, windows)
    assert "confirmed" in {v.state for v in versions}
    assert "clearing" not in {v.state for v in versions}


@pytest.mark.parametrize("seed", range(5))
def test_half_a_minute_without_traffic_on_a_full_road_is_no_incident(seed: int) -> None:
    road = Road(seed=seed, flow=6_500)
    detector = started(road)
    versions = []
    for flow, speed in ((6_500, 55.0), (3_300, 35.0), (6_500, 55.0), (6_500, 70.0)):
        road.flow[5:10], road.speed[6] = flow, speed
        versions += told(detector, [road.window()])
    road.recover()
    road.flow[:] = 6_500
    versions += told(detector, road.windows(10))
    assert [v for v in versions if v.state == "confirmed"] == []


@pytest.mark.parametrize("seed", range(5))
def test_the_same_slow_minute_is_an_incident_where_the_flow_stays_lost(seed: int) -> None:
    road = Road(seed=seed, flow=6_500)
    detector = started(road)
    versions = []
    for speed in (55.0, 35.0, 20.0, 12.0, 12.0):
        road.flow[5:], road.speed[6] = 3_300, speed
        versions += told(detector, [road.window()])
    assert "confirmed" in {v.state for v in versions}


@pytest.mark.parametrize("seed", range(5))
def test_traffic_that_comes_back_after_an_incident_loses_nothing(seed: int) -> None:
    road = Road(seed=seed, flow=3_000)
    detector = started(road)
    told(detector, road.block(6, 0.8, 40))
    road.recover()
    told(detector, road.windows(20))
    assert detector.tracker.open == []
    recent = detector.algorithm.segment_state[0]
    assert recent == pytest.approx(np.full(12, 5_000.0), rel=0.15)
    versions = []
    for minute in range(20):
        # More comes from upstream than passes on: a ramp takes it, nothing is lost.
        road.flow[:6] = 5_000 + 100 * minute
        road.speed[6] = 70.0
        versions += told(detector, [road.window()])
    assert [v for v in versions if v.state == "confirmed"] == []


def test_a_standing_queue_that_starts_to_move_from_its_head_is_not_even_suspected() -> None:
    road = Road()
    detector = started(road)
    road.flow[:], road.speed[:] = 600.0, 2.5
    versions = told(detector, road.windows(15))
    for minute in range(14):
        # The later a place starts, the further upstream it is; all gain speed and flow slowly.
        since = minute - (11 - np.arange(12)) * 1.5
        moving = since >= 0
        road.flow[moving] = np.minimum(6_100.0, 700 + 300 * since[moving])
        road.speed[moving] = np.minimum(28.0, 3 + 5 * since[moving])
        versions += told(detector, [road.window()])
    assert versions == []
