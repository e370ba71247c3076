"""The incident detector's state: repeatable, complete as bytes, and proof against holes."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from civicstream.errors import ConfigurationError
from streams.incidents import INCIDENT_ALGORITHMS, IncidentDetector
from streams.windows.network import NetworkWindow
from tests.kit.incident_road import MINUTE, NOON, Road, straight_road, told

ALGORITHMS = sorted(INCIDENT_ALGORITHMS)


def afternoon(seed: int = 1) -> list[NetworkWindow]:
    road = Road(seed=seed)
    windows = road.windows(20) + road.block(6, 0.6, 20)
    road.recover()
    return windows + road.windows(30)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("cut", [0, 1, 19, 22, 25, 41, 69])
def test_going_on_from_a_dump_is_the_same_as_never_having_stopped(algorithm: str, cut: int) -> None:
    windows = afternoon()
    network = straight_road(12)
    whole, first = (IncidentDetector(network, algorithm) for _ in range(2))
    expected = [whole.step(w, w.end) for w in windows]
    assert [first.step(w, w.end) for w in windows[:cut]] == expected[:cut]
    second = IncidentDetector(network, algorithm)
    second.restore(first.dump())
    second.restore_baseline(first.dump_baseline())
    assert [second.step(w, w.end) for w in windows[cut:]] == expected[cut:]
    assert second.dump() == whole.dump()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_window_that_comes_again_changes_nothing(algorithm: str) -> None:
    detector = IncidentDetector(straight_road(12), algorithm)
    windows = afternoon()
    for window in windows[:30]:
        detector.step(window, window.end)
    before = detector.dump()
    assert [detector.step(w, w.end) for w in windows[:30]] == [[]] * 30
    assert detector.dump() == before


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), missing=st.floats(0, 1), skipped=st.floats(0, 0.9))
def test_silent_detectors_and_skipped_minutes_never_break_it(
    algorithm: str, seed: int, missing: float, skipped: float
) -> None:
    rng = np.random.default_rng(seed)
    detector = IncidentDetector(straight_road(12), algorithm)
    versions: dict[str, int] = {}
    for window in afternoon(seed % 7):
        for values in (window.flow_veh_h, window.speed_kmh, window.occupancy):
            values[rng.random(12) < missing] = np.nan
        if rng.random() < skipped:
            continue
        for version in detector.step(window, window.end):
            assert version.version == versions.get(version.id, 0) + 1
            versions[version.id] = version.version
            assert 0 <= version.severity <= 1
            assert 0 <= version.confidence <= 1
            assert version.delay_veh_h >= 0
            assert version.estimated_start <= version.first_evidence <= version.window_end


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_city_without_roads_has_no_incidents(algorithm: str) -> None:
    none = np.zeros(0)
    detector = IncidentDetector(straight_road(0), algorithm)
    assert detector.step(NetworkWindow(NOON, NOON + MINUTE, *[none] * 5), NOON) == []
    IncidentDetector(straight_road(0), algorithm).restore(detector.dump())


def test_the_state_of_another_city_or_algorithm_is_refused() -> None:
    dumped = IncidentDetector(straight_road(12)).dump()
    with pytest.raises(ConfigurationError, match="segments"):
        IncidentDetector(straight_road(13)).restore(dumped)
    with pytest.raises(ConfigurationError, match=r"algorithm 'queue_discharge'.*'snd'"):
        IncidentDetector(straight_road(12), "snd").restore(dumped)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        IncidentDetector(straight_road(12)).restore(dumped[:40])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_five_thousand_segments_take_well_under_fifty_ms_and_a_hundred_bytes_each(
    algorithm: str,
) -> None:
    network = straight_road(20, corridors=250)
    detector = IncidentDetector(network, algorithm)
    rng = np.random.default_rng(1)
    took = []
    for minute in range(40):
        flow = rng.poisson(83, 5_000) * 60.0
        speed = rng.normal(95, 4, 5_000)
        if minute > 30:
            flow[1_000:1_010], speed[990:1_000] = 1_200.0, 10.0
        silent = rng.random(5_000) < 0.02
        flow[silent], speed[silent] = np.nan, np.nan
        start = NOON + minute * MINUTE
        window = NetworkWindow(
            start=start,
            end=start + MINUTE,
            flow_veh_h=flow,
            speed_kmh=speed,
            occupancy=flow / speed / 460,
            density_veh_km_lane=flow / speed / 3,
            coverage=0 * flow,
        )
        began = time.perf_counter()
        detector.step(window, window.end)
        took.append(time.perf_counter() - began)
    assert np.median(took[20:]) < 0.05
    assert len(detector.dump()) < 100 * 5_000


def test_told_windows_say_the_same_to_two_detectors() -> None:
    windows = afternoon()
    network = straight_road(12)
    first = told(IncidentDetector(network), windows)
    assert first == told(IncidentDetector(network), windows)
    assert first
