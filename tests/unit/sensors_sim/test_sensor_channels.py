"""What sensors measure is possible, consistent and follows the day."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from civicstream.city import City
from civicstream.errors import ConfigurationError
from civicstream.kinds import KINDS
from sensors_sim.channels import CHANNELS, TRAITS, measure_channel
from sensors_sim.city_plan import plan_city
from sensors_sim.detectors import VEHICLE_AND_LOOP_M, Detectors
from sensors_sim.road_traffic import SegmentState

NOON = 1_795_219_200_000
HOUR = 3_600_000


def day(kind: str, traits: list[float], days: int = 3) -> dict[str, np.ndarray]:
    ts = np.arange(NOON, NOON + days * 24 * HOUR, 5 * 60_000, dtype=np.int64)
    values = measure_channel(
        kind, np.repeat(np.array(traits)[:, None], len(ts), 1), ts, np.random.default_rng(3)
    )
    return dict(zip(KINDS[kind].measure_names, values, strict=True)) | {"ts": ts}


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"traffic"}))
@given(seed=st.integers(0, 2**32 - 1), start=st.integers(1_577_836_800_000, 2_208_988_800_000))
def test_every_measure_is_in_its_declared_range_at_any_time(
    kind: str, seed: int, start: int
) -> None:
    rng = np.random.default_rng(seed)
    ts = start + rng.integers(0, 366 * 24 * HOUR, 50)
    values = measure_channel(kind, rng.random((TRAITS, 50)), ts, rng)
    assert values.shape == (len(KINDS[kind].measures), 50)
    for measure, row in zip(KINDS[kind].measures, values, strict=True):
        assert np.all((row >= measure.minimum) & (row <= measure.maximum)), measure.name
        if measure.integer:
            assert np.all(row == np.floor(row))


def test_the_richer_channels_are_of_kinds_that_there_are_and_traffic_is_driven() -> None:
    assert set(CHANNELS) <= set(KINDS) - {"traffic"}
    assert {"air", "noise", "weather", "parking", "waste", "water", "energy"} <= set(CHANNELS)


@given(st.lists(st.floats(0, 1), min_size=TRAITS, max_size=TRAITS))
def test_measures_of_one_sensor_are_consistent(traits: list[float]) -> None:
    noise, parking, air = day("noise", traits), day("parking", traits), day("air", traits)
    assert np.all(noise["LAmax"] >= noise["LAeq"])
    assert np.all(parking["availableSpotNumber"] <= parking["totalSpotNumber"])
    assert len(set(parking["totalSpotNumber"].tolist())) == 1
    assert np.all(air["pm10"] >= air["pm25"])
    assert np.all(np.diff(day("energy", traits)["activeEnergyImport"]) >= 0)


def test_the_energy_counter_counts_the_power() -> None:
    energy = day("energy", [0.5, 0.5, 0.5, 0.5], days=10)
    hours = (energy["ts"][-1] - energy["ts"][0]) / HOUR
    counted = energy["activeEnergyImport"][-1] - energy["activeEnergyImport"][0]
    assert counted == pytest.approx(float(energy["activePower"].mean()) * hours, rel=0.005)


def test_containers_fill_up_and_are_emptied() -> None:
    level = day("waste", [0.1, 0.3, 0.5, 0.5], days=12)["fillingLevel"]
    steps = np.diff(level)
    assert 3 <= np.count_nonzero(steps < -0.5) <= 6
    assert np.all((steps >= 0) | (steps < -0.5))


def test_nights_are_quieter_and_ozone_peaks_by_day() -> None:
    noise, air = day("noise", [0.5] * 4), day("air", [0.5] * 4)
    hour = noise["ts"] % (24 * HOUR) / HOUR
    night, noon = (hour > 1) & (hour < 4), (hour > 11) & (hour < 15)
    assert noise["LAeq"][night].mean() < noise["LAeq"][noon].mean() - 4
    assert air["o3"][noon].mean() > air["o3"][night].mean()


@pytest.fixture(scope="module")
def lanes_city() -> City:
    return plan_city(1_000, 1)


def state(city: City, flow: float, speed: float) -> SegmentState:
    n = len(city.segments)
    lanes = np.array([s.lanes for s in city.segments])
    return SegmentState(flow * lanes, np.full(n, speed), flow * lanes / speed)


def test_detectors_count_the_flow_and_report_its_speed_and_occupancy(lanes_city: City) -> None:
    detector = np.repeat(np.arange(400), 50)
    traffic, rng = state(lanes_city, 1200, 80), np.random.default_rng(1)
    values = Detectors(lanes_city).measure(detector, np.full(len(detector), 60.0), traffic, rng)
    m = dict(zip(KINDS["traffic"].measure_names, values, strict=True))
    assert m["intensity"].mean() == pytest.approx(20, rel=0.01)
    assert m["intensity"].var() == pytest.approx(20, rel=0.05)  # Poisson
    assert np.nanmean(m["averageVehicleSpeed"]) == pytest.approx(80, rel=0.01)
    expected = 20 * VEHICLE_AND_LOOP_M / (80 / 3.6) / 60
    assert m["occupancy"].mean() == pytest.approx(expected, rel=0.03)
    assert set(m["period"].tolist()) == {60.0}
    assert set(m["lane"].tolist()) == set(lanes_city.sensors.lane[:400].tolist())


def test_inner_lanes_are_faster(lanes_city: City) -> None:
    sensors, segments = lanes_city.sensors, lanes_city.segments
    wide = [i for i in range(600) if segments[sensors.segment[i]].lanes == 3]
    detector = np.repeat(np.array(wide), 200)
    traffic, rng = state(lanes_city, 1500, 90), np.random.default_rng(2)
    values = Detectors(lanes_city).measure(detector, np.full(len(detector), 60.0), traffic, rng)
    lane = sensors.lane[detector]
    means = [np.nanmean(values[1][lane == n]) for n in (1, 2, 3)]
    assert means == sorted(means, reverse=True)


def test_a_detector_that_saw_no_vehicle_has_no_speed(lanes_city: City) -> None:
    detector = np.arange(600)
    values = Detectors(lanes_city).measure(
        detector, np.full(600, 1.0), state(lanes_city, 100, 80), np.random.default_rng(3)
    )
    empty = values[0] == 0
    assert 0 < empty.sum() < 600
    assert np.all(np.isnan(values[1]) == empty)
    assert np.all(values[2][empty] == 0)


def test_a_detector_without_a_segment_is_refused_by_name(lanes_city: City) -> None:
    from dataclasses import replace

    lost = lanes_city.sensors.segment.copy()
    lost[3] = -1
    city = replace(lanes_city, sensors=replace(lanes_city.sensors, segment=lost))
    with pytest.raises(ConfigurationError, match=lanes_city.sensors.ids[3]):
        Detectors(city)
